//! Programs of container runtimes that work for a container or for a sandbox now: CNI plugins, OCI
//! runtimes, shims. They run outside every container, and begin before the sandbox has a cgroup.

use std::{collections::HashMap, fs};

use super::{
    cgroup::Hierarchy,
    identity,
    outsider::spaced,
    survey::process::{Directory, Process},
};
use crate::{
    event::{Comm, Text},
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
    /// What its environment says, if it is a CNI plugin or was started by one.
    pub(crate) plugin: Option<Plugin>,
}

/// What libcni says to a plugin in its environment (the CNI specification, "Parameters").
/// Everything else in the environment is dropped where it is read: it may contain secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plugin {
    /// `CNI_COMMAND`: `ADD`, `DEL`, `CHECK` …
    pub(crate) command: Text,
    /// `CNI_CONTAINERID`: the sandbox.
    pub(crate) sandbox: Text,
    /// `CNI_IFNAME`.
    pub(crate) interface: Text,
    /// `K8S_POD_NAMESPACE`, `K8S_POD_NAME` and `K8S_POD_UID` of `CNI_ARGS`.
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    pub(crate) uid: Text,
}

impl Plugin {
    /// Parses an environment; `None` if it is not a plugin's.
    fn parse(environment: &[u8]) -> Option<Self> {
        let mut plugin = Self::default();
        for variable in environment.split(|byte| *byte == 0) {
            let Some(at) = variable.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = (&variable[..at], &variable[at + 1..]);
            match name {
                b"CNI_COMMAND" => plugin.command = bounded(value),
                b"CNI_CONTAINERID" => plugin.sandbox = bounded(value),
                b"CNI_IFNAME" => plugin.interface = bounded(value),
                b"CNI_ARGS" => plugin.arguments(value),
                _ => {}
            }
        }
        let is_plugin = !plugin.command.0.is_empty() && !plugin.sandbox.0.is_empty();
        is_plugin.then_some(plugin)
    }

    /// `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web`
    fn arguments(&mut self, arguments: &[u8]) {
        for argument in arguments.split(|byte| *byte == b';') {
            for (key, value) in [
                (&b"K8S_POD_NAMESPACE="[..], &mut self.namespace),
                (b"K8S_POD_NAME=", &mut self.name),
                (b"K8S_POD_UID=", &mut self.uid),
            ] {
                if let Some(given) = argument.strip_prefix(key) {
                    *value = bounded(given);
                }
            }
        }
    }
}

/// The longest name that Kubernetes allows is 253 bytes.
fn bounded(value: &[u8]) -> Text {
    Text(bytes::Bytes::copy_from_slice(
        &value[..value.len().min(256)],
    ))
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

    /// The first of these words among its arguments, such as the command of an OCI runtime.
    pub(crate) fn first_of<'a>(&self, words: &[&'a str]) -> Option<&'a str> {
        let mut arguments = self.arguments.iter().skip(1);
        arguments.find_map(|one| words.iter().find(|word| word.as_bytes() == one).copied())
    }

    /// Whether it stays with a container as long as that lives.
    pub(crate) fn is_monitor(&self) -> bool {
        let name = self.arguments.first().map_or(&[][..], |name| {
            let at = name.iter().rposition(|byte| *byte == b'/');
            &name[at.map_or(0, |at| at + 1)..]
        });
        monitor(name).is_some() || name.starts_with(b"containerd-shim")
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
    let plugin = match directory.beginning("environ", MAX_BYTES, buffer) {
        Ok(()) => Plugin::parse(buffer),
        Err(_) => None,
    };
    buffer.clear();
    let process = directory.process(stat, 0, buffer)?;
    Some(Program {
        process,
        arguments,
        plugin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_libcni_says_is_kept_of_an_environment() {
        let environment = b"PATH=/bin\0TOKEN=secret\0CNI_COMMAND=ADD\0CNI_CONTAINERID=abc\0\
            CNI_NETNS=/var/run/netns/x\0CNI_IFNAME=eth0\0CNI_ARGS=IgnoreUnknown=1;\
            K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u-1;SECRET=s\0";
        let plugin = Plugin::parse(environment).expect("it is one");
        let expected = Plugin {
            command: Text::new("ADD"),
            sandbox: Text::new("abc"),
            interface: Text::new("eth0"),
            namespace: Text::new("default"),
            name: Text::new("web"),
            uid: Text::new("u-1"),
        };
        assert_eq!(plugin, expected);
        assert!(!format!("{plugin:?}").contains("secret"));
        for other in [
            &b""[..],
            b"CNI_COMMAND=VERSION\0",
            b"CNI_CONTAINERID=abc\0",
            b"\0\0=\0",
        ] {
            assert_eq!(Plugin::parse(other), None);
        }
        let long = [b"CNI_COMMAND=ADD\0CNI_CONTAINERID=", &[b'a'; 9_999][..]].concat();
        assert_eq!(
            Plugin::parse(&long).map(|one| one.sandbox.0.len()),
            Some(256)
        );
    }

    fn program(arguments: &[&str]) -> Program {
        let links = [super::super::survey::process::Link::Unknown; 7];
        Program {
            process: Process::made_up(5, 1, b'S', links),
            arguments: arguments
                .iter()
                .map(|one| one.as_bytes().to_vec())
                .collect(),
            plugin: None,
        }
    }

    #[test]
    fn the_command_of_a_runtime_is_its_first_known_word() {
        let create = program(&[
            "runc", "--root", "/run/x", "create", "--bundle", "/b", "abc",
        ]);
        assert_eq!(create.first_of(&["create", "start"]), Some("create"));
        assert!(create.mentions("abc") && !create.mentions("ab"));
        assert!(!create.is_monitor());
        assert_eq!(
            create.command().to_string(),
            "runc --root /run/x create --bundle /b abc"
        );
        let shim = program(&[
            "/usr/bin/containerd-shim-runc-v2",
            "-namespace",
            "k8s.io",
            "-id",
            "abc",
        ]);
        assert!(shim.is_monitor() && shim.mentions("abc"));
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
