//! What a soak leaves for who reads about a failure.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The directory of a run: the recording, the lines and the errors of the watch, and what was done
/// when.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    journal: Mutex<File>,
    started: Instant,
}

impl Files {
    /// Makes the directory anew.
    ///
    /// # Panics
    /// When it can't be made.
    pub(super) fn make(directory: &Path) -> Self {
        // It is missing at the first run.
        let _ = fs::remove_dir_all(directory);
        let journal = fs::create_dir_all(directory)
            .and_then(|()| File::create(directory.join("journal.txt")))
            .unwrap_or_else(|error| panic!("failed to make {}: {error}", directory.display()));
        Self {
            directory: directory.to_owned(),
            journal: Mutex::new(journal),
            started: Instant::now(),
        }
    }

    /// A file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes down what happens now.
    ///
    /// # Panics
    /// When the disk is full.
    pub(super) fn note(&self, what: &str) {
        let at = Duration::from_millis(self.started.elapsed().as_millis() as u64);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(journal, "{:9.3} {what}", at.as_secs_f64()).expect("the journal can be written");
    }

    /// Removes them.
    pub(super) fn remove(&self) {
        // What is left is replaced by the next run.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
