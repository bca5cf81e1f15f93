//! Fuzzes the decoder of the kernel's records.

use pause_trace_fuzz::{Random, Target};

use super::*;

/// The length of a whole record of this kind, and the room for text at its end.
fn length(kind: Kind) -> (usize, usize) {
    fn of<R: Record>() -> (usize, usize) {
        let text = std::mem::offset_of!(record::Text<0>, bytes);
        match R::TEXT {
            0 => (size_of::<Framed<R>>(), 0),
            room => (size_of::<Framed<R>>() + text + room, room),
        }
    }
    match kind {
        Kind::Fork => of::<record::Fork>(),
        Kind::Exec => of::<record::Exec>(),
        Kind::Exit => of::<record::Exit>(),
        Kind::Free => of::<record::Free>(),
        Kind::Found => of::<record::Found>(),
        Kind::Namespace => of::<record::NamespaceChange>(),
        Kind::SignalGenerate => of::<record::SignalGenerate>(),
        Kind::SignalDeliver => of::<record::SignalDeliver>(),
        Kind::CgroupMkdir => of::<record::CgroupMkdir>(),
        Kind::CgroupRmdir => of::<record::CgroupRmdir>(),
        Kind::CgroupAttach => of::<record::CgroupAttach>(),
        Kind::OomVictim => of::<record::OomVictim>(),
        Kind::Listen => of::<record::Listen>(),
        Kind::Call => of::<record::Call>(),
        Kind::Watch => (size_of::<record::Header>(), 0),
    }
}

/// A record of any kind with any values.
fn generate(random: &mut Random) -> Vec<u8> {
    let kind = *random.one_of(&Kind::ALL);
    let (length, room) = length(kind);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.awkward().to_ne_bytes());
    }
    bytes.truncate(length);
    bytes[8..12].copy_from_slice(&(kind as u32).to_ne_bytes());
    if room > 0 && !random.once_in(8) {
        let text = random.below(room + 1) as u32;
        let at = length - room - 8;
        bytes[at..at + 4].copy_from_slice(&text.to_ne_bytes());
    }
    bytes
}

/// The text of an event, which the record contains.
fn text_of(event: &Event) -> Option<&Text> {
    match &event.fact {
        Fact::Exec { file: text, .. }
        | Fact::CgroupMade { path: text, .. }
        | Fact::CgroupRemoved { path: text, .. } => Some(text),
        _ => None,
    }
}

/// What holds for every input.
fn judge(input: &[u8]) -> (Option<u32>, usize, bool, bool) {
    let bytes = Bytes::copy_from_slice(input);
    let Decoded {
        event,
        before,
        flooding,
    } = match decode(&bytes) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return (None, 0, false, false),
        Err(error) => {
            // A record that is not decoded is a loss of some kind.
            assert!(error.kinds().next().is_some(), "{error:?}");
            let kinds = error.kinds().count();
            return (
                error.kinds().next().map(|kind| kind as u32),
                kinds,
                false,
                false,
            );
        }
    };
    let header = raw::header(&bytes).expect("a record has a header");
    assert_eq!(event.time, header.ktime_ns);
    assert!(
        before
            .as_ref()
            .is_none_or(|before| before.time == event.time)
    );
    let kind = Kind::from_u32(header.kind).expect("a record has a kind");
    let (whole, room) = length(kind);
    let text = text_of(&event);
    let length = match &event.fact {
        // What is kept of its text is another one.
        Fact::Called(_) => super::text::<record::Call>(&bytes)
            .expect("it was decoded")
            .0
            .len(),
        _ => text.map_or(0, |text| text.0.len()),
    };
    assert!(length <= room, "{length} bytes of text in {room}");
    if let Some(text) = text.filter(|text| !text.0.is_empty()) {
        let (all, part) = (bytes.as_ptr_range(), text.0.as_ptr_range());
        let is_inside = all.start <= part.start && part.end <= all.end;
        assert!(is_inside, "the text is outside the record");
    }
    // Nothing behind the record is read: neither what it could have in addition, nor more.
    let read = whole - room + length;
    for tail in [&b""[..], &[0xa5; 600]] {
        let other = Bytes::from([&input[..read], tail].concat());
        let decoded = decode(&other).expect("the record is whole");
        let decoded = decoded.expect("it is the same");
        assert_eq!(decoded.event, event);
        assert_eq!((&decoded.before, decoded.flooding), (&before, flooding));
    }
    let short = Bytes::copy_from_slice(&input[..read - 1]);
    assert!(decode(&short).is_err(), "a byte less is a record, too");
    (
        Some(header.kind),
        length.min(3),
        before.is_some(),
        flooding.is_some(),
    )
}

#[test]
fn records() {
    Target::new("records")
        .generator(generate)
        .longest(8 << 10)
        .inputs(20_000)
        .run(judge);
}
