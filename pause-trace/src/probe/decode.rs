//! Decodes bytes of a ring to an [`Event`]. Pure and total: bytes that are not a record are an
//! error, never a panic.

use bytes::Bytes;
use pause_trace_common as record;
use record::{Framed, Kind, Record};

use super::{raw, request::request};
use crate::event::{
    Called, Comm, Event, Fact, Listen, NamespaceCall, Signal, SignalResult, Text, WaitStatus,
};

/// Why bytes are not a record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("record of {1} bytes is too short{kind}", kind = .0.map_or(String::new(), |kind| format!(" for {kind:?}")))]
    Short(Option<Kind>, usize),
    #[error("unknown kind of record {0}")]
    Kind(u32),
}

impl DecodeError {
    /// The kinds that the record may have had.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let known = match self {
            Self::Short(kind, _) => *kind,
            Self::Kind(_) => None,
        };
        let may_be = move |kind: &Kind| known.is_none_or(|known| known == *kind);
        Kind::ALL.into_iter().filter(may_be)
    }
}

/// A decoded record.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) event: Event,
    /// What the record also says, and the state has to know before the event.
    pub(crate) before: Option<Event>,
    /// From this record on, signals with this number to this cgroup are only counted, in the flood
    /// table.
    pub(crate) flooding: Option<(u64, i32)>,
}

/// Decodes a record. `None` if it says nothing that is kept.
pub(crate) fn decode(bytes: &Bytes) -> Result<Option<Decoded>, DecodeError> {
    let header = raw::header(bytes).ok_or(DecodeError::Short(None, bytes.len()))?;
    let kind = Kind::from_u32(header.kind).ok_or(DecodeError::Kind(header.kind))?;
    let (mut flooding, mut before) = (None, None);
    let fact = match kind {
        Kind::Fork => {
            let record::Fork { task, made } = take(bytes)?;
            before = (made != 0).then(|| Fact::Cloned {
                process: task.task.into(),
                flags: made,
            });
            Fact::Fork { task: task.into() }
        }
        Kind::Exec => Fact::Exec {
            task: take::<record::Exec>(bytes)?.task.into(),
            file: text::<record::Exec>(bytes)?,
        },
        Kind::Exit => {
            let record::Exit {
                task,
                status,
                caught,
                own,
                ..
            } = take(bytes)?;
            let status = WaitStatus(status);
            before = (status.signal() == Some(nix::libc::SIGKILL)).then(|| Fact::Handlers {
                process: task.task.into(),
                caught,
                own,
            });
            Fact::Exit {
                task: task.into(),
                status,
            }
        }
        Kind::Found => {
            let record::Found {
                task,
                ended,
                status,
            } = take(bytes)?;
            Fact::Found {
                task: task.into(),
                ended: (ended != 0).then_some(WaitStatus(status)),
            }
        }
        Kind::Free => Fact::Reaped {
            process: take::<record::Free>(bytes)?.task.into(),
        },
        Kind::Namespace => {
            let record::NamespaceChange {
                task,
                flags,
                tid,
                call,
                result,
                ..
            } = take(bytes)?;
            Fact::NamespaceChange {
                task: task.into(),
                tid,
                call: if call == NamespaceCall::Setns as u32 {
                    NamespaceCall::Setns
                } else {
                    NamespaceCall::Unshare
                },
                flags,
                errno: result.saturating_neg(),
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
            })
        }
        Kind::SignalDeliver => {
            let record::SignalDeliver {
                task,
                signal,
                disposition,
            } = take(bytes)?;
            Fact::SignalDelivered {
                process: task.into(),
                signal,
                handled: disposition == record::Disposition::Handler as u32,
            }
        }
        Kind::CgroupMkdir => Fact::CgroupMade {
            cgroup: take::<record::CgroupMkdir>(bytes)?.id,
            path: text::<record::CgroupMkdir>(bytes)?,
        },
        Kind::CgroupRmdir => Fact::CgroupRemoved {
            cgroup: take::<record::CgroupRmdir>(bytes)?.id,
            path: text::<record::CgroupRmdir>(bytes)?,
        },
        Kind::CgroupAttach => Fact::CgroupAttached {
            task: take::<record::CgroupAttach>(bytes)?.task.into(),
        },
        Kind::OomVictim => Fact::OomVictim {
            pid: take::<record::OomVictim>(bytes)?.tgid,
        },
        Kind::Listen => {
            let record::Listen {
                task,
                cgroup,
                comm,
                address,
                net,
                family,
                port,
                ended,
                ..
            } = take(bytes)?;
            let [a, b, c, d, ..] = address;
            Fact::Listen(Listen {
                process: task.into(),
                comm: Comm(comm),
                cgroup,
                namespace: net,
                address: match family {
                    record::AF_INET => [a, b, c, d].into(),
                    _ => address.into(),
                },
                port,
                ended: ended != 0,
            })
        }
        Kind::Call => {
            let record::Call {
                task,
                part,
                whole,
                comm,
            } = take(bytes)?;
            let text = text::<record::Call>(bytes)?;
            let Some(request) = request(part, &comm, &text.0, whole as usize) else {
                return Ok(None);
            };
            Fact::Called(Called {
                process: task.into(),
                request,
            })
        }
        Kind::Watch => return Err(DecodeError::Kind(header.kind)),
    };
    let event = |fact| Event {
        time: header.ktime_ns,
        fact,
    };
    Ok(Some(Decoded {
        event: event(fact),
        before: before.map(event),
        flooding,
    }))
}

fn take<R: Record>(bytes: &Bytes) -> Result<R, DecodeError> {
    raw::record(bytes).ok_or(DecodeError::Short(Some(R::KIND), bytes.len()))
}

/// The text after a record, without copying it.
fn text<R: Record>(bytes: &Bytes) -> Result<Text, DecodeError> {
    let short = || DecodeError::Short(Some(R::KIND), bytes.len());
    let at = size_of::<Framed<R>>();
    let start = at + std::mem::offset_of!(record::Text<0>, bytes);
    let length = bytes
        .get(at..at + 4)
        .and_then(|length| length.try_into().ok());
    let length = u32::from_ne_bytes(length.ok_or_else(short)?) as usize;
    let end = start + length.min(R::TEXT);
    if bytes.len() < end {
        return Err(short());
    }
    Ok(Text(bytes.slice(start..end)))
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
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_a_record_are_an_error() {
        assert_eq!(decode(&Bytes::new()), Err(DecodeError::Short(None, 0)));
        for kind in Kind::ALL {
            let mut bytes = vec![0_u8; 16];
            bytes[8..12].copy_from_slice(&(kind as u32).to_ne_bytes());
            let expected = if kind == Kind::Watch {
                DecodeError::Kind(11)
            } else {
                DecodeError::Short(Some(kind), 16)
            };
            assert_eq!(decode(&bytes.into()), Err(expected), "{kind:?}");
        }
        let mut bytes = vec![0_u8; 4_096];
        bytes[8..12].copy_from_slice(&99_u32.to_ne_bytes());
        assert_eq!(decode(&bytes.into()), Err(DecodeError::Kind(99)));
    }

    #[test]
    fn the_address_of_a_socket_is_of_its_family() {
        let listens = |family: u16, ended: u32| {
            let mut bytes = vec![0_u8; size_of::<Framed<record::Listen>>()];
            bytes[8..12].copy_from_slice(&(Kind::Listen as u32).to_ne_bytes());
            let at = |field: usize| std::mem::offset_of!(Framed<record::Listen>, record) + field;
            let address = at(std::mem::offset_of!(record::Listen, address));
            bytes[address..address + 16]
                .copy_from_slice(&[10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            for (offset, value) in [
                (std::mem::offset_of!(record::Listen, family), family),
                (std::mem::offset_of!(record::Listen, port), 8080),
                (std::mem::offset_of!(record::Listen, ended), ended as u16),
            ] {
                bytes[at(offset)..at(offset) + 2].copy_from_slice(&value.to_ne_bytes());
            }
            match decode(&bytes.into())
                .expect("it is a record")
                .expect("it is a fact")
                .event
                .fact
            {
                Fact::Listen(listen) => (listen.address.to_string(), listen.port, listen.ended),
                other => panic!("{other:?}"),
            }
        };
        let v4 = listens(record::AF_INET, 0);
        assert_eq!(v4, ("10.0.0.7".to_owned(), 8080, false));
        let v6 = listens(record::AF_INET6, 1);
        assert_eq!(v6, ("a00:7::1".to_owned(), 8080, true));
    }

    #[test]
    fn a_length_beyond_the_record_is_limited() {
        type Exec = record::FramedText<record::Exec, { record::FILE_LEN }>;
        let mut bytes = vec![b'x'; size_of::<Exec>()];
        bytes[8..12].copy_from_slice(&(Kind::Exec as u32).to_ne_bytes());
        let length = std::mem::offset_of!(Exec, text);
        bytes[length..length + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let Ok(Some(Decoded {
            event:
                Event {
                    fact: Fact::Exec { file, .. },
                    ..
                },
            ..
        })) = decode(&bytes.into())
        else {
            panic!("an exec record");
        };
        assert_eq!(file.to_string().len(), record::FILE_LEN);
    }

    #[test]
    fn nothing_of_an_environment_is_kept_but_what_names_the_pod() {
        type Call = record::FramedText<record::Call, { record::CALL_LEN }>;
        let decoded = |environment: &[u8]| {
            let mut bytes = vec![0; size_of::<Call>()];
            bytes[8..12].copy_from_slice(&(Kind::Call as u32).to_ne_bytes());
            let part = std::mem::offset_of!(Call, record.part);
            let environment_part = record::CallPart::Environment as u32;
            bytes[part..part + 4].copy_from_slice(&environment_part.to_ne_bytes());
            let length = std::mem::offset_of!(Call, text);
            let count = u32::try_from(environment.len()).expect("it is short");
            bytes[length..length + 4].copy_from_slice(&count.to_ne_bytes());
            let text = std::mem::offset_of!(Call, text.bytes);
            bytes[text..text + environment.len()].copy_from_slice(environment);
            decode(&bytes.into()).expect("a record")
        };
        let plugin = decoded(b"TOKEN=s3cret\0CNI_COMMAND=ADD\0CNI_CONTAINERID=0123\0");
        let event = plugin.expect("a plugin").event;
        assert!(matches!(event.fact, Fact::Called(_)), "{event:?}");
        let recorded = serde_json::to_string(&event).expect("an event is recorded");
        assert!(recorded.contains("0123"), "{recorded}");
        assert!(!recorded.contains("s3cret"), "{recorded}");
        assert_eq!(decoded(b"TOKEN=s3cret\0PATH=/bin\0"), None);
    }
}
