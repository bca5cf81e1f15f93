//! Bytes of a ring → [`Event`]. Pure, and total: bytes that are no record are an error, never a panic.

use bytes::Bytes;
use pause_trace_common as record;
use record::Kind;

use super::raw::{self, Record};
use crate::event::{Comm, Event, Fact, NamespaceCall, Signal, SignalResult, Text, WaitStatus};

/// Why bytes are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("record of {0} bytes is too short")]
    Short(usize),
    #[error("unknown kind of record {0}")]
    Kind(u32),
}

/// What a record says.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) event: Event,
    /// Signals of this cgroup and number are only counted from here on: the table of counts has what follows.
    pub(crate) flooding: Option<(u64, i32)>,
}

/// Reads a record.
pub(crate) fn decode(bytes: &Bytes) -> Result<Decoded, DecodeError> {
    let header: record::Header = take(bytes)?;
    let kind = Kind::from_u32(header.kind).ok_or(DecodeError::Kind(header.kind))?;
    let mut flooding = None;
    let fact = match kind {
        Kind::Fork => {
            let record::Fork {
                parent,
                child,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                ..
            } = take(bytes)?;
            Fact::Fork {
                parent: parent.into(),
                process: child.into(),
                cgroup,
                namespaces: namespaces.into(),
                ns_pid,
                comm: Comm(comm),
            }
        }
        Kind::Exec => {
            let record::Exec {
                task,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
                file_len,
                ..
            } = take(bytes)?;
            Fact::Exec {
                process: task.into(),
                parent: parent.into(),
                cgroup,
                namespaces: namespaces.into(),
                ns_pid,
                comm: Comm(comm),
                file: text(
                    bytes,
                    std::mem::offset_of!(record::Exec, file),
                    file_len,
                    record::FILE_LEN,
                ),
            }
        }
        Kind::Exit => {
            let record::Exit {
                task,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                status,
                comm,
                ..
            } = take(bytes)?;
            Fact::Exit {
                process: task.into(),
                parent: parent.into(),
                cgroup,
                namespaces: namespaces.into(),
                ns_pid,
                status: WaitStatus(status),
                comm: Comm(comm),
            }
        }
        Kind::Found => {
            let record::Found {
                task,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                ended,
                status,
                comm,
                ..
            } = take(bytes)?;
            Fact::Found {
                process: task.into(),
                parent: parent.into(),
                cgroup,
                namespaces: namespaces.into(),
                ns_pid,
                ended: (ended != 0).then_some(WaitStatus(status)),
                comm: Comm(comm),
            }
        }
        Kind::Free => Fact::Reaped {
            process: take::<record::Free>(bytes)?.task.into(),
        },
        Kind::Namespace => {
            let record::NamespaceChange {
                task,
                cgroup,
                flags,
                namespaces,
                call,
                result,
                ns_pid,
                comm,
                ..
            } = take(bytes)?;
            Fact::NamespaceChange {
                process: task.into(),
                tid: task.tid,
                cgroup,
                call: if call == NamespaceCall::Setns as u32 {
                    NamespaceCall::Setns
                } else {
                    NamespaceCall::Unshare
                },
                flags,
                errno: result.saturating_neg(),
                namespaces: namespaces.into(),
                ns_pid,
                comm: Comm(comm),
            }
        }
        Kind::SignalGenerate => {
            let record = take::<record::SignalGenerate>(bytes)?;
            flooding = (record.flooding != 0).then_some((record.cgroup, record.signal));
            Fact::Signal(Signal {
                sender: record.sender.into(),
                sender_comm: Comm(record.sender_comm),
                target: record.target.into(),
                target_comm: Comm(record.target_comm),
                cgroup: record.cgroup,
                signal: record.signal,
                code: record.code,
                result: result(record.result),
                group: record.group != 0,
            })
        }
        Kind::SignalDeliver => {
            let record::SignalDeliver {
                task,
                cgroup,
                signal,
                code,
                disposition,
                ..
            } = take(bytes)?;
            let handled = disposition == record::Disposition::Handler as u32;
            Fact::SignalDelivered {
                process: task.into(),
                cgroup,
                signal,
                code,
                handled,
            }
        }
        Kind::CgroupMkdir | Kind::CgroupRmdir => {
            let record::Cgroup { id, path_len, .. } = take(bytes)?;
            let path = text(
                bytes,
                std::mem::offset_of!(record::Cgroup, path),
                path_len,
                record::CGROUP_PATH_LEN,
            );
            if kind == Kind::CgroupMkdir {
                Fact::CgroupMade { cgroup: id, path }
            } else {
                Fact::CgroupRemoved { cgroup: id, path }
            }
        }
        Kind::CgroupAttach => {
            let record::CgroupAttach {
                task,
                id,
                namespaces,
                ns_pid,
                comm,
                ..
            } = take(bytes)?;
            Fact::CgroupAttached {
                process: task.into(),
                cgroup: id,
                namespaces: namespaces.into(),
                ns_pid,
                comm: Comm(comm),
            }
        }
        Kind::OomVictim => Fact::OomVictim {
            pid: take::<record::OomVictim>(bytes)?.tgid,
        },
        Kind::Watch => return Err(DecodeError::Kind(header.kind)),
    };
    Ok(Decoded {
        event: Event {
            time: header.ktime_ns,
            fact,
        },
        flooding,
    })
}

fn take<T: Record>(bytes: &Bytes) -> Result<T, DecodeError> {
    raw::read(bytes).ok_or(DecodeError::Short(bytes.len()))
}

/// Text at the end of a record, without copying it.
fn text(bytes: &Bytes, offset: usize, length: u32, most: usize) -> Text {
    let end = (offset + (length as usize).min(most)).min(bytes.len());
    Text(bytes.slice(offset.min(end)..end))
}

fn result(number: i32) -> SignalResult {
    match number {
        0 => SignalResult::Delivered,
        1 => SignalResult::Ignored,
        2 => SignalResult::AlreadyPending,
        3 => SignalResult::OverflowFail,
        4 => SignalResult::LoseInfo,
        _ => SignalResult::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_record_are_an_error() {
        assert_eq!(decode(&Bytes::new()), Err(DecodeError::Short(0)));
        for kind in Kind::ALL {
            let mut bytes = vec![0_u8; 16];
            bytes[8..12].copy_from_slice(&(kind as u32).to_ne_bytes());
            let expected = if kind == Kind::Watch {
                DecodeError::Kind(11)
            } else {
                DecodeError::Short(16)
            };
            assert_eq!(decode(&bytes.into()), Err(expected), "{kind:?}");
        }
        let mut bytes = vec![0_u8; 4_096];
        bytes[8..12].copy_from_slice(&99_u32.to_ne_bytes());
        assert_eq!(decode(&bytes.into()), Err(DecodeError::Kind(99)));
    }

    #[test]
    fn a_length_beyond_the_record_is_cut() {
        let mut bytes = vec![b'x'; size_of::<record::Exec>()];
        bytes[8..12].copy_from_slice(&(Kind::Exec as u32).to_ne_bytes());
        let length = std::mem::offset_of!(record::Exec, file_len);
        bytes[length..length + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let Ok(Decoded {
            event:
                Event {
                    fact: Fact::Exec { file, .. },
                    ..
                },
            ..
        }) = decode(&bytes.into())
        else {
            panic!("an exec record");
        };
        assert_eq!(file.to_string().len(), record::FILE_LEN);
    }
}
