//! containerd with its CRI, as a kubelet uses it.

mod config;
mod faulty;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pause_trace_cri::{BadInfo, Client, CriError, Detail, Info, Socket, Timeouts};
use serde_json::json;

use super::{Node, PodSpec, daemon::Daemon, image, places};
use crate::{image_archive, pause_binary};

/// Its socket on the node, at the default path.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Its configuration file on the node.
const CONFIG: &str = "/run/containerd.toml";

/// Its directory of networks on the node.
const NETWORKS: &str = "/run/cni/net.d";

/// Long time-outs, because other tests may keep the machine busy.
const TIMEOUTS: Timeouts = Timeouts {
    query: Duration::from_secs(60),
    change: Duration::from_secs(120),
};

/// A version of containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.6: CRI v1 and v1alpha2.
    V1,
    /// 2: CRI v1, and another format of its configuration.
    V2,
}

/// A containerd that runs on a node of its own. Dropping it ends all its pods.
#[derive(Debug)]
pub struct Containerd {
    programs: PathBuf,
    daemon: Mutex<Option<Daemon>>,
    client: Client,
    runtime: tokio::runtime::Runtime,
    /// The last field, because dropping it removes what the others leave.
    node: Arc<Node>,
}

impl Containerd {
    /// Starts it, with images for pauses ([`image::PAUSE`]) and containers ([`image::BUSYBOX`]).
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(version: Version) -> Self {
        Self::start_with_pause(version, &pause_binary())
    }

    /// Starts it, with the static `program` as the pause of its pods.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with_pause(version: Version, program: &Path) -> Self {
        let name = match version {
            Version::V1 => places::CONTAINERD_1,
            Version::V2 => places::CONTAINERD_2,
        };
        let node = Node::start();
        node.write(CONFIG, &config::containerd(version, NETWORKS));
        let network = config::network().to_string();
        node.write(&format!("{NETWORKS}/10-lab.conflist"), &network);
        let socket: Socket = node
            .path(SOCKET)
            .display()
            .to_string()
            .parse()
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let containerd = Self {
            programs: installed(name).join("usr/bin"),
            daemon: Mutex::new(None),
            client: Client::connect(socket).with_timeouts(TIMEOUTS),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime of tokio can be made"),
            node: Arc::new(node),
        };
        containerd.restart();
        for image in image::write_all(&containerd.node.path("/run/images"), program) {
            containerd.import(&image);
        }
        containerd
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The node, which ends with the last runtime on it.
    pub(super) fn shared_node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// The path of its CRI socket on the machine. On the node it is
    /// `/run/containerd/containerd.sock`.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.client.socket().path()
    }

    /// The pid of the daemon.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let daemon = self.daemon();
        daemon.as_ref().expect("containerd runs").pid()
    }

    /// Stops the daemon. Its pods keep running. `restart` starts it again.
    pub fn stop(&self) {
        if let Some(daemon) = self.daemon().take() {
            daemon.stop();
        }
    }

    /// Kills the daemon. Its pods keep running. `restart` starts it again.
    pub fn kill(&self) {
        if let Some(daemon) = self.daemon().take() {
            daemon.kill();
        }
    }

    /// Stops the daemon if it runs, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        self.stop();
        let mut command = self.node.daemon(self.programs.join("containerd"));
        command
            .args(["--config", CONFIG])
            .env("PATH", path_with(&[&self.programs]));
        let daemon = Daemon::start("containerd", &self.node, &mut command);
        daemon.await_line("containerd successfully booted");
        *self.daemon() = Some(daemon);
        self.await_answers();
    }

    /// Waits until the CRI plugin has found the pods of an earlier containerd. Until then it
    /// refuses every call ("server is not initialized yet"), even after containerd has logged that
    /// it has booted. The plugin logs nothing when it is ready.
    #[track_caller]
    fn await_answers(&self) {
        let until = Instant::now() + TIMEOUTS.query;
        while self.call(self.client.sandboxes()).is_err() && Instant::now() < until {
            thread::yield_now();
        }
        self.must(self.client.sandboxes());
    }

    /// Imports the images of an archive.
    ///
    /// # Panics
    /// When the import fails.
    pub fn import(&self, archive: &Path) {
        self.node.run(
            Command::new(self.programs.join("ctr"))
                .args(["--address", SOCKET, "--namespace", "k8s.io"])
                .args(["images", "import"])
                .arg(archive),
        );
    }

    /// Changes the pause of new pods to one of another kind: see [`image_archive`].
    ///
    /// # Panics
    /// When the import fails.
    #[track_caller]
    pub fn use_pause(&self, kind: &str) {
        let known = || {
            let status = self.must(self.client.image_status(image::PAUSE, Detail::Plain));
            status.image.map(|image| image.id)
        };
        let before = known();
        self.import(&image_archive(image::PAUSE, kind));
        // The CRI plugin is notified of the new image a moment later.
        let until = Instant::now() + TIMEOUTS.query;
        while known() == before {
            assert!(Instant::now() < until, "CRI does not see the pause {kind}");
            thread::yield_now();
        }
    }

    /// Makes runc run a shell script first, in the bundle of the container, to simulate a faulty
    /// runtime. On this node only.
    ///
    /// # Panics
    /// When the node can't be changed.
    pub fn replace_runc(&self, script: &str) {
        // The arguments have the order of containerd's call: runc --root … create --bundle PATH …
        let script = format!(
            r#"for word; do
    [ "$last" = --bundle ] && cd "$word"
    last=$word
done
{script}"#
        );
        self.precede("usr/sbin/runc", &script);
    }

    /// Makes the network plugin run a shell script first. On this node only.
    ///
    /// # Panics
    /// When the node can't be changed.
    pub fn precede_network_plugin(&self, script: &str) {
        self.precede("usr/lib/cni/bridge", script);
    }

    /// Replaces a program by a shell script that executes it in the end, on this node only.
    fn precede(&self, program: &str, script: &str) {
        let program = installed(places::OCI).join(program);
        let name = program
            .file_name()
            .expect("it is a file")
            .display()
            .to_string();
        let real = format!("/run/real/{name}");
        let text = format!("#!/bin/sh\n{script}\nexec {real} \"$@\"\n");
        let node = &self.node;
        let copy = node.path(node.write(&real, ""));
        fs::copy(&program, &copy).expect("the node's directory can be written to");
        let wrapper = node.path(node.write(&format!("/run/wrapper/{name}"), &text));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&wrapper, executable).expect("this process owns the file");
        self.hide(&program, &wrapper);
    }

    /// Chains the network plugin portmap after bridge, and makes it run a shell script first. On
    /// this node only. containerd is started again.
    ///
    /// # Panics
    /// When the node can't be changed.
    pub fn chain_portmap(&self, script: &str) {
        self.precede("usr/lib/cni/portmap", script);
        let mut network = config::network();
        if let Some(plugins) = network["plugins"].as_array_mut() {
            plugins.push(json!({"type": "portmap", "capabilities": {"portMappings": true}}));
        }
        self.node
            .write(&format!("{NETWORKS}/10-lab.conflist"), &network.to_string());
        self.restart();
    }

    /// Makes all calls of the network plugin fail, including those that remove a network. On this
    /// node only.
    ///
    /// # Panics
    /// When the node can't be changed.
    pub fn break_network_plugin(&self) {
        let plugin = installed(places::OCI).join("usr/lib/cni/bridge");
        self.hide(&plugin, Path::new("/bin/false"));
    }

    /// Replaces a program by another one, on this node only.
    fn hide(&self, program: &Path, other: &Path) {
        let none = None::<&str>;
        self.node
            .enter(|| mount(Some(other), program, none, MsFlags::MS_BIND, none))
            .unwrap_or_else(|error| panic!("failed to hide {}: {error}", program.display()));
    }

    /// The specification of a pod in the Kubernetes namespace `default`.
    pub fn pod(&self, name: &str) -> PodSpec<'_> {
        PodSpec::new(self, name)
    }

    /// The client of its CRI, for [`Containerd::call`].
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for the answer to a call of the client.
    ///
    /// # Errors
    /// The error of the call.
    pub fn call<T>(
        &self,
        answer: impl Future<Output = Result<T, CriError>>,
    ) -> Result<T, CriError> {
        self.runtime.block_on(answer)
    }

    /// The pid of the pause of a sandbox.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn sandbox_pid(&self, sandbox: &str) -> i32 {
        let status = self.must(self.client.sandbox_status(sandbox, Detail::Verbose));
        running_pid(status.info(), sandbox)
    }

    /// The pid of a container's first process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn container_pid(&self, container: &str) -> i32 {
        let status = self.must(self.client.container_status(container, Detail::Verbose));
        running_pid(status.info(), container)
    }

    /// Waits for the answer to a call that must not fail.
    #[track_caller]
    pub(super) fn must<T>(&self, answer: impl Future<Output = Result<T, CriError>>) -> T {
        self.call(answer).unwrap_or_else(|error| {
            let output = self.daemon().as_ref().map(ToString::to_string);
            panic!("failed to {error}; {}", output.unwrap_or_default())
        })
    }

    /// The path on the machine of the bundle of a sandbox or container.
    pub(super) fn bundle(&self, id: &str) -> PathBuf {
        let bundles = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
        self.node.path(Path::new(bundles).join(id))
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[track_caller]
fn running_pid(info: Result<Option<Info>, BadInfo>, id: &str) -> i32 {
    let info = info.unwrap_or_else(|error| panic!("failed to {error}"));
    let pid = info.and_then(|info| info.pid);
    pid.unwrap_or_else(|| panic!("{id} does not run"))
        .cast_signed()
}

/// The directory of a bundle that `cargo xtask runtimes` has unpacked.
pub(crate) fn installed(name: &str) -> PathBuf {
    let directory = places::directory(name);
    assert!(
        fs::exists(&directory).unwrap_or(false),
        "{} is missing: run `cargo xtask runtimes`",
        directory.display()
    );
    directory
}

/// A `PATH` that starts with these directories. Runtimes find each other's programs in it.
pub(super) fn path_with(directories: &[&Path]) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = directories.iter().map(|directory| directory.to_path_buf());
    env::join_paths(all.chain(env::split_paths(&path))).expect("a cache directory has no colon")
}
