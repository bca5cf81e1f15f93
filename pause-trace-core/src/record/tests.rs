//! Recordings are read as they were written, and incomplete or damaged ones are detected.

use super::{read::Frames, write::checksum, *};
use crate::event::{
    Comm, ContainerFact, ContainerKind, Fact, Grace, GraceSource, Kind, Modes, NamespaceCall,
    Namespaces, PodFact, SignalMasks, Source, TaskInfo, Text, WaitStatus,
};

pub(super) fn opening() -> Opening {
    Opening {
        recording: 7,
        segment: 0,
        version: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        arch: "x86_64".to_owned(),
        clock_offset: 1_795_291_200_000_000_000,
    }
}

pub(super) fn begin() -> Begin {
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

/// Events of several kinds, with large numbers, hostile text and nested variants.
fn events() -> Vec<Event> {
    let process = id(4_711);
    let hostile = Text(bytes::Bytes::from_static(b"/x/\x1b[2J\xff\\"));
    vec![
        at(1, Fact::Tick),
        at(
            u64::MAX,
            Fact::Exec {
                task: TaskInfo {
                    process,
                    parent: ProcessId::default(),
                    cgroup: 9,
                    namespaces: namespaces(4_026_532_000),
                    ns_pid: 1,
                    comm: Comm::new("nginx"),
                },
                file: hostile.clone(),
            },
        ),
        at(
            3,
            Fact::NamespaceChange {
                task: TaskInfo {
                    process,
                    parent: ProcessId::default(),
                    cgroup: 9,
                    namespaces: namespaces(1),
                    ns_pid: 2,
                    comm: Comm(*b"\xff\x01\x02\x0356789012345\0"),
                },
                tid: 4_712,
                call: NamespaceCall::Unshare,
                flags: 0x4000_0000,
                errno: 1,
            },
        ),
        at(
            4,
            Fact::Found {
                task: TaskInfo {
                    process,
                    parent: process,
                    cgroup: 0,
                    namespaces: Namespaces::default(),
                    ns_pid: 0,
                    comm: Comm::default(),
                },
                ended: Some(WaitStatus::killed(9)),
            },
        ),
        at(
            5,
            Fact::Cloned {
                process,
                flags: 0x4000_0000,
            },
        ),
        at(
            5,
            Fact::SignalMasks {
                process,
                masks: SignalMasks {
                    blocked: u64::MAX,
                    caught: 1 << 14,
                    ..SignalMasks::default()
                },
            },
        ),
        at(
            5,
            Fact::GracePeriod {
                container: "c1".into(),
                grace: Grace {
                    period: 30_000_000_000,
                    source: GraceSource::Spec,
                },
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

/// A recording with a frame for each event.
pub(super) fn recorded() -> Vec<u8> {
    let events = events();
    let first = vec![Entry::Opening(opening()), Entry::Begin(begin())];
    let each = events.iter().map(|event| vec![Entry::Event(event)]);
    let last = vec![Entry::Mark(Mark::Reported), Entry::Closed];
    let mut file = Vec::new();
    write_head(&mut file).expect("memory has room");
    let mut packer = Packer::default();
    for frame in [first].into_iter().chain(each).chain([last]) {
        let entries = frame
            .iter()
            .try_fold(Vec::new(), |entries, entry| encode(entry, entries));
        let entries = entries.expect("memory has room");
        let written = packer.write_frame(&entries, &mut file);
        written.expect("memory has room");
    }
    file
}

#[test]
fn entries_are_read_as_they_were_written() {
    let (entries, ending) = read(&recorded()).expect("the recording is whole");
    assert_eq!(ending, Ending::Closed);
    let mut expected = vec![Entry::Opening(opening()), Entry::Begin(begin())];
    expected.extend(events().into_iter().map(Entry::Event));
    expected.push(Entry::Mark(Mark::Reported));
    assert_eq!(entries, expected);
}

#[test]
fn a_recording_that_is_cut_is_read_up_to_the_cut() {
    let bytes = recorded();
    let (whole, _) = read(&bytes).expect("the recording is whole");
    let mut most = 0;
    for length in 0..bytes.len() {
        match read(&bytes[..length]) {
            Ok((entries, ending)) => {
                assert!(matches!(ending, Ending::Cut { .. }), "{length}: {ending}");
                assert!(whole.starts_with(&entries), "{length}");
                assert!(entries.len() >= most, "{length}: a whole entry is lost");
                most = entries.len();
            }
            Err(Unreadable::Empty) => assert_eq!(length, 0),
            Err(error) => assert!(length < MAGIC.len() + 2, "{length}: {error}"),
        }
    }
    assert!(most > events().len(), "only the last frame is missing");
}

#[test]
fn a_flipped_bit_is_detected() {
    let bytes = recorded();
    let (whole, _) = read(&bytes).expect("the recording is whole");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // No checksum covers the version, and a flipped bit can make an older version of it.
        let version = u16::from_le_bytes([flipped[MAGIC.len()], flipped[MAGIC.len() + 1]]);
        if (1..VERSION).contains(&version) {
            continue;
        }
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

/// A frame with arbitrary lengths and a correct checksum.
fn frame(packed: u32, raw: u32, payload: &[u8]) -> Vec<u8> {
    let lengths = [packed.to_le_bytes(), raw.to_le_bytes()].concat();
    let check = checksum(&lengths, payload);
    [&head(VERSION)[..], &lengths, &check.to_le_bytes(), payload].concat()
}

#[test]
fn data_behind_the_end_is_reported_after_all_entries() {
    let mut whole = Vec::from(FORMAT_1);
    let (length, before) = (whole.len() as u64, played(&whole).0);
    for junk in [&b"x"[..], b"\0\0\0\0", FORMAT_1] {
        whole.truncate(FORMAT_1.len());
        whole.extend_from_slice(junk);
        let (entries, ending) = played(&whole);
        assert_eq!(ending, Ending::Followed { at: length });
        assert_eq!(entries, before);
        let doubt = ending.doubt().expect("it is said");
        assert!(doubt.contains(&format!("from byte {length} on")), "{doubt}");
    }
}

/// The number of entries that a replay gets, and the end.
fn played(bytes: &[u8]) -> (usize, Ending) {
    let segment = Segment::new(bytes).expect("it is a recording");
    let mut recording = Recording::new(segment, || None);
    let mut entries = 0;
    loop {
        match recording.next_entry().expect("memory can be read") {
            Next::Entry(_) => entries += 1,
            Next::End(ending) => return (entries, ending),
        }
    }
}

#[test]
fn files_that_are_not_recordings_are_refused() {
    let refused = |bytes: &[u8]| {
        let error = read(bytes).expect_err("it is refused");
        error.to_string()
    };
    assert_eq!(refused(b""), "the file is empty");
    for foreign in [&b"\x7fELF"[..], b"{\"schema\":1}", &head(0)] {
        assert_eq!(refused(foreign), "not a pause-trace recording");
    }
    assert_eq!(
        refused(&head(VERSION + 1)),
        format!(
            "recorded by a newer pause-trace (format {}; this version reads formats up to {VERSION})",
            VERSION + 1
        )
    );
    assert!(refused(&MAGIC).ends_with("(cut after 8 bytes)"));
}

#[test]
fn impossible_frames_are_refused_before_memory_is_allocated() {
    let bomb = u32::MAX;
    for (packed, raw, payload) in [
        (0, 0, &b""[..]),
        (0, 1, b""),
        (1, bomb, b"x"),
        (bomb, 1, b"x"),
        (bomb, bomb, b"x"),
        (1, MAX_RAW as u32 + 1, b"x"),
        // A payload that cannot be unpacked, or that unpacks to another length.
        (4, 100, b"\xff\xff\xff\xff"),
        (2, 9, b"\x10x"),
        // A payload that unpacks to one byte, which is not an entry.
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

/// A recording in format 1 of a containerd pod.
pub(super) const FORMAT_1: &[u8] =
    include_bytes!("../../../tests/fixtures/containerd-pod-v1.ptrec");

#[test]
fn a_recording_in_format_1_is_converted() {
    let (entries, ending) = read(FORMAT_1).expect("it is a recording");
    assert_eq!(ending, Ending::Closed);
    let facts = |is_it: fn(&Fact) -> bool| {
        let is_it = |entry: &&Entry| matches!(entry, Entry::Event(event) if is_it(&event.fact));
        entries.iter().filter(is_it).count()
    };
    assert!(facts(|fact| matches!(fact, Fact::Fork { task } if task.parent.pid > 0)) > 0);
    assert!(
        facts(
            |fact| matches!(fact, Fact::Exec { task, file } if task.namespaces.net > 0 && file.0.ends_with(b"/pause"))
        ) > 0
    );
    assert!(facts(|fact| matches!(fact, Fact::Exit { task, .. } if task.process.pid > 0)) > 0);
    assert!(
        facts(|fact| matches!(fact, Fact::NamespaceChange { task, .. } if task.parent.pid == 0))
            > 0
    );
}

#[test]
fn facts_of_format_1_are_converted() {
    use super::v1::{EventV1, FactV1};
    let process = id(4_711);
    let task = TaskInfo {
        process,
        parent: id(1),
        cgroup: 9,
        namespaces: namespaces(4_026_532_000),
        ns_pid: 2,
        comm: Comm::new("nginx"),
    };
    let TaskInfo {
        parent,
        cgroup,
        namespaces,
        ns_pid,
        comm,
        ..
    } = task;
    let (status, file) = (WaitStatus::killed(9), Text::new("/bin/x"));
    let orphan = TaskInfo {
        parent: ProcessId::default(),
        ..task
    };
    let pairs = [
        (
            FactV1::Fork {
                parent,
                process,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            Fact::Fork { task },
        ),
        (
            FactV1::Exec {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                file: file.clone(),
            },
            Fact::Exec { task, file },
        ),
        (
            FactV1::Exit {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                status,
                comm,
            },
            // They were those of the last thread.
            Fact::Exit {
                task: TaskInfo {
                    namespaces: Namespaces::default(),
                    ..task
                },
                status,
            },
        ),
        (
            FactV1::Found {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                ended: None,
                comm,
            },
            Fact::Found { task, ended: None },
        ),
        (
            FactV1::NamespaceChange {
                process,
                tid: 4_712,
                cgroup,
                call: NamespaceCall::Unshare,
                flags: 0x4000_0000,
                errno: 1,
                namespaces,
                ns_pid,
                comm,
            },
            Fact::NamespaceChange {
                task: orphan,
                tid: 4_712,
                call: NamespaceCall::Unshare,
                flags: 0x4000_0000,
                errno: 1,
            },
        ),
        (
            FactV1::CgroupAttached {
                process,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            Fact::CgroupAttached { task: orphan },
        ),
        (
            FactV1::SignalDelivered {
                process,
                cgroup,
                signal: 15,
                code: 0,
                handled: true,
            },
            Fact::SignalDelivered {
                process,
                signal: 15,
                handled: true,
            },
        ),
        (FactV1::Tick, Fact::Tick),
    ];
    let mut raw = Vec::new();
    let mut expected = Vec::new();
    for (time, (old, new)) in (1..).zip(pairs) {
        let entry = Entry::Event(EventV1 { time, fact: old });
        raw = postcard::to_extend(&entry, raw).expect("memory has room");
        expected.push(Entry::Event(at(time, new)));
    }
    raw = postcard::to_extend(&Entry::<Event>::Closed, raw).expect("memory has room");
    let mut file = head(1);
    let written = Packer::default().write_frame(&raw, &mut file);
    written.expect("memory has room");
    let (entries, ending) = read(&file).expect("it is a recording");
    assert_eq!(ending, Ending::Closed);
    assert_eq!(entries, expected);
}
