//! What is kept, who is answered, and what is left behind.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead as _, BufReader, Cursor, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Instant,
};

use nix::libc;

use super::{place::NotBound, serve::MAX_CLIENTS, *};
use crate::{
    event::{CgroupId, Comm, Event, Fact, Namespaces, ProcessId, TaskInfo, WaitStatus},
    pipeline::Pipeline,
    record::{Begin, Ending, Entry, Next, Opening, Recorder as _, Recording, Run, Segment},
    state::Limits,
    verdict::Outcome,
};

/// How long a thread of the server may take to notice that a client has left.
const DEADLINE: Duration = Duration::from_secs(60);

const NOBODY: libc::c_long = 65_534;

/// A recording of a containerd pod.
const RECORDED: &[u8] = include_bytes!("../../../tests/fixtures/containerd-pod-v1.ptrec");

fn opening() -> Opening {
    Opening {
        recording: 7,
        segment: 0,
        version: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        arch: "x86_64".to_owned(),
        clock_offset: 0,
    }
}

fn begin() -> Begin {
    Begin {
        run: Run::Node,
        started: 1,
        limits: Limits::NODE,
        hooks: Vec::new(),
    }
}

fn store(limit: u64) -> Arc<Store> {
    Arc::new(Store::new(opening(), limit).expect("memory can be written"))
}

/// An event that LZ4 can hardly compress.
fn noise(time: Ktime) -> Event {
    let cgroup = time.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Event {
        time,
        fact: Fact::NotInPod { cgroup },
    }
}

/// A store with so much noise in it.
fn filled(limit: u64, events: Ktime) -> Arc<Store> {
    let store = store(limit);
    let keeping = Keeping(Arc::clone(&store));
    keeping.write(&Entry::Begin(begin()));
    for time in 1..=events {
        keeping.write(&Entry::Event(&noise(time)));
        if keeping.is_due() {
            keeping.rotate(&begin(), &[noise(time)]);
        }
    }
    store
}

fn bytes(store: &Store, now: Ktime) -> Vec<Vec<u8>> {
    let answer = store.answer(now).expect("it has begun");
    let parts = answer.parts.iter();
    parts.map(|part| part.frames.concat()).collect()
}

fn recording(mut parts: Vec<Vec<u8>>) -> Recording {
    let segment = |part: Vec<u8>| {
        let bytes: Box<dyn io::Read> = Box::new(Cursor::new(part));
        Segment::new(bytes).expect("it begins with an opening")
    };
    let newer = parts.pop().expect("a part");
    Recording::new(segment(newer), || parts.pop().map(segment))
}

fn events(mut recording: Recording) -> (Vec<Event>, Ending) {
    let mut events = Vec::new();
    loop {
        match recording.next_entry().expect("it is in memory") {
            Next::Entry(Entry::Event(event)) => events.push(event),
            Next::Entry(_) => {}
            Next::End(ending) => return (events, ending),
        }
    }
}

#[test]
fn a_store_keeps_the_newest_events_within_its_limit() {
    const LIMIT: u64 = 256 << 10;
    const COUNT: Ktime = 100_000;
    let store = filled(LIMIT, COUNT);
    let parts = bytes(&store, COUNT);
    let size: usize = parts.iter().map(Vec::len).sum();
    // A half is closed at the end of a frame, and the last frame is packed for the answer.
    let slack = 3 * 65 * 1024;
    assert!(size as u64 <= LIMIT + slack, "{size} bytes");
    assert_eq!(parts.len(), 2);

    let both = recording(parts.clone());
    assert!(both.is_headless(), "the oldest events were dropped");
    let (all, ending) = events(both);
    assert_eq!(ending, Ending::Closed);
    let times: Vec<_> = all.iter().map(|event| event.time).collect();
    // It begins with the snapshot, which is an event of the same time here.
    assert!((times[0]..=COUNT).eq(times[1..].iter().map(|time| time - 1).chain([COUNT])));

    // The newer half alone.
    let (newer, ending) = events(recording(parts[1..].to_vec()));
    assert_eq!(ending, Ending::Closed);
    assert!(newer.len() > 1 && newer.len() < all.len());
    assert!(all.ends_with(&newer[1..]));
}

#[test]
fn a_store_that_has_not_begun_or_ended_says_so() {
    let store = store(1 << 20);
    let why = |store: &Store| store.answer(1).err().expect("nothing is kept");
    assert!(why(&store).contains("not begun"), "{}", why(&store));
    let keeping = Keeping(Arc::clone(&store));
    keeping.write(&Entry::Begin(begin()));
    assert_eq!(bytes(&store, 1).len(), 1);
    store.give_up("it is over");
    keeping.write(&Entry::Event(&noise(2)));
    assert!(!keeping.is_due());
    assert_eq!(why(&store), "it is over");
}

/// The violations, as rule and subject.
fn violations(pipeline: &Pipeline) -> BTreeSet<String> {
    let failed = pipeline.verdicts().into_iter();
    let failed = failed.filter(|verdict| verdict.outcome == Outcome::Fail);
    failed
        .map(|verdict| format!("{} {:?}", verdict.rule.id, verdict.subject))
        .collect()
}

#[test]
fn a_wrapped_history_of_a_pod_has_the_pod_and_no_false_finding() {
    let recorded = recording(vec![RECORDED.to_vec()]);
    let (all, _) = events(recorded);
    let removed = all
        .iter()
        .position(|event| matches!(event.fact, Fact::PodRemoved { .. }));
    // Each beginning of it is the past of a pod that runs, starts or stops.
    let ends = (1..removed.expect("the pod is removed")).step_by(13);
    let mut had_pod = false;
    for end in ends {
        let store = store(16 << 10);
        let keeping: Rc<dyn crate::record::Recorder> = Rc::new(Keeping(Arc::clone(&store)));
        let pipeline = Pipeline::new(Limits::NODE, |_| true).recorded([keeping]);
        pipeline.begin(|limits| Begin { limits, ..begin() });
        pipeline.follow();
        for event in &all[..end] {
            pipeline.process_event(event);
        }
        let last = all[end - 1].time;
        for _ in 0..4 {
            for cgroup in 0..6_000 {
                let mut event = noise(cgroup);
                event.time = last;
                pipeline.process_event(&event);
            }
            pipeline.settle(last);
        }
        let wrapped = recording(bytes(&store, last));
        assert!(
            wrapped.is_headless(),
            "event {end}: the beginning was dropped"
        );
        let (kept, ending) = events(wrapped);
        assert_eq!(ending, Ending::Closed);
        let again = Pipeline::new(Limits::NODE, |_| true);
        again.follow();
        kept.iter().for_each(|event| again.process_event(event));
        let pods = |pipeline: &Pipeline| {
            pipeline.read(|core| core.state.pods.keys().cloned().collect::<BTreeSet<_>>())
        };
        assert_eq!(pods(&again), pods(&pipeline), "event {end}");
        had_pod |= !pods(&again).is_empty();
        // Nor later, when what was on its way goes on.
        for event in &all[end..] {
            pipeline.process_event(event);
            again.process_event(event);
        }
        let (before, now) = (violations(&pipeline), violations(&again));
        assert!(
            now.is_subset(&before),
            "event {end}: {now:#?} and before {before:#?}"
        );
    }
    assert!(had_pod);
}

/// An entrypoint that runs, with its cgroup and namespaces.
fn init_of(pipeline: &Pipeline) -> Option<(ProcessId, CgroupId, Namespaces)> {
    pipeline.read(|core| {
        let mut inits = core
            .state
            .pods
            .keys()
            .flat_map(|pod| core.state.inits_of(pod));
        inits.find_map(|init| {
            let init = core
                .state
                .processes
                .get(init)
                .filter(|init| init.is_alive())?;
            Some((init.id, init.cgroup, init.namespaces))
        })
    })
}

#[test]
fn a_pod_that_forks_without_pause_pushes_nothing_out_and_who_asks_is_told() {
    let (all, _) = events(recording(vec![RECORDED.to_vec()]));
    // Until just before the last process of the pod ends.
    let before = Pipeline::new(Limits::NODE, |_| true);
    let mut alive = 0;
    for (index, event) in all.iter().enumerate() {
        before.process_event(event);
        if init_of(&before).is_some() {
            alive = index + 1;
        }
    }
    let all = &all[..alive];
    let store = store(64 << 10);
    let keeping: Rc<dyn crate::record::Recorder> = Rc::new(Keeping(Arc::clone(&store)));
    let pipeline = Pipeline::new(Limits::NODE, |_| true).recorded([keeping]);
    pipeline.begin(|limits| Begin { limits, ..begin() });
    pipeline.follow();
    all.iter().for_each(|event| pipeline.process_event(event));
    let (init, cgroup, namespaces) = init_of(&pipeline).expect("a process of the pod");
    let mut time = all.last().expect("there are some").time;
    for pid in 1_000_000..1_050_000 {
        time += 100_000;
        let task = TaskInfo {
            process: ProcessId { pid, start: time },
            parent: init,
            cgroup,
            namespaces,
            ns_pid: pid,
            comm: Comm::new("loop"),
        };
        let (process, status) = (task.process, WaitStatus::exited(0));
        for fact in [
            Fact::Fork { task },
            Fact::Exit { task, status },
            Fact::Reaped { process },
        ] {
            pipeline.process_event(&Event { time, fact });
        }
        pipeline.settle(time);
    }

    let scratch = Scratch::new();
    let path = scratch.socket();
    let server = Server::start(&path, Arc::clone(&store)).expect("the place is free");
    let history = ask(&path).expect("it is answered");
    let left_out = history.left_out();
    assert_eq!(
        History::of_store(&store, time).map(|history| history.left_out()),
        Ok(left_out.clone())
    );
    assert!(
        left_out.contains(" records of ") && left_out.ends_with("inconclusive"),
        "{left_out}"
    );
    let recording = history.into_recording().expect("it can be read");
    assert!(!recording.is_headless(), "the beginning is still there");
    let (kept, ending) = events(recording);
    assert_eq!(ending, Ending::Closed);
    assert_eq!(kept[..all.len()], *all);
    // At the end it says what is missing.
    let last = kept.last().map(|event| &event.fact);
    assert!(
        matches!(last, Some(Fact::RecordsSuppressed { .. })),
        "{last:?}"
    );
    let forks = |events: &[Event]| {
        let of_init = |event: &&Event| match &event.fact {
            Fact::Fork { task } => task.parent == init,
            _ => false,
        };
        events.iter().filter(of_init).count()
    };
    let kept = forks(&kept);
    assert!((1..5_000).contains(&kept), "{kept} of 50,000");
    drop(server);

    // One that has nothing to say of it says nothing.
    let quiet = filled(64 << 10, 10);
    let quiet = History::of_store(&quiet, 10).expect("it has begun");
    assert_eq!(quiet.left_out(), "");
}

/// A directory that is removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pause-trace-history-{}-{next}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is unique");
        Self(path)
    }

    /// In a directory that is not there yet.
    fn socket(&self) -> PathBuf {
        self.0.join("own/watch.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// More than the buffers of a socket hold.
fn large() -> Arc<Store> {
    filled(16 << 20, 200_000)
}

#[test]
fn a_history_is_answered_as_a_recording() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let store = filled(256 << 10, 50_000);
    let server = Server::start(&path, Arc::clone(&store)).expect("the place is free");
    let mode = |path: &std::path::Path| {
        let file = fs::metadata(path).expect("it is there");
        file.permissions().mode() & 0o777
    };
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&scratch.0.join("own")), 0o700);

    let history = ask(&path).expect("it is answered");
    assert_eq!(history.pid.cast_unsigned(), process::id());
    let since = history.since();
    assert!(since > 1, "the oldest events were dropped");
    let (all, ending) = events(history.into_recording().expect("it can be read"));
    assert_eq!(ending, Ending::Closed);
    assert_eq!(all[0].time, since);
    assert_eq!(all.last(), Some(&noise(50_000)));

    // Of less time, the newer half is enough.
    let history = ask(&path).expect("it is answered").since_about(50_000);
    assert!(history.since() > since);
    let (newer, _) = events(history.into_recording().expect("it can be read"));
    assert!(all.ends_with(&newer[1..]) && newer.len() < all.len());
    let history = ask(&path).expect("it is answered").since_about(0);
    assert_eq!(history.since(), since);

    // Or if both are too large.
    let history = ask(&path).expect("it is answered").at_most(64 << 10);
    assert!(history.since() > since);
    let history = history.at_most(1);
    assert!(history.into_recording().is_ok(), "a half is left");
    let history = ask(&path).expect("it is answered").at_most(1 << 20);
    assert_eq!(history.since(), since);

    drop(server);
    assert!(!scratch.0.join("own").exists(), "nothing is left");
    assert!(matches!(ask(&path), Err(NotAnswered::Nobody)));
}

/// What the server answers to these bytes.
fn answer_to(path: &std::path::Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    // The server may have refused before it has read everything.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn requests_that_are_not_understood_are_refused_and_the_next_one_is_answered() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let _server = Server::start(&path, filled(1 << 20, 10)).expect("the place is free");
    let long = [b'x'; 1 << 20];
    for (request, why) in [
        (&b""[..], "the request is cut"),
        (b"pause-trace history 1", "the request is cut"),
        (
            b"pause-trace history 2\n",
            "version 1 of the request, and not 2",
        ),
        (b"pause-trace history -1\n", "not understood"),
        (b"GET / HTTP/1.1\r\n\r\n", "not understood"),
        (b"\xff\x00\n", "not understood"),
        (&long[..MAX_REQUEST], "too long"),
        (&long, "too long"),
    ] {
        let answer = answer_to(&path, request);
        assert!(
            answer.contains(why) && answer.ends_with("\"}\n"),
            "{answer}"
        );
    }
    ask(&path).expect("it is answered");
}

#[test]
fn clients_that_do_not_read_hold_up_nobody_else() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let _server = Server::start(&path, large()).expect("the place is free");
    let until = Instant::now() + DEADLINE;
    let begun = || loop {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        // A server that refuses may have closed the stream already.
        let _ = stream.write_all(format!("{REQUEST}{VERSION}\n").as_bytes());
        // The first line shows that it is being answered.
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        let read = reader.read_line(&mut line);
        // The client before may be counted for a moment after its answer.
        if read.is_ok() && !line.is_empty() && !line.contains("others are") {
            return reader;
        }
        assert!(Instant::now() < until, "it is not answered: {line}");
    };
    let idle: Vec<_> = (1..MAX_CLIENTS).map(|_| begun()).collect();
    ask(&path).expect("one more is answered");
    let last = begun();
    match ask(&path) {
        Err(NotAnswered::Refused(why)) => assert!(why.contains("others are"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop((idle, last));
    let until = Instant::now() + DEADLINE;
    while let Err(error) = ask(&path) {
        assert!(Instant::now() < until, "{error}");
        thread::yield_now();
    }
}

#[test]
fn a_socket_that_is_in_use_is_kept_and_a_leftover_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    fs::create_dir(scratch.0.join("own")).expect("it is ours");
    // Closing a listener leaves its socket.
    drop(UnixListener::bind(&path).expect("the place is free"));
    let first = Server::start(&path, filled(1 << 20, 10)).expect("nobody answers there");
    match Server::start(&path, filled(1 << 20, 10)) {
        Err(NotBound::Taken) => {}
        other => panic!("{:?}", other.err()),
    }
    ask(&path).expect("the first one answers");

    // One that replaced it is not removed.
    fs::remove_file(&path).expect("it is ours");
    let second = Server::start(&path, filled(1 << 20, 10)).expect("the place is free");
    drop(first);
    ask(&path).expect("the second one answers");
    drop(second);
    assert!(!path.exists());
    assert!(scratch.0.join("own").exists(), "it was there before");

    fs::write(&path, "a file of somebody").expect("it is ours");
    match Server::start(&path, filled(1 << 20, 10)) {
        Err(NotBound::NotASocket) => {}
        other => panic!("{:?}", other.err()),
    }
    assert!(path.exists());
}

/// Runs `f` on a thread with the effective uid of nobody; `None` if this is not root.
fn as_nobody<T: Send>(f: impl FnOnce() -> T + Send) -> Option<T> {
    if !geteuid().is_root() {
        return None;
    }
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: numbers only. The call changes this thread alone, which ends after `f`.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) };
            assert_eq!(changed, 0);
            f()
        });
        thread.join().expect("it does not panic")
    });
    Some(result)
}

#[test]
fn another_user_gets_nothing_and_is_not_believed() {
    let scratch = Scratch::new();
    let path = scratch.0.join("watch.sock");
    let server = Server::start(&path, filled(1 << 20, 10)).expect("the place is free");
    let open = |mode| fs::set_permissions(&path, PermissionsExt::from_mode(mode));
    let connect = || UnixStream::connect(&path).map_err(|error| error.kind());
    let request = format!("{REQUEST}{VERSION}\n");
    let Some(refused) = as_nobody(connect) else {
        return; // not root
    };
    assert_eq!(refused.err(), Some(io::ErrorKind::PermissionDenied));
    // Whatever becomes of the file's mode.
    open(0o666).expect("it is ours");
    let answer = as_nobody(|| answer_to(&path, request.as_bytes())).unwrap_or_default();
    assert!(
        answer.contains("only root may read the history"),
        "{answer}"
    );
    ask(&path).expect("root is answered");
    drop(server);

    fs::set_permissions(&scratch.0, PermissionsExt::from_mode(0o777)).expect("it is ours");
    let listener = as_nobody(|| UnixListener::bind(&path).expect("the place is free"));
    match ask(&path) {
        Err(NotAnswered::Refused(why)) => assert!(why.contains("user 65534"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(listener);
}

#[test]
fn answers_that_are_not_understood_are_refused() {
    let scratch = Scratch::new();
    let path = scratch.0.join("watch.sock");
    let listener = UnixListener::bind(&path).expect("the place is free");
    let cut = b"{\"parts\":[{\"since_ns\":1,\"bytes\":100}]}\nx";
    let huge = b"{\"parts\":[{\"since_ns\":1,\"bytes\":18446744073709551615}]}\n";
    let long = vec![b' '; 1 << 16];
    for (answer, why) in [
        (&b""[..], "not understood"),
        (b"{}\n", "0 parts"),
        (b"nonsense\n", "not understood"),
        (b"{\"error\":\"\x1b[2J\"}\n", "not understood"),
        (b"{\"error\":\"\\u001b[2J\"}\n", "\\u{1b}[2J"),
        (cut, "cut"),
        (huge, "18446744073709551615 bytes"),
        (&long, "not understood"),
    ] {
        let asked = thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("it is asked");
                let mut request = [0; 22];
                stream.read_exact(&mut request).expect("it is asked");
                // It may have left already.
                let _ = stream.write_all(answer);
            });
            ask(&path)
        });
        match asked {
            Err(NotAnswered::Refused(said)) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}
