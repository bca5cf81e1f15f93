//! Pods that a CRI runtime makes, requested as by a kubelet.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::libc::SYS_ppoll;
use pause_trace_cri::messages::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata,
};

use super::{Container, ContainerSpec, Containerd};
use crate::process;

/// The specification of a pod.
#[derive(Clone, Debug)]
#[must_use]
pub struct PodSpec<'lab> {
    lab: &'lab Containerd,
    name: String,
    namespace: String,
    annotations: BTreeMap<String, String>,
    namespaces: NamespaceOption,
    attempt: u32,
    uid: String,
}

/// A running pod.
#[derive(Debug)]
pub struct Pod<'lab> {
    pub(super) lab: &'lab Containerd,
    /// The configuration of the sandbox, which is also needed to create containers.
    pub(super) config: PodSandboxConfig,
    pub(super) namespaces: NamespaceOption,
    id: String,
}

impl<'lab> PodSpec<'lab> {
    pub(super) fn new(lab: &'lab Containerd, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self {
            lab,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            annotations: BTreeMap::new(),
            namespaces: NamespaceOption {
                pid: NamespaceMode::Container.into(),
                ..NamespaceOption::default()
            },
            attempt: 0,
            // The format of Kubernetes.
            uid: format!("{process:08x}-0000-4000-8000-{count:012x}"),
        }
    }

    /// Sets another Kubernetes namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// `hostNetwork: true`
    pub fn host_network(mut self) -> Self {
        self.namespaces.network = NamespaceMode::Node.into();
        self
    }

    /// `hostPID: true`
    pub fn host_pid(mut self) -> Self {
        self.namespaces.pid = NamespaceMode::Node.into();
        self
    }

    /// `hostIPC: true`
    pub fn host_ipc(mut self) -> Self {
        self.namespaces.ipc = NamespaceMode::Node.into();
        self
    }

    /// `shareProcessNamespace: true`
    pub fn shared_pid(mut self) -> Self {
        self.namespaces.pid = NamespaceMode::Pod.into();
        self
    }

    /// Requests other namespaces, such as a user namespace.
    pub fn namespaces(mut self, change: impl FnOnce(&mut NamespaceOption)) -> Self {
        change(&mut self.namespaces);
        self
    }

    /// A new sandbox for a pod whose sandbox has ended.
    pub fn again(mut self, pod: &Pod<'_>) -> Self {
        let old = pod.metadata();
        self.uid = old.uid.clone();
        self.attempt = old.attempt + 1;
        self
    }

    /// Runs its sandbox.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Pod<'lab> {
        let config = self.config();
        let id = self.lab.must(self.lab.client().run_sandbox(&config, ""));
        Pod {
            lab: self.lab,
            config,
            namespaces: self.namespaces,
            id,
        }
    }

    /// Asks for its sandbox, which the runtime is to refuse. Returns the pod's uid.
    ///
    /// # Panics
    /// When the runtime makes it.
    #[track_caller]
    pub fn refused(self) -> String {
        let config = self.config();
        let answer = self.lab.call(self.lab.client().run_sandbox(&config, ""));
        answer.expect_err("the sandbox can't be made");
        self.lab.node().remove_cgroup(&cgroup(&self.uid));
        self.uid
    }

    fn config(&self) -> PodSandboxConfig {
        let Self {
            name,
            namespace,
            uid,
            ..
        } = self;
        let label = |key: &str, value: &str| (format!("io.kubernetes.pod.{key}"), value.to_owned());
        let on_node = self.namespaces.network() == NamespaceMode::Node;
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.clone(),
                uid: uid.clone(),
                namespace: namespace.clone(),
                attempt: self.attempt,
            }),
            hostname: if on_node { String::new() } else { name.clone() },
            log_directory: format!("/var/log/pods/{namespace}_{name}_{uid}"),
            dns_config: None,
            labels: [
                label("name", name),
                label("namespace", namespace),
                label("uid", uid),
            ]
            .into(),
            annotations: self.annotations.clone(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/{}/{}", self.lab.node().name(), cgroup(uid)),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(self.namespaces.clone()),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
        }
    }
}

impl<'lab> Pod<'lab> {
    /// The id of the sandbox.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pod's uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.metadata().uid
    }

    /// The pid of its pause.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pause_pid(&self) -> i32 {
        self.lab.sandbox_pid(&self.id)
    }

    /// The pid of its shim, the parent of its pause and of the first processes of its containers.
    ///
    /// # Panics
    /// When the pause does not run.
    #[must_use]
    #[track_caller]
    pub fn shim_pid(&self) -> i32 {
        let pause = self.pause_pid();
        let status = fs::read_to_string(format!("/proc/{pause}/status")).expect("the pause runs");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent = parent.and_then(|pid| pid.trim().parse().ok());
        parent.expect("every process has a parent")
    }

    /// Makes and removes a cgroup of the pod this many times. The records of that have no limit, as
    /// those of what the pod's processes do have.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn churn_cgroups(&self, times: usize) {
        self.lab.node().churn_cgroups(&cgroup(self.uid()), times);
    }

    /// Freezes all its processes while `happen` runs, as `docker pause` does.
    ///
    /// # Panics
    /// When the machine has no freezer for cgroups.
    #[track_caller]
    pub fn frozen<T>(&self, happen: impl FnOnce() -> T) -> T {
        self.lab.node().frozen(&cgroup(self.uid()), happen)
    }

    /// The directory of its cgroup, in the hierarchy that is watched. That of a container is below
    /// it, with the container's id.
    #[must_use]
    pub fn cgroup_directory(&self) -> PathBuf {
        self.lab.node().cgroup_directory(&cgroup(self.uid()))
    }

    /// Makes the sandbox run out of memory, so that the kernel kills the pause.
    ///
    /// # Panics
    /// When the machine has no memory controller for cgroups.
    #[track_caller]
    pub fn lose_pause_to_the_oom_killer(&self) {
        let pause = self.pause_pid();
        let handle = process::handle(pause.cast_unsigned()).expect("the pause runs");
        let (directory, limit) = memory_cgroup(pause);
        let write = |file: &str, text: &str| {
            fs::write(file, text).unwrap_or_else(|error| panic!("failed to write {file}: {error}"));
        };
        write(&format!("{directory}/{limit}"), "8388608");
        // Makes the OOM killer choose the pause. The process that fills the memory writes a file,
        // so it has little memory itself.
        write(&format!("/proc/{pause}/oom_score_adj"), "1000");
        let file = format!("/dev/shm/pause-trace-{}", self.uid());
        let script = "echo 0 > \"$0/cgroup.procs\" && exec head -c 64M /dev/zero > \"$1\"";
        let mut writer = Command::new("sh")
            .args(["-c", script, &directory, &file])
            .spawn()
            .expect("sh runs");
        let ended = process::ends(&handle);
        // The OOM killer may have killed it, too.
        let _ = writer.kill();
        writer.wait().expect("it is a child of this process");
        let _ = fs::remove_file(&file);
        assert!(ended, "the OOM killer did not kill the pause");
    }

    /// The path of the sandbox's bundle on the machine.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.lab.bundle(&self.id)
    }

    /// The specification of a container in it.
    pub fn container(&self, name: &str) -> ContainerSpec<'_> {
        ContainerSpec::new(self, name)
    }

    /// Starts a container that serves and handles its stop signal, and waits until it is ready.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[must_use]
    #[track_caller]
    pub fn serve(&self, name: &str) -> Container<'_> {
        let container = self.container(name).workload(["serve"]).start();
        container.settled_in(SYS_ppoll)
    }

    /// Stops it and removes it. Its containers get no grace period.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn remove(self) {
        self.stop();
        self.lab.must(self.lab.client().remove_sandbox(&self.id));
        self.lab.node().remove_cgroup(&cgroup(self.uid()));
    }

    /// Stops its sandbox without removing it.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn stop(&self) {
        self.lab.must(self.lab.client().stop_sandbox(&self.id));
    }

    pub(super) fn metadata(&self) -> &PodSandboxMetadata {
        let metadata = self.config.metadata.as_ref();
        metadata.expect("every pod is made with metadata")
    }
}

/// The cgroup of a pod below the node's, as a kubelet names it.
fn cgroup(uid: &str) -> String {
    format!("kubepods/besteffort/pod{uid}")
}

/// The memory cgroup of a process, and the name of the file that limits it.
pub(super) fn memory_cgroup(pid: i32) -> (String, &'static str) {
    let file = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let of = |line: &str, controllers: &str| {
        let (_, rest) = line.split_once(':')?;
        rest.strip_prefix(controllers)?
            .strip_prefix(':')
            .map(str::to_owned)
    };
    let top = "/sys/fs/cgroup";
    match text.lines().find_map(|line| of(line, "memory")) {
        Some(path) => (format!("{top}/memory{path}"), "memory.limit_in_bytes"),
        None => {
            let path = text.lines().find_map(|line| of(line, ""));
            let path = path.expect("every process is in a cgroup");
            (format!("{top}{path}"), "memory.max")
        }
    }
}
