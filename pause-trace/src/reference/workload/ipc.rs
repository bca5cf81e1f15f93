//! POSIX message queues. They live in the ipc namespace; no /dev/mqueue has to be mounted.

use nix::mqueue::{
    MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open, mq_receive, mq_send, mq_unlink,
};
use nix::sys::stat::Mode;

/// The longest message, in bytes.
const LONGEST: i64 = 256;

/// How many messages a queue holds.
const DEPTH: i64 = 8;

/// Puts a message into the queue, which is made when it is not there and stays until [`remove`].
pub(super) fn put(name: &str, bytes: &[u8]) -> nix::Result<()> {
    let flags = MQ_OFlag::O_WRONLY | MQ_OFlag::O_CREAT | MQ_OFlag::O_NONBLOCK;
    let attributes = MqAttr::new(0, DEPTH, LONGEST, 0);
    let queue = mq_open(
        name,
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
        Some(&attributes),
    )?;
    closing(queue, |queue| mq_send(queue, bytes, 0))
}

/// Takes the first message.
pub(super) fn get(name: &str) -> nix::Result<Vec<u8>> {
    let queue = mq_open(
        name,
        MQ_OFlag::O_RDONLY | MQ_OFlag::O_NONBLOCK,
        Mode::empty(),
        None,
    )?;
    closing(queue, |queue| {
        let size = usize::try_from(mq_getattr(queue)?.msgsize()).unwrap_or(0);
        let mut bytes = vec![0; size];
        let length = mq_receive(queue, &mut bytes, &mut 0)?;
        bytes.truncate(length);
        Ok(bytes)
    })
}

pub(super) fn remove(name: &str) -> nix::Result<()> {
    mq_unlink(name)
}

/// An `MqdT` does not close itself.
fn closing<T>(queue: MqdT, body: impl FnOnce(&MqdT) -> nix::Result<T>) -> nix::Result<T> {
    let result = body(&queue);
    mq_close(queue)?;
    result
}
