//! The sockets of container runtimes.

use std::{
    env, fmt,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
};

/// The example in error messages.
const EXAMPLE: &str = "/run/containerd/containerd.sock";

/// The variable that names the socket to use, as for crictl.
const VARIABLE: &str = "CONTAINER_RUNTIME_ENDPOINT";

/// Maximum length of a socket's path in bytes: that of `sun_path` without the final NUL (unix(7)).
const MAX_PATH: usize = 107;

/// The absolute path of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket(PathBuf);

/// A text that cannot name a socket. The message fits "failed to …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "parse {given:?} as a CRI socket: {reason}; use an absolute path or unix:///path, such as {}",
    EXAMPLE
)]
pub struct BadSocket {
    given: String,
    reason: &'static str,
}

impl Socket {
    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The sockets on this node that can belong to a runtime, the most usual first. If
    /// `CONTAINER_RUNTIME_ENDPOINT` is set, only the socket that it names; otherwise those of the
    /// `usual` paths at which there is a socket.
    ///
    /// # Errors
    /// If `CONTAINER_RUNTIME_ENDPOINT` does not name a unix socket.
    pub fn discover<'a>(usual: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, BadSocket> {
        match env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            Some(named) => Ok(vec![named.to_string_lossy().parse()?]),
            None => Ok(existing(usual.into_iter().map(Path::new))),
        }
    }
}

impl FromStr for Socket {
    type Err = BadSocket;

    fn from_str(given: &str) -> Result<Self, BadSocket> {
        let bad = |reason| {
            Err(BadSocket {
                given: given.chars().take(2 * MAX_PATH).collect(),
                reason,
            })
        };
        let path = match given.strip_prefix("unix:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None if given.contains("://") => return bad("it is not a unix socket"),
            None => given,
        };
        if path.is_empty() {
            bad("the path is empty")
        } else if !path.starts_with('/') {
            bad("the path is not absolute")
        } else if path.contains('\0') {
            bad("the path contains a NUL byte")
        } else if path.len() > MAX_PATH {
            bad("the path is longer than 107 bytes, the limit of unix sockets")
        } else {
            Ok(Self(path.into()))
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// The paths at which there is a socket, each socket once: `/var/run` is `/run` on most nodes.
fn existing<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<Socket> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for path in paths {
        let Ok(file) = path.metadata() else { continue };
        let identity = (file.dev(), file.ino());
        if file.file_type().is_socket() && !seen.contains(&identity) {
            seen.push(identity);
            found.push(Socket(path.into()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn a_socket_is_a_path_or_a_unix_url() {
        for given in [
            "/run/crio/crio.sock",
            "unix:///run/crio/crio.sock",
            "unix:/run/crio/crio.sock",
        ] {
            let socket: Socket = given.parse().expect("a socket");
            assert_eq!(socket.path(), Path::new("/run/crio/crio.sock"));
        }
    }

    #[test]
    fn a_malformed_socket_is_refused_with_an_example() {
        let long = format!("/{}", "x".repeat(107));
        for (given, reason) in [
            ("", "the path is empty"),
            ("unix://", "the path is empty"),
            ("tcp://127.0.0.1:2375", "it is not a unix socket"),
            ("npipe:////./pipe/containerd", "it is not a unix socket"),
            ("containerd.sock", "the path is not absolute"),
            ("unix://run/x", "the path is not absolute"),
            ("/run/\0", "the path contains a NUL byte"),
            (
                &long,
                "the path is longer than 107 bytes, the limit of unix sockets",
            ),
        ] {
            let error = given.parse::<Socket>().expect_err(given);
            assert_eq!(error.reason, reason, "{given}");
            assert!(
                error
                    .to_string()
                    .ends_with("such as /run/containerd/containerd.sock")
            );
        }
    }

    #[test]
    fn a_socket_with_two_names_is_found_once_and_files_are_not() {
        let directory = env::temp_dir().join(format!("cri-discover-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        let socket = directory.join("a.sock");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        symlink(&socket, directory.join("b.sock")).expect("a link");
        std::fs::write(directory.join("file"), "").expect("a file");
        let paths = ["missing", "file", "a.sock", "b.sock"].map(|name| directory.join(name));
        let found = existing(paths.iter().map(PathBuf::as_path));
        std::fs::remove_dir_all(&directory).expect("the directory is removed");
        assert_eq!(found, [Socket(socket)]);
    }
}
