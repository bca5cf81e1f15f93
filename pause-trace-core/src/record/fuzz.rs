//! Fuzzes the reader of recordings: every version of the format, two segments, and entries in
//! frames with a correct checksum, which changed files do not get past.

use pause_trace_fuzz::{Random, Target};

use super::{tests::FORMAT_1, v1::EntryV1, write::checksum, *};
use crate::event::Fact;

/// Entries that are written again. More would only take longer.
const MOST: usize = 2_000;

/// How the rest of an input is read: the first byte modulo 4.
const FILES: u8 = 0;

/// The files of an input: the last segment and the one before it. The second byte says where the
/// input is divided; 0 means not at all.
fn files(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let [how, division, rest @ ..] = input else {
        return None;
    };
    let at = rest.len() * usize::from(*division) / 256;
    let (before, last) = rest.split_at(at);
    let file = |part: &[u8]| match how % 4 {
        FILES => part.to_vec(),
        version => framed(version.into(), part, usize::from(how / 4)),
    };
    Some((file(last), file(before)))
}

/// A file with these entries, in frames of `length` bytes (0: one frame). An entry that is divided
/// is damaged.
fn framed(version: u16, entries: &[u8], length: usize) -> Vec<u8> {
    let mut file = [&MAGIC[..], &version.to_le_bytes()].concat();
    let length = if length == 0 {
        entries.len()
    } else {
        length * 64
    };
    for raw in entries.chunks(length.max(1)) {
        let written = Packer::default().write_frame(raw, &mut file);
        written.expect("memory has room");
    }
    file
}

/// Reads a recording to its end.
fn read(last: &[u8], before: &[u8]) -> Result<(Vec<Entry>, u64, Ending), Unreadable> {
    let segment = Segment::new(last)?;
    let mut recording = Recording::new(segment, || Segment::new(before).ok());
    let (mut entries, mut count) = (Vec::new(), 0);
    loop {
        match recording.next_entry()? {
            Next::Entry(entry) => {
                count += 1;
                if entries.len() < MOST {
                    entries.push(entry);
                }
            }
            Next::End(ending) => return Ok((entries, count, ending)),
        }
    }
}

fn encoded(entry: &Entry) -> Vec<u8> {
    postcard::to_allocvec(entry).expect("an entry can be encoded")
}

/// The kind of an entry: its variant, and that of its fact.
fn kind(entry: &Entry) -> u64 {
    let bytes = encoded(entry);
    match entry {
        Entry::Event(event) => {
            let time = postcard::to_allocvec(&event.time).expect("a number can be encoded");
            64 + u64::from(bytes[1 + time.len()])
        }
        _ => bytes[0].into(),
    }
}

/// What holds for every input.
fn judge(input: &[u8]) -> (u64, u64, String) {
    let nothing = |what: &str| (0, 0, what.to_owned());
    let Some((last, before)) = files(input) else {
        return nothing("too short");
    };
    let (entries, count, ending) = match read(&last, &before) {
        Ok(read) => read,
        Err(error) => {
            let text: String = error.to_string();
            return nothing(&text.replace(|c: char| c.is_ascii_digit(), ""));
        }
    };
    // An entry has at least one byte, so a reader that makes no progress shows here.
    let room = (last.len() + before.len()) * 256;
    assert!(count <= room as u64, "{count} entries of {room} bytes");
    let ending = match ending {
        Ending::Closed => "closed".to_owned(),
        Ending::Followed { at } | Ending::Cut { at } | Ending::Damaged { at, .. }
            if at > last.len().max(before.len()) as u64 =>
        {
            panic!("it ends at {at}, behind its end")
        }
        Ending::Followed { .. } => "followed".to_owned(),
        Ending::Cut { .. } => "cut".to_owned(),
        Ending::Damaged { why, .. } => why,
    };
    let mut rewritten = Vec::new();
    write_head(&mut rewritten).expect("memory has room");
    let opening = Entry::Opening(tests::opening());
    let mut raw = encoded(&opening);
    for entry in &entries {
        raw.extend(encoded(entry));
    }
    raw.extend(encoded(&Entry::Closed));
    let written = Packer::default().write_frame(&raw, &mut rewritten);
    written.expect("memory has room");
    let (again, _, end) = read(&rewritten, b"").expect("it was just written");
    let differ = again
        .iter()
        .zip(&entries)
        .find(|(again, entry)| again != entry);
    assert_eq!(differ, None, "read, written and read again");
    assert_eq!(again.len(), entries.len());
    assert_eq!(end, Ending::Closed);
    let kinds = entries.iter().map(kind);
    let kinds = kinds.fold(0, |all, kind| all | 1_u64.rotate_left(kind as u32));
    (kinds, count.min(4), ending)
}

/// A number in postcard's encoding.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Bytes that are likely to be the fields of an entry: small numbers, short texts, some large
/// numbers.
fn fields(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(64) {
        match random.below(12) {
            0 => bytes.extend(varint(random.awkward())),
            1 => bytes.extend(b"\x03a\0\xff"),
            2 => bytes.extend(b"\x08default/"),
            _ => bytes.push(random.below(4) as u8),
        }
    }
    bytes
}

/// A recording whose events are mostly well-formed.
fn generate(random: &mut Random) -> Vec<u8> {
    let mut input = vec![1 + random.below(3) as u8, 0];
    let segments = 1 + random.below(2);
    for segment in 0..segments {
        let opening = Opening {
            segment: (segment + 2 - segments) as u32,
            ..tests::opening()
        };
        input.extend(encoded(&Entry::Opening(opening)));
        input.extend(encoded(&Entry::Begin(tests::begin())));
        for _ in 0..random.below(8) {
            input.push(0);
            input.extend(varint(random.awkward()));
            input.push(random.below(48) as u8);
            input.extend(fields(random));
        }
        let last = if segment + 1 < segments {
            Entry::Continued
        } else {
            Entry::Closed
        };
        input.extend(encoded(&last));
    }
    if segments == 2 {
        input[1] = 128;
    }
    input
}

/// Parts of a real recording of containerd: its entries as version 1 and 3 encode them.
fn recorded() -> Vec<Vec<u8>> {
    let segment = Segment::new(FORMAT_1).expect("it is a recording");
    let mut recording = Recording::new(segment, || None);
    let mut entries = Vec::new();
    while let Next::Entry(entry) = recording.next_entry().expect("memory can be read") {
        entries.push(entry);
    }
    let head = [
        encoded(&Entry::Opening(tests::opening())),
        encoded(&Entry::Begin(tests::begin())),
    ];
    let parts = entries.chunks(24).map(|part| {
        let part: Vec<u8> = part.iter().flat_map(encoded).collect();
        [&[3, 0], &*head.concat(), &part, &encoded(&Entry::Closed)].concat()
    });
    let mut inputs: Vec<_> = parts.collect();
    for version in [1, 2] {
        inputs.push([&[FILES, 0], &MAGIC[..], &[version, 0], &FORMAT_1[10..]].concat());
    }
    inputs
}

#[test]
fn recording() {
    let fixture = [&[FILES, 0], FORMAT_1].concat();
    Target::new("recording")
        .seeds(recorded())
        .seeds([fixture, [&[FILES, 0], &*tests::recorded()].concat()])
        .generator(generate)
        .longest(24 << 10)
        // Buffers for the largest frame, packed and unpacked, and the entries that are compared.
        .memory(4 * MAX_RAW, 2 << 10)
        .run(judge);
}

#[test]
fn a_frame_of_version_1_is_read_by_the_target() {
    let entries =
        postcard::to_allocvec(&EntryV1::Opening(tests::opening())).expect("memory has room");
    let file = framed(1, &entries, 0);
    let check = checksum(&file[10..18], &file[22..]);
    assert_eq!(file[18..22], check.to_le_bytes());
    assert_eq!(
        Segment::new(&*file)
            .map(|_| ())
            .map_err(|error| error.to_string()),
        Ok(())
    );
    let tick = Entry::Event(Event {
        time: 1,
        fact: Fact::Tick,
    });
    assert_ne!(kind(&tick), kind(&Entry::Closed));
}
