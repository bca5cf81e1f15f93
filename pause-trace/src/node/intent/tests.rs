use super::*;
use crate::node::bundle::testing::bundle;

const SANDBOX: &str = "the-sandbox";

macro_rules! fixture {
    ($manager:ident, $name:literal) => {
        bundle(
            Manager::$manager,
            include_str!(concat!("../fixtures/bundles/", $name, ".json")),
        )
    };
}

/// `net ipc uts pid user`, a letter each.
fn shown(intent: &Intent) -> String {
    let letter = |mode: &Result<Mode, Unknown>| match mode {
        Ok(Mode::Pod) => 'P',
        Ok(Mode::Container) => 'C',
        Ok(Mode::Node) => 'N',
        Ok(Mode::Target(_)) => 'T',
        Err(_) | Ok(Mode::Unknown) => '?',
    };
    let Intent {
        net,
        ipc,
        uts,
        pid,
        user,
    } = intent;
    [net, ipc, uts, pid, user].map(letter).iter().collect()
}

fn no_process(_pid: u32) -> Holder {
    Holder::Gone
}

/// The pid belongs to a container of the pod of `SANDBOX`.
fn held_by(id: &'static str) -> impl Fn(u32) -> Holder {
    move |_| Holder::Container {
        id: id.into(),
        sandbox: Some(SANDBOX.into()),
    }
}

/// Checks the modes of a container and of its sandbox, whose pause has `pid`.
fn check(sandbox: &Bundle, pid: u32, container: &Bundle, expected: [&str; 2]) {
    let sandbox = Bundle {
        init: Some(pid),
        ..sandbox.clone()
    };
    let id = SANDBOX.into();
    let container = of_container(container, Some((&id, &sandbox)), no_process);
    assert_eq!([shown(&container), shown(&of_sandbox(&sandbox))], expected);
}

#[test]
fn modes_of_containerd_pods_are_derived() {
    let sandbox = fixture!(Containerd, "containerd-plain-sandbox");
    let app = fixture!(Containerd, "containerd-plain-app");
    check(&sandbox, 11999, &app, ["PPPCN", "PPP?N"]);

    let sandbox = fixture!(Containerd, "containerd-shared-sandbox");
    let app = fixture!(Containerd, "containerd-shared-app");
    check(&sandbox, 12191, &app, ["PPPPN", "PPP?N"]);

    // The container's paths look like those of any other container.
    let sandbox = fixture!(Containerd, "containerd-hostnet-sandbox");
    let app = fixture!(Containerd, "containerd-hostnet-app");
    check(&sandbox, 12101, &app, ["NPNCN", "NPN?N"]);

    let sandbox = fixture!(Containerd, "containerd-hostall-sandbox");
    let app = fixture!(Containerd, "containerd-hostall-app");
    check(&sandbox, 12263, &app, ["NNNNN", "NNNNN"]);
}

#[test]
fn the_target_of_a_debugger_differs_from_its_sandbox() {
    let mut sandbox = fixture!(Containerd, "containerd-plain-sandbox");
    sandbox.init = Some(11999);
    let mut debugger = fixture!(Containerd, "containerd-plain-debugger");
    debugger.sandbox = Some(SANDBOX.into());
    let id = SANDBOX.into();
    let of =
        |holder: &dyn Fn(u32) -> Holder| of_container(&debugger, Some((&id, &sandbox)), holder).pid;
    assert_eq!(of(&held_by("app")), Ok(Mode::Target("app".into())));
    // Older versions of Kubernetes put debuggers into the pid namespace of the pause.
    assert_eq!(of(&held_by(SANDBOX)), Ok(Mode::Pod));
    assert_eq!(
        of(&no_process).map_err(|unknown| unknown.why),
        Err(UnknownReason::Ended { pid: 12031 })
    );
    let stranger = |_| Holder::Container {
        id: "stranger".into(),
        sandbox: Some("another".into()),
    };
    let error = of(&stranger).expect_err("it is another pod's").to_string();
    assert!(
        error.contains("pid 12031") && error.contains("stranger"),
        "{error}"
    );
}

#[test]
fn a_reused_pid_does_not_change_the_network_mode() {
    let sandbox = fixture!(Containerd, "containerd-plain-sandbox");
    let app = fixture!(Containerd, "containerd-plain-app");
    let id = SANDBOX.into();
    // The pause has been replaced, and its pid now belongs to another container.
    let intent = of_container(&app, Some((&id, &sandbox)), held_by("another"));
    assert_eq!(shown(&intent), "PPPCN");
}

#[test]
fn without_its_sandbox_a_container_has_unknown_modes() {
    let app = fixture!(Containerd, "containerd-shared-app");
    let intent = of_container(&app, None, no_process);
    assert_eq!(shown(&intent), "????N");
    let error = intent.net.expect_err("it is the sandbox'").to_string();
    assert_eq!(
        error,
        "determine the net mode: the bundle of its sandbox was not found"
    );
}

#[test]
fn cri_o_joins_by_pinned_paths_and_records_the_requested_modes() {
    let sandbox = fixture!(Conmon, "crio-sandbox");
    let app = fixture!(Conmon, "crio-app");
    check(&sandbox, 1, &app, ["PPPCN", "PPPCN"]);
    assert_eq!(shown(&of_sandbox(&sandbox)), "PPPCN");
    let mut other = app.clone();
    other.namespaces = fixture!(Containerd, "containerd-plain-sandbox").namespaces;
    let id = SANDBOX.into();
    // The pinned path differs from its sandbox's: the requested mode is still the pod's, and the
    // actual namespace is a violation.
    let intent = of_container(&other, Some((&id, &sandbox)), no_process);
    assert_eq!(intent.net, Ok(Mode::Pod));
}

#[test]
fn podmans_infra_container_is_a_sandbox() {
    let infra = fixture!(Conmon, "podman-infra");
    let member = fixture!(Conmon, "podman-member");
    check(&infra, 15443, &member, ["PPPPN", "PPP?N"]);
    // In the node's network namespace, with a host name of its own.
    let infra = fixture!(Conmon, "podman-host-infra");
    let member = fixture!(Conmon, "podman-host-member");
    check(&infra, 17169, &member, ["NPPCN", "NPP?N"]);
}

#[test]
fn a_container_that_docker_joins_has_the_role_of_a_sandbox() {
    let alone = fixture!(Docker, "docker-alone");
    let member = fixture!(Docker, "docker-joined");
    assert_eq!(joined(&member, held_by("alone")).as_deref(), Some("alone"));
    assert_eq!(joined(&alone, held_by("alone")), None);
    check(&alone, 15935, &member, ["PPCPN", "PPP?N"]);
    // Two containers outside any pod: the joined namespace belongs to another container.
    let intent = of_container(&member, None, held_by("alone"));
    assert_eq!(shown(&intent), "TTCTN");
    let intent = of_container(&member, None, |_| Holder::Node);
    assert_eq!(shown(&intent), "NNCNN");
    // A path that leads to the node's namespace.
    let host = fixture!(Docker, "docker-host");
    assert_eq!(shown(&of_container(&host, None, no_process)), "NNNNN");
}

#[test]
fn a_user_namespace_is_the_pods() {
    for path in ["", "/run/containerd/sandboxes/x/pinned-namespaces/user"] {
        let config =
            serde_json::json!({ "linux": { "namespaces": [{ "type": "user", "path": path }] } });
        let sandbox = bundle(Manager::Containerd, &config.to_string());
        assert_eq!(of_sandbox(&sandbox).user, Ok(Mode::Pod), "{path}");
    }
}

#[test]
fn only_proc_pid_ns_paths_have_a_pid() {
    let of = |path: &str| joined_pid(Path::new(path), NamespaceKind::Net);
    assert_eq!(of("/proc/42/ns/net"), Some(42));
    for path in [
        "/proc/42/ns/pid",
        "/proc/self/ns/net",
        "/proc/42/task/43/ns/net",
        "/proc/99999999999/ns/net",
        "/run/proc/42/ns/net",
    ] {
        assert_eq!(of(path), None, "{path}");
    }
    assert!(same(
        Path::new("/run/netns/a"),
        Path::new("/var/run/netns/a")
    ));
    assert!(!same(Path::new("/run/netns/a"), Path::new("/srv/netns/a")));
}
