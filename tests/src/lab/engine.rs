//! Docker and Podman: two engines with the same command line and without CRI.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

use nix::libc::c_long;

use super::{
    Containerd, Node,
    containerd::{installed, path_with},
    daemon::Daemon,
    image, places,
};
use crate::{pause_binary, process};

/// An engine on a node of its own. Dropping it kills all its containers.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    program: PathBuf,
    /// The environment of its commands.
    environment: Vec<(&'static str, OsString)>,
    daemon: Option<Daemon>,
    /// The last field, because dropping it removes what the others leave.
    node: Arc<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
}

/// Which namespaces a pod of an engine shares in addition to ipc, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A network of its own.
    Plain,
    /// The node's network.
    HostNetwork,
    /// A network and a pid namespace of its own.
    Pid,
}

/// A pod of an engine: a pod of Podman, or for Docker, which has no pods, a pause and containers
/// that join its namespaces.
#[derive(Debug)]
pub struct EnginePod<'engine> {
    /// Its pause, which Podman calls "infra".
    pub pause: EngineContainer<'engine>,
    /// The options of a container of this pod.
    join: Vec<String>,
    /// The command that removes it.
    remove: Vec<String>,
}

/// A container of an engine.
#[derive(Debug)]
pub struct EngineContainer<'engine> {
    engine: &'engine Engine,
    id: String,
}

impl Engine {
    /// Starts dockerd 20.10 with a containerd of its own. It has only the networks `none` and
    /// `host`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn docker() -> Self {
        let node = Node::start();
        let docker = installed(places::DOCKER);
        let containerd = installed(places::CONTAINERD_1).join("usr/bin");
        let runc = installed(places::OCI).join("usr/sbin");
        let daemon = Daemon::start(
            "dockerd",
            &node,
            node.daemon(docker.join("usr/sbin/dockerd"))
                // Not the machine's own configuration.
                .args(["--config-file", node.write("/run/docker.json", "{}")])
                .args(["--host", DOCKER_HOST])
                .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
                .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
                // Not every machine permits to lower it.
                .args(["--oom-score-adjust", "0"])
                .env("PATH", path_with(&[&containerd, &runc]))
                .env("LD_LIBRARY_PATH", places::libraries(&docker)),
        );
        daemon.await_line("API listen on");
        let engine = Self {
            kind: Kind::Docker,
            program: docker.join("usr/bin/docker"),
            environment: vec![
                ("DOCKER_HOST", DOCKER_HOST.into()),
                ("DOCKER_CONFIG", "/run/docker-user".into()),
            ],
            daemon: Some(daemon),
            node: Arc::new(node),
        };
        engine.import_all();
        engine
    }

    /// Podman 4.3, which has no daemon.
    #[must_use]
    pub fn podman() -> Self {
        Self::podman_on(Arc::new(Node::start()))
    }

    /// The same on the node of a containerd.
    #[must_use]
    pub fn podman_beside(containerd: &Containerd) -> Self {
        Self::podman_on(containerd.shared_node())
    }

    fn podman_on(node: Arc<Node>) -> Self {
        let podman = installed(places::PODMAN);
        let oci = installed(places::OCI);
        let settings = node.write("/run/containers.conf", &podman_settings(&podman, &oci));
        let environment = vec![
            ("CONTAINERS_CONF", settings.into()),
            ("LD_LIBRARY_PATH", places::libraries(&podman).into()),
        ];
        let engine = Self {
            kind: Kind::Podman,
            program: podman.join("usr/bin/podman"),
            environment,
            daemon: None,
            node,
        };
        engine.import_all();
        engine
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The pid of dockerd; `None` for Podman, which has no daemon.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Runs a command of the engine, which must succeed. Returns its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        let daemon = self.daemon.as_ref().map(ToString::to_string);
        assert!(
            output.status.success(),
            "{} {args:?}: {errors}{}",
            self.program.display(),
            daemon.unwrap_or_default()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Imports the images of an archive.
    ///
    /// # Panics
    /// When the import fails.
    #[track_caller]
    pub fn import(&self, archive: &Path) {
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        let policy = self.node.write("/run/policy.json", policy);
        // Podman imports no image without a policy, which a bare machine lacks.
        let policy = match self.kind {
            Kind::Docker => &[][..],
            Kind::Podman => &["--signature-policy", policy],
        };
        let input = archive.to_string_lossy();
        self.command(&[&["load", "--input", &*input], policy].concat());
    }

    /// Makes a pod.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn pod(&self, sharing: Sharing) -> EnginePod<'_> {
        let network = match sharing {
            Sharing::HostNetwork => "host",
            Sharing::Plain | Sharing::Pid => "none",
        };
        match self.kind {
            Kind::Docker => {
                let options = ["--ipc", "shareable", "--network", network];
                let pause = self.run(image::PAUSE, &options, &[]);
                let kinds = ["network", "ipc", "pid"];
                let shared = &kinds[..if sharing == Sharing::Pid { 3 } else { 2 }];
                let join = |kind| format!("--{kind}=container:{}", pause.id);
                let join = shared.iter().map(join).collect();
                let remove = ["rm", "--force", &pause.id].map(str::to_owned).into();
                EnginePod {
                    pause,
                    join,
                    remove,
                }
            }
            Kind::Podman => {
                let share = match sharing {
                    Sharing::Pid => "net,ipc,uts,pid",
                    Sharing::Plain | Sharing::HostNetwork => "net,ipc,uts",
                };
                let mut create = vec!["pod", "create", "--network", network, "--share", share];
                let parent = self.cgroup_parent();
                create.extend(["--cgroup-parent", &parent]);
                let id = self.command(&create);
                self.command(&["pod", "start", &id]);
                let infra = ["pod", "inspect", "--format", "{{.InfraContainerID}}", &id];
                EnginePod {
                    pause: self.container(&self.command(&infra)),
                    join: vec![format!("--pod={id}")],
                    remove: ["pod", "rm", "--force", "--time", "0", &id]
                        .map(str::to_owned)
                        .into(),
                }
            }
        }
    }

    /// Starts a container with options of the engine's `run`, and a command instead of the image's.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn run(&self, image: &str, options: &[&str], command: &[&str]) -> EngineContainer<'_> {
        let parent = self.cgroup_parent();
        // The containers of Podman's pods are in the cgroup of the pod.
        let in_pod = options.iter().any(|option| option.starts_with("--pod"));
        let cgroup = ["--cgroup-parent", &parent];
        let cgroup = if in_pod { &[][..] } else { &cgroup };
        let args = [&["run", "--detach"], cgroup, options, &[image], command].concat();
        self.container(&self.command(&args))
    }

    /// The parent cgroup of its containers.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        match self.kind {
            Kind::Docker => format!("/{}/docker", self.node.name()),
            Kind::Podman => format!("/{}/libpod_parent", self.node.name()),
        }
    }

    /// A container that the engine has made itself, such as the pause of a pod.
    #[must_use]
    pub fn container(&self, id: &str) -> EngineContainer<'_> {
        EngineContainer {
            engine: self,
            id: id.to_owned(),
        }
    }

    fn output(&self, args: &[&str]) -> Output {
        // Podman leaves a conmon running for each container, which must be in the cgroup of the
        // node.
        let mut command = self.node.daemon(&self.program);
        command.args(args).envs(self.environment.iter().cloned());
        self.node.output(&mut command)
    }

    #[track_caller]
    fn import_all(&self) {
        // A containerd on the same node has a directory of its own.
        let images = self.node.path("/run/images-of-engine");
        for archive in image::write_all(&images, &pause_binary()) {
            self.import(&archive);
        }
    }
}

impl<'engine> EnginePod<'engine> {
    /// Starts a container of [`image::BUSYBOX`] in it.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn container(&self, command: &[&str]) -> EngineContainer<'engine> {
        let options: Vec<&str> = self.join.iter().map(String::as_str).collect();
        self.pause.engine.run(image::BUSYBOX, &options, command)
    }

    /// Starts a container of the image of pause-trace in it, with this behaviour. The image must be
    /// imported.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn workload(&self, behaviour: &[&str]) -> EngineContainer<'engine> {
        self.workload_with(&[], behaviour)
    }

    /// The same with further options of the engine's `run`.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn workload_with(&self, options: &[&str], behaviour: &[&str]) -> EngineContainer<'engine> {
        let join = self.join.iter().map(String::as_str);
        let mut options: Vec<&str> = join.chain(options.iter().copied()).collect();
        options.push("--entrypoint=/workload");
        self.pause.engine.run(image::WORKLOAD, &options, behaviour)
    }

    /// The same with the OCI hooks of a directory, which only Podman reads.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn workload_with_hooks(
        &self,
        hooks: &Path,
        behaviour: &[&str],
    ) -> EngineContainer<'engine> {
        let hooks = hooks.to_str().expect("the path is UTF-8");
        let join: Vec<&str> = self.join.iter().map(String::as_str).collect();
        let before = ["--hooks-dir", hooks, "run", "--detach"];
        let after = ["--entrypoint=/workload", image::WORKLOAD];
        let engine = self.pause.engine;
        let args = [&before[..], &join, &after, behaviour].concat();
        engine.container(&engine.command(&args))
    }

    /// Removes it. Podman also removes its containers, Docker does not.
    #[track_caller]
    pub fn remove(self) {
        let words: Vec<&str> = self.remove.iter().map(String::as_str).collect();
        self.pause.engine.command(&words);
    }
}

impl EngineContainer<'_> {
    /// The engine that it belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.engine
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid of its first process; 0 when it has ended.
    ///
    /// # Panics
    /// When the engine does not report it.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect("{{.State.Pid}}")
            .parse()
            .expect("a pid is a number")
    }

    /// Waits until its first process blocks in that system call, and so has set its signal
    /// handlers.
    ///
    /// # Panics
    /// When it never makes the system call.
    #[must_use]
    #[track_caller]
    pub fn settled_in(self, call: c_long) -> Self {
        process::settle(self.pid().cast_unsigned(), call);
        self
    }

    /// Waits until the child of its first process blocks in that system call. It must have been
    /// forked.
    ///
    /// # Panics
    /// When there is none, or it never makes the system call.
    #[track_caller]
    pub fn child_settles_in(&self, call: c_long) {
        let children = process::children(self.pid().cast_unsigned());
        let child = children.first().expect("its first process has a child");
        process::settle(*child, call);
    }

    /// Its exit code.
    ///
    /// # Panics
    /// When the engine does not report it.
    #[must_use]
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        let code = self.inspect("{{.State.ExitCode}}");
        code.parse().expect("an exit code is a number")
    }

    /// Inspects it with a Go template.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        let Self { engine, id } = self;
        engine.command(&["container", "inspect", "--format", template, id])
    }

    /// Runs a command in it.
    pub fn exec(&self, command: &[&str]) -> Output {
        let args = [&["exec", self.id.as_str()], command].concat();
        self.engine.output(&args)
    }

    /// Stops it: the engine kills it after the grace period, in whole seconds.
    #[track_caller]
    pub fn stop(&self, grace: Duration) {
        let seconds = grace.as_secs().to_string();
        self.engine.command(&["stop", "--time", &seconds, &self.id]);
    }

    /// Removes it, and kills it if it runs.
    #[track_caller]
    pub fn remove(self) {
        self.engine.command(&["rm", "--force", &self.id]);
    }
}

/// The socket of dockerd on the node.
const DOCKER_HOST: &str = "unix:///run/docker.sock";

/// The configuration of Podman. The machine's own and the built-in one would use the programs in
/// `/usr`.
fn podman_settings(podman: &Path, oci: &Path) -> String {
    let conmon = podman.join("usr/bin/conmon");
    let (runc, plugins) = (oci.join("usr/sbin/runc"), oci.join("usr/lib/cni"));
    format!(
        r#"
[containers]
apparmor_profile = "unconfined"
# It would raise these for every container.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
conmon_path = [{conmon:?}]
events_logger = "file"
infra_image = {infra:?}
runtime = "runc"
[engine.runtimes]
runc = [{runc:?}]
[network]
cni_plugin_dirs = [{plugins:?}]
network_backend = "cni"
network_config_dir = "/run/cni/net.d"
"#,
        infra = image::PAUSE,
    )
}
