//! Behaviours that keep every promise.

use nolibc::{Args, Child, SIGCHLD, Signals};

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
        init::live_on()
    };
    loop {
        // To be accepted is all that a peer asks for; it is closed at once.
        if nolibc::accept(&listener).is_err() {
            // The peer has left already, or descriptors or memory have run out: then there is no hurry to try again.
            init::sleep(Some(10));
        }
    }
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

/// Takes its signals as tini does: with all of them blocked there is no moment in which one could be missed.
pub(crate) fn shell(command: Args) -> ! {
    init::settle(&Settings {
        blocked: Signals::ALL,
        ..DEFAULT
    });
    let child = init::start(&command);
    loop {
        match nolibc::take(&Signals::ALL) {
            Some(SIGCHLD) => reap_until(child),
            // If the child is gone, its SIGCHLD will tell.
            Some(signal) => _ = child.signal(signal),
            None => {}
        }
    }
}

/// Reaps all that are dead; when `child` is among them, ends as it did.
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
    init::live_on()
}

pub(crate) fn orphan(mut args: Args) -> ! {
    let count = number(&mut args);
    end_of(args);
    init::settle(&DEFAULT);
    let handle = nolibc::own_handle().unwrap_or_else(|errno| fail("open a pidfd", errno));
    for _ in 0..count {
        init::fork(|| {
            if let Err(errno) = nolibc::wait_for_end(&handle) {
                fail("wait for its parent's end", errno);
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
        // Whoever reads this session's output reads on until everybody has closed it.
        init::fork(|| match nolibc::close_all() {
            Ok(()) => init::live_on(),
            Err(errno) => fail("close its files", errno),
        });
    }
    nolibc::exit(0)
}
