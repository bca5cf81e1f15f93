//! A kubelet without an API server: it runs the pods of the manifests in a directory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use pause_trace_cri::messages::PodSandboxState;
use serde_json::{Value, json};

use super::{Containerd, Node, containerd::installed, daemon::Daemon, image, places};

/// The name of its node, which is the suffix of the names of static pods.
const NAME: &str = "node";

/// The address of its node. It accepts no loopback address.
const ADDRESS: &str = "192.0.2.2";

/// The directory of manifests on the node.
const MANIFESTS: &str = "/run/kubelet/manifests";

/// The address of its read-only API, on the node's network.
const READ_ONLY_API: (&str, u16) = ("127.0.0.1", 10255);

/// How long it may take to reach a state. Each of its own loops takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long its log may be silent before a condition is checked again. It does not log everything.
const SILENCE: Duration = Duration::from_millis(200);

/// A kubelet that uses a containerd. Dropping it kills it. Its pods stay for the next kubelet, and
/// end with the node.
#[derive(Debug)]
pub struct Kubelet<'lab> {
    lab: &'lab Containerd,
    daemon: Daemon,
}

/// A pod of a manifest.
#[derive(Debug)]
pub struct StaticPod<'kubelet> {
    kubelet: &'kubelet Kubelet<'kubelet>,
    name: String,
    uid: String,
}

impl<'lab> Kubelet<'lab> {
    /// Starts kubelet 1.20, which uses CRI v1alpha2 and so does not work with containerd 2.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(lab: &'lab Containerd) -> Self {
        let node = lab.node();
        fs::create_dir_all(node.path(MANIFESTS)).expect("the node's directory can be written to");
        hide_settings(node);
        let busybox = places::directory(places::BUSYBOX).join("bin/busybox");
        let address = format!("{ADDRESS}/32");
        node.run(Command::new(busybox).args(["ip", "address", "replace", &address, "dev", "lo"]));
        let settings = settings(node).to_string();
        let runtime = "unix:///run/containerd/containerd.sock";
        let daemon = Daemon::start(
            "kubelet",
            node,
            node.daemon(installed(places::KUBELET).join("kubelet"))
                .args([
                    "--config",
                    node.write("/run/kubelet/config.json", &settings),
                ])
                .args(["--container-runtime", "remote"])
                .args(["--container-runtime-endpoint", runtime])
                .args(["--image-service-endpoint", runtime])
                .args(["--pod-infra-container-image", image::PAUSE])
                .args(["--hostname-override", NAME])
                .args(["--node-ip", ADDRESS])
                .args(["--v", "2"]),
        );
        let kubelet = Self { lab, daemon };
        kubelet.until("serves its API", || kubelet.try_pods().map(drop));
        kubelet
    }

    /// The containerd that it uses.
    #[must_use]
    pub fn lab(&self) -> &'lab Containerd {
        self.lab
    }

    /// The pid of the daemon.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.daemon.pid()
    }

    /// Adds the manifest of a pod, and waits until all its containers run.
    ///
    /// # Panics
    /// When they do not run in time.
    #[must_use]
    #[track_caller]
    pub fn run(&self, manifest: &Value) -> StaticPod<'_> {
        let pod = self.add(manifest);
        let wanted = manifest["spec"]["containers"].as_array();
        let wanted = wanted.expect("a pod has containers").len();
        self.until(&format!("runs {}", pod.name), || {
            let value = self.pod(&pod.name)?;
            let started = value["status"]["containerStatuses"].as_array()?;
            let running = started
                .iter()
                .filter(|status| status["state"]["running"].is_object());
            (running.count() == wanted).then_some(())
        });
        pod
    }

    /// Adds the manifest of a pod, and waits until the kubelet lists the pod.
    ///
    /// # Panics
    /// When the kubelet does not list it in time.
    #[must_use]
    #[track_caller]
    pub fn add(&self, manifest: &Value) -> StaticPod<'_> {
        let name = manifest["metadata"]["name"].as_str();
        let name = name.expect("a pod has a name").to_owned();
        let directory = self.lab.node().path(MANIFESTS);
        // The rename keeps the kubelet from reading half a manifest. It ignores hidden files.
        let hidden = directory.join(format!(".{name}"));
        fs::write(&hidden, manifest.to_string())
            .and_then(|()| fs::rename(&hidden, directory.join(format!("{name}.json"))))
            .unwrap_or_else(|error| panic!("failed to write the manifest of {name}: {error}"));
        self.known(&name)
    }

    /// Waits until it lists a pod of this name, whose manifest was added to an earlier kubelet. A
    /// manifest that is written again would be another pod.
    ///
    /// # Panics
    /// When the kubelet does not list it in time.
    #[must_use]
    #[track_caller]
    pub fn known(&self, name: &str) -> StaticPod<'_> {
        let pod = self.until(&format!("lists {name}"), || self.pod(name));
        let uid = pod["metadata"]["uid"].as_str().expect("a pod has a uid");
        StaticPod {
            kubelet: self,
            uid: uid.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its pods, as it would report them to the API server.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn pods(&self) -> Vec<Value> {
        self.try_pods()
            .unwrap_or_else(|| panic!("the kubelet does not answer: {}", self.daemon))
    }

    /// Waits until `ask` returns a value.
    ///
    /// # Panics
    /// When that takes longer than two minutes.
    #[track_caller]
    pub fn until<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "timed out: the kubelet {what}; {}",
                self.daemon
            );
            self.daemon.await_news(SILENCE.min(left));
        }
    }

    fn pod(&self, name: &str) -> Option<Value> {
        let full = format!("{name}-{NAME}");
        let mut pods = self.try_pods()?.into_iter();
        pods.find(|pod| pod["metadata"]["name"] == *full)
    }

    fn try_pods(&self) -> Option<Vec<Value>> {
        let body = self.lab.node().enter(|| get("/pods"))?;
        let mut answer: Value = serde_json::from_str(&body).ok()?;
        match answer["items"].take() {
            Value::Array(pods) => Some(pods),
            // Go encodes an empty list as null.
            Value::Null => Some(Vec::new()),
            _ => None,
        }
    }
}

impl StaticPod<'_> {
    /// The pod's name in the manifest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pod's uid. For a static pod it is a hash without dashes.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its object in the kubelet's list.
    ///
    /// # Panics
    /// When the kubelet does not list it.
    #[must_use]
    #[track_caller]
    pub fn value(&self) -> Value {
        let pod = self.kubelet.pod(&self.name);
        pod.unwrap_or_else(|| panic!("the kubelet does not list {}", self.name))
    }

    /// The id of its sandbox.
    ///
    /// # Panics
    /// When no sandbox is ready.
    #[must_use]
    #[track_caller]
    pub fn sandbox(&self) -> String {
        self.ready_sandbox()
            .unwrap_or_else(|| panic!("{} has no sandbox that is ready", self.name))
    }

    /// The pid of its pause.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pause_pid(&self) -> i32 {
        self.kubelet.lab.sandbox_pid(&self.sandbox())
    }

    /// The current id of a container.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    #[track_caller]
    pub fn container(&self, name: &str) -> String {
        let pod = self.value();
        let statuses = pod["status"]["containerStatuses"].as_array();
        let id = statuses
            .into_iter()
            .flatten()
            .find(|status| status["name"] == name)
            .and_then(|status| {
                status["containerID"]
                    .as_str()?
                    .strip_prefix("containerd://")
            });
        id.unwrap_or_else(|| panic!("{} has no container {name}: {pod:#}", self.name))
            .to_owned()
    }

    /// How often a container was restarted.
    #[must_use]
    #[track_caller]
    pub fn restarts(&self, name: &str) -> u64 {
        let pod = self.value();
        let statuses = pod["status"]["containerStatuses"].as_array();
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status["name"] == name);
        status
            .and_then(|status| status["restartCount"].as_u64())
            .unwrap_or_default()
    }

    /// The pid of a container's first process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn pid(&self, container: &str) -> i32 {
        self.kubelet.lab.container_pid(&self.container(container))
    }

    /// Removes its manifest, and waits until none of its processes runs and the cgroups of its
    /// containers are gone.
    ///
    /// It does not wait for the pod's own cgroup: if both versions of cgroups are mounted, this
    /// kubelet leaves that of cgroup2.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn remove(self) {
        let node = self.kubelet.lab.node();
        let manifest = node.path(MANIFESTS).join(format!("{}.json", self.name));
        fs::remove_file(&manifest)
            .unwrap_or_else(|error| panic!("failed to remove {}: {error}", manifest.display()));
        let what = format!("has ended {}", self.name);
        self.kubelet.until(&what, || {
            let gone = self.kubelet.pod(&self.name).is_none()
                && self.ready_sandbox().is_none()
                && !node.has_cgroups_in(&format!("pod{}", self.uid));
            gone.then_some(())
        });
    }

    fn ready_sandbox(&self) -> Option<String> {
        let lab = self.kubelet.lab;
        let mut sandboxes = lab.must(lab.client().sandboxes()).into_iter();
        let sandbox = sandboxes.find(|sandbox| {
            let metadata = sandbox.metadata.as_ref();
            metadata.is_some_and(|metadata| metadata.uid == self.uid)
                && sandbox.state() == PodSandboxState::Ready
        });
        sandbox.map(|sandbox| sandbox.id)
    }
}

/// Its configuration. Everything else has its default value.
fn settings(node: &Node) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": "127.0.0.1", "readOnlyPort": READ_ONLY_API.1,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "staticPodPath": MANIFESTS,
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", node.name()),
        // Requirements that a machine in other use may not meet.
        "failSwapOn": false, "makeIPTablesUtilChains": false, "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": node.write("/run/kubelet/resolv.conf", ""),
        "volumePluginDir": "/var/lib/kubelet/plugins",
    })
}

/// Hides the sysctls that it would change behind files, on the node only.
fn hide_settings(node: &Node) {
    for (setting, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
    ] {
        let place = format!("/proc/sys/{setting}");
        let instead = format!("/run/kubelet/sys/{setting}");
        node.write(&instead, value);
        let (from, flags, none) = (Some(instead.as_str()), MsFlags::MS_BIND, None::<&str>);
        node.enter(|| mount(from, place.as_str(), none, flags, none))
            .unwrap_or_else(|error| panic!("failed to hide {place}: {error}"));
    }
}

/// The answer of the read-only API; `None` if it does not answer or refuses.
fn get(path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(READ_ONLY_API).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|code| *code == "200")?;
    Some(body.to_owned())
}
