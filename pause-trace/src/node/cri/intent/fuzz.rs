//! Fuzzes the interpretation of a runtime's answers, with the details that it adds as JSON.

use std::collections::BTreeMap;

use pause_trace_cri::messages::{
    ContainerMetadata, ContainerStatus, PodSandboxMetadata, PodSandboxStatus,
};
use pause_trace_fuzz::Target;
use prost::Message as _;

use super::*;

fn info(json: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("info".to_owned(), json.to_owned())])
}

/// The answers that an input is: a message, or else the details of one.
fn messages(input: &[u8]) -> (PodSandboxStatusResponse, ContainerStatusResponse) {
    let json = String::from_utf8_lossy(input);
    let sandbox = || PodSandboxStatusResponse {
        status: Some(PodSandboxStatus {
            id: "7e14bb63".into(),
            metadata: Some(PodSandboxMetadata {
                name: "web".into(),
                uid: "b3c1e0a2".into(),
                namespace: "default".into(),
                attempt: 0,
            }),
            ..PodSandboxStatus::default()
        }),
        info: info(&json),
    };
    let container = || ContainerStatusResponse {
        status: Some(ContainerStatus {
            id: "315af542".into(),
            metadata: Some(ContainerMetadata {
                name: "app".into(),
                attempt: 0,
            }),
            ..ContainerStatus::default()
        }),
        info: info(&json),
    };
    (
        PodSandboxStatusResponse::decode(input).unwrap_or_else(|_| sandbox()),
        ContainerStatusResponse::decode(input).unwrap_or_else(|_| container()),
    )
}

/// What holds for every input.
fn judge(input: &[u8]) -> String {
    let (of_sandbox, of_container) = messages(input);
    let plain = PodFact {
        pod: "b3c1e0a2".into(),
        namespace: Text::new("default"),
        name: Text::new("web"),
        modes: Modes::plain(),
        source: Source::Cri,
    };
    let found = sandbox(&of_sandbox);
    let pod = found.as_ref().map_or(&plain, |found| &found.pod);
    assert!(is_id(&pod.pod), "{pod:?}");
    assert!(pod.name.0.len() <= MAX_NAME && pod.namespace.0.len() <= MAX_NAME);
    if let Ok(found) = &found {
        assert!(is_id(&found.id) && found.pid != Some(0), "{found:?}");
        assert!(found.pause.is_some() || found.pid.is_none(), "{found:?}");
    }
    let details = of_container.info().ok().flatten();
    let of_container = container(pod, &of_container, details.as_ref());
    if let Ok(found) = &of_container {
        assert!(is_id(&found.container) && found.name.0.len() <= MAX_NAME);
        assert!((0..=64).contains(&found.stop_signal), "{found:?}");
        if let Mode::Target(target) = &found.modes.pid {
            assert!(is_id(target), "{found:?}");
        }
    }
    let kind = |error: IntentError| std::mem::discriminant(&error);
    let sandbox = found.map(|found| (found.pid.is_some(), found.pod.modes.pid == Mode::Container));
    let container = of_container.map(|found| (found.what, found.stop_signal == 15));
    format!("{:?} {:?}", sandbox.map_err(kind), container.map_err(kind))
}

#[test]
fn answers() {
    let fixtures = Target::new("answers").files_of("pause-trace/src/node/cri/fixtures");
    fixtures
        .files_of("pause-trace-cri/fixtures")
        .dictionary(&[
            "\"pid\":",
            "\"target_id\":\"",
            "\"mode\":2",
            "NODE",
            "TARGET",
            "/proc/1/ns/pid",
            "null",
            "{",
            "}",
            "[",
            "\"StopSignal\":\"SIGRTMAX\"",
            "\"namespace_options\":{",
        ])
        // Any number of values of JSON: `1,` takes a `Value`.
        .memory(256 << 10, 256)
        .inputs(3_000)
        .run(judge);
}
