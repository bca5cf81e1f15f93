//! What speaks for a process that has the name of a container runtime: the container that it is in,
//! or else its executable.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use super::{file::lines, identity, procfs::NS_PER_TICK, survey::process::Directory};
use crate::event::{Comm, ProcessId, Program, ProgramFile, Proof, Text};

/// What the kernel appends to the path of an executable that was deleted.
const DELETED: &[u8] = b" (deleted)";

/// Looks at a process that was called `comm` a moment ago.
pub(crate) fn read(process: ProcessId, comm: Comm) -> Program {
    let proof = proof(process.pid, Some(process.start / NS_PER_TICK)).unwrap_or(Proof::Unread);
    Program {
        process,
        comm,
        proof,
    }
}

/// Whether a process that has the name of a runtime is in a container.
pub(crate) fn is_in_container(pid: u32) -> bool {
    matches!(proof(pid, None), Some(Proof::InContainer { .. }))
}

/// `None` if the process is gone, or is another one than the one that started at `start_ticks`.
fn proof(pid: u32, start_ticks: Option<u64>) -> Option<Proof> {
    let directory = Directory::open(pid).ok()?;
    let mut buffer = Vec::new();
    directory.file("cgroup", &mut buffer).ok()?;
    let container = container(&buffer);
    let proof = match container {
        Some(container) => container,
        None => Proof::File(executable(pid).ok()?),
    };
    // Read last: the process existed while the rest was read.
    let stat = directory.stat(&mut buffer)?;
    let is_it = start_ticks.is_none_or(|start_ticks| stat.start_ticks == start_ticks);
    is_it.then_some(proof)
}

/// The container in `/proc/PID/cgroup`, in any hierarchy.
pub(super) fn container(memberships: &[u8]) -> Option<Proof> {
    lines(memberships).find_map(|line| {
        // 4:memory:/path
        let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
        let (container, below) = identity::identify(path)?;
        let own = &path[..path.len() - below.len()];
        Some(Proof::InContainer {
            path: Text(own.to_vec().into()),
            is_pods: container.pod.is_some(),
        })
    })
}

fn executable(pid: u32) -> io::Result<ProgramFile> {
    let link = Path::new("/proc").join(pid.to_string()).join("exe");
    let path = fs::read_link(&link)?;
    let path = path.as_os_str().as_bytes();
    // Follows the link to the file itself, whatever is at the path now.
    let file = fs::metadata(&link)?;
    let is_nodes = match path.strip_suffix(DELETED) {
        None => is_at(path, &file),
        Some(_) => is_in_nodes_mounts(pid),
    };
    Ok(ProgramFile {
        path: Text(path.to_vec().into()),
        inode: file.ino(),
        owner: (file.uid(), file.gid()),
        mode: file.mode() & 0o7777,
        is_nodes,
    })
}

/// Whether this file has the path on the node. If this program runs in a container, the node's
/// files are those of the node's pid 1.
fn is_at(path: &[u8], file: &fs::Metadata) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let of_pid_1 = path
        .strip_prefix("/")
        .map(|path| Path::new("/proc/1/root").join(path));
    let places = [Ok(path.to_owned()), of_pid_1];
    places.into_iter().flatten().any(|place| {
        let there = fs::metadata(place);
        there.is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
    })
}

/// Whether a process is in the mount namespace of this program or of the node's pid 1.
fn is_in_nodes_mounts(pid: u32) -> bool {
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let Some(own) = mounts(&pid.to_string()) else {
        return false;
    };
    ["self", "1"]
        .into_iter()
        .any(|node| mounts(node).is_some_and(|node| node == own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::procfs::start_ticks;

    const ID: &str = "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9";

    #[test]
    fn this_process_has_an_executable_that_is_a_file_of_the_node() {
        let pid = std::process::id();
        let start = start_ticks(pid).expect("we are alive") * NS_PER_TICK;
        let comm = Comm::new("runc");
        let shown = read(ProcessId { pid, start }, comm);
        let Proof::File(file) = shown.proof else {
            panic!("{shown:?}");
        };
        let own = std::env::current_exe().expect("it is there");
        assert_eq!(file.path.0, own.as_os_str().as_bytes());
        assert!(file.is_nodes && file.inode > 0, "{file:?}");
        let start = start + 5 * NS_PER_TICK;
        assert_eq!(read(ProcessId { pid, start }, comm).proof, Proof::Unread);
    }

    #[test]
    fn the_container_is_found_in_every_hierarchy_and_without_what_it_made_below() {
        let in_pod = format!("4:memory:/kubepods/podx/{ID}/made/below\n");
        let text = format!("12:cpu:/\n{in_pod}0::/\n");
        let path = Text::new(&format!("/kubepods/podx/{ID}"));
        let is_pods = true;
        let expected = Proof::InContainer { path, is_pods };
        assert_eq!(container(text.as_bytes()), Some(expected));
        let docker = format!("0::/docker/{ID}\n");
        let path = Text::new(&format!("/docker/{ID}"));
        let is_pods = false;
        let expected = Proof::InContainer { path, is_pods };
        assert_eq!(container(docker.as_bytes()), Some(expected));
        assert_eq!(container(b"0::/system.slice/containerd.service\n"), None);
    }
}
