//! Containers that a CRI runtime makes.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::libc::c_long;
use pause_trace_cri::{
    Detail,
    messages::{
        ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, ExecOutput, ImageSpec,
        LinuxContainerConfig, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption,
    },
};

use super::{Pod, image};
use crate::process;

/// How long a command in a container may take.
const EXEC_LIMIT: Duration = Duration::from_secs(60);

/// How long a container may take to end that does so by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any workload takes to end that wants to.
const GRACE: Duration = Duration::from_secs(30);

/// A container to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct ContainerSpec<'pod> {
    pod: &'pod Pod<'pod>,
    config: ContainerConfig,
}

/// A container that was made.
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

    /// Of another image than [`image::BUSYBOX`].
    pub fn image(mut self, image: &str) -> Self {
        self.config.image = Some(ImageSpec {
            image: image.to_owned(),
        });
        self
    }

    /// Of the program's own image, with this behaviour: `/workload --help` lists them.
    pub fn workload<'a>(self, behaviour: impl IntoIterator<Item = &'a str>) -> Self {
        self.image(image::WORKLOAD)
            .command(["/workload"].into_iter().chain(behaviour))
    }

    /// Instead of the image's entry point and command.
    pub fn command<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.config.command = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// How often it was started before in this pod.
    pub fn attempt(mut self, attempt: u32) -> Self {
        if let Some(metadata) = &mut self.config.metadata {
            metadata.attempt = attempt;
            self.config.log_path = format!("{}_{attempt}.log", metadata.name);
        }
        self
    }

    /// `kubectl debug --target`: in the pid namespace of another container.
    pub fn target(self, target: &Container<'_>) -> Self {
        let id = target.id.clone();
        self.namespaces(|namespaces| {
            namespaces.pid = NamespaceMode::Target.into();
            namespaces.target_id = id;
        })
    }

    /// Asked for other namespaces than its pod.
    pub fn namespaces(self, change: impl FnOnce(&mut NamespaceOption)) -> Self {
        self.security(|security| change(security.namespace_options.get_or_insert_default()))
    }

    /// With other privileges.
    pub fn security(mut self, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> Self {
        let linux: &mut LinuxContainerConfig = self.config.linux.get_or_insert_default();
        change(linux.security_context.get_or_insert_default());
        self
    }

    /// Changed in any other way.
    pub fn configure(mut self, change: impl FnOnce(&mut ContainerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Makes and starts it.
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

    /// Makes it, and does not start it.
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

    /// The pid of its first process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.pod.lab.container_pid(&self.id)
    }

    /// Waits until its first process rests in that system call (for most workloads `ppoll`), and so has the dispositions of
    /// signals that it is to have. Before that pid 1 ignores what should end it.
    ///
    /// # Panics
    /// When it does not rest.
    #[must_use]
    #[track_caller]
    pub fn settled_in(self, call: c_long) -> Self {
        process::settle(self.pid().cast_unsigned(), call);
        self
    }

    /// What the runtime says of it.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> ContainerStatus {
        let lab = self.pod.lab;
        let status = lab.must(lab.client().container_status(&self.id, Detail::Plain));
        status.status.expect("an answer has a status")
    }

    /// Its exit code; `None` while it has not ended.
    #[must_use]
    #[track_caller]
    pub fn exit_code(&self) -> Option<i32> {
        let status = self.status();
        (status.state() == ContainerState::Exited).then_some(status.exit_code)
    }

    /// Waits until the runtime knows that it has ended, which is a while after it has; returns its exit code.
    ///
    /// # Panics
    /// When it lives on.
    #[track_caller]
    pub fn await_end(&self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(code) = self.exit_code() {
                return code;
            }
            assert!(Instant::now() < until, "{} lives on", self.id);
            thread::yield_now();
        }
    }

    /// The directory of its bundle, as the machine calls it.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.pod.lab.bundle(&self.id)
    }

    /// What it has printed, as the runtime logs it: each line with a time, a stream and a tag.
    #[must_use]
    pub fn log(&self) -> String {
        // Absent until there is something in it.
        fs::read_to_string(self.pod.lab.node().path(&self.log)).unwrap_or_default()
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

    /// Asks it to end, and kills it when it has not after the grace period, which is whole seconds.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn stop(&self, grace: Duration) {
        let lab = self.pod.lab;
        let stop = || lab.client().stop_container(&self.id, grace);
        // A container that ends in this very moment takes its shim with it, and containerd 1.6 then says "ttrpc: closed". A
        // kubelet asks again, too.
        if lab.call(stop()).is_err() {
            lab.must(stop());
        }
    }

    /// Stops and removes it as a kubelet does, which gives it half a minute.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn end(self) {
        self.stop(GRACE);
        self.await_end();
        self.remove();
    }

    /// Removes it, with its files.
    ///
    /// # Panics
    /// When the runtime refuses.
    #[track_caller]
    pub fn remove(self) {
        let lab = self.pod.lab;
        lab.must(lab.client().remove_container(&self.id));
    }
}
