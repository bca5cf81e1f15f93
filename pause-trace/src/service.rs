//! What a service manager is told over the socket in `NOTIFY_SOCKET` (sd_notify(3)).
//!
//! Without that variable nothing is sent. The socket is connected before the process gives up its
//! privileges, and a message that cannot be sent is no reason to stop verifying pods.

use std::{
    cell::Cell,
    env,
    ffi::OsStr,
    future, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use crate::text::counted;

/// The service manager that started this process, if it asked to be told.
pub(crate) struct Service {
    socket: Option<UnixDatagram>,
    /// How often it wants a sign of life.
    watchdog: Option<Duration>,
    /// The last status that it was told, so that it is told only what changed.
    status: Cell<(u64, u64)>,
}

impl Service {
    /// Connects to the socket that the environment names.
    pub(crate) fn of_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                eprintln!("pause-trace: failed to connect to NOTIFY_SOCKET: {error}; the service manager is told nothing");
                None
            }
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_own = |pid| pid == u64::from(std::process::id());
        let is_for_this_process = number("WATCHDOG_PID").is_none_or(is_own);
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_for_this_process);
        Self {
            watchdog: watchdog
                .map(Duration::from_micros)
                .filter(|_| socket.is_some()),
            socket,
            status: Cell::default(),
        }
    }

    /// Whether this process is a service whose manager asked to be told.
    pub(crate) fn is_managed(&self) -> bool {
        self.socket.is_some()
    }

    /// The hooks are attached, and the pods that ran already are found.
    pub(crate) fn ready(&self) {
        self.send("READY=1\nSTATUS=verifying the node's pods");
    }

    /// How many pods are known and how many violations were found.
    pub(crate) fn status(&self, pods: u64, violations: u64) {
        if self.status.replace((pods, violations)) != (pods, violations) {
            let (pods, violations) = (counted(pods, "pod"), counted(violations, "violation"));
            self.send(&format!("STATUS=verifying {pods}: {violations}"));
        }
    }

    /// The process ends.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Gives signs of life, twice in each period, as long as `lives` says that there is a reason
    /// to.
    pub(crate) async fn beat(&self, lives: impl Fn() -> bool) {
        let Some(period) = self.watchdog else {
            return future::pending().await;
        };
        let mut beats = tokio::time::interval(period / 2);
        loop {
            beats.tick().await;
            if lives() {
                self.send("WATCHDOG=1");
            }
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that went away, or whose queue is full, is told nothing.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// The name is a path, or after an `@` a name that is in no file system.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // The manager must not hold up the verification.
    socket.set_nonblocking(true)?;
    Ok(socket)
}
