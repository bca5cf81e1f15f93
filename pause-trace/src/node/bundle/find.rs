//! Finds the bundle of a container: through its shim or conmon, otherwise in the default
//! directories.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{BundleError, Location, Manager};
use crate::{
    event::ContainerId,
    node::{
        file,
        identity::{Identity, identify},
    },
    runtimes::{self, DOCKER_NAMESPACE, Leads},
};

/// Ancestors of a container's process among which its shim is searched.
const MAX_ANCESTORS: usize = 64;

/// Bytes of a file in `/proc` that are read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Finds the bundle of a container. The first of `pids` is a process of the container, the others
/// were its ancestors. `proc` and `root` are `/proc` and `/`.
///
/// The shim or conmon is an ancestor of every process of the container, except for those that `runc
/// exec` left behind. One shim serves a whole pod, and the bundles of its containers are in one
/// directory. Only an ancestor outside the container is trusted, because a process inside can use
/// the name of a shim.
///
/// # Errors
/// Fails when there is neither such an ancestor nor a bundle in a default directory.
pub(crate) fn find(
    identity: &Identity,
    pids: &[u32],
    proc: &Path,
    root: &Path,
) -> Result<Location, BundleError> {
    let id = &*identity.container;
    // A process that has ended has no ancestors; its former ancestors, the rest of `pids`, do.
    pids.iter()
        .flat_map(|pid| lineage(*pid, proc))
        .filter(|ancestor| is_outside(&proc.join(ancestor.to_string()), identity))
        .find_map(|ancestor| of_ancestor(&proc.join(ancestor.to_string()), id))
        .or_else(|| in_default_directories(id, root))
        .ok_or_else(|| BundleError::NotFound {
            container: identity.container.clone(),
            pid: pids.first().copied().unwrap_or_default(),
        })
}

impl Location {
    /// The bundle of another container of the same runtime. This finds the bundle of a sandbox that
    /// has no process, because its pause has died or CRI-O runs none.
    pub(crate) fn beside(&self, id: &ContainerId) -> Option<Self> {
        // The id may come from an annotation and must not lead to another directory.
        let is_name = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (up, last) = match self.manager {
            Manager::Containerd | Manager::Docker => ("..", ""),
            Manager::Conmon => ("../..", "userdata"),
        };
        let siblings = self
            .directory
            .ancestors()
            .nth(Path::new(up).components().count())?;
        let location = Self {
            manager: self.manager,
            directory: siblings.join(&**id).join(last),
            reach: self.reach.join(up).join(&**id).join(last),
            pid_file: None,
            socket: self.socket.clone(),
        };
        (is_name && holds_bundle(&location.reach)).then_some(location)
    }
}

/// The process and its ancestors, nearest first.
fn lineage(pid: u32, proc: &Path) -> impl Iterator<Item = u32> {
    let parent = move |pid: &u32| {
        let stat = file::read(&proc.join(pid.to_string()).join("stat"), MAX_FILE_BYTES).ok()?;
        // Fields are counted after the name, which may contain any bytes: state, ppid.
        let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let mut fields = str::from_utf8(&stat[behind..]).ok()?.split_whitespace();
        fields.nth(1)?.parse().ok().filter(|parent| *parent > 0)
    };
    std::iter::successors(Some(pid), parent).take(MAX_ANCESTORS)
}

/// Whether a process is outside all containers, except for the one that acts as the node, in every
/// hierarchy.
fn is_outside(process: &Path, identity: &Identity) -> bool {
    let Ok(memberships) = file::read(&process.join("cgroup"), MAX_FILE_BYTES) else {
        return false;
    };
    memberships.split(|byte| *byte == b'\n').all(|line| {
        // 4:memory:/path
        let path = line.splitn(3, |byte| *byte == b':').nth(2);
        let found = path.and_then(identify).map(|(found, _)| found.container);
        found.is_none() || found == identity.node
    })
}

/// The bundle of this container, if the process is its shim or conmon.
fn of_ancestor(process: &Path, id: &str) -> Option<Location> {
    let command = file::read(&process.join("cmdline"), MAX_FILE_BYTES).ok()?;
    let args: Vec<&OsStr> = command
        .split(|byte| *byte == 0)
        .map(OsStr::from_bytes)
        .collect();
    let program = Path::new(args.first()?).file_name()?;
    let location = match runtimes::monitor(program.as_bytes())?.leads {
        Leads::WorkingDirectory => of_shim(process, &args, id)?,
        Leads::Arguments => of_conmon(process, &args, id)?,
        Leads::Nowhere => return None,
    };
    holds_bundle(&location.reach).then_some(location)
}

/// The working directory of a shim is the bundle of its first container.
fn of_shim(process: &Path, args: &[&OsStr], id: &str) -> Option<Location> {
    let cwd = process.join("cwd");
    let directory = fs::read_link(&cwd).ok()?.parent()?.join(id);
    let manager = if value(args, &["-namespace", "--namespace"])? == DOCKER_NAMESPACE {
        Manager::Docker
    } else {
        Manager::Containerd
    };
    Some(Location {
        manager,
        directory,
        // Through the shim's working directory, because the path may lead elsewhere in our mount
        // namespace.
        reach: cwd.join("..").join(id),
        pid_file: None,
        socket: value(args, &["-address", "--address"]).map(PathBuf::from),
    })
}

/// conmon's arguments contain everything ([conmon(8)]).
///
/// [conmon(8)]: https://github.com/containers/conmon/blob/main/docs/conmon.8.md
fn of_conmon(process: &Path, args: &[&OsStr], id: &str) -> Option<Location> {
    if value(args, &["-c", "--cid"])? != id {
        return None;
    }
    let directory = PathBuf::from(value(args, &["-b", "--bundle"])?);
    let root = process.join("root");
    let within = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let pid_file = value(args, &["-p", "--container-pidfile"]);
    Some(Location {
        manager: Manager::Conmon,
        reach: within(&directory),
        pid_file: pid_file.map(|path| within(Path::new(path))),
        directory,
        socket: None,
    })
}

/// The value of an option: `-b VALUE` or `--bundle=VALUE`.
fn value<'a>(args: &[&'a OsStr], names: &[&str]) -> Option<&'a OsStr> {
    args.iter().enumerate().find_map(|(at, arg)| {
        let bytes = arg.as_bytes();
        names
            .iter()
            .find_map(|name| match bytes.strip_prefix(name.as_bytes())? {
                [] => args.get(at + 1).copied(),
                [b'=', value @ ..] => Some(OsStr::from_bytes(value)),
                _ => None,
            })
    })
}

fn in_default_directories(id: &str, root: &Path) -> Option<Location> {
    runtimes::bundles().find_map(|place| {
        let directory = Path::new("/")
            .join(place.state)
            .join(place.kind)
            .join(id)
            .join(place.last);
        let reach = root.join(directory.strip_prefix("/").ok()?);
        holds_bundle(&reach).then_some(Location {
            manager: place.manager,
            directory,
            reach,
            pid_file: None,
            socket: None,
        })
    })
}

fn holds_bundle(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join("config.json")).is_ok()
}
