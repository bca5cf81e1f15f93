//! Tests that recordings in files can be read back, and that dropped parts are reported.

use std::{
    env, fs, process,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;
use crate::{
    event::{Event, Fact, Ktime, Modes, PodFact, Source, Text},
    pipeline::Pipeline,
    state::Limits,
};

/// A directory that is removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pause-trace-record-{}-{next}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is unique");
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
        started: 0,
        limits: Limits::NODE,
        hooks: Vec::new(),
    }
}

fn at(time: Ktime, fact: Fact) -> Event {
    Event { time, fact }
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

#[test]
fn an_entry_is_written_soon_without_a_following_one() {
    let scratch = Scratch::new();
    let recorder = FileRecorder::create(&scratch.file(), opening(), None).expect("there is room");
    recorder.write(&Entry::Event(&tick(1)));
    recorder.idle();
    let (_, events, ending) = replayed(&scratch.file());
    assert_eq!(events.last(), Some(&tick(1)));
    assert!(matches!(ending, Ending::Cut { .. }), "{ending}");
}

#[test]
fn a_full_disk_is_an_error_at_the_start() {
    let path = Path::new("/dev/full");
    let error = FileRecorder::create(path, opening(), None).err();
    assert_eq!(
        error.map(|error| error.kind()),
        Some(io::ErrorKind::StorageFull)
    );
}

/// The events of a recording, from all its segments.
fn replayed(path: &Path) -> (Recording, Vec<Event>, Ending) {
    let mut recording = open(path).expect("it can be read");
    let mut events = Vec::new();
    let ending = loop {
        match recording.next_entry().expect("it can be read") {
            Next::Entry(Entry::Event(event)) => events.push(event),
            Next::Entry(_) => {}
            Next::End(ending) => break ending,
        }
    };
    (recording, events, ending)
}

/// A tick with this time.
fn tick(time: Ktime) -> Event {
    at(time, Fact::Tick)
}

#[test]
fn a_recording_with_a_limit_keeps_the_newest_events_and_can_be_replayed() {
    const LIMIT: u64 = 64 << 10;
    let scratch = Scratch::new();
    let path = scratch.file();
    let recorder = FileRecorder::create(&path, opening(), Some(LIMIT)).expect("there is room");
    recorder.write(&Entry::Begin(begin()));
    let snapshot = [at(0, Fact::Pod(pod("uid-1")))];
    let mut time: Ktime = 0;
    let mut rotations = 0;
    while rotations < 5 {
        for _ in 0..1_000 {
            time += 1;
            // LZ4 cannot compress this.
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
    assert_eq!(recorder.take_error(), None);

    let size = |path: &Path| fs::metadata(path).expect("it is there").len();
    let slack = 2 * 1_000 * 20;
    assert!(size(&path) + size(&previous(&path)) <= LIMIT + slack);

    let (both, events, ending) = replayed(&path);
    assert!(both.is_headless());
    assert_eq!(ending, Ending::Closed);
    assert_eq!(events[0], snapshot[0], "it begins with the snapshot");
    let times: Vec<_> = events[1..].iter().map(|event| event.time).collect();
    let kept = times[0]..=time;
    assert!(
        kept.eq(times.iter().copied()),
        "no event is missing or repeated"
    );

    // The previous segment is damaged: the loss is reported, and the last segment begins with its
    // snapshot.
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
fn a_segment_of_another_recording_is_not_read() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let other = Opening {
        recording: 8,
        ..opening()
    };
    let recorder = FileRecorder::create(&previous(&path), other, None).expect("there is room");
    recorder.write(&Entry::Event(&tick(1)));
    recorder.write(&Entry::Continued);
    drop(recorder);
    let second = Opening {
        segment: 1,
        ..opening()
    };
    let recorder = FileRecorder::create(&path, second, None).expect("there is room");
    recorder.write(&Entry::Event(&tick(2)));
    recorder.close();
    let (_, events, ending) = replayed(&path);
    assert_eq!((events, ending), (vec![tick(2)], Ending::Closed));
}

#[test]
fn a_new_segment_begins_with_a_snapshot_of_the_state() {
    let scratch = Scratch::new();
    let path = scratch.file();
    let recorder = FileRecorder::create(&path, opening(), Some(64 << 10)).expect("there is room");
    let recorder = Rc::new(recorder);
    let pipeline = Pipeline::new(Limits::NODE, |_| true).recorded([recorder.clone() as _]);
    pipeline.begin(|limits| Begin { limits, ..begin() });
    pipeline.follow();
    let mut time = 0;
    let mut process_event = |fact| {
        time += 1;
        pipeline.process_event(&Event { time, fact });
        time
    };
    process_event(Fact::Pod(pod("uid-1")));
    // Enough for two rotations: the files that are left do not contain the declaration of the pod.
    for _ in 0..12 {
        for _ in 0..1_000 {
            // LZ4 can hardly compress a pid that occurs once.
            let pid = process_event(Fact::Tick) as u32;
            process_event(Fact::OomVictim {
                pid: pid.wrapping_mul(0x9e37_79b9),
            });
        }
        recorder.settled_on_disk();
        let now = process_event(Fact::Tick);
        pipeline.settle(now);
    }
    recorder.close();

    let mut recording = open(&path).expect("it can be read");
    assert!(recording.is_headless());
    let again = Pipeline::new(Limits::NODE, |_| true);
    while let Next::Entry(entry) = recording.next_entry().expect("it can be read") {
        if let Entry::Event(event) = entry {
            again.process_event(&event);
        }
    }
    let pods = |pipeline: &Pipeline| {
        pipeline.read(|core| core.state.pods.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(pods(&again), pods(&pipeline));
    assert_eq!(pods(&again), ["uid-1".into()]);
}
