//! docker and podman: two engines with the same command line, and without CRI.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use nix::libc::c_long;

use super::{
    Node,
    containerd::{installed, path_with},
    daemon::Daemon,
    image, places,
};
use crate::{pause_binary, process};

/// An engine on a node of its own. Dropping it ends all its containers.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    program: PathBuf,
    /// How the program is to be called.
    environment: Vec<(&'static str, OsString)>,
    daemon: Option<Daemon>,
    /// Last: it takes with it what the others leave.
    node: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
}

/// What a pod of an engine shares beside ipc, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A network of its own.
    Plain,
    /// The node's network.
    HostNetwork,
    /// A network and a pid namespace of its own.
    Pid,
}

/// What an engine has for a pod: podman's pods, and for docker, which has none, a pause and containers that join it.
#[derive(Debug)]
pub struct EnginePod<'engine> {
    /// Its pause, which podman calls "infra".
    pub pause: EngineContainer<'engine>,
    /// The options of a container of this pod.
    join: Vec<String>,
    /// What ends it.
    remove: Vec<String>,
}

/// A container of an engine.
#[derive(Debug)]
pub struct EngineContainer<'engine> {
    engine: &'engine Engine,
    id: String,
}

impl Engine {
    /// dockerd 20.10 with a containerd of its own, without networks but `none` and `host`.
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
                // Instead of the machine's own configuration.
                .args(["--config-file", node.write("/run/docker.json", "{}")])
                .args(["--host", DOCKER_HOST])
                .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
                .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
                // It may not lower it everywhere.
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
            node,
        };
        engine.import_all();
        engine
    }

    /// podman 4.3, which has no daemon.
    #[must_use]
    pub fn podman() -> Self {
        let node = Node::start();
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

    /// The pid of dockerd; podman has no daemon.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Runs a command of the engine, which must succeed; returns what it printed.
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

    /// Gives it the images of an archive.
    ///
    /// # Panics
    /// When it does not take them.
    #[track_caller]
    pub fn import(&self, archive: &Path) {
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        let policy = self.node.write("/run/policy.json", policy);
        // A bare machine has no policy, and without one podman takes no image.
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

    /// Starts a container: with options of the engine's `run`, and a command instead of the image's.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn run(&self, image: &str, options: &[&str], command: &[&str]) -> EngineContainer<'_> {
        let parent = self.cgroup_parent();
        // The containers of podman's pods are in the pod's.
        let in_pod = options.iter().any(|option| option.starts_with("--pod"));
        let cgroup = ["--cgroup-parent", &parent];
        let cgroup = if in_pod { &[][..] } else { &cgroup };
        let args = [&["run", "--detach"], cgroup, options, &[image], command].concat();
        self.container(&self.command(&args))
    }

    /// Where its containers' cgroups are, as the kernel calls it.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        match self.kind {
            Kind::Docker => format!("/{}/docker", self.node.name()),
            Kind::Podman => format!("/{}/libpod_parent", self.node.name()),
        }
    }

    /// A container that the engine has made by itself, such as a pod's pause.
    #[must_use]
    pub fn container(&self, id: &str) -> EngineContainer<'_> {
        EngineContainer {
            engine: self,
            id: id.to_owned(),
        }
    }

    fn output(&self, args: &[&str]) -> Output {
        // podman leaves a conmon behind for each container.
        let mut command = self.node.daemon(&self.program);
        command.args(args).envs(self.environment.iter().cloned());
        self.node.output(&mut command)
    }

    #[track_caller]
    fn import_all(&self) {
        let images = self.node.path("/run/images");
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

    /// Starts a container of the program's own image in it, with this behaviour. The image was imported before.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    #[track_caller]
    pub fn workload(&self, behaviour: &[&str]) -> EngineContainer<'engine> {
        let mut options: Vec<&str> = self.join.iter().map(String::as_str).collect();
        options.push("--entrypoint=/workload");
        self.pause.engine.run(image::WORKLOAD, &options, behaviour)
    }

    /// Removes it. With podman its containers go with it, with docker they stay.
    #[track_caller]
    pub fn remove(self) {
        let words: Vec<&str> = self.remove.iter().map(String::as_str).collect();
        self.pause.engine.command(&words);
    }
}

impl EngineContainer<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid of its first process; 0 when it has ended.
    ///
    /// # Panics
    /// When the engine does not say it.
    #[must_use]
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect("{{.State.Pid}}")
            .parse()
            .expect("a pid is a number")
    }

    /// Waits until its first process rests in that system call, and so has the dispositions of signals that it is to have.
    ///
    /// # Panics
    /// When it does not rest.
    #[must_use]
    #[track_caller]
    pub fn settled_in(self, call: c_long) -> Self {
        process::settle(self.pid().cast_unsigned(), call);
        self
    }

    /// Its exit code.
    ///
    /// # Panics
    /// When the engine does not say it.
    #[must_use]
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        let code = self.inspect("{{.State.ExitCode}}");
        code.parse().expect("an exit code is a number")
    }

    /// What the engine knows, by a Go template.
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

    /// Asks it to end, and kills it when it has not after the grace period, which is whole seconds.
    #[track_caller]
    pub fn stop(&self, grace: Duration) {
        let seconds = grace.as_secs().to_string();
        self.engine.command(&["stop", "--time", &seconds, &self.id]);
    }

    /// Removes it, killing it if it runs.
    #[track_caller]
    pub fn remove(self) {
        self.engine.command(&["rm", "--force", &self.id]);
    }
}

/// Where dockerd listens, as the node calls it.
const DOCKER_HOST: &str = "unix:///run/docker.sock";

/// Instead of the machine's own configuration and of what is compiled in, which would look for its parts in `/usr`.
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
