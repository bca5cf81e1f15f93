//! What is written is read again; what is not whole is known not to be.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    read::{Frames, Unreadable},
    write::{checksum, previous},
    *,
};
use crate::event::{
    Comm, ContainerFact, ContainerKind, Fact, Kind, Modes, NamespaceCall, Namespaces, PodFact,
    Source, Text, WaitStatus,
};

/// A directory that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pause-trace-record-{}-{next}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("it is a new name");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("a.ptrec")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

fn opening() -> Opening {
    Opening {
        recording: 7,
        segment: 0,
        version: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        arch: "x86_64".to_owned(),
        clock_offset: 1_795_291_200_000_000_000,
    }
}

fn begin() -> Begin {
    Begin {
        run: Run::Node,
        started: 5,
        limits: Limits::NODE,
        hooks: vec![Hook {
            hook: "setns".to_owned(),
            how: "fexit".into(),
        }],
    }
}

fn namespaces(first: u32) -> Namespaces {
    Namespaces {
        mnt: first,
        uts: first + 1,
        ipc: first + 2,
        net: first + 3,
        pid: first + 4,
        pid_children: first + 4,
        user: 4_026_531_837,
        cgroup: 4_026_531_835,
        net_owner: 4_026_531_837,
        pid_level: 1,
    }
}

fn at(time: Ktime, fact: Fact) -> Event {
    Event { time, fact }
}

fn id(pid: u32) -> ProcessId {
    let start = u64::from(pid);
    ProcessId { pid, start }
}

/// Some of everything: numbers that are large, text that is hostile, variants that hold variants.
fn events() -> Vec<Event> {
    let process = id(4_711);
    let hostile = Text(bytes::Bytes::from_static(b"/x/\x1b[2J\xff\\"));
    vec![
        at(1, Fact::Tick),
        at(
            u64::MAX,
            Fact::Exec {
                process,
                parent: ProcessId::default(),
                cgroup: 9,
                namespaces: namespaces(4_026_532_000),
                ns_pid: 1,
                comm: Comm::new("nginx"),
                file: hostile.clone(),
            },
        ),
        at(
            3,
            Fact::NamespaceChange {
                process,
                tid: 4_712,
                cgroup: 9,
                call: NamespaceCall::Unshare,
                flags: 0x4000_0000,
                errno: 1,
                namespaces: namespaces(1),
                ns_pid: 2,
                comm: Comm(*b"\xff\x01\x02\x0356789012345\0"),
            },
        ),
        at(
            4,
            Fact::Found {
                process,
                parent: process,
                cgroup: 0,
                namespaces: Namespaces::default(),
                ns_pid: 0,
                ended: Some(WaitStatus::killed(9)),
                comm: Comm::default(),
            },
        ),
        at(5, Fact::Pod(pod("uid-1"))),
        at(6, Fact::Container(container("uid-1", "c1", 9))),
        at(
            7,
            Fact::Lost {
                kind: Kind::SignalGenerate,
                count: u64::MAX,
            },
        ),
        at(
            8,
            Fact::NamespacePinned {
                path: hostile,
                namespace: 3,
                sandbox: Some("c1".into()),
            },
        ),
    ]
}

fn pod(uid: &str) -> PodFact {
    PodFact {
        pod: uid.into(),
        namespace: Text::new("default"),
        name: Text::new("web"),
        modes: Modes::plain(),
        source: Source::Cri,
    }
}

fn container(pod: &str, container: &str, cgroup: u64) -> ContainerFact {
    ContainerFact {
        container: container.into(),
        pod: pod.into(),
        name: Text::new("app"),
        what: ContainerKind::App,
        sandbox: None,
        cgroup,
        modes: Modes::plain(),
        stop_signal: 15,
        file: None,
        source: Source::Bundle,
    }
}

/// Every entry of a file, and how it ends.
fn read(bytes: &[u8]) -> Result<(Vec<Entry>, Ending), Unreadable> {
    let mut frames = Frames::new(bytes)?;
    let mut entries = Vec::new();
    loop {
        match frames.next().expect("memory can be read") {
            Ok(Entry::Closed) => return Ok((entries, Ending::Closed)),
            Ok(entry) => entries.push(entry),
            Err(ending) => return Ok((entries, ending)),
        }
    }
}

/// A recording of a few frames: each event is in one of its own.
fn recorded(scratch: &Scratch) -> Vec<u8> {
    let path = scratch.file();
    let recorder = Recorder::create(&path, opening(), None).expect("there is room");
    recorder.write(&Entry::Begin(begin()));
    for event in &events() {
        recorder.end_frame();
        recorder.write(&Entry::Event(event));
    }
    recorder.write(&Entry::Mark(Mark::Told));
    recorder.close();
    assert_eq!(recorder.take_complaint(), None);
    fs::read(path).expect("it was written")
}

#[test]
fn what_is_written_is_read() {
    let scratch = Scratch::new();
    let (entries, ending) = read(&recorded(&scratch)).expect("it is whole");
    assert_eq!(ending, Ending::Closed);
    let mut expected = vec![Entry::Opening(opening()), Entry::Begin(begin())];
    expected.extend(events().into_iter().map(Entry::Event));
    expected.push(Entry::Mark(Mark::Told));
    assert_eq!(entries, expected);
}

#[test]
fn what_came_is_soon_in_the_file_though_nothing_follows() {
    let scratch = Scratch::new();
    let recorder = Recorder::create(&scratch.file(), opening(), None).expect("there is room");
    recorder.write(&Entry::Event(&tick(1)));
    recorder.idle();
    let bytes = fs::read(scratch.file()).expect("it is there");
    let (entries, ending) = read(&bytes).expect("it has begun");
    assert_eq!(entries.last(), Some(&Entry::Event(tick(1))));
    assert!(matches!(ending, Ending::Cut { .. }), "{ending}");
}

#[test]
fn a_recording_that_is_cut_anywhere_is_read_up_to_there() {
    let scratch = Scratch::new();
    let bytes = recorded(&scratch);
    let (whole, _) = read(&bytes).expect("it is whole");
    let mut most = 0;
    for length in 0..bytes.len() {
        match read(&bytes[..length]) {
            Ok((entries, ending)) => {
                assert!(matches!(ending, Ending::Cut { .. }), "{length}: {ending}");
                assert!(whole.starts_with(&entries), "{length}");
                assert!(entries.len() >= most, "{length}: what was there is lost");
                most = entries.len();
            }
            Err(Unreadable::Empty) => assert_eq!(length, 0),
            Err(error) => assert!(length < MAGIC.len() + 2, "{length}: {error}"),
        }
    }
    assert!(most > events().len(), "only the last frame was missing");
}

#[test]
fn a_bit_that_has_flipped_is_noticed() {
    let scratch = Scratch::new();
    let bytes = recorded(&scratch);
    let (whole, _) = read(&bytes).expect("it is whole");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok((entries, ending)) = read(&flipped) {
            assert_ne!(ending, Ending::Closed, "bit {bit}");
            assert!(whole.starts_with(&entries), "bit {bit}");
            assert!(entries.len() < whole.len(), "bit {bit}");
        }
    }
}

fn head(version: u16) -> Vec<u8> {
    [&MAGIC[..], &version.to_le_bytes()].concat()
}

/// A frame that says of itself what it likes, with a checksum that is right.
fn frame(packed: u32, raw: u32, payload: &[u8]) -> Vec<u8> {
    let lengths = [packed.to_le_bytes(), raw.to_le_bytes()].concat();
    let check = checksum(&lengths, payload);
    [&head(1)[..], &lengths, &check.to_le_bytes(), payload].concat()
}

#[test]
fn files_that_are_no_recordings_are_refused() {
    let refused = |bytes: &[u8]| {
        let error = read(bytes).expect_err("it is refused");
        error.to_string()
    };
    assert_eq!(refused(b""), "it is empty");
    for foreign in [&b"\x7fELF"[..], b"{\"schema\":1}", &head(0)] {
        assert_eq!(refused(foreign), "it is no recording of pause-trace");
    }
    assert_eq!(
        refused(&head(2)),
        "it was made by a newer pause-trace (format 2; this one reads up to format 1)"
    );
    assert!(refused(&MAGIC).ends_with("(cut after 8 bytes)"));
}

#[test]
fn frames_that_cannot_be_are_refused_before_memory_is_taken() {
    let bomb = u32::MAX;
    for (packed, raw, payload) in [
        (0, 0, &b""[..]),
        (0, 1, b""),
        (1, bomb, b"x"),
        (bomb, 1, b"x"),
        (bomb, bomb, b"x"),
        (1, MAX_RAW as u32 + 1, b"x"),
        // An honest length of what can't be unpacked, or to another length.
        (4, 100, b"\xff\xff\xff\xff"),
        (2, 9, b"\x10x"),
        // Unpacked it is one byte, which is no entry.
        (2, 1, b"\x10\xee"),
    ] {
        let (entries, ending) = read(&frame(packed, raw, payload)).expect("the head is right");
        assert!(entries.is_empty());
        assert!(
            matches!(ending, Ending::Damaged { at: 10, .. }),
            "{packed} {raw}: {ending}"
        );
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_is_told_once() {
    let path = Path::new("/dev/full");
    let error = Recorder::create(path, opening(), None).err();
    assert_eq!(
        error.map(|error| error.kind()),
        Some(std::io::ErrorKind::StorageFull)
    );
}

/// What a recording says, over all its segments.
fn replayed(path: &Path) -> (Recording, Vec<Event>, Ending) {
    let mut recording = Recording::open(path).expect("it can be read");
    let mut events = Vec::new();
    let ending = loop {
        match recording.next().expect("it can be read") {
            Next::Entry(Entry::Event(event)) => events.push(event),
            Next::Entry(_) => {}
            Next::End(ending) => break ending,
        }
    };
    (recording, events, ending)
}

/// Ticks that can be told apart, from this one up.
fn tick(time: Ktime) -> Event {
    at(time, Fact::Tick)
}

#[test]
fn a_bounded_recording_keeps_the_last_and_can_be_replayed() {
    const LIMIT: u64 = 64 << 10;
    let scratch = Scratch::new();
    let path = scratch.file();
    let recorder = Recorder::create(&path, opening(), Some(LIMIT)).expect("there is room");
    recorder.write(&Entry::Begin(begin()));
    let snapshot = [at(0, Fact::Pod(pod("uid-1")))];
    let mut time: Ktime = 0;
    let mut rotations = 0;
    while rotations < 5 {
        for _ in 0..1_000 {
            time += 1;
            // What LZ4 finds nothing in.
            let cgroup = time.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            recorder.write(&Entry::Event(&at(time, Fact::NotInPod { cgroup })));
        }
        recorder.settled_on_disk();
        if recorder.is_due() {
            recorder.rotate(&begin(), &snapshot);
            rotations += 1;
        }
    }
    time += 1;
    recorder.write(&Entry::Event(&tick(time)));
    recorder.close();
    assert_eq!(recorder.take_complaint(), None);

    let size = |path: &Path| fs::metadata(path).expect("it is there").len();
    let slack = 2 * 1_000 * 20;
    assert!(size(&path) + size(&previous(&path)) <= LIMIT + slack);

    let (both, events, ending) = replayed(&path);
    assert!(both.is_headless());
    assert_eq!(ending, Ending::Closed);
    assert_eq!(events[0], snapshot[0], "it begins with what was known");
    let times: Vec<_> = events[1..].iter().map(|event| event.time).collect();
    let kept = times[0]..=time;
    assert!(kept.eq(times.iter().copied()), "nothing twice, no gap");

    // The one before is damaged: what is missing is said, and the last begins with what was known then.
    let mut damaged = fs::read(previous(&path)).expect("it is there");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(previous(&path), damaged).expect("it is ours");
    let (_, some, ending) = replayed(&path);
    assert!(matches!(ending, Ending::Damaged { .. }), "{ending}");
    assert_eq!(
        some.iter().filter(|event| **event == snapshot[0]).count(),
        2
    );
    assert_eq!(some.last(), events.last());

    // The last segment by itself.
    fs::remove_file(previous(&path)).expect("it is there");
    let (_, alone, ending) = replayed(&path);
    assert_eq!((ending, &alone[0]), (Ending::Closed, &snapshot[0]));
    assert!(alone.len() < events.len());
    assert!(events.ends_with(&alone[1..]));
}

#[test]
fn another_recordings_segment_is_not_taken_for_the_one_before() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let other = Opening {
        recording: 8,
        ..opening()
    };
    let recorder = Recorder::create(&previous(&path), other, None).expect("there is room");
    recorder.write(&Entry::Event(&tick(1)));
    recorder.write(&Entry::Continued);
    drop(recorder);
    let second = Opening {
        segment: 1,
        ..opening()
    };
    let recorder = Recorder::create(&path, second, None).expect("there is room");
    recorder.write(&Entry::Event(&tick(2)));
    recorder.close();
    let (_, events, ending) = replayed(&path);
    assert_eq!((events, ending), (vec![tick(2)], Ending::Closed));
}
