use std::{os::unix::fs::symlink, process::id};

use super::{find::find, testing::bundle, *};
use crate::node::identity::{Identity, identify};

const ID: &str = "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9";
const OTHER: &str = "14e3592df8861a1c754907322eb5829d4e8ba9b03772f70f3f365f15a790b7da";

/// A directory that is removed after the test.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pause-trace-bundle-{}-{name}", id()));
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(path);
        let directory = path.parent().expect("it is below the scratch directory");
        fs::create_dir_all(directory).expect("make a directory");
        fs::write(&path, text).expect("write a file");
        path
    }

    /// Writes the files of a process in `/proc`.
    fn process(&self, pid: u32, parent: u32, cgroup: &str, args: &[&str]) {
        self.write(
            &format!("proc/{pid}/stat"),
            format!("{pid} (a) b) S {parent} 1 1"),
        );
        self.write(
            &format!("proc/{pid}/cgroup"),
            format!("8:pids:{cgroup}\n0::{cgroup}\n"),
        );
        self.write(
            &format!("proc/{pid}/cmdline"),
            format!("{}\0", args.join("\0")),
        );
    }

    fn shim(&self, pid: u32, bundle: &str) {
        let args = [
            "/usr/bin/containerd-shim-runc-v2",
            "-namespace",
            "k8s.io",
            "-id",
            ID,
        ];
        self.process(pid, 1, "/system.slice/containerd.service", &args);
        self.cwd(pid, bundle);
    }

    fn cwd(&self, pid: u32, directory: &str) {
        let directory = self.0.join(directory);
        symlink(directory, self.0.join(format!("proc/{pid}/cwd"))).expect("make a link");
    }

    fn find(&self, identity: &Identity, pid: u32) -> Result<Location, BundleError> {
        find(identity, &[pid], &self.0.join("proc"), &self.0.join("root"))
    }

    fn at(&self, directory: &str) -> Location {
        let directory = self.0.join(directory);
        Location {
            manager: Manager::Containerd,
            reach: directory.clone(),
            directory,
            pid_file: None,
            socket: None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover is harmless: the next run uses another name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cgroup(id: &str) -> String {
    format!("/kubepods/besteffort/podx/{id}")
}

#[test]
fn the_bundle_of_a_container_is_next_to_that_of_its_shim() {
    let scratch = Scratch::new("sibling");
    scratch.write(&format!("state/{ID}/config.json"), "{}");
    scratch.write(&format!("state/{OTHER}/config.json"), "{}");
    scratch.write(&format!("state/{OTHER}/init.pid"), "20");
    scratch.shim(10, &format!("state/{ID}"));
    scratch.process(20, 10, &cgroup(OTHER), &["app"]);
    scratch.process(21, 20, &cgroup(OTHER), &["worker"]);
    let path = cgroup(OTHER);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let found = scratch.find(&identity, 21).expect("the shim has it");
    assert_eq!(found.manager, Manager::Containerd);
    assert_eq!(found.directory, scratch.0.join("state").join(OTHER));
    assert_eq!(read(&found).expect("it is a bundle").init, Some(20));
}

#[test]
fn the_bundle_of_an_ended_process_is_found_through_its_former_ancestors() {
    let scratch = Scratch::new("ended");
    scratch.write(&format!("state/{ID}/config.json"), "{}");
    scratch.shim(10, &format!("state/{ID}"));
    let path = cgroup(ID);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let (proc, root) = (scratch.0.join("proc"), scratch.0.join("root"));
    assert!(find(&identity, &[21], &proc, &root).is_err());
    let found = find(&identity, &[21, 20, 10], &proc, &root).expect("the shim is there");
    assert_eq!(found.directory, scratch.0.join("state").join(ID));
}

#[test]
fn a_shim_inside_the_container_is_not_trusted() {
    let scratch = Scratch::new("forged");
    scratch.write(&format!("state/{ID}/config.json"), "{}");
    scratch.write(&format!("forged/{ID}/config.json"), "{}");
    scratch.shim(10, &format!("state/{ID}"));
    let args = ["/containerd-shim-runc-v2", "-namespace", "k8s.io"];
    scratch.process(20, 10, &cgroup(ID), &args);
    scratch.cwd(20, &format!("forged/{ID}"));
    scratch.process(21, 20, &cgroup(ID), &["app"]);
    let path = cgroup(ID);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let found = scratch.find(&identity, 21).expect("the shim has it");
    assert_eq!(found.directory, scratch.0.join("state").join(ID));
}

#[test]
fn a_shim_in_the_container_that_acts_as_the_node_is_trusted() {
    let scratch = Scratch::new("kind");
    scratch.write(&format!("state/{ID}/config.json"), "{}");
    scratch.shim(10, &format!("state/{ID}"));
    let node = format!("/docker/{OTHER}/system.slice/containerd.service");
    scratch.write("proc/10/cgroup", format!("0::{node}\n"));
    let path = format!("/docker/{OTHER}/kubelet/kubepods/podx/{ID}");
    scratch.process(20, 10, &path, &["app"]);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    assert!(scratch.find(&identity, 20).is_ok());
}

#[test]
fn the_arguments_of_conmon_lead_to_bundle_and_pid() {
    let scratch = Scratch::new("conmon");
    scratch.write("mounts/containers/userdata/config.json", "{}");
    scratch.write("mounts/run/pidfile", "20\n");
    let args = [
        "/usr/bin/conmon",
        "-c",
        ID,
        "-b",
        "/containers/userdata",
        "--container-pidfile=/run/pidfile",
    ];
    let path = format!("/machine.slice/libpod-{ID}.scope");
    scratch.process(
        10,
        1,
        &format!("/machine.slice/libpod-conmon-{ID}.scope"),
        &args,
    );
    symlink(scratch.0.join("mounts"), scratch.0.join("proc/10/root")).expect("make a link");
    scratch.process(20, 10, &path, &["app"]);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let found = scratch.find(&identity, 20).expect("conmon has it");
    assert_eq!(found.manager, Manager::Conmon);
    assert_eq!(found.directory, Path::new("/containers/userdata"));
    assert_eq!(read(&found).expect("it is a bundle").init, Some(20));

    // The conmon of another container is not used.
    let path = format!("/machine.slice/libpod-{OTHER}.scope");
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let error = scratch.find(&identity, 20).expect_err("it is another's");
    assert!(error.to_string().contains("above pid 20"), "{error}");
}

#[test]
fn the_bundle_of_a_sandbox_without_a_process_is_next_to_its_containers() {
    let scratch = Scratch::new("beside");
    scratch.write(&format!("tasks/{ID}/config.json"), "{}");
    scratch.write(&format!("containers/{ID}/userdata/config.json"), "{}");
    let containerd = scratch.at(&format!("tasks/{OTHER}"));
    fs::create_dir_all(&containerd.directory).expect("make a directory");
    let found = containerd.beside(&ID.into()).expect("it is there");
    assert_eq!(found.directory, scratch.0.join("tasks").join(ID));
    assert!(read(&found).is_ok());

    let mut conmon = scratch.at(&format!("containers/{OTHER}/userdata"));
    conmon.manager = Manager::Conmon;
    fs::create_dir_all(&conmon.directory).expect("make a directory");
    let found = conmon.beside(&ID.into()).expect("it is there");
    assert_eq!(
        found.directory,
        scratch.0.join("containers").join(ID).join("userdata")
    );
    assert!(read(&found).is_ok());

    for elsewhere in ["..", "../tasks", "", OTHER] {
        assert_eq!(containerd.beside(&elsewhere.into()), None, "{elsewhere}");
    }
}

#[test]
fn without_a_shim_the_default_directories_are_searched() {
    let scratch = Scratch::new("usual");
    let k3s = "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io";
    scratch.write(&format!("root/{k3s}/{ID}/config.json"), "{}");
    let path = cgroup(ID);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    let found = scratch.find(&identity, 4_000_000).expect("it is there");
    assert_eq!(found.directory, Path::new("/").join(k3s).join(ID));
    assert!(read(&found).is_ok());
}

#[test]
fn a_loop_of_parents_ends() {
    let scratch = Scratch::new("loop");
    scratch.process(20, 21, &cgroup(ID), &["a"]);
    scratch.process(21, 20, &cgroup(ID), &["b"]);
    let path = cgroup(ID);
    let (identity, _) = identify(path.as_bytes()).expect("it is a container's");
    assert!(scratch.find(&identity, 20).is_err());
}

#[test]
fn what_is_not_a_bundle_is_refused_without_blocking() {
    let scratch = Scratch::new("odd");
    let refused = |directory: &str| {
        read(&scratch.at(directory))
            .expect_err("it is no bundle")
            .to_string()
    };
    assert!(refused("missing").contains("No such file"));

    fs::create_dir_all(scratch.0.join("directory/config.json")).expect("make a directory");
    assert!(refused("directory").contains("not a regular file"));

    let fifo = scratch
        .write("fifo/other", "")
        .with_file_name("config.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a FIFO");
    assert!(refused("fifo").contains("not a regular file"));

    for (directory, target) in [
        ("link", "other"),
        ("device", "/dev/zero"),
        ("loop", "config.json"),
    ] {
        let file = scratch.write(&format!("{directory}/other"), "{}");
        symlink(target, file.with_file_name("config.json")).expect("make a link");
        assert!(
            refused(directory).contains("not a regular file"),
            "{directory}"
        );
    }

    symlink("looped", scratch.0.join("looped")).expect("make a link");
    assert!(refused("looped").contains("open"));
}

#[test]
fn a_bundle_of_fifty_megabytes_is_refused_unread() {
    let scratch = Scratch::new("long");
    let path = scratch.write("long/config.json", "");
    let file = fs::OpenOptions::new().write(true).open(path);
    // Sparse: nothing is written.
    file.and_then(|file| file.set_len(50 << 20))
        .expect("make a long file");
    let error = read(&scratch.at("long")).expect_err("it is too long");
    assert!(matches!(error, BundleError::TooLong { size, .. } if size == 50 << 20));
}

#[test]
fn malformed_bundles_are_errors() {
    let scratch = Scratch::new("garbage");
    let plain = include_str!("../fixtures/bundles/containerd-plain-app.json");
    for (name, text) in [
        ("empty", ""),
        ("cut", &plain[..plain.len() / 2]),
        ("bytes", "\u{0}\u{1}"),
        ("list", "[]x"),
        ("types", r#"{"linux": {"namespaces": "all"}}"#),
        ("deep", &"[".repeat(1 << 20)),
    ] {
        scratch.write(&format!("{name}/config.json"), text);
        let error = read(&scratch.at(name)).expect_err("it is garbage");
        assert!(
            matches!(error, BundleError::Malformed { .. }),
            "{name}: {error}"
        );
    }
}

fn shown(text: Option<&Text>) -> String {
    text.map(Text::to_string).unwrap_or_default()
}

#[test]
fn a_memory_limit_is_read_and_its_absence_is_no_limit() {
    let limit = |resources: &str| {
        let config = format!(r#"{{"linux":{{"resources":{resources}}}}}"#);
        bundle(Manager::Containerd, &config).memory_limit
    };
    assert_eq!(limit(r#"{"memory":{"limit":67108864}}"#), Some(64 << 20));
    for none in [
        "{}",
        "null",
        r#"{"memory":null}"#,
        r#"{"memory":{}}"#,
        r#"{"memory":{"limit":null}}"#,
        r#"{"memory":{"limit":-1}}"#,
        r#"{"memory":{"limit":0}}"#,
    ] {
        assert_eq!(limit(none), None, "{none}");
    }
}

#[test]
fn containerd_annotations_are_interpreted() {
    let sandbox = include_str!("../fixtures/bundles/containerd-plain-sandbox.json");
    let sandbox = bundle(Manager::Containerd, sandbox);
    assert_eq!(sandbox.kind, Some(Kind::Sandbox));
    assert_eq!(sandbox.sandbox.as_deref(), Some(ID));
    assert_eq!(shown(sandbox.pod.name.as_ref()), "plain");
    assert_eq!(shown(sandbox.pod.namespace.as_ref()), "default");
    assert!(sandbox.readonly_root && sandbox.no_new_privileges && !sandbox.maps_users);
    assert_eq!(sandbox.oom_score_adj, Some(0));
    assert_eq!(sandbox.namespaces.get(NamespaceKind::Pid), &Entry::New);
    assert_eq!(sandbox.namespaces.get(NamespaceKind::User), &Entry::Absent);

    let app = include_str!("../fixtures/bundles/containerd-plain-app.json");
    let app = bundle(Manager::Containerd, app);
    assert_eq!(app.kind, Some(Kind::Container));
    assert_eq!(
        app.pod.uid.as_deref(),
        Some("6a1c2f0e-3f0b-4a37-9d0e-0b1f5f7c9a11")
    );
    assert_eq!(shown(app.name.as_ref()), "app");
    assert_eq!(shown(app.image.as_ref()), "localhost/pause:1");
    assert_eq!(app.args, [Text::new("/pause")]);
    let net = app.namespaces.get(NamespaceKind::Net);
    assert!(
        matches!(net, Entry::Path(path) if path.ends_with("ns/net")),
        "{net:?}"
    );
    assert_eq!(app.stop_signal, None);
}

#[test]
fn cri_o_annotations_take_precedence_over_those_of_the_pod() {
    let sandbox = include_str!("../fixtures/bundles/crio-sandbox.json");
    let sandbox = bundle(Manager::Conmon, sandbox);
    assert_eq!(sandbox.kind, Some(Kind::Sandbox));
    assert_eq!(shown(sandbox.pod.name.as_ref()), "web");
    assert_eq!(shown(sandbox.pod.namespace.as_ref()), "shop");
    assert_eq!(
        sandbox
            .cri_modes
            .map(|cri_modes| (cri_modes.network, cri_modes.pid)),
        Some((0, 1))
    );

    let app = include_str!("../fixtures/bundles/crio-app.json");
    let app = bundle(Manager::Conmon, app);
    assert_eq!(app.kind, Some(Kind::Container));
    assert_eq!(shown(app.pod.name.as_ref()), "web");
    assert_eq!(shown(app.name.as_ref()), "server");
    assert_eq!(
        app.pod.uid.as_deref(),
        Some("aaaa2b4a-f398-41c0-928b-049e1cc4ec40")
    );
    assert_eq!(app.sandbox, sandbox.sandbox);
    assert_eq!(app.stop_signal, Some(3));
}

#[test]
fn podman_members_name_their_infra_container() {
    let infra = include_str!("../fixtures/bundles/podman-infra.json");
    let infra = bundle(Manager::Conmon, infra);
    assert_eq!((infra.kind, infra.sandbox), (None, None));
    let member = include_str!("../fixtures/bundles/podman-member.json");
    let member = bundle(Manager::Conmon, member);
    assert_eq!(member.kind, Some(Kind::Container));
    let infra = "581d7a27c39c2897671c714d49cff1bffd515980a3039399e1bdd95f8eb21279";
    assert_eq!(member.sandbox.as_deref(), Some(infra));
    let alone = include_str!("../fixtures/bundles/podman-alone.json");
    assert_eq!(bundle(Manager::Conmon, alone).stop_signal, Some(10));
}

#[test]
fn docker_bundles_have_no_names() {
    let joined = include_str!("../fixtures/bundles/docker-joined.json");
    let joined = bundle(Manager::Docker, joined);
    assert_eq!((joined.kind, joined.name.as_ref()), (None, None));
    assert_eq!(joined.pod, PodNames::default());
}

#[test]
fn hostile_names_are_bounded_and_escaped() {
    let name = "x".repeat(100_000);
    let config = serde_json::json!({
        "process": { "args": vec!["\u{1b}[2J"; 1000] },
        "annotations": {
            "io.kubernetes.cri.sandbox-name": name,
            "io.kubernetes.cri.sandbox-uid": "../../etc\n",
            "io.kubernetes.cri.container-type": "sandbox\n",
            "io.kubernetes.cri.podsandbox.image-name": "pause",
        },
    });
    let bundle = bundle(Manager::Containerd, &config.to_string());
    assert_eq!(shown(bundle.pod.name.as_ref()).len(), MAX_NAME_BYTES);
    assert_eq!((bundle.pod.uid, bundle.kind), (None, None));
    assert_eq!(shown(bundle.image.as_ref()), "pause");
    assert_eq!(bundle.args.len(), MAX_ARGS);
    assert_eq!(bundle.args[0].to_string(), "\\u{1b}[2J");
}
