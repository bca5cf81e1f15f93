//! Programs of container runtimes that work for a container or for a sandbox now: CNI plugins, OCI
//! runtimes, shims. They run outside every container, and begin before the sandbox has a cgroup.

use std::{collections::HashMap, fs};

use super::{
    cgroup::Hierarchy,
    identity,
    outsider::spaced,
    procfs::line,
    survey::process::{Directory, Process},
};
use crate::{
    event::{CniRequest, Comm, OciCommand, Text},
    probe::request,
    runtimes::{monitor, programs},
};

/// Bytes of an environment or of a command line that are read.
const MAX_BYTES: u64 = 64 << 10;

/// The longest chain of children that is followed.
const MAX_CHAIN: usize = 8;

/// The processes of the node outside its containers, as far as they work for containers.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// All of them, by pid.
    processes: HashMap<u32, Program>,
    /// The children of a process, the oldest first.
    children: HashMap<u32, Vec<u32>>,
}

/// A process outside the containers.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) process: Process,
    /// Its arguments, without NULs at their ends.
    arguments: Vec<Vec<u8>>,
    /// What it is asked to do, if it is a CNI plugin or was started by one. Everything else in its
    /// environment is dropped where it is read: it may contain secrets.
    pub(crate) plugin: Option<CniRequest>,
    /// What it is asked to do, if it is an OCI runtime or a shim.
    pub(crate) oci: Option<OciCommand>,
}

impl Program {
    /// Its command line, bounded.
    pub(crate) fn command(&self) -> Text {
        Text(spaced(self.arguments.join(&0)).into())
    }

    /// Whether one of its arguments is this id.
    pub(crate) fn mentions(&self, id: &str) -> bool {
        self.arguments.iter().any(|one| one == id.as_bytes())
    }

    /// Whether it stays with a container as long as that lives.
    pub(crate) fn is_monitor(&self) -> bool {
        let name = self.arguments.first().map_or(&[][..], |name| {
            let at = name.iter().rposition(|byte| *byte == b'/');
            &name[at.map_or(0, |at| at + 1)..]
        });
        monitor(name).is_some() || self.oci == Some(OciCommand::Serve)
    }

    /// Whether it has the name of a runtime's program.
    pub(crate) fn is_runtime(&self) -> bool {
        programs().any(|name| Comm::new(name) == self.process.comm)
    }
}

impl Outside {
    /// Reads the processes that are in no container.
    pub(crate) fn read(hierarchy: &Hierarchy) -> Self {
        let mut outside = Self::default();
        let mut buffer = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ends meanwhile is left out.
            if let Some(program) = read(pid, hierarchy, &mut buffer) {
                outside.processes.insert(pid, program);
            }
        }
        let mut pids: Vec<_> = outside.processes.values().map(|one| &one.process).collect();
        pids.sort_unstable_by_key(|process| (process.start_ticks, process.pid));
        for process in pids {
            let children = outside.children.entry(process.parent).or_default();
            children.push(process.pid);
        }
        outside
    }

    /// All processes, the oldest first.
    pub(crate) fn programs(&self) -> Vec<&Program> {
        let mut programs: Vec<_> = self.processes.values().collect();
        programs.sort_unstable_by_key(|one| (one.process.start_ticks, one.process.pid));
        programs
    }

    /// The parent of a process, if it is outside the containers too.
    pub(crate) fn parent(&self, program: &Program) -> Option<&Program> {
        self.processes.get(&program.process.parent)
    }

    /// A process and the youngest child of each that follows: what it waits for.
    pub(crate) fn chain<'a>(&'a self, first: &'a Program) -> Vec<&'a Program> {
        let mut chain = vec![first];
        while let Some(last) = chain.last()
            && chain.len() < MAX_CHAIN
            && let Some(child) = self
                .children
                .get(&last.process.pid)
                .and_then(|all| all.last())
            && let Some(child) = self.processes.get(child)
        {
            chain.push(child);
        }
        chain
    }
}

fn read(pid: u32, hierarchy: &Hierarchy, buffer: &mut Vec<u8>) -> Option<Program> {
    let directory = Directory::open(pid).ok()?;
    let stat = directory.stat(buffer)?;
    let cgroup = directory.cgroup(hierarchy.id, buffer).unwrap_or_default();
    if identity::of_container(&cgroup).is_some() {
        return None;
    }
    directory.beginning("cmdline", MAX_BYTES, buffer).ok()?;
    if buffer.is_empty() {
        return None; // a thread of the kernel, or a zombie
    }
    let end = buffer
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let arguments = buffer[..end]
        .split(|byte| *byte == 0)
        .map(<[u8]>::to_vec)
        .collect();
    let comm = stat.comm.0.split(|byte| *byte == 0).next();
    let oci = request::oci(comm.unwrap_or_default(), buffer, false);
    let plugin = match directory.beginning("environ", MAX_BYTES, buffer) {
        Ok(()) => request::cni(buffer, false).filter(|plugin| !plugin.sandbox.0.is_empty()),
        Err(_) => None,
    };
    buffer.clear();
    // This reads `status` last.
    let process = directory.process(stat, 0, buffer)?;
    // Anybody may take a name or an environment. The runtimes of a node belong to root.
    let status = String::from_utf8_lossy(buffer);
    let is_roots = line(&status, "Uid")
        .and_then(|ids| ids.split_whitespace().nth(1))
        .is_some_and(|effective| effective == "0");
    let (plugin, oci) = match is_roots {
        true => (plugin, oci),
        false => (None, None),
    };
    Some(Program {
        process,
        arguments,
        plugin,
        oci: oci.map(|request| request.command),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::survey::process::Link;

    #[test]
    fn a_shim_stays_and_a_runtime_does_not() {
        let program = |oci, arguments: &[&str]| Program {
            process: Process::made_up(5, 1, b'S', [Link::Unknown; 7]),
            arguments: arguments
                .iter()
                .map(|one| one.as_bytes().to_vec())
                .collect(),
            plugin: None,
            oci,
        };
        let create = [
            "runc", "--root", "/run/x", "create", "--bundle", "/b", "abc",
        ];
        let create = program(Some(OciCommand::Create), &create);
        assert!(create.mentions("abc") && !create.mentions("ab"));
        assert!(!create.is_monitor());
        let shown = create.command().to_string();
        assert_eq!(shown, "runc --root /run/x create --bundle /b abc");
        let shim = ["/usr/bin/containerd-shim-runc-v2", "-id", "abc"];
        assert!(program(Some(OciCommand::Serve), &shim).is_monitor());
        assert!(program(None, &["/usr/bin/conmon", "-c", "abc"]).is_monitor());
    }

    #[test]
    fn this_process_is_outside_the_containers_and_has_a_parent() {
        let hierarchies = super::super::cgroup::Hierarchies::discover().expect("there is one");
        let outside = Outside::read(hierarchies.watched());
        let this = outside.processes.get(&std::process::id()).expect("it runs");
        assert!(this.plugin.is_none() && !this.arguments.is_empty());
        assert!(outside.chain(this).len() <= MAX_CHAIN);
    }
}
