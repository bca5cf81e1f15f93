//! Tests from outside and without a runtime that the workload does what its help says: as pid 1 of
//! a pid namespace (which needs root) and as an ordinary process.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use nix::{
    libc::{self, SIGCHLD, SIGINT, SIGKILL, SIGSEGV, SIGTERM, SIGUSR1},
    sys::signal::{self, SigHandler, SigSet, Signal},
    unistd::{Pid, chroot},
};
use pause_trace_tests::{
    Run, elf,
    process::{self, Place, Process, before_exec, command},
    scratch, workload_binary,
};

/// The system call that most long-running behaviours block in.
const SLEEP: libc::c_long = libc::SYS_ppoll;
/// The system call that a behaviour blocks in while it waits for signals.
const TAKE: libc::c_long = libc::SYS_rt_sigtimedwait;
const WAIT: libc::c_long = libc::SYS_wait4;
const ACCEPT: libc::c_long = libc::SYS_accept4;

fn workload(arguments: &[&str]) -> Command {
    let mut command = command(&workload_binary());
    command.args(arguments);
    command
}

/// Starts it and waits until it is idle.
fn start(place: Place, arguments: &[&str], rest: libc::c_long) -> Process {
    Process::start(place, workload(arguments), rest)
}

/// The exit code of a behaviour that ends by itself.
fn code(place: Place, arguments: &[&str]) -> Option<i32> {
    Process::spawn(place, workload(arguments), SLEEP)
        .exit()
        .code()
}

/// A behaviour that runs another workload as its command.
fn with_command<'a>(own: &'a str, program: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [own, program]
        .into_iter()
        .chain(command.iter().copied())
        .collect()
}

fn stopped_by(mut process: Process, signal: i32) -> Option<i32> {
    process.signal(signal);
    process.exit().code()
}

#[test]
fn long_running_behaviours_end_with_0_on_a_stop_signal() {
    let behaviours: [(&[&str], _); 6] = [
        (&["serve"], SLEEP),
        (&["no-reap"], SLEEP),
        (&["eat-memory", "1"], SLEEP),
        (&["exit-on-signal"], SLEEP),
        (&["exit-on-term", "0"], TAKE),
        (&["listen-late", "0"], TAKE),
    ];
    for place in Place::each() {
        for (arguments, rest) in behaviours {
            for signal in [SIGTERM, SIGINT] {
                let process = start(place, arguments, rest);
                assert_eq!(stopped_by(process, signal), Some(0), "{arguments:?}");
            }
        }
    }
}

#[test]
fn it_prints_its_help_and_ends_with_2_on_wrong_arguments() {
    let run = |arguments: &[&str]| -> Run {
        let output = Command::new(workload_binary()).args(arguments).output();
        output.expect("failed to run the workload").into()
    };
    let help = run(&["--help"]);
    assert_eq!((help.code, &*help.stderr), (Some(0), ""));
    for behaviour in [
        "serve [--port PORT]",
        "exit CODE",
        "no-forward COMMAND...",
        "true",
    ] {
        assert!(
            help.stdout.lines().any(|line| line.trim() == behaviour),
            "{behaviour}: {help:?}"
        );
    }
    let wrong: [&[&str]; 22] = [
        &[],
        &["serv"],
        &["serves"],
        &["true", "x"],
        &["serve", "80"],
        &["serve", "--port"],
        &["serve", "--port", "65536"],
        &["listen-late"],
        &["listen-late", "80", "--ipv4"],
        &["exit"],
        &["exit", "256"],
        &["exit", "-1"],
        &["exit", ""],
        &["exit", "1", "2"],
        &["connect", "1x"],
        &["no-reap", "9999999999"],
        &["shell"],
        &["no-forward"],
        &["unshare", "user"],
        &["join"],
        &["join-unseen"],
        &["join-unseen", "/dev/null"],
    ];
    for arguments in wrong {
        let refused = run(arguments);
        assert_eq!(
            (refused.code, &*refused.stdout),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert_eq!(refused.stderr, help.stdout, "{arguments:?}");
    }
}

#[test]
fn it_ends_as_its_arguments_say() {
    for place in Place::each() {
        assert_eq!(code(place, &["true"]), Some(0));
        assert_eq!(code(place, &["exit", "7"]), Some(7));
        assert_eq!(code(place, &["exit", "255"]), Some(255));
        assert_eq!(code(place, &["fork-loop", "50"]), Some(0));
        assert_eq!(
            stopped_by(start(place, &["exit-on-term", "9"], TAKE), SIGTERM),
            Some(9)
        );
        let crash = Process::spawn(place, workload(&["crash"]), SLEEP).exit();
        assert_eq!(crash.signal(), Some(SIGSEGV));
    }
}

#[test]
fn it_needs_nothing_of_its_root_file_system() {
    let root = scratch("workload-root");
    // Another process copies the file. If this process did, a child that another test forks
    // meanwhile would inherit the open file, and executing it would fail with ETXTBSY.
    let copied = Command::new("cp")
        .args([workload_binary(), root.join("workload")])
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let mut command = Command::new("/workload");
    command.args(["shell", "/workload", "exit", "7"]);
    let root = std::ffi::CString::new(root.into_os_string().into_encoded_bytes());
    let root = root.expect("no NUL in a path");
    before_exec(&mut command, move || Ok(chroot(&*root)?));
    let status = command
        .status()
        .expect("failed to run it in a root of its own");
    assert_eq!(status.code(), Some(7));
}

#[test]
fn listen_late_listens_when_it_is_told_to() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    let port = port.expect("no port is free").port();
    let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    for more in [&[][..], &["--ipv6"]] {
        let number = port.to_string();
        let arguments: Vec<&str> = ["listen-late", &number]
            .into_iter()
            .chain(more.to_vec())
            .collect();
        let late = |rest| start(Place::Ordinary, &arguments, rest);
        let (server, other) = (late(TAKE), late(TAKE));
        assert!(!connects(), "it is bound and does not listen");
        server.signal(SIGUSR1);
        process::settle(server.pid(), SLEEP);
        assert!(connects());
        assert_eq!(stopped_by(other, SIGUSR1), Some(1), "the port is in use");
        assert_eq!(stopped_by(server, SIGTERM), Some(0));
    }
}

#[test]
fn its_file_is_small_static_and_has_no_writable_code() {
    elf::assert_small_static_and_without_writable_code(&workload_binary(), 16 << 10);
}

#[test]
fn serve_accepts_connections_and_connect_checks_it() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    let port = port.expect("no port is free").port();
    let connect = || code(Place::Ordinary, &["connect", &port.to_string()]);
    assert_eq!(connect(), Some(1), "no process listens");
    let server = start(
        Place::Ordinary,
        &["serve", "--port", &port.to_string()],
        ACCEPT,
    );
    assert_eq!(connect(), Some(0));
    let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    let taken = code(Place::Ordinary, &["serve", "--port", &port.to_string()]);
    assert_eq!(taken, Some(1), "the port is taken");
    assert_eq!(stopped_by(server, SIGTERM), Some(0));
    drop(peer);
    let again = start(
        Place::Ordinary,
        &["serve", "--port", &port.to_string()],
        ACCEPT,
    );
    assert_eq!(
        stopped_by(again, SIGINT),
        Some(0),
        "the next life gets the port at once"
    );
}

#[test]
fn orphans_of_a_session_are_reparented_to_pid_1_which_reaps_them_or_not() {
    let session = |init: &Process| code(Place::Beside(init.pid()), &["orphan", "5"]);
    let good = [
        (&["serve"][..], SLEEP),
        (&["block-term"], SLEEP),
        (&["ignore-term"], SLEEP),
        (&["exit-on-term", "1"], TAKE),
    ];
    for (arguments, rest) in good {
        let init = start(Place::Pid1, arguments, rest);
        assert_eq!(session(&init), Some(0));
        init.reaps_all();
    }
    let init = start(Place::Pid1, &["no-reap"], SLEEP);
    assert_eq!(session(&init), Some(0));
    assert_eq!(init.children().len(), 5);
    init.reaps_none();
    assert_eq!(stopped_by(init, SIGTERM), Some(0));

    let program = workload_binary();
    let program = program.to_string_lossy();
    let shell = with_command("shell", &program, &["wait"]);
    let init = start(Place::Pid1, &shell, TAKE);
    let [command] = init.children()[..] else {
        panic!("{:?}", init.children());
    };
    assert_eq!(session(&init), Some(0));
    for orphan in init
        .children()
        .into_iter()
        .filter(|child| *child != command)
    {
        assert!(process::handle(orphan).is_none_or(|orphan| process::ends(&orphan)));
    }
    init.settle();
    assert_eq!(init.children(), [command]);
}

#[test]
fn orphans_that_are_left_live_on_and_keep_no_file() {
    let init = start(Place::Pid1, &["serve"], SLEEP);
    assert_eq!(code(Place::Beside(init.pid()), &["leave", "3"]), Some(0));
    let orphans = init.children();
    assert_eq!(orphans.len(), 3);
    for orphan in orphans {
        process::settle(orphan, SLEEP);
        assert_eq!(process::entries(orphan, "fd"), [""; 0]);
    }
    assert_eq!(stopped_by(init, SIGTERM), Some(0));
}

#[test]
fn as_pid_1_ignore_term_never_sees_a_stop_signal_and_block_term_keeps_it_pending() {
    let ignores = start(Place::Pid1, &["ignore-term"], SLEEP);
    let blocks = start(Place::Pid1, &["block-term"], SLEEP);
    for process in [&ignores, &blocks] {
        process.signal(SIGTERM);
        process.settle();
    }
    assert!(!ignores.signals("ShdPnd").contains(&SIGTERM));
    assert_eq!(ignores.signals("SigCgt"), [SIGCHLD].into());
    assert!(blocks.signals("ShdPnd").contains(&SIGTERM));
    assert_eq!(
        stopped_by(blocks, SIGINT),
        Some(0),
        "only SIGTERM is blocked"
    );
}

#[test]
fn any_signal_ends_exit_on_signal() {
    for place in Place::each() {
        for signal in [SIGCHLD, SIGUSR1, libc::SIGRTMAX()] {
            let process = start(place, &["exit-on-signal"], SLEEP);
            assert_eq!(stopped_by(process, signal), Some(0), "{signal}");
        }
    }
}

#[test]
fn inherited_signal_settings_do_not_matter() {
    let mut command = workload(&["serve"]);
    before_exec(&mut command, || {
        for signal in [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGHUP] {
            // SAFETY: SIG_IGN runs no code.
            unsafe { signal::signal(signal, SigHandler::SigIgn) }?;
        }
        Ok(SigSet::all().thread_block()?)
    });
    let process = Process::start(Place::Ordinary, command, SLEEP);
    assert!(process.signals("SigBlk").is_empty());
    assert!(process.signals("SigIgn").is_empty());
    assert_eq!(process.signals("SigCgt"), [SIGTERM, SIGINT, SIGCHLD].into());
    assert_eq!(stopped_by(process, SIGTERM), Some(0));
}

#[test]
fn a_hanging_probe_has_default_dispositions() {
    let mut process = start(Place::Ordinary, &["wait"], SLEEP);
    assert!(process.signals("SigCgt").is_empty());
    process.signal(SIGTERM);
    assert_eq!(process.exit().signal(), Some(SIGTERM));
}

#[test]
fn a_shell_passes_signals_on_and_ends_as_its_command_does() {
    let program = workload_binary();
    let program = program.to_string_lossy();
    let shell = |command: &[&str]| workload(&with_command("shell", &program, command));
    for place in Place::each() {
        let ends = |command| Process::spawn(place, shell(command), TAKE).exit().code();
        assert_eq!(ends(&["exit", "3"]), Some(3));
        assert_eq!(ends(&["crash"]), Some(128 + SIGSEGV));
        let mut process = Process::start(place, shell(&["exit-on-term", "5"]), TAKE);
        let [command] = process.children()[..] else {
            panic!("{:?}", process.children());
        };
        process::settle(command, TAKE);
        process.signal(SIGTERM);
        assert_eq!(process.exit().code(), Some(5));
    }
    let missing = ["shell", "/nonexistent"];
    assert_eq!(code(Place::Ordinary, &missing), Some(1));
}

#[test]
fn no_forward_keeps_stop_signals_to_itself() {
    let program = workload_binary();
    let program = program.to_string_lossy();
    for place in Place::each() {
        let command = workload(&with_command("no-forward", &program, &["wait"]));
        let mut process = Process::start(place, command, WAIT);
        let [command] = process.children()[..] else {
            panic!("{:?}", process.children());
        };
        process::settle(command, SLEEP);
        for signal in [SIGTERM, SIGINT] {
            process.signal(signal);
            process.settle();
        }
        process::settle(command, SLEEP);
        signal::kill(Pid::from_raw(command.cast_signed()), Signal::SIGKILL).expect("it lives");
        assert_eq!(process.exit().code(), Some(128 + SIGKILL));
    }
}

#[test]
fn zombies_are_made_at_once_or_at_a_pace() {
    for place in Place::each() {
        let process = start(place, &["no-reap", "10"], SLEEP);
        assert_eq!(process.children().len(), 10);
        process.reaps_none();
        let paced = start(place, &["no-reap", "10", "999999999"], SLEEP);
        assert_eq!(paced.children().len(), 1);
    }
}

#[test]
fn an_endless_fork_loop_ends_on_a_stop_signal() {
    for place in Place::each() {
        assert_eq!(
            stopped_by(start(place, &["fork-loop"], WAIT), SIGTERM),
            Some(0)
        );
    }
}

#[test]
fn eaten_memory_is_resident() {
    let process = start(Place::Ordinary, &["eat-memory", "20"], SLEEP);
    let resident = process.status("VmRSS");
    let kibibytes = resident.trim().trim_end_matches(" kB").parse::<u64>();
    assert!(
        kibibytes.is_ok_and(|kib| (20 << 10..21 << 10).contains(&kib)),
        "{resident}"
    );
}

#[test]
fn a_namespace_is_left_for_a_new_one_or_for_another_process() {
    let namespace = |pid: u32, kind: &str| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("the process lives")
    };
    for kind in ["ipc", "net", "uts"] {
        let left = start(Place::Ordinary, &["unshare", kind], SLEEP);
        assert_ne!(
            namespace(left.pid(), kind),
            namespace(std::process::id(), kind)
        );
        let file = format!("/proc/{}/ns/{kind}", left.pid());
        let joined = start(Place::Ordinary, &["join", &file], SLEEP);
        assert_eq!(namespace(left.pid(), kind), namespace(joined.pid(), kind));
        if cfg!(target_arch = "x86_64") {
            let program = workload_binary();
            let program = program.to_str().expect("the path of a build is text");
            let unseen = with_command("join-unseen", &file, &[program, "wait"]);
            let joined = start(Place::Ordinary, &unseen, SLEEP);
            assert_eq!(namespace(left.pid(), kind), namespace(joined.pid(), kind));
        }
    }
    let mut command = workload(&["join", "/dev/null"]);
    command.stderr(Stdio::piped());
    let run: Run = command.output().expect("failed to run the workload").into();
    let message = "workload: failed to join the namespace (needs CAP_SYS_ADMIN): errno 22\n";
    assert_eq!((run.code, &*run.stderr), (Some(1), message));
}
