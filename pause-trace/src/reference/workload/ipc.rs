//! POSIX message queues. They belong to the ipc namespace and do not need a mounted /dev/mqueue.

use nix::mqueue::{
    MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open, mq_receive, mq_send, mq_unlink,
};
use nix::sys::stat::Mode;

/// The longest message, in bytes.
const MAX_MESSAGE: i64 = 256;

/// The capacity of a queue, in messages.
const MAX_MESSAGES: i64 = 8;

/// Sends a message to the queue, which is created if necessary and exists until [`remove`].
pub(super) fn put(name: &str, bytes: &[u8]) -> nix::Result<()> {
    let flags = MQ_OFlag::O_WRONLY | MQ_OFlag::O_CREAT | MQ_OFlag::O_NONBLOCK;
    let attributes = MqAttr::new(0, MAX_MESSAGES, MAX_MESSAGE, 0);
    let queue = mq_open(
        name,
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
        Some(&attributes),
    )?;
    closing(queue, |queue| mq_send(queue, bytes, 0))
}

/// Receives the first message.
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

/// Runs `body` and closes the queue, because `MqdT` does not close itself.
fn closing<T>(queue: MqdT, body: impl FnOnce(&MqdT) -> nix::Result<T>) -> nix::Result<T> {
    let result = body(&queue);
    mq_close(queue)?;
    result
}
