//! Tests with answers of real runtimes (see `fixtures/README.md`).

use std::collections::BTreeMap;

use pause_trace_cri::messages::{
    ContainerMetadata, ContainerStatus, LinuxPodSandboxStatus, Namespaces, PodSandboxMetadata,
    PodSandboxStatus, UserNamespace, signal_to_cri,
};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name, ".json"))
    };
}

const SANDBOX: &str = "7e14bb639424af23f130a34206889a98413a9a09a835812947e842e0acba134c";
const CONTAINER: &str = "315af542c5eda27c6d61a80e096568000f4f88cfee566ddc890094d96213d1c8";

fn info(json: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("info".to_owned(), json.to_owned())])
}

/// An answer about a sandbox with these details, and with these options in the status.
fn answer(json: &str, options: Option<NamespaceOption>) -> PodSandboxStatusResponse {
    PodSandboxStatusResponse {
        status: Some(PodSandboxStatus {
            id: SANDBOX.into(),
            metadata: Some(PodSandboxMetadata {
                name: "web".into(),
                uid: "b3c1e0a2".into(),
                namespace: "default".into(),
                attempt: 0,
            }),
            linux: options.map(|options| LinuxPodSandboxStatus {
                namespaces: Some(Namespaces {
                    options: Some(options),
                }),
            }),
            ..PodSandboxStatus::default()
        }),
        info: info(json),
    }
}

fn container_answer(json: &str) -> ContainerStatusResponse {
    ContainerStatusResponse {
        status: Some(ContainerStatus {
            id: CONTAINER.into(),
            metadata: Some(ContainerMetadata {
                name: "app".into(),
                attempt: 0,
            }),
            ..ContainerStatus::default()
        }),
        info: info(json),
    }
}

fn pod(json: &str) -> PodFact {
    sandbox(&answer(json, None)).expect("it is clear").pod
}

/// The options in CRI-O's status, which repeats the kubelet's request.
fn plain_options() -> NamespaceOption {
    NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ..NamespaceOption::default()
    }
}

#[test]
fn a_plain_pod_of_containerd_is_known() {
    for json in [
        fixture!("containerd-1.6-plain-sandbox"),
        fixture!("containerd-2.1-plain-sandbox"),
    ] {
        let found = sandbox(&answer(json, None)).expect("it is clear");
        let expected = PodFact {
            pod: "b3c1e0a2".into(),
            namespace: Text::new("default"),
            name: Text::new("web"),
            modes: Modes::plain(),
            source: Source::Cri,
        };
        assert_eq!(found.pod, expected);
        assert!(found.pid.is_some());
        let pause = found.pause.expect("a pause");
        assert_eq!(
            (&*pause.container, pause.what),
            (SANDBOX, ContainerKind::Sandbox)
        );
        assert_eq!(pause.file, Some(Text::new("/pause")));
    }
}

#[test]
fn a_plain_container_of_containerd_is_known() {
    for json in [
        fixture!("containerd-1.6-plain-container"),
        fixture!("containerd-2.1-plain-container"),
    ] {
        let pod = pod(fixture!("containerd-1.6-plain-sandbox"));
        let found = container(&pod, &container_answer(json), None).expect("it is clear");
        let expected = ContainerFact {
            container: CONTAINER.into(),
            pod: "b3c1e0a2".into(),
            name: Text::new("app"),
            what: ContainerKind::App,
            cgroup: 0,
            modes: Modes::plain(),
            stop_signal: 15,
            sandbox: None,
            file: Some(Text::new("sleep")),
            source: Source::Cri,
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn a_pod_in_the_nodes_network_has_the_nodes_host_name() {
    let modes = pod(fixture!("containerd-1.6-hostnet-sandbox")).modes;
    let expected = Modes {
        net: Mode::Node,
        uts: Mode::Node,
        ..Modes::plain()
    };
    assert_eq!(modes, expected);
}

#[test]
fn an_ephemeral_container_has_a_target() {
    for (json, target) in [
        (fixture!("containerd-1.6-target-container"), CONTAINER),
        (
            fixture!("containerd-2.1-target-container"),
            "160b256160bd3805784b17994e7adc82edbfc37f3f3fa99a8c0cd7168c9fda96",
        ),
    ] {
        let pod = pod(fixture!("containerd-1.6-plain-sandbox"));
        let found = container(&pod, &container_answer(json), None).expect("it is clear");
        assert_eq!(found.what, ContainerKind::Ephemeral);
        assert_eq!(found.modes.pid, Mode::Target(target.into()));
    }
}

#[test]
fn a_shared_pid_namespace_is_the_pods() {
    let pod = pod(fixture!("containerd-1.6-plain-sandbox"));
    let answer = container_answer(fixture!("containerd-1.6-sharedpid-container"));
    let found = container(&pod, &answer, None).expect("it is clear");
    assert_eq!(found.modes.pid, Mode::Pod);
}

#[test]
fn the_requested_user_mode_is_kept_if_the_runtime_ignored_it() {
    // containerd 1.6 accepts the request and ignores it: neither its specification nor its status
    // has a user namespace.
    let pod = pod(fixture!("containerd-1.6-users-sandbox"));
    assert_eq!(pod.modes.user, Mode::Pod);
    let answer = container_answer(fixture!("containerd-1.6-users-container"));
    let found = container(&pod, &answer, None).expect("it is clear");
    assert_eq!(found.modes.user, Mode::Pod);
}

#[test]
fn a_status_with_the_user_namespace_of_the_node_is_used() {
    for (mode, expected) in [
        (NamespaceMode::Node, Mode::Node),
        (NamespaceMode::Pod, Mode::Pod),
    ] {
        let options = NamespaceOption {
            userns_options: Some(UserNamespace {
                mode: mode.into(),
                ..UserNamespace::default()
            }),
            ..plain_options()
        };
        let answer = answer(fixture!("cri-o-sandbox"), Some(options));
        let found = sandbox(&answer).expect("it is clear");
        assert_eq!(found.pod.modes.user, expected);
    }
}

#[test]
fn a_pod_of_cri_o_has_no_pause() {
    let answer = answer(fixture!("cri-o-sandbox"), Some(plain_options()));
    let found = sandbox(&answer).expect("it is clear");
    assert_eq!(found.pod.modes, Modes::plain());
    assert_eq!((found.pause, found.pid), (None, None));
}

#[test]
fn a_container_of_cri_o_is_interpreted_by_its_specification() {
    let sandbox = sandbox(&answer(fixture!("cri-o-sandbox"), Some(plain_options())));
    let pod = sandbox.expect("it is clear").pod;
    let json = fixture!("cri-o-container");
    let found = container(&pod, &container_answer(json), None).expect("it is clear");
    assert_eq!(found.modes, Modes::plain());
    assert_eq!(found.stop_signal, 3, "as its image says");

    let own = r#"{"type": "pid"},"#;
    let hosts = json.replace(own, "");
    let found = container(&pod, &container_answer(&hosts), None).expect("it is clear");
    assert_eq!(found.modes.pid, Mode::Node);

    let joins = json.replace(own, r#"{"type": "pid", "path": "/proc/2398/ns/pid"},"#);
    let error = container(&pod, &container_answer(&joins), None)
        .expect_err("a path does not identify the owner");
    assert!(error.to_string().ends_with("/proc/2398/ns/pid"), "{error}");
    let mut shared = pod;
    shared.modes.pid = Mode::Pod;
    let found = container(&shared, &container_answer(&joins), None).expect("it is clear");
    assert_eq!(found.modes.pid, Mode::Pod);
}

#[test]
fn the_stop_signal_of_the_pod_takes_precedence_over_that_of_the_image() {
    let pod = pod(fixture!("containerd-1.6-plain-sandbox"));
    let mut answer = container_answer(fixture!("containerd-1.6-plain-container"));
    let image = Info {
        image_spec: serde_json::json!({"config": {"StopSignal": "SIGQUIT"}}),
        ..Info::default()
    };
    let found = container(&pod, &answer, Some(&image)).expect("it is clear");
    assert_eq!(found.stop_signal, Signal::SIGQUIT as i32);
    let status = answer.status.as_mut().expect("a status");
    status.stop_signal = signal_to_cri(Signal::SIGUSR1 as i32).expect("a signal of CRI");
    let found = container(&pod, &answer, Some(&image)).expect("it is clear");
    assert_eq!(found.stop_signal, Signal::SIGUSR1 as i32);
}

#[test]
fn hostile_names_are_truncated_and_hostile_ids_refused() {
    let json = fixture!("containerd-1.6-plain-sandbox");
    let mut answer = answer(json, None);
    let status = answer.status.as_mut().expect("a status");
    let metadata = status.metadata.as_mut().expect("metadata");
    metadata.name = "é\u{1b}".repeat(1_000);
    let found = sandbox(&answer).expect("it is clear");
    assert!(found.pod.name.0.len() <= MAX_NAME);
    assert!(std::str::from_utf8(&found.pod.name.0).is_ok());

    for uid in ["a\nb", "../x", &"x".repeat(MAX_ID + 1)] {
        let status = answer.status.as_mut().expect("a status");
        status.metadata.as_mut().expect("metadata").uid = uid.into();
        assert!(
            matches!(sandbox(&answer), Err(IntentError::NoId(_))),
            "{uid:?}"
        );
    }
    let status = answer.status.as_mut().expect("a status");
    status.metadata.as_mut().expect("metadata").uid.clear();
    let found = sandbox(&answer).expect("it is clear");
    assert_eq!(
        &*found.pod.pod, SANDBOX,
        "a pod without a uid is identified by its sandbox"
    );
}

#[test]
fn missing_fields_and_unknown_modes_are_errors() {
    let missing = sandbox(&answer("{}", None)).expect_err("no options");
    assert!(
        missing.to_string().contains("namespace options"),
        "{missing}"
    );
    let newer = NamespaceOption {
        ipc: 9,
        ..NamespaceOption::default()
    };
    let unknown = sandbox(&answer("{}", Some(newer))).expect_err("no such mode");
    assert!(
        unknown.to_string().contains("mode 9 of the ipc"),
        "{unknown}"
    );
    let malformed = sandbox(&answer("{", None)).expect_err("no JSON");
    assert!(matches!(malformed, IntentError::Details(_)));
    assert!(sandbox(&PodSandboxStatusResponse::default()).is_err());

    let pod = pod(fixture!("containerd-1.6-plain-sandbox"));
    let mut silent = container_answer("{}");
    silent.info.clear();
    assert!(container(&pod, &silent, None).is_err());
    assert!(container(&pod, &container_answer("{}"), None).is_err());
}
