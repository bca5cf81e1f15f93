//! Messages against bytes. Those in `fixtures/` are answers of containerd 1.6.20.

use super::*;

mod agreement;
mod definition;
mod fuzz;

const SANDBOX: &[u8] = include_bytes!("../../fixtures/containerd-1.6-sandbox.bin");
const CONTAINER: &[u8] = include_bytes!("../../fixtures/containerd-1.6-container.bin");

#[test]
fn a_sandbox_of_containerd_is_decoded() {
    let answer = PodSandboxStatusResponse::decode(SANDBOX).expect("containerd's answer");
    let status = answer.status.as_ref().expect("a status");
    assert_eq!(
        status.id,
        "7e14bb639424af23f130a34206889a98413a9a09a835812947e842e0acba134c"
    );
    let metadata = status.metadata.as_ref().expect("metadata");
    assert_eq!(
        (&*metadata.name, &*metadata.uid, &*metadata.namespace),
        ("plain", "uid-plain", "default")
    );
    assert_eq!(status.state(), PodSandboxState::Ready);
    let network = status.network.as_ref().expect("a network");
    assert_eq!(network.ip, "10.217.0.8");
    let linux = status.linux.as_ref().expect("Linux");
    let namespaces = linux.namespaces.as_ref().expect("namespaces");
    let options = namespaces.options.as_ref().expect("options");
    assert_eq!(
        (options.network(), options.pid(), options.ipc()),
        (
            NamespaceMode::Pod,
            NamespaceMode::Container,
            NamespaceMode::Pod
        )
    );
    assert_eq!(status.labels["app"], "demo");
    assert_eq!(status.annotations["note"], "x\u{1b}[2J");
    assert_eq!(answer.encode_to_vec(), SANDBOX, "no field was skipped");
}

#[test]
fn a_container_of_containerd_is_decoded() {
    let answer = ContainerStatusResponse::decode(CONTAINER).expect("containerd's answer");
    let status = answer.status.as_ref().expect("a status");
    assert!(status.id.starts_with("315af542"), "{}", status.id);
    let metadata = status.metadata.as_ref().expect("metadata");
    assert_eq!((&*metadata.name, metadata.attempt), ("app", 0));
    assert_eq!(status.state(), ContainerState::Running);
    assert!(status.started_at > status.created_at);
    let image = status.image.as_ref().expect("an image");
    assert_eq!(image.image, "localhost/lab/busybox:1");
    assert!(status.image_ref.starts_with("sha256:5daaf4cd"));
}

#[test]
fn requests_have_the_fields_of_the_published_interface() {
    let stop = StopContainerRequest {
        container_id: "ab".into(),
        timeout: 300,
    };
    assert_eq!(stop.encode_to_vec(), *b"\x0a\x02ab\x10\xac\x02");

    // Field 15 (linux) { 2 (security context) { 3 (namespace options) { 2: TARGET, 4: "ab", 5 { 1:
    // NODE } } } }, field 18 (stop signal): SIGTERM.
    let container = ContainerConfig {
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(NamespaceOption {
                    pid: NamespaceMode::Target.into(),
                    target_id: "ab".into(),
                    userns_options: Some(UserNamespace {
                        mode: NamespaceMode::Node.into(),
                        ..UserNamespace::default()
                    }),
                    ..NamespaceOption::default()
                }),
                ..LinuxContainerSecurityContext::default()
            }),
            ..LinuxContainerConfig::default()
        }),
        stop_signal: signal_to_cri(15).expect("SIGTERM"),
        ..ContainerConfig::default()
    };
    assert_eq!(
        container.encode_to_vec(),
        *b"\x7a\x0e\x12\x0c\x1a\x0a\x10\x03\x22\x02ab\x2a\x02\x08\x02\x90\x01\x17"
    );
}

#[test]
fn unknown_fields_and_modes_of_a_newer_runtime_are_accepted() {
    // Field 2 (pid): 9; field 99: a string.
    let options = NamespaceOption::decode(&b"\x10\x09\x9a\x06\x02ab"[..]).expect("options");
    assert_eq!(options.pid, 9);
    assert!(NamespaceMode::try_from(options.pid).is_err());
}

#[test]
fn a_handlers_features_are_those_of_the_published_interface() {
    // 1 (status) {}; 3 (handlers) { 1: "runc", 2 (features) { 1 (recursive read-only mounts): true,
    // 2 (user namespaces): true } }.
    let bytes = b"\x0a\x00\x1a\x0c\x0a\x04runc\x12\x04\x08\x01\x10\x01";
    let answer = StatusResponse::decode(&bytes[..]).expect("an answer");
    let [handler] = &answer.runtime_handlers[..] else {
        panic!("{answer:?}");
    };
    assert_eq!(handler.name, "runc");
    assert!(
        handler
            .features
            .is_some_and(|features| features.user_namespaces)
    );
}

#[test]
fn an_environment_variable_can_contain_any_bytes() {
    // 1 (key): "a"; 2 (value): a byte that is not valid UTF-8.
    let bytes = b"\x0a\x01a\x12\x01\xff";
    let variable = KeyValue::decode(&bytes[..]).expect("a variable");
    assert_eq!(variable.value, b"\xff");
    assert_eq!(variable.encode_to_vec(), bytes);
}
