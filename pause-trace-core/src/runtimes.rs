//! The container runtimes that pause-trace knows. Everything else derives from the table
//! [`RUNTIMES`].

/// The name of the kubelet, if it is a separate program.
pub const KUBELET: &str = "kubelet";
/// The containerd namespace that CRI uses.
pub const CRI_NAMESPACE: &str = "k8s.io";
/// The containerd namespace that Docker uses.
pub const DOCKER_NAMESPACE: &str = "moby";

/// A container runtime. Program names have at most 15 bytes, the part that the kernel stores.
#[derive(Debug)]
pub struct Runtime {
    /// Its name for people.
    pub name: &'static str,
    /// The engine that its cgroup names identify.
    pub engine: Engine,
    /// Programs that serve all pods of a node: engines, CRI servers and kubelets.
    pub daemons: &'static [&'static str],
    /// Programs that stay with a container or a pod.
    pub monitors: &'static [Monitor],
    /// Programs that create a container and exit.
    pub tools: &'static [&'static str],
    /// Executables that contain several of these programs, and have another name.
    pub files: &'static [&'static str],
    /// The prefixes of a container's cgroup. It is named `PREFIX-ID.scope` or `PREFIX-ID`, or
    /// `SLICE:PREFIX:ID` if runc's cgroupfs driver uses a name for systemd literally.
    pub cgroup_prefixes: &'static [&'static str],
    /// Names of cgroups whose direct children are containers' cgroups and are named by the
    /// container's id alone.
    pub cgroup_parents: &'static [&'static str],
    /// The places of its bundles.
    pub bundles: &'static [Bundles],
    /// Its default CRI sockets.
    pub sockets: &'static [&'static str],
}

/// The engine that runs a container, according to the name of its cgroup. With the kubelet's
/// `cgroupfs` driver, the names of containerd and Docker are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// containerd, for CRI or nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// The name does not identify the engine.
    Unknown,
}

/// The program that created a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// containerd, for CRI. Annotations: `io.kubernetes.cri.*` ([pkg/cri/annotations]).
    ///
    /// [pkg/cri/annotations]: https://github.com/containerd/containerd/blob/v1.7.0/pkg/cri/annotations/annotations.go
    Containerd,
    /// Docker. Its bundles contain neither labels nor the names of pods.
    Docker,
    /// CRI-O or Podman, which both use conmon. Annotations: `io.kubernetes.cri-o.*`
    /// ([pkg/annotations]). Podman's infra containers and containers outside pods have none.
    ///
    /// [pkg/annotations]: https://github.com/cri-o/cri-o/blob/v1.30.0/pkg/annotations/internal.go
    Conmon,
}

/// A program that stays with a container.
#[derive(Debug)]
pub struct Monitor {
    /// Its name, or the first 15 bytes of it.
    pub name: &'static str,
    /// How to find the container's bundle from it.
    pub leads: Leads,
}

/// How to find a container's bundle from its monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// By its working directory, which is a bundle. The other bundles of the pod are next to it.
    WorkingDirectory,
    /// By its arguments, which name the container and the bundle.
    Arguments,
    /// Not at all.
    Nowhere,
}

/// A place with a bundle for each container: `/STATE/KIND/ID/LAST`.
#[derive(Debug)]
pub struct Bundles {
    /// The program that creates them.
    pub manager: Manager,
    /// The state directory, relative to the root.
    pub state: &'static str,
    /// The directory in it.
    pub kind: &'static str,
    /// The path after the id; may be empty.
    pub last: &'static str,
}

/// An empty entry.
const NONE: Runtime = Runtime {
    name: "",
    engine: Engine::Unknown,
    daemons: &[],
    monitors: &[],
    tools: &[],
    files: &[],
    cgroup_prefixes: &[],
    cgroup_parents: &[],
    bundles: &[],
    sockets: &[],
};

/// All runtimes, in the order in which their sockets and bundles are tried: the most common first.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "containerd",
        engine: Engine::Containerd,
        daemons: &["containerd"],
        monitors: &[Monitor {
            name: "containerd-shim",
            leads: Leads::WorkingDirectory,
        }],
        cgroup_prefixes: &["cri-containerd", "nerdctl"],
        // The parent if the CRI client does not name one.
        cgroup_parents: &[CRI_NAMESPACE],
        bundles: &[containerd("run/containerd")],
        sockets: &["/run/containerd/containerd.sock"],
        ..NONE
    },
    Runtime {
        name: "CRI-O",
        engine: Engine::Crio,
        daemons: &["crio"],
        cgroup_prefixes: &["crio"],
        bundles: &[conmon("run/containers/storage")],
        sockets: &["/run/crio/crio.sock"],
        ..NONE
    },
    Runtime {
        name: "Docker",
        engine: Engine::Docker,
        daemons: &["dockerd", "cri-dockerd"],
        cgroup_prefixes: &["docker"],
        cgroup_parents: &["docker"],
        bundles: &[
            docker("run/containerd"),
            docker("run/docker/containerd/daemon"),
        ],
        sockets: &["/run/cri-dockerd.sock", "/var/run/cri-dockerd.sock"],
        ..NONE
    },
    Runtime {
        name: "Podman",
        engine: Engine::Podman,
        tools: &["podman"],
        // `libpod-payload` is used below a systemd unit (`--cgroups=split`, Quadlet).
        cgroup_prefixes: &["libpod", "libpod-payload"],
        bundles: &[conmon("var/lib/containers/storage")],
        ..NONE
    },
    // The kubelet kills the processes that remain in the cgroup of a deleted pod
    // (`tryKillingCgroupProcesses`, pkg/kubelet/cm/pod_container_manager_linux.go).
    Runtime {
        name: "kubelet",
        daemons: &[KUBELET],
        ..NONE
    },
    // These two programs contain the kubelet. k3s starts them under these names (`stageAndRun`,
    // cmd/k3s/main.go).
    Runtime {
        name: "k3s",
        daemons: &["k3s-server", "k3s-agent"],
        // Links to it have the names of the programs.
        files: &["k3s"],
        bundles: &[containerd("run/k3s/containerd")],
        sockets: &["/run/k3s/containerd/containerd.sock"],
        ..NONE
    },
    // k0s starts a kubelet and a containerd under their own names.
    Runtime {
        name: "k0s",
        bundles: &[containerd("run/k0s/containerd")],
        ..NONE
    },
    // kubelite contains the kubelet.
    Runtime {
        name: "MicroK8s",
        daemons: &["kubelite"],
        bundles: &[containerd("var/snap/microk8s/common/run/containerd")],
        sockets: &["/var/snap/microk8s/common/run/containerd.sock"],
        ..NONE
    },
    // CRI-O and Podman start one conmon for each container. conmonrs serves a whole pod, and its
    // arguments name no container.
    Runtime {
        name: "conmon",
        monitors: &[
            Monitor {
                name: "conmon",
                leads: Leads::Arguments,
            },
            Monitor {
                name: "conmonrs",
                leads: Leads::Nowhere,
            },
        ],
        ..NONE
    },
    Runtime {
        name: "runc",
        tools: &["runc"],
        ..NONE
    },
    Runtime {
        name: "crun",
        tools: &["crun"],
        ..NONE
    },
    Runtime {
        name: "youki",
        tools: &["youki"],
        ..NONE
    },
    Runtime {
        name: "Kata Containers",
        tools: &["kata-runtime"],
        ..NONE
    },
    Runtime {
        name: "gVisor",
        tools: &["runsc"],
        ..NONE
    },
];

/// Bundles that containerd creates for CRI.
const fn containerd(state: &'static str) -> Bundles {
    Bundles {
        manager: Manager::Containerd,
        state,
        kind: "io.containerd.runtime.v2.task/k8s.io",
        last: "",
    }
}

/// Bundles that containerd creates for Docker.
const fn docker(state: &'static str) -> Bundles {
    Bundles {
        manager: Manager::Docker,
        state,
        kind: "io.containerd.runtime.v2.task/moby",
        last: "",
    }
}

/// Bundles of containers with a conmon. CRI-O's are in the state directory of the storage, Podman's
/// in the storage itself.
const fn conmon(state: &'static str) -> Bundles {
    Bundles {
        manager: Manager::Conmon,
        state,
        kind: "overlay-containers",
        last: "userdata",
    }
}

/// The names of all programs that create or manage containers.
pub fn programs() -> impl Iterator<Item = &'static str> {
    RUNTIMES.iter().flat_map(|runtime| {
        let monitors = runtime.monitors.iter().map(|monitor| monitor.name);
        let others = runtime.daemons.iter().chain(runtime.tools).copied();
        others.chain(monitors)
    })
}

/// Whether the executable of a runtime may have this file name. A version or an architecture may
/// follow the name of the program: `runc.amd64`, `containerd-shim-runc-v2`.
pub fn is_executable(file_name: &[u8]) -> bool {
    let files = RUNTIMES.iter().flat_map(|runtime| runtime.files).copied();
    programs().chain(files).any(|name| {
        let rest = file_name.strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphabetic()))
    })
}

/// The names of programs that serve all pods of a node.
pub fn daemons() -> impl Iterator<Item = &'static str> {
    RUNTIMES.iter().flat_map(|runtime| runtime.daemons).copied()
}

/// Whether this is the name of a shim of containerd, whose arguments name its sandbox.
pub fn is_shim(comm: &[u8]) -> bool {
    monitor(comm).is_some_and(|monitor| monitor.leads == Leads::WorkingDirectory)
}

/// Whether this is the name of a program with the command line of an OCI runtime (OCI runtime
/// command line interface): a tool of no engine.
pub fn is_oci(comm: &[u8]) -> bool {
    let mut runtimes = RUNTIMES.iter();
    runtimes.any(|runtime| {
        let mut tools = runtime.tools.iter();
        runtime.engine == Engine::Unknown && tools.any(|tool| tool.as_bytes() == comm)
    })
}

/// The monitor with this file name.
pub fn monitor(file_name: &[u8]) -> Option<&'static Monitor> {
    let name = &file_name[..file_name.len().min(MAX_NAME)];
    RUNTIMES
        .iter()
        .flat_map(|runtime| runtime.monitors)
        .find(|monitor| monitor.name.as_bytes() == name)
}

/// The engine whose cgroups are named `PREFIX-ID`.
pub fn engine_of_prefix(prefix: &str) -> Option<Engine> {
    RUNTIMES
        .iter()
        .find(|runtime| runtime.cgroup_prefixes.contains(&prefix))
        .map(|runtime| runtime.engine)
}

/// The engine whose cgroups are named by the container's id below this parent.
pub fn engine_of_parent(parent: &str) -> Option<Engine> {
    RUNTIMES
        .iter()
        .find(|runtime| runtime.cgroup_parents.contains(&parent))
        .map(|runtime| runtime.engine)
}

/// The places of all bundles.
pub fn bundles() -> impl Iterator<Item = &'static Bundles> {
    RUNTIMES.iter().flat_map(|runtime| runtime.bundles)
}

/// All default CRI sockets.
pub fn sockets() -> impl Iterator<Item = &'static str> {
    RUNTIMES.iter().flat_map(|runtime| runtime.sockets).copied()
}

/// How many bytes of a program's name the kernel keeps (`TASK_COMM_LEN`, without the NUL).
const MAX_NAME: usize = 15;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Fails on a value that occurs twice.
    fn assert_unique<'a>(what: &str, values: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for value in values {
            assert!(seen.insert(value), "{what} {value} occurs twice");
        }
    }

    #[test]
    fn no_name_or_place_occurs_twice() {
        assert_unique("runtime", RUNTIMES.iter().map(|runtime| runtime.name));
        assert_unique("program", programs());
        assert_unique("socket", sockets());
        let prefixes = RUNTIMES.iter().flat_map(|runtime| runtime.cgroup_prefixes);
        assert_unique("prefix", prefixes.copied());
        let parents = RUNTIMES.iter().flat_map(|runtime| runtime.cgroup_parents);
        assert_unique("parent", parents.copied());
        let places: Vec<_> = bundles()
            .map(|place| format!("{}/{}/{}", place.state, place.kind, place.last))
            .collect();
        assert_unique("place", places.iter().map(String::as_str));
    }

    #[test]
    fn every_program_name_fits_into_a_comm() {
        for name in programs() {
            assert!((1..=MAX_NAME).contains(&name.len()), "{name}");
        }
        // The map `RUNTIMES` in pause-trace-ebpf/src/filter.rs has room for 32 names.
        assert!(programs().count() <= 32);
    }

    #[test]
    fn runtimes_with_cgroup_names_have_an_engine() {
        for runtime in RUNTIMES {
            let has_cgroup_names =
                !runtime.cgroup_prefixes.is_empty() || !runtime.cgroup_parents.is_empty();
            assert_eq!(
                has_cgroup_names,
                runtime.engine != Engine::Unknown,
                "{}",
                runtime.name
            );
        }
    }

    #[test]
    fn names_places_and_sockets_are_in_the_table() {
        let all: HashSet<_> = programs().collect();
        for name in [
            "kubelet",
            "containerd",
            "containerd-shim",
            "dockerd",
            "cri-dockerd",
            "crio",
            "conmon",
            "conmonrs",
            "podman",
            "runc",
            "crun",
            "youki",
            "kata-runtime",
            "runsc",
        ] {
            assert!(all.contains(name), "{name}");
        }
        let all: HashSet<_> = daemons().collect();
        for name in ["kubelet", "containerd", "dockerd", "cri-dockerd", "crio"] {
            assert!(all.contains(name), "{name}");
        }
        for (prefix, engine) in [
            ("cri-containerd", Engine::Containerd),
            ("nerdctl", Engine::Containerd),
            ("crio", Engine::Crio),
            ("docker", Engine::Docker),
            ("libpod", Engine::Podman),
            ("libpod-payload", Engine::Podman),
        ] {
            assert_eq!(engine_of_prefix(prefix), Some(engine), "{prefix}");
        }
        assert_eq!(engine_of_parent("docker"), Some(Engine::Docker));
        assert_eq!(engine_of_parent("k8s.io"), Some(Engine::Containerd));
        let places: HashSet<_> = bundles()
            .map(|place| {
                format!(
                    "{:?} {}/{}/ID/{}",
                    place.manager, place.state, place.kind, place.last
                )
            })
            .collect();
        for place in [
            "Containerd run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/",
            "Containerd run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/",
            "Containerd run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/",
            "Containerd var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/",
            "Docker run/containerd/io.containerd.runtime.v2.task/moby/ID/",
            "Docker run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/ID/",
            "Conmon run/containers/storage/overlay-containers/ID/userdata",
            "Conmon var/lib/containers/storage/overlay-containers/ID/userdata",
        ] {
            assert!(places.contains(place), "{place}");
        }
        // In this order, possibly with those of other runtimes between them.
        let mut sockets = sockets();
        for socket in [
            "/run/containerd/containerd.sock",
            "/run/crio/crio.sock",
            "/run/cri-dockerd.sock",
            "/var/run/cri-dockerd.sock",
            "/run/k3s/containerd/containerd.sock",
            "/var/snap/microk8s/common/run/containerd.sock",
        ] {
            assert!(sockets.any(|known| known == socket), "{socket}");
        }
    }

    #[test]
    fn a_monitor_is_identified_by_its_file_name() {
        let leads = |name: &[u8]| monitor(name).map(|monitor| monitor.leads);
        for shim in ["containerd-shim", "containerd-shim-runc-v2"] {
            assert_eq!(leads(shim.as_bytes()), Some(Leads::WorkingDirectory));
        }
        assert_eq!(leads(b"conmon"), Some(Leads::Arguments));
        assert_eq!(leads(b"conmonrs"), Some(Leads::Nowhere));
        assert_eq!(leads(b"conmon2"), None);
        assert_eq!(leads(b"containerd"), None);
        assert_eq!(leads(b""), None);
    }

    #[test]
    fn a_kubelet_inside_another_program_is_a_daemon() {
        for name in ["k3s-server", "k3s-agent", "kubelite"] {
            assert!(daemons().any(|daemon| daemon == name), "{name}");
        }
    }
}
