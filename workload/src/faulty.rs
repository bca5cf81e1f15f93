//! Behaviours that break one promise each, or crash.

use nolibc::{Args, File, Namespace, SIGINT, SIGTERM, Signals};

use crate::{
    code, end_of, fail,
    init::{self, DEFAULT, GOOD, NONE, Settings},
    misused, number, optional_number,
};

/// How much memory is allocated at a time.
const MIB: usize = 1 << 20;

pub(crate) fn ignore_term(args: Args) -> ! {
    end_of(args);
    init::settle(&Settings { stop: None, ..GOOD });
    init::keep_running()
}

pub(crate) fn block_term(args: Args) -> ! {
    end_of(args);
    init::settle(&Settings {
        blocked: Signals::of(&[SIGTERM]),
        ..GOOD
    });
    init::keep_running()
}

/// Waits for the signals, because without mutable statics a handler could not know the code.
pub(crate) fn exit_on_term(mut args: Args) -> ! {
    const STOPS: Signals = Signals::of(&[SIGTERM, SIGINT]);
    let code = code(&mut args);
    end_of(args);
    init::settle(&Settings {
        blocked: STOPS,
        ..GOOD
    });
    loop {
        if nolibc::take(&STOPS).is_some() {
            nolibc::exit(code);
        }
    }
}

pub(crate) fn exit_on_signal(args: Args) -> ! {
    end_of(args);
    init::settle_each(|_| Some(init::end), &NONE);
    init::keep_running()
}

pub(crate) fn no_forward(command: Args) -> ! {
    extern "C" fn keep(_signal: i32) {}
    run(&command, keep)
}

/// Exits on a stop signal, without its child.
pub(crate) fn abandon(command: Args) -> ! {
    run(&command, init::end)
}

/// Runs the command and exits with its code. `stop` handles the stop signals.
fn run(command: &Args, stop: extern "C" fn(i32)) -> ! {
    init::settle(&Settings {
        stop: Some(stop),
        ..DEFAULT
    });
    let child = init::start(command);
    loop {
        if let Some(ended) = nolibc::wait(true)
            && ended.child == child
        {
            nolibc::exit(ended.code);
        }
    }
}

pub(crate) fn no_reap(mut args: Args) -> ! {
    let count = optional_number(&mut args).unwrap_or(0);
    let pace = optional_number(&mut args);
    end_of(args);
    init::settle(&Settings {
        child: None,
        ..GOOD
    });
    for _ in 0..count {
        init::fork(|| ());
        if pace.is_some() {
            init::sleep(pace);
        }
    }
    init::keep_running()
}

pub(crate) fn fork_loop(mut args: Args) -> ! {
    let count = optional_number(&mut args);
    end_of(args);
    init::settle(&Settings {
        child: None,
        ..GOOD
    });
    let mut forked = 0;
    while count.is_none_or(|count| forked < count) {
        let child = init::fork(|| ());
        while nolibc::wait(true).is_some_and(|ended| ended.child != child) {}
        forked = forked.wrapping_add(1);
    }
    nolibc::exit(0)
}

pub(crate) fn crash(args: Args) -> ! {
    end_of(args);
    init::settle(&DEFAULT);
    nolibc::crash()
}

pub(crate) fn eat_memory(mut args: Args) -> ! {
    let mebibytes = number(&mut args);
    end_of(args);
    init::settle(&GOOD);
    for _ in 0..mebibytes {
        if let Err(errno) = nolibc::grow(MIB) {
            fail("allocate memory", errno);
        }
    }
    init::keep_running()
}

pub(crate) fn unshare(mut args: Args) -> ! {
    let kinds = [
        ("ipc", Namespace::Ipc),
        ("net", Namespace::Net),
        ("uts", Namespace::Uts),
    ];
    let name = args.next().unwrap_or_else(|| misused());
    let kind = kinds
        .into_iter()
        .find(|(kind, _)| name.is(kind.as_bytes()))
        .unwrap_or_else(|| misused());
    end_of(args);
    init::settle(&GOOD);
    match nolibc::unshare(kind.1) {
        Ok(()) => init::keep_running(),
        Err(errno) => fail("unshare the namespace (needs CAP_SYS_ADMIN)", errno),
    }
}

pub(crate) fn join_unseen(mut args: Args) -> ! {
    let path = args.next().unwrap_or_else(|| misused());
    if args.is_empty() {
        misused()
    }
    let joined = File::open(&path).and_then(|file| nolibc::join_unseen(&file));
    let errno = match joined {
        Ok(()) => nolibc::execute(&args),
        Err(errno) => errno,
    };
    fail(
        "join the namespace and execute (needs CAP_SYS_ADMIN)",
        errno,
    )
}

pub(crate) fn join(mut args: Args) -> ! {
    let path = args.next().unwrap_or_else(|| misused());
    end_of(args);
    init::settle(&GOOD);
    let joined = File::open(&path).and_then(|file| nolibc::join(&file));
    match joined {
        Ok(()) => init::keep_running(),
        Err(errno) => fail("join the namespace (needs CAP_SYS_ADMIN)", errno),
    }
}
