//! The socket's place in the file system: who may have it, and what is left of a killed watch.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::{
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
        stat::{Mode, fchmod},
    },
};

use crate::sys;

/// How often the directory's lock is tried, and the time between two tries. Who has it binds or
/// removes a socket.
const TRIES: u32 = 200;
const PERIOD: Duration = Duration::from_millis(10);

/// The connections that may wait to be accepted.
const BACKLOG: i32 = 8;

/// A bound socket.
pub(super) struct Place {
    path: PathBuf,
    directory: PathBuf,
    /// Device and inode of the socket, so that one that replaced it is not removed.
    file: (u64, u64),
    /// Whether the directory was made for it.
    is_made: bool,
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotBound {
    /// Somebody answers there.
    #[error("another process answers there")]
    Taken,
    #[error("it is not a socket")]
    NotASocket,
    #[error("another process has locked its directory")]
    Locked,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for NotBound {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Connects without waiting for a process that accepts nothing, and reads and writes with waiting.
pub(super) fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let stream = sys::connect_at_once(path)?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Place {
    /// Binds a socket that only its owner can connect to, and makes its directory if there is
    /// none. One that a killed watch has left is replaced.
    pub(super) fn bind(path: &Path) -> Result<(UnixListener, Self), NotBound> {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let is_made = match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error.into()),
        };
        // Two that begin at the same time could else remove each other's.
        let _lock = locked(directory)?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(NotBound::NotASocket),
            Ok(_) => match connect_to(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                // Also if it is too busy to accept.
                Ok(_) => return Err(NotBound::Taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(NotBound::Taken);
                }
                Err(error) => return Err(error.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The file gets the mode of the socket (unix_bind_bsd, net/unix/af_unix.c), so there is no
        // time at which others may connect.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let place = Self {
            path: path.to_owned(),
            directory: directory.to_owned(),
            file: identity(path)?,
            is_made,
        };
        Ok((UnixListener::from(socket), place))
    }

    /// Removes the socket, if it is still this one. Nobody can be told of a failure; the next watch
    /// replaces what is left.
    pub(super) fn remove(&self) {
        let Ok(lock) = locked(&self.directory) else {
            return;
        };
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
        if self.is_made {
            // Fails if it has other files.
            let _ = fs::remove_dir(&self.directory);
        }
        drop(lock);
    }
}

fn locked(directory: &Path) -> Result<Flock<File>, NotBound> {
    let mut file = File::open(directory)?;
    for _ in 0..TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EWOULDBLOCK)) => file = unlocked,
            Err((_, errno)) => return Err(errno.into()),
        }
        thread::sleep(PERIOD);
    }
    Err(NotBound::Locked)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
