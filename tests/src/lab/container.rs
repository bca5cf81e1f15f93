//! Containers that a CRI runtime makes.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::libc::c_long;
use pause_trace_cri::{
    Detail,
    messages::{
        ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ExecOutput, ImageSpec,
        LinuxContainerConfig, LinuxContainerSecurityContext, Mount, NamespaceMode, NamespaceOption,
    },
};

use super::{Pod, image, pod::memory_cgroup};
use crate::process;

/// How long a command in a container may take.
const EXEC_LIMIT: Duration = Duration::from_secs(60);

/// How long a container that exits by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A grace period longer than any workload takes that handles its stop signal.
const GRACE: Duration = Duration::from_secs(30);

/// The specification of a container.
#[derive(Clone, Debug)]
#[must_use]
pub struct ContainerSpec<'pod> {
    pod: &'pod Pod<'pod>,
    config: ContainerConfig,
}

/// A created container.
#[derive(Debug)]
pub struct Container<'pod> {
    pod: &'pod Pod<'pod>,
    id: String,
    log: String,
}

impl<'pod> ContainerSpec<'pod> {
    pub(super) fn new(pod: &'pod Pod<'pod>, name: &str) -> Self {
        let metadata = pod.metadata();
        let labels = [
            ("io.kubernetes.pod.name", metadata.name.as_str()),
            ("io.kubernetes.pod.namespace", &metadata.namespace),
            ("io.kubernetes.pod.uid", &metadata.uid),
            ("io.kubernetes.container.name", name),
        ];
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..ContainerConfig::default()
        };
        let spec = Self { pod, config };
        let namespaces = pod.namespaces.clone();
        spec.image(image::BUSYBOX)
            .security(|security| security.namespace_options = Some(namespaces))
            .attempt(0)
    }

    /// Uses another image than [`image::BUSYBOX`].
    pub fn image(mut self, image: &str) -> Self {
        self.config.image = Some(ImageSpec {
            image: image.to_owned(),
        });
        self
    }

    /// Uses the image of pause-trace with this behaviour. `/workload --help` lists the behaviours.
    pub fn workload<'a>(self, behaviour: impl IntoIterator<Item = &'a str>) -> Self {
        self.image(image::WORKLOAD)
            .command(["/workload"].into_iter().chain(behaviour))
    }

    /// Replaces the entry point and command of the image.
    pub fn command<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.config.command = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets how often it was started before in this pod.
    pub fn attempt(mut self, attempt: u32) -> Self {
        if let Some(metadata) = &mut self.config.metadata {
            metadata.attempt = attempt;
            self.config.log_path = format!("{}_{attempt}.log", metadata.name);
        }
        self
    }

    /// Requests the pid namespace of another container, as `kubectl debug --target` does.
    pub fn target(self, target: &Container<'_>) -> Self {
        let id = target.id.clone();
        self.namespaces(|namespaces| {
            namespaces.pid = NamespaceMode::Target.into();
            namespaces.target_id = id;
        })
    }

    /// Requests other namespaces than those of its pod.
    pub fn namespaces(self, change: impl FnOnce(&mut NamespaceOption)) -> Self {
        self.security(|security| change(security.namespace_options.get_or_insert_default()))
    }

    /// Changes its security context.
    pub fn security(mut self, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> Self {
        let linux: &mut LinuxContainerConfig = self.config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
        self
    }

    /// Mounts a path of the machine, writable.
    pub fn mount(self, host: &Path, container: &str) -> Self {
        let mount = Mount {
            container_path: container.to_owned(),
            host_path: host.display().to_string(),
            readonly: false,
        };
        self.configure(|config| config.mounts.push(mount))
    }

    /// Changes its configuration in any other way.
    pub fn configure(mut self, change: impl FnOnce(&mut ContainerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Creates and starts it.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Container<'pod> {
        let container = self.create();
        container.start();
        container
    }

    /// Creates it without starting it.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[must_use]
    #[track_caller]
    pub fn create(self) -> Container<'pod> {
        let Pod { lab, config, .. } = self.pod;
        let creation = lab
            .client()
            .create_container(self.pod.id(), &self.config, config);
        let id = lab.must(creation);
        Container {
            pod: self.pod,
            id,
            log: format!("{}/{}", config.log_directory, self.config.log_path),
        }
    }
}

impl Container<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts it after [`ContainerSpec::create`].
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn start(&self) {
        let lab = self.pod.lab;
        lab.must(lab.client().start_container(&self.id));
    }

    /// Tries to start it, which the runtime is to refuse.
    ///
    /// # Panics
    /// When it starts.
    #[track_caller]
    pub fn refused(&self) {
        let lab = self.pod.lab;
        let answer = lab.call(lab.client().start_container(&self.id));
        answer.expect_err("the container can't be started");
    }

    /// The pid of its first process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.pod.lab.container_pid(&self.id)
    }

    /// Waits until its first process blocks in that system call (`ppoll` for most workloads), and
    /// so has set its signal handlers. Before that, pid 1 ignores the signals that should end it.
    ///
    /// # Panics
    /// When it never makes the system call.
    #[must_use]
    #[track_caller]
    pub fn settled_in(self, call: c_long) -> Self {
        process::settle(self.pid().cast_unsigned(), call);
        self
    }

    /// Its status from the runtime.
    ///
    /// # Panics
    /// When the runtime does not answer.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> ContainerStatus {
        let lab = self.pod.lab;
        let status = lab.must(lab.client().container_status(&self.id, Detail::Plain));
        status.status.expect("an answer has a status")
    }

    /// Its exit code; `None` until it ends.
    #[must_use]
    #[track_caller]
    pub fn exit_code(&self) -> Option<i32> {
        let status = self.status();
        (status.state() == ContainerState::Exited).then_some(status.exit_code)
    }

    /// Waits until the runtime reports its end, which is a while after the end itself. Returns its
    /// exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn await_end(&self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(code) = self.exit_code() {
                return code;
            }
            assert!(Instant::now() < until, "{} does not end", self.id);
            thread::yield_now();
        }
    }

    /// The path of its bundle on the machine.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.pod.lab.bundle(&self.id)
    }

    /// Its log from the runtime: each line has a time, a stream and a tag.
    #[must_use]
    pub fn log(&self) -> String {
        // The file is missing until there is output.
        fs::read_to_string(self.pod.lab.node().path(&self.log)).unwrap_or_default()
    }

    /// Limits its memory from now on.
    ///
    /// # Panics
    /// When the machine has no memory controller for cgroups.
    #[track_caller]
    pub fn limit_memory(&self, bytes: u64) {
        let (directory, limit) = memory_cgroup(self.pid());
        let file = format!("{directory}/{limit}");
        fs::write(&file, bytes.to_string())
            .unwrap_or_else(|error| panic!("failed to write {file}: {error}"));
    }

    /// Runs a command in it, as `kubectl exec` and probes do.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn exec<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> ExecOutput {
        let lab = self.pod.lab;
        let command: Vec<&str> = command.into_iter().collect();
        lab.must(lab.client().exec(&self.id, &command, EXEC_LIMIT))
    }

    /// Tries to run a command in it, which the runtime is to refuse.
    ///
    /// # Panics
    /// When the command runs.
    #[track_caller]
    pub fn refused_exec(&self, command: &str) {
        let lab = self.pod.lab;
        let answer = lab.call(lab.client().exec(&self.id, &[command], EXEC_LIMIT));
        answer.expect_err("the command can't be executed");
    }

    /// Stops it: the runtime kills it after the grace period, in whole seconds.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn stop(&self, grace: Duration) {
        let lab = self.pod.lab;
        let stop = || lab.client().stop_container(&self.id, grace);
        // If the container ends at this moment, its shim ends, too, and containerd 1.6 fails with
        // "ttrpc: closed". A kubelet also retries.
        if lab.call(stop()).is_err() {
            lab.must(stop());
        }
    }

    /// Stops it with a grace period of half a minute, and removes it, as a kubelet does.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn end(self) {
        self.stop(GRACE);
        self.await_end();
        self.remove();
    }

    /// Removes it and its files.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn remove(self) {
        let lab = self.pod.lab;
        lab.must(lab.client().remove_container(&self.id));
    }
}
