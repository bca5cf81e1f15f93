//! Bytes that a pod chooses: task names, file names and paths. They are escaped wherever they are
//! shown.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A task's name as the kernel stores it: at most 15 bytes, of any value.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// A name, cut to 15 bytes as the kernel does.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.bytes(), f)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Bytes that a pod chose, such as a file name or a cgroup path. Their length is bounded by the
/// record that contained them, and they are escaped wherever they are shown.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub Bytes);

impl Text {
    /// The bytes of a string.
    pub fn new(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the path by which a process executes itself, or a file that it holds open:
    /// busybox its applets, runc a copy of itself. The kernel then names the process by the last
    /// part of that path, `exe` or a number.
    pub(crate) fn names_itself(&self) -> bool {
        ["/proc/self/", "/proc/thread-self/", "/dev/fd/"]
            .into_iter()
            .any(|prefix| self.0.starts_with(prefix.as_bytes()))
    }

    /// Whether the kernel gave a process this name when it executed this path.
    pub(crate) fn gives_name(&self, comm: Comm) -> bool {
        let mut parts = self.0.rsplit(|byte| *byte == b'/');
        let name = parts.next().unwrap_or_default();
        comm.bytes() == &name[..name.len().min(15)]
    }

    /// The last part of a path.
    pub(crate) fn base_name(&self) -> Self {
        let mut parts = self.0.rsplit(|byte| *byte == b'/');
        Self(self.0.slice_ref(parts.next().unwrap_or_default()))
    }

    /// A copy that does not keep the whole batch of records in memory.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The first 12 characters of an id, escaped: those that tools of runtimes show.
pub fn short_id(id: &str) -> String {
    let end = id.char_indices().nth(12).map_or(id.len(), |(at, _)| at);
    Text::new(&id[..end]).to_string()
}

/// Writes printable text unchanged and everything else (control characters, invalid UTF-8,
/// bidirectional marks, the backslash) as an escape, so that text of a pod cannot pass for other
/// output.
pub fn escape(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let hidden = character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
            match character {
                '\\' => f.write_str("\\\\")?,
                _ if hidden => write!(f, "{}", character.escape_unicode())?,
                _ => f.write_char(character)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Undoes [`escape`].
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        if let Some(after) = escaped.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
        } else if let Some(hex) = escaped.strip_prefix('x') {
            bytes.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
            rest = hex.get(2..)?;
        } else {
            let (code, after) = escaped.strip_prefix("u{")?.split_once('}')?;
            let character = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Human-readable formats get the escaped text. Others get the bytes, which are shorter and need no
/// parsing.
macro_rules! serde_as_text_or_bytes {
    ($type:ty, $bytes:expr, $make:expr) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match serializer.is_human_readable() {
                    true => serializer.collect_str(self),
                    false => serializer.serialize_bytes($bytes(self)),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <&[u8]>::deserialize(deserializer).map($make);
                }
                let text = String::deserialize(deserializer)?;
                let bytes =
                    unescape(&text).ok_or_else(|| serde::de::Error::custom("malformed escape"))?;
                Ok($make(&bytes))
            }
        }
    };
}

serde_as_text_or_bytes!(Text, Text::bytes, |bytes: &[u8]| Self(
    Bytes::copy_from_slice(bytes)
));
serde_as_text_or_bytes!(Comm, Comm::bytes, |bytes: &[u8]| {
    let mut comm = [0; 16];
    // Behind a zero the kernel has nothing, and neither has a recording that pause-trace wrote.
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    Self(comm)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_escaped() {
        assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("ab"), "ab");
        assert_eq!(short_id("ü\u{7f}3456789012345"), "ü\\u{7f}3456789012");
    }

    #[test]
    fn a_name_in_a_recording_ends_at_a_zero_as_the_kernels_do() {
        let bytes =
            postcard::to_allocvec(&Text(Bytes::from_static(b"sh\0x"))).expect("text is bytes");
        let comm = postcard::from_bytes::<Comm>(&bytes).expect("bytes are a name");
        assert_eq!(comm, Comm::new("sh"));
    }

    #[test]
    fn hostile_text_is_shown_as_escapes_and_survives_a_recording() {
        let hostile = Text(Bytes::from_static(b"\x1b[2Jred\\\xff\n\xe2\x80\xae"));
        let shown = hostile.to_string();
        assert_eq!(shown, r"\u{1b}[2Jred\\\xff\u{a}\u{202e}");
        let json = serde_json::to_string(&hostile).expect("text is JSON");
        assert_eq!(
            serde_json::from_str::<Text>(&json).expect("JSON is text"),
            hostile
        );
        let bytes = postcard::to_allocvec(&hostile).expect("text is bytes");
        assert_eq!(
            postcard::from_bytes::<Text>(&bytes).expect("bytes are text"),
            hostile
        );
    }
}
