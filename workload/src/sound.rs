//! Behaviours that keep every promise.

use nolibc::{Args, Child, SIGCHLD, SIGUSR1, Signals};

use crate::{
    code, end_of, fail,
    init::{self, DEFAULT, GOOD, Settings},
    misused, number, port,
};

pub(crate) fn serve(mut args: Args) -> ! {
    let listener = args.next().map(|option| {
        if !option.is(b"--port") {
            misused();
        }
        let port = port(&mut args);
        nolibc::listen(port).unwrap_or_else(|errno| fail("listen on the port", errno))
    });
    end_of(args);
    init::settle(&GOOD);
    let Some(listener) = listener else {
        init::keep_running()
    };
    loop {
        // The connection is closed at once: a peer only checks that it is accepted.
        if nolibc::accept(&listener).is_err() {
            // The peer has closed the connection already, or file descriptors or memory ran out.
            // Wait before the next attempt.
            init::sleep(Some(10));
        }
    }
}

/// Binds a socket, and lets it listen when SIGUSR1 says so, as a server does that starts slowly.
pub(crate) fn listen_late(mut args: Args) -> ! {
    const WAKES: Signals = Signals::of(&[SIGUSR1]);
    let port = port(&mut args);
    let is_v6 = args.next().map(|option| option.is(b"--ipv6"));
    end_of(args);
    let bound = match is_v6 {
        None => nolibc::bind(port),
        Some(true) => nolibc::bind6(port),
        Some(false) => misused(),
    };
    let socket = bound.unwrap_or_else(|errno| fail("bind the port", errno));
    init::settle(&Settings {
        blocked: WAKES,
        ..GOOD
    });
    while nolibc::take(&WAKES).is_none() {}
    if let Err(errno) = nolibc::listen_on(&socket) {
        fail("listen on the port", errno);
    }
    init::keep_running()
}

pub(crate) fn succeed(args: Args) -> ! {
    end_of(args);
    nolibc::exit(0)
}

pub(crate) fn exit(mut args: Args) -> ! {
    let code = code(&mut args);
    end_of(args);
    nolibc::exit(code)
}

pub(crate) fn connect(mut args: Args) -> ! {
    let port = port(&mut args);
    end_of(args);
    match nolibc::connect(port) {
        Ok(_) => nolibc::exit(0),
        Err(errno) => fail("connect to the port", errno),
    }
}

/// Blocks all signals and waits for them, as tini does, so that none is missed.
pub(crate) fn shell(command: Args) -> ! {
    init::settle(&Settings {
        blocked: Signals::ALL,
        ..DEFAULT
    });
    let child = init::start(&command);
    loop {
        match nolibc::take(&Signals::ALL) {
            Some(SIGCHLD) => reap_until(child),
            // An error means that the child has exited; its SIGCHLD follows.
            Some(signal) => _ = child.signal(signal),
            None => {}
        }
    }
}

/// Reaps all zombies. If `child` is among them, exits with its code.
fn reap_until(child: Child) {
    while let Some(ended) = nolibc::wait(false) {
        if ended.child == child {
            nolibc::exit(ended.code);
        }
    }
}

pub(crate) fn wait(args: Args) -> ! {
    end_of(args);
    init::settle(&DEFAULT);
    init::keep_running()
}

pub(crate) fn orphan(mut args: Args) -> ! {
    let count = number(&mut args);
    end_of(args);
    init::settle(&DEFAULT);
    let handle = nolibc::own_handle().unwrap_or_else(|errno| fail("open a pidfd", errno));
    for _ in 0..count {
        init::fork(|| {
            if let Err(errno) = nolibc::wait_for_end(&handle) {
                fail("wait for the parent to exit", errno);
            }
        });
    }
    nolibc::exit(0)
}

pub(crate) fn leave(mut args: Args) -> ! {
    let count = number(&mut args);
    end_of(args);
    init::settle(&DEFAULT);
    for _ in 0..count {
        // The reader of this session's output waits until every process has closed it.
        init::fork(|| match nolibc::close_all() {
            Ok(()) => init::keep_running(),
            Err(errno) => fail("close all files", errno),
        });
    }
    nolibc::exit(0)
}
