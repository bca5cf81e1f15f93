//! Fuzzes the parser of cgroup paths, which a pod that may create cgroups extends as it likes.

use pause_trace_fuzz::{Random, Target};

use super::*;

const IDS: [&str; 2] = [
    "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9",
    "14e3592df8861a1c754907322eb5829d4e8ba9b03772f70f3f365f15a790b7da",
];

/// Components of the paths of every runtime; `ID` and `UID` are replaced.
const COMPONENTS: [&str; 28] = [
    "ID",
    "ID",
    "podUID",
    "kubepods",
    "burstable",
    "besteffort",
    "kubepods.slice",
    "kubepods-burstable.slice",
    "kubepods-burstable-podUID.slice",
    "kubepods-podUID.slice",
    "kubelet-kubepods-besteffort-podUID.slice",
    "cri-containerd-ID.scope",
    "crio-ID.scope",
    "crio-ID",
    "crio-conmon-ID.scope",
    "docker",
    "docker-ID.scope",
    "system.slice",
    "libpod-ID.scope",
    "libpod-ID",
    "libpod_parent",
    "libpod_pod_ID",
    "machine-libpod_pod_ID.slice",
    "machine.slice",
    "kubepods-burstable-podUID.slice:cri-containerd:ID",
    ":crio:ID",
    "container",
    "",
];

fn generate(random: &mut Random) -> Vec<u8> {
    let mut path = String::new();
    for _ in 0..1 + random.below(8) {
        let uids = [
            "0e2ac9b5bd2b3f5a8f0d4a76a4c1d9e2",
            "a_b-c",
            "6a1c2f0e_1111_4222_8333_444455556666",
        ];
        let component = random
            .one_of(&COMPONENTS)
            .replace("UID", random.one_of::<&str>(&uids));
        path.push('/');
        path.push_str(&component.replace("ID", random.one_of::<&str>(&IDS)));
    }
    path.into_bytes()
}

/// What holds for every input.
fn judge(path: &[u8]) -> (bool, Option<String>) {
    let main = of_container(path);
    let Some((found, below)) = identify(path) else {
        assert_eq!(main, None);
        return (false, None);
    };
    assert!(is_id(&found.container), "{found:?}");
    for other in [&found.podman_pod, &found.node].into_iter().flatten() {
        assert!(is_id(other), "{found:?}");
    }
    if let Some((uid, _)) = &found.pod {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        assert!(
            (1..=63).contains(&uid.len()) && uid.bytes().all(is_plain),
            "{found:?}"
        );
    }
    assert!(path.ends_with(below) && (below.is_empty() || below[0] == b'/'));
    let own = &path[..path.len() - below.len()];
    let named = own
        .windows(64)
        .any(|part| part == found.container.as_bytes());
    assert!(named, "the path does not name {found:?}");
    assert_eq!(main.as_ref(), below.is_empty().then_some(&found));
    // The cgroup of the container itself says the same as each one below it.
    assert_eq!(identify(own), Some((found.clone(), &b""[..])));
    let deeper = [path, b"/x"].concat();
    let (same, further) = identify(&deeper).expect("it is below a container");
    assert_eq!((&same, further), (&found, &*[below, b"/x"].concat()));
    // What a pod's container creates below its own cgroup is never another container.
    if found.pod.is_some() {
        let forged = [path, b"/docker/", IDS[0].as_bytes()].concat();
        assert_eq!(identify(&forged).expect("it is in the pod").0, found);
    }
    let shape = (
        found.engine,
        found.pod.map(|(_, qos)| qos),
        found.podman_pod.is_some(),
        found.node.is_some(),
        below.is_empty(),
    );
    (true, Some(format!("{shape:?}")))
}

#[test]
fn cgroup_paths() {
    Target::new("cgroup-paths")
        .files_of("pause-trace/src/node/fixtures/cgroups")
        .each_line()
        .generator(generate)
        .dictionary(&[
            "/",
            "pod",
            ".scope",
            ".slice",
            "-",
            "_",
            ":",
            "kubepods",
            "libpod_parent",
            IDS[0],
            IDS[1],
        ])
        .longest(4 << 10)
        .inputs(10_000)
        .run(judge);
}
