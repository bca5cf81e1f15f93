//! Fuzzes the parsers of OCI bundles and of Docker's own files, in which a pod chooses the names.

use nix::libc::SIGRTMAX;
use pause_trace_fuzz::{Random, Target};

use super::*;

fn location(manager: Manager) -> Location {
    Location {
        manager,
        directory: "/run/bundle/id".into(),
        reach: "/run/bundle/id".into(),
        pid_file: None,
        socket: None,
    }
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(is_plain)
}

/// What holds for a bundle.
fn check(bundle: &Bundle) {
    let texts = [
        &bundle.pod.namespace,
        &bundle.pod.name,
        &bundle.name,
        &bundle.image,
        &bundle.hostname,
        &bundle.cgroups_path,
    ];
    for text in texts.into_iter().flatten() {
        assert!((1..=MAX_NAME_BYTES).contains(&text.0.len()), "{text}");
        assert!(
            str::from_utf8(&text.0).is_ok(),
            "{text} is cut in a character"
        );
    }
    assert!(bundle.args.len() <= MAX_ARGS);
    assert!(bundle.args.iter().all(|arg| arg.0.len() <= MAX_NAME_BYTES));
    for id in [&bundle.pod.uid, &bundle.sandbox].into_iter().flatten() {
        assert!(is_id(id), "{id:?}");
    }
    let is_signal = |signal: i32| (1..=SIGRTMAX()).contains(&signal);
    assert!(
        bundle.stop_signal().is_none_or(is_signal),
        "{:?}",
        bundle.stop_signal
    );
    for kind in NamespaceKind::ALL {
        if let Entry::Path(path) = bundle.namespaces.get(kind) {
            assert!(!path.as_os_str().is_empty(), "{kind:?}");
        }
    }
}

/// What holds for every input.
fn judge(input: &[u8]) -> (u32, String) {
    let read = || serde_json::from_reader::<_, spec::Spec>(input);
    let Ok(spec) = read() else {
        return (0, docker::fuzzed(input));
    };
    // The directories may come from a mount that a user chose.
    for place in docker::places(&spec, &location(Manager::Docker)) {
        let leads_out = place
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        assert!(!leads_out, "{}", place.display());
    }
    let mut shape = 0;
    for manager in [Manager::Containerd, Manager::Docker, Manager::Conmon] {
        let spec = read().expect("it was read before");
        let bundle = spec.into_bundle(&location(manager));
        check(&bundle);
        for has in [
            bundle.kind.is_some(),
            bundle.kind == Some(Kind::Sandbox),
            bundle.pod.uid.is_some(),
            bundle.pod.name.is_some(),
            bundle.name.is_some(),
            bundle.image.is_some(),
            bundle.cri_modes.is_some(),
            bundle.stop_signal.is_some(),
        ] {
            shape = shape << 1 | u32::from(has);
        }
    }
    (shape, docker::fuzzed(input))
}

/// An object with some of the fields that are read, with values of any type.
fn generate(random: &mut Random) -> Vec<u8> {
    const FIELDS: [&str; 24] = [
        "process",
        "args",
        "noNewPrivileges",
        "oomScoreAdj",
        "root",
        "readonly",
        "hostname",
        "annotations",
        "linux",
        "cgroupsPath",
        "namespaces",
        "uidMappings",
        "type",
        "path",
        "mounts",
        "source",
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri.sandbox-uid",
        "io.kubernetes.cri-o.Metadata",
        "io.kubernetes.cri-o.NamespaceOptions",
        "org.opencontainers.image.stopSignal",
        "ID",
        "Name",
        "Config",
    ];
    fn value(random: &mut Random, depth: usize) -> String {
        match random.below(if depth > 5 { 5 } else { 8 }) {
            0 => "null".to_owned(),
            1 => "true".to_owned(),
            2 => format!("{}", random.awkward() as i64),
            3 => format!(
                "{:?}",
                random.one_of(&[
                    "sandbox",
                    "container",
                    "network",
                    "",
                    "/proc/1/ns/net",
                    "SIGRTMIN+3"
                ])
            ),
            4 => "\"{\\\"name\\\":\\\"\\u202e\\\",\\\"pid\\\":1}\"".to_owned(),
            5 => {
                let parts: Vec<_> = (0..random.below(3))
                    .map(|_| value(random, depth + 1))
                    .collect();
                format!("[{}]", parts.join(","))
            }
            _ => object(random, depth + 1),
        }
    }
    fn object(random: &mut Random, depth: usize) -> String {
        let mut parts = Vec::new();
        for _ in 0..random.below(6) {
            let field = *random.one_of(&FIELDS);
            parts.push(format!("\"{field}\":{}", value(random, depth)));
        }
        format!("{{{}}}", parts.join(","))
    }
    object(random, 0).into_bytes()
}

#[test]
fn bundles() {
    Target::new("bundles")
        .files_of("pause-trace/src/node/fixtures/bundles")
        .generator(generate)
        .dictionary(&[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "-1",
            "1e99",
            "\"\"",
            "\\u0000",
            "\\ud800",
            "SIGRTMIN+",
            "RTMAX-",
            "\"path\":\"\"",
            "../..",
            "\"type\":\"user\"",
        ])
        .memory(256 << 10, 64)
        .inputs(2_000)
        .run(judge);
}
