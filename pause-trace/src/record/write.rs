//! Writes a recording. The caller encodes entries into a reused buffer, and a separate thread
//! compresses and writes them, so that a slow disk does not delay the thread that reads the rings.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io, mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Begin, Entry, FILE_HEAD, MAX_RAW, Mark, Opening, Packer, Recorder, encode, previous, write_head,
};
use crate::{confine, event::Event};

/// The size at which a frame is written.
const FRAME_BYTES: usize = 64 << 10;
/// The age at which a frame is written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that may wait for the disk. If more are waiting, the recording ends with an error.
const MAX_BACKLOG: usize = 64 << 20;

/// Writes a recording to its files.
pub(crate) struct FileRecorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    path: PathBuf,
    opening: Opening,
    /// The largest size of a segment in bytes.
    limit: Option<u64>,
    segment: AtomicU64,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there is something to write, or the recording is over.
    wake: Condvar,
    /// Notified when everything has been written.
    idle: Condvar,
    /// Bytes written to this segment, including `snapshot`, the bytes up to the end of its
    /// snapshot.
    written: AtomicU64,
    snapshot: AtomicU64,
    /// A new segment has begun, and its snapshot has not been written yet.
    is_rotating: AtomicBool,
    failed: AtomicBool,
}

/// What is waiting to be written.
#[derive(Default)]
struct Queue {
    /// The newest entries, not yet a frame.
    current: Vec<u8>,
    full: VecDeque<Item>,
    /// Bytes in `full`.
    waiting: usize,
    /// Written buffers to reuse.
    spare: Vec<Vec<u8>>,
    is_over: bool,
    is_idle: bool,
    failure: Option<io::Error>,
}

enum Item {
    Entries(Vec<u8>),
    /// The snapshot of this segment ends here.
    Settled,
    /// A new segment begins here.
    Rotate,
}

impl FileRecorder {
    /// Starts a recording in `path`, which is overwritten. With a limit in bytes, older segments
    /// are dropped.
    pub(crate) fn create(path: &Path, opening: Opening, limit: Option<u64>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut disk = Disk {
            file: begin_file(path)?,
            path: path.to_owned(),
            good: FILE_HEAD,
            packer: Packer::default(),
        };
        if limit.is_some() {
            // The file will be renamed, which must not happen to a device such as /dev/stdout.
            if !fs::symlink_metadata(path)?.is_file() {
                let why = "a recording with a size limit needs a regular file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            // A segment of another recording must not remain next to this one.
            match fs::remove_file(previous(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let recorder = Self {
            shared: shared.clone(),
            thread: Mutex::new(None),
            path: path.to_owned(),
            opening,
            limit: limit.map(|limit| limit / 2),
            segment: AtomicU64::new(0),
        };
        recorder.write(&Entry::Opening(recorder.opening.clone()));
        let writing = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                confine::writer(limit.is_some().then_some(&*disk.path));
                if let Err(error) = disk.write_all(&shared) {
                    shared.fail(error);
                }
            })?;
        *lock(&recorder.thread) = Some(writing);
        Ok(recorder)
    }

    /// Whether writing failed. Later events are then not recorded.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Writes the remaining entries and waits for the disk.
    pub(crate) fn close(&self) {
        self.write(&Entry::Closed);
        self.stop();
    }

    /// Stops the writer after it has written the queue.
    fn stop(&self) {
        lock(&self.shared.queue).is_over = true;
        self.shared.wake.notify_one();
        if let Some(thread) = lock(&self.thread).take() {
            // The thread does not panic; if it did, the recording would be truncated.
            let _ = thread.join();
        }
    }
}

impl Recorder for FileRecorder {
    fn write(&self, entry: &Entry<&Event>) {
        if self.has_failed() {
            return;
        }
        let mut queue = lock(&self.shared.queue);
        let was_empty = queue.current.is_empty();
        if let Err(error) = queue.push(entry) {
            drop(queue);
            return self.shared.fail(error);
        }
        // The writer waits for the first entry of a frame, then until the frame is large or old
        // enough.
        if was_empty || queue.current.is_empty() {
            self.shared.wake.notify_one();
        }
    }

    fn is_due(&self) -> bool {
        let written = self.shared.written.load(Ordering::Relaxed);
        let snapshot = self.shared.snapshot.load(Ordering::Relaxed);
        !self.shared.is_rotating.load(Ordering::Relaxed)
            && self
                .limit
                .is_some_and(|limit| written >= limit.max(2 * snapshot))
    }

    fn rotate(&self, begin: &Begin, snapshot: &[Event]) {
        self.write(&Entry::Continued);
        let segment = self.segment.fetch_add(1, Ordering::Relaxed) + 1;
        {
            let mut queue = lock(&self.shared.queue);
            queue.close_frame();
            queue.full.push_back(Item::Rotate);
            self.shared.is_rotating.store(true, Ordering::Relaxed);
        }
        self.write(&Entry::Opening(Opening {
            segment: u32::try_from(segment).unwrap_or(u32::MAX),
            ..self.opening.clone()
        }));
        self.write(&Entry::Begin(begin.clone()));
        self.write(&Entry::Mark(Mark::Followed));
        for event in snapshot {
            self.write(&Entry::Event(event));
        }
        self.write(&Entry::Settled);
        let mut queue = lock(&self.shared.queue);
        queue.close_frame();
        queue.full.push_back(Item::Settled);
        self.shared.wake.notify_one();
    }

    fn take_error(&self) -> Option<String> {
        let failure = match self.has_failed() {
            true => lock(&self.shared.queue).failure.take(),
            false => None,
        };
        failure.map(|error| format!("failed to record to {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
impl FileRecorder {
    /// Ends the frame: later entries go into the next one.
    pub(super) fn end_frame(&self) {
        lock(&self.shared.queue).close_frame();
        self.shared.wake.notify_one();
    }

    /// Ends the frame and waits until everything has been written.
    pub(crate) fn settled_on_disk(&self) {
        self.end_frame();
        self.idle();
    }

    /// Waits until everything has been written.
    pub(super) fn idle(&self) {
        let queue = lock(&self.shared.queue);
        let is_busy = |queue: &mut Queue| !queue.is_idle && !queue.is_over;
        let waited = self.shared.idle.wait_while(queue, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for FileRecorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn fail(&self, error: io::Error) {
        let mut queue = lock(&self.queue);
        queue.failure.get_or_insert(error);
        (queue.full, queue.waiting) = (VecDeque::new(), 0);
        queue.is_over = true;
        self.failed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        self.idle.notify_all();
    }

    /// Waits for the next item to write; `None` when the recording is over.
    fn next(&self, done: Vec<u8>) -> Option<Item> {
        let mut queue = lock(&self.queue);
        if done.capacity() > 0 && queue.spare.len() < 2 {
            queue.spare.push(done);
        }
        queue.is_idle = queue.has_nothing();
        if queue.is_idle {
            self.idle.notify_all();
        }
        queue = self
            .wake
            .wait_while(queue, |queue| queue.has_nothing())
            .unwrap_or_else(PoisonError::into_inner);
        let is_young = |queue: &mut Queue| queue.full.is_empty() && !queue.is_over;
        (queue, _) = self
            .wake
            .wait_timeout_while(queue, FLUSH_INTERVAL, is_young)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.full.is_empty() {
            queue.close_frame();
        }
        let next = queue.full.pop_front();
        if let Some(Item::Entries(entries)) = &next {
            queue.waiting -= entries.len();
        }
        next
    }
}

impl Queue {
    /// Whether there is nothing to write and the recording is not over.
    fn has_nothing(&self) -> bool {
        self.full.is_empty() && self.current.is_empty() && !self.is_over
    }

    fn push(&mut self, entry: &Entry<&Event>) -> io::Result<()> {
        self.is_idle = false;
        let before = self.current.len();
        let buffer = mem::take(&mut self.current);
        self.current = encode(entry, buffer)?;
        if self.current.len() - before > MAX_RAW {
            return Err(io::Error::other("a single fact is larger than 16 MiB"));
        }
        if self.current.len() > MAX_RAW {
            let last = self.current.split_off(before);
            self.close_frame();
            self.current.extend_from_slice(&last);
        } else if self.current.len() >= FRAME_BYTES {
            self.close_frame();
        }
        match self.waiting > MAX_BACKLOG {
            true => Err(io::Error::other("the disk does not keep up")),
            false => Ok(()),
        }
    }

    fn close_frame(&mut self) {
        if !self.current.is_empty() {
            let empty = self.spare.pop().unwrap_or_default();
            let full = mem::replace(&mut self.current, empty);
            self.waiting += full.len();
            self.full.push_back(Item::Entries(full));
        }
    }
}

/// The writer's side.
struct Disk {
    file: File,
    path: PathBuf,
    /// Bytes of whole frames.
    good: u64,
    packer: Packer,
}

impl Disk {
    fn write_all(&mut self, shared: &Shared) -> io::Result<()> {
        shared.written.store(self.good, Ordering::Relaxed);
        let mut done = Vec::new();
        while let Some(item) = shared.next(mem::take(&mut done)) {
            match item {
                Item::Entries(mut entries) => {
                    let frame = self.packer.write_frame(&entries, &mut self.file);
                    let written = frame.inspect_err(|_| {
                        // A partial frame cannot be read, so its space is given back.
                        let _ = self.file.set_len(self.good);
                    })?;
                    self.good += written;
                    shared.written.store(self.good, Ordering::Relaxed);
                    entries.clear();
                    done = entries;
                }
                Item::Settled => {
                    shared.snapshot.store(self.good, Ordering::Relaxed);
                    shared.is_rotating.store(false, Ordering::Relaxed);
                }
                Item::Rotate => {
                    fs::rename(&self.path, previous(&self.path))?;
                    self.file = begin_file(&self.path)?;
                    self.good = FILE_HEAD;
                }
            }
        }
        match self.file.sync_data() {
            // Pipes and devices do not support it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

fn begin_file(path: &Path) -> io::Result<File> {
    let mut file = File::create(path)?;
    write_head(&mut file)?;
    Ok(file)
}

/// Ignores poisoning: a thread that panicked with the lock left nothing in a state that matters
/// more than the recording.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
