//! A bounded queue with a thread of its own, so that a reader of the output that is slow, or
//! stopped by Ctrl-S or a pager, does not keep the program from reading the kernel's events.

use std::{
    collections::VecDeque,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::confine;

/// Most bytes that wait. A batch that finds nothing waiting is taken whatever its size: a document
/// that is written at the end.
const MAX_BYTES: usize = 8 << 20;

/// How long a batch may take before the reader counts as slow. A reader that keeps up is waited
/// for, so that a full disk or a closed pipe is noticed with the batch that it concerns.
const PATIENCE: Duration = Duration::from_millis(50);

/// The writing end.
pub(super) struct Queue {
    /// The batch that has not been flushed yet.
    batch: Vec<u8>,
    /// The latest batch that was dropped: the last one of all is the result of the run.
    last: Vec<u8>,
    /// The lines that were dropped since the last line that said so, without those of `last`.
    dropped: u64,
    /// The line that says how many lines were dropped.
    notice: Box<dyn Fn(u64) -> String + Send>,
    is_slow: bool,
    shared: Arc<Shared>,
    writer: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Vec<u8>>,
    /// The bytes of the batches, and of the one that is being written.
    bytes: usize,
    error: Option<io::Error>,
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the batches until the queue is closed and empty, or cannot be written.
    fn write_to(&self, mut out: impl Write) {
        loop {
            let mut state = self.lock();
            while state.batches.is_empty() {
                if state.is_closed {
                    return;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let batch = state.batches.pop_front().unwrap_or_default();
            drop(state);
            let written = out.write_all(&batch).and_then(|()| out.flush());
            let mut state = self.lock();
            state.bytes -= batch.len();
            if let Err(error) = written {
                state.error = Some(error);
                state.batches.clear();
                state.bytes = 0;
            }
            self.changed.notify_all();
        }
    }
}

impl Queue {
    pub(super) fn new(
        out: impl Write + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = thread::Builder::new().name("output".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                confine::writer(None);
                shared.write_to(out);
            }
        })?;
        Ok(Self {
            batch: Vec::new(),
            last: Vec::new(),
            dropped: 0,
            notice: Box::new(notice),
            is_slow: false,
            shared,
            writer: Some(writer),
        })
    }

    /// Adds the batch, or drops it if too much waits already.
    fn push(&mut self) {
        let batch = mem::take(&mut self.batch);
        let mut state = self.shared.lock();
        let is_over = state.bytes > 0 && state.bytes + batch.len() > MAX_BYTES;
        // Once something was dropped, the reader has to catch up: else every second batch would be
        // dropped.
        let is_behind = !self.last.is_empty() && state.bytes > MAX_BYTES / 2;
        if is_over || is_behind {
            self.dropped += lines(&self.last);
            self.last = batch;
            return;
        }
        let dropped = mem::take(&mut self.dropped) + lines(&mem::take(&mut self.last));
        if dropped > 0 {
            let notice = (self.notice)(dropped).into_bytes();
            state.bytes += notice.len();
            state.batches.push_back(notice);
        }
        state.bytes += batch.len();
        state.batches.push_back(batch);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, unless the reader is slow. Returns why it could not be.
    fn settle(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        let until = Instant::now() + PATIENCE;
        while state.bytes > 0 && !self.is_slow {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        self.is_slow = state.bytes > 0;
        state.error.take().map_or(Ok(()), Err)
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.batch.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.push();
        }
        self.settle()
    }
}

impl Drop for Queue {
    /// Waits until everything is written.
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.push();
        }
        let mut state = self.shared.lock();
        if !self.last.is_empty() {
            if self.dropped > 0 {
                let notice = (self.notice)(self.dropped).into_bytes();
                state.bytes += notice.len();
                state.batches.push_back(notice);
            }
            state.bytes += self.last.len();
            state.batches.push_back(mem::take(&mut self.last));
        }
        state.is_closed = true;
        drop(state);
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    fn queue(out: impl Write + Send + 'static) -> Queue {
        Queue::new(out, |lines| format!("{lines} dropped\n")).expect("a thread")
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nothing_up_and_learns_what_it_missed() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut queue = queue(writer);
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let written = 2 * MAX_BYTES / line.len();
        for _ in 0..written {
            queue.write_all(&line).expect("it is only kept");
            queue.flush().expect("nothing fails");
        }
        queue.write_all(b"result\n").expect("it is only kept");
        queue.flush().expect("nothing fails");
        let reading = thread::spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines.map(|line| line.expect("text")).collect::<Vec<_>>()
        });
        drop(queue);
        let lines = reading.join().expect("it reads to the end");
        let [.., notice, result] = &lines[..] else {
            panic!("{} lines", lines.len());
        };
        assert_eq!(result, "result");
        let dropped: usize = notice
            .strip_suffix(" dropped")
            .and_then(|count| count.parse().ok())
            .expect("the number of lines");
        assert!(dropped > 0);
        assert_eq!(lines.len() - 2 + dropped, written);
    }

    #[test]
    fn a_closed_pipe_is_told_with_the_batch_that_it_concerns() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut queue = queue(writer);
        queue.write_all(b"x\n").expect("it is only kept");
        let error = queue.flush().expect_err("the reader is closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_document_is_written_whatever_its_size() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let reading = thread::spawn(move || io::copy(&mut &reader, &mut io::sink()));
        let mut queue = queue(writer);
        let size = 2 * MAX_BYTES;
        queue.write_all(&vec![b'x'; size]).expect("it is only kept");
        queue.flush().expect("it is read");
        drop(queue);
        let read = reading.join().expect("it reads").expect("a pipe");
        assert_eq!(read, size as u64);
    }
}
