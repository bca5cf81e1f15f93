//! Priorities for the journal of systemd.
//!
//! If stdout or stderr is connected to the journal, each line begins with `<N>`, its priority as in
//! syslog(3). journald removes it and keeps it as the field `PRIORITY` of the line
//! (sd-daemon(3), `SyslogLevelPrefix=` in systemd.exec(5)).

use std::{
    env,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use nix::sys::stat::fstat;

use crate::verdict::{Outcome, Severity, Verdict};

/// A priority of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
}

impl Priority {
    /// The priority of the lines about a verdict.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        match (verdict.outcome, verdict.severity()) {
            (Outcome::Fail, Severity::Error) => Self::Error,
            (Outcome::Fail, Severity::Warning) | (Outcome::Inconclusive, _) => Self::Warning,
            _ => Self::Info,
        }
    }

    /// What a line to `stream` begins with: nothing if it is not connected to the journal.
    pub(crate) fn prefix(self, stream: &impl AsFd) -> String {
        match is_journal(stream) {
            true => format!("<{}>", self as u8),
            false => String::new(),
        }
    }
}

/// Whether systemd has connected this stream to the journal: `JOURNAL_STREAM` names the device and
/// the inode of the socket (systemd.exec(5)).
pub(crate) fn is_journal(stream: &impl AsFd) -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    let named = named.as_deref().and_then(|text| text.split_once(':'));
    let (Some((device, inode)), Ok(stat)) = (named, fstat(stream)) else {
        return false;
    };
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

/// The priority of what is written next, which may be changed at any time.
#[derive(Clone, Debug)]
pub(crate) struct Current(Arc<AtomicU8>);

impl Default for Current {
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(Priority::Info as u8)))
    }
}

impl Current {
    pub(crate) fn set(&self, priority: Priority) {
        self.0.store(priority as u8, Ordering::Relaxed);
    }
}

/// Puts the current priority before each line.
pub(crate) struct Lines {
    out: Box<dyn Write + Send>,
    current: Current,
    is_at_start: bool,
}

impl Lines {
    pub(crate) fn new(out: Box<dyn Write + Send>, current: Current) -> Self {
        Self {
            out,
            current,
            is_at_start: true,
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let priority = self.current.0.load(Ordering::Relaxed);
        // In one piece, as the queue behind it drops whole lines.
        let mut whole = Vec::with_capacity(bytes.len() + 16);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if std::mem::replace(&mut self.is_at_start, part.ends_with(b"\n")) {
                write!(whole, "<{priority}>")?;
            }
            whole.extend_from_slice(part);
        }
        self.out.write_all(&whole)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_begins_with_its_priority() {
        let (out, current) = (Shared::default(), Current::default());
        let mut lines = Lines::new(Box::new(out.clone()), current.clone());
        lines.write_all(b"one\n\ntw").expect("memory");
        current.set(Priority::Error);
        lines.write_all(b"o\nthree\n").expect("memory");
        let written = out.0.lock().expect("no test panics").clone();
        assert_eq!(written, b"<6>one\n<6>\n<6>two\n<3>three\n");
    }

    #[test]
    fn a_verdict_has_the_priority_of_its_severity() {
        use crate::report::testing;
        assert_eq!(Priority::of(&testing::failed()), Priority::Error);
        assert_eq!(Priority::of(&testing::passed()), Priority::Info);
    }
}
