//! Who a cgroup belongs to, from its path alone: the container, its pod's uid, the runtime.
//!
//! Every runtime writes a container's id into the name of its cgroup, and kubelet the pod's uid into the name of the
//! cgroup above. So whose a cgroup is is known the moment the kernel reports its path, without asking anybody.
//!
//! Kubelet and the runtime chose these names, except where a container makes cgroups inside its own: what is below a
//! pod's container is that container's, whatever it is called.

use crate::{
    event::{ContainerId, PodId},
    runtimes::{Engine, engine_of_parent, engine_of_prefix},
};

/// A pod's quality-of-service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) engine: Engine,
    pub(crate) container: ContainerId,
    /// The pod's uid and class; none for a container that kubelet did not ask for.
    pub(crate) pod: Option<(PodId, Qos)>,
    /// Podman's pod: an id that only Podman knows. Bundles of its members name their infra container instead.
    pub(crate) podman_pod: Option<ContainerId>,
    /// The container that plays the node: kind, k3d and minikube run kubelet in one, docker-in-docker its daemon.
    pub(crate) node: Option<ContainerId>,
}

/// The container whose own cgroup this is: not one that it made below.
pub(crate) fn of_container(path: &[u8]) -> Option<Identity> {
    identify(path)
        .filter(|(_, below)| below.is_empty())
        .map(|(identity, _)| identity)
}

/// Reads a path as the kernel has it, from the root of a hierarchy. With the identity comes the rest of the path, inside
/// the container: empty, or it begins with a slash.
///
/// Where containers are nested the innermost is meant, since an outer one plays the node. Inside a *pod's* container,
/// however, names are not believed: a pod that may make cgroups could else pass for another pod. Whoever runs kubelet
/// inside a pod has to cut off that pod's part of the path first.
///
/// Ids are 64 hexadecimal digits: every CRI runtime, Docker and Podman make such. A path that was cut short is nobody's,
/// and so are containers that somebody named by hand (`ctr run … NAME`) and conmon's own cgroups.
pub(crate) fn identify(path: &[u8]) -> Option<(Identity, &[u8])> {
    let mut found: Option<(Identity, &[u8])> = None;
    let mut place = Place::Elsewhere("");
    let mut rest = path.strip_prefix(b"/")?;
    loop {
        let length = rest.iter().position(|byte| *byte == b'/');
        let (component, below) = rest.split_at(length.unwrap_or(rest.len()));
        // Whoever makes cgroups for containers keeps to ASCII.
        let name = str::from_utf8(component).unwrap_or_default();
        place = match step(name, &place) {
            Step::Into(place) => place,
            Step::Container {
                engine,
                id,
                pod,
                podman_pod,
            } => {
                // Below a parent of the user's choice, Podman's pod is a bare id and was taken for a container.
                let outer = found.map(|(outer, _)| outer.container);
                let identity = Identity {
                    engine,
                    container: id.into(),
                    pod,
                    node: outer.filter(|outer| podman_pod != Some(&**outer)),
                    podman_pod: podman_pod.map(ContainerId::from),
                };
                if identity.pod.is_some() {
                    return Some((identity, below));
                }
                found = Some((identity, below));
                Place::Elsewhere(name)
            }
        };
        let Some(next) = below.strip_prefix(b"/") else {
            return found;
        };
        rest = next;
    }
}

/// Where in the tree a component stands: what the ones above it say.
enum Place<'a> {
    /// Directly below a cgroup of this name that means nothing else.
    Elsewhere(&'a str),
    /// Among pods of this class, in the layout of kubelet's `cgroupfs` driver.
    Pods(Qos),
    /// Directly below a pod's cgroup.
    Pod(PodId, Qos),
    /// Directly below the cgroup of a pod of Podman's.
    PodmanPod(&'a str),
}

/// What a component is.
enum Step<'a> {
    Into(Place<'a>),
    Container {
        engine: Engine,
        id: &'a str,
        pod: Option<(PodId, Qos)>,
        podman_pod: Option<&'a str>,
    },
}

fn step<'a>(name: &'a str, place: &Place<'a>) -> Step<'a> {
    if let Some((engine, id)) = container(name, place) {
        let pod = match place {
            Place::Pod(uid, qos) => Some((uid.clone(), *qos)),
            _ => None,
        };
        let podman_pod = match place {
            Place::PodmanPod(pod) => Some(*pod),
            Place::Elsewhere(parent) if engine == Engine::Podman && is_id(parent) => Some(*parent),
            _ => None,
        };
        return Step::Container {
            engine,
            id,
            pod,
            podman_pod,
        };
    }
    // `SLICE:RUNTIME:ID` is what a runtime passes to runc for systemd; with runc's own driver it is taken literally.
    if let Some((slice, rest)) = name.split_once(':')
        && let Some((prefix, id)) = rest.split_once(':')
        && let Some(engine) = engine_of_prefix(prefix)
        && is_id(id)
    {
        let pod = slice.strip_suffix(".slice").and_then(pod_of_slice);
        return Step::Container {
            engine,
            id,
            pod,
            podman_pod: None,
        };
    }
    Step::Into(group(name, place).unwrap_or(Place::Elsewhere(name)))
}

/// A cgroup that holds containers, pods or classes of pods.
fn group<'a>(name: &'a str, place: &Place<'a>) -> Option<Place<'a>> {
    if let Some(stem) = name.strip_suffix(".slice") {
        if let Some((uid, qos)) = pod_of_slice(stem) {
            return Some(Place::Pod(uid, qos));
        }
        let (_, id) = stem.split_once("libpod_pod_")?;
        return is_id(id).then_some(Place::PodmanPod(id));
    }
    match (place, name) {
        (_, "kubepods") => Some(Place::Pods(Qos::Guaranteed)),
        (Place::Pods(Qos::Guaranteed), "burstable") => Some(Place::Pods(Qos::Burstable)),
        (Place::Pods(Qos::Guaranteed), "besteffort") => Some(Place::Pods(Qos::BestEffort)),
        (Place::Pods(qos), _) => {
            let uid = name.strip_prefix("pod").filter(|uid| is_uid(uid))?;
            Some(Place::Pod(uid.into(), *qos))
        }
        (Place::Elsewhere("libpod_parent"), _) if is_id(name) => Some(Place::PodmanPod(name)),
        _ => None,
    }
}

/// `kubepods-burstable-podUID` without its suffix. Systemd wants the name of every slice above in a slice's own, so
/// kubelet's own root may stand in front (`kubelet-kubepods-…`); and dashes separate, so the uid has underscores
/// (kubelet's `escapeSystemdCgroupName`).
fn pod_of_slice(stem: &str) -> Option<(PodId, Qos)> {
    let (above, uid) = stem.rsplit_once("-pod")?;
    let (root, qos) = [
        ("-burstable", Qos::Burstable),
        ("-besteffort", Qos::BestEffort),
    ]
    .into_iter()
    .find_map(|(suffix, qos)| Some((above.strip_suffix(suffix)?, qos)))
    .unwrap_or((above, Qos::Guaranteed));
    if root != "kubepods" && !root.ends_with("-kubepods") {
        return None;
    }
    let uid = uid.replace('_', "-");
    is_uid(&uid).then(|| (uid.into(), qos))
}

/// A container's cgroup: `cri-containerd-ID.scope`, `crio-ID`, `ID` …
fn container<'a>(name: &'a str, place: &Place<'a>) -> Option<(Engine, &'a str)> {
    if is_id(name) {
        return match place {
            // Podman's own: a pod here, and never a bare container below one.
            Place::Elsewhere("libpod_parent") | Place::PodmanPod(_) | Place::Pods(_) => None,
            Place::Elsewhere(parent) => {
                Some((engine_of_parent(parent).unwrap_or(Engine::Unknown), name))
            }
            Place::Pod(..) => Some((Engine::Unknown, name)),
        };
    }
    // The id has no dash, and the prefixes of conmon's cgroups (`crio-conmon`) are none of a runtime.
    let (prefix, id) = name
        .strip_suffix(".scope")
        .unwrap_or(name)
        .rsplit_once('-')?;
    is_id(id).then_some((engine_of_prefix(prefix)?, id))
}

fn is_id(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The API server makes UUIDs and kubelet, for static pods, MD5 sums without dashes; but a static pod's manifest may bring
/// any uid, so only what cannot be in a name of a cgroup or of an output is refused.
fn is_uid(uid: &str) -> bool {
    (1..=63).contains(&uid.len())
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const ID: &str = "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9";
    const OTHER: &str = "14e3592df8861a1c754907322eb5829d4e8ba9b03772f70f3f365f15a790b7da";

    /// `Containerd 8852eac251d8 pod 6a1c2f0e-… Burstable node … podman-pod … below /…`
    fn describe(identity: &Identity, below: &[u8]) -> String {
        let short = |id: &str| id[..12].to_owned();
        let mut text = format!("{:?} {}", identity.engine, short(&identity.container));
        if let Some((uid, qos)) = &identity.pod {
            let _ = write!(text, " pod {uid} {qos:?}");
        }
        if let Some(pod) = &identity.podman_pod {
            let _ = write!(text, " podman-pod {}", short(pod));
        }
        if let Some(node) = &identity.node {
            let _ = write!(text, " node {}", short(node));
        }
        if !below.is_empty() {
            let _ = write!(text, " below {}", String::from_utf8_lossy(below));
        }
        text
    }

    fn shown(path: &str) -> String {
        identify(path.as_bytes()).map_or_else(
            || "nobody".to_owned(),
            |(found, below)| describe(&found, below),
        )
    }

    /// A fixture has a path a line, and behind an arrow whose it is; a path without one is nobody's.
    fn check(name: &str, fixture: &str) {
        let mut paths = 0;
        for line in fixture.lines().filter(|line| line.starts_with('/')) {
            let (path, expected) = line.split_once(" => ").unwrap_or((line, "nobody"));
            assert_eq!(shown(path), expected, "{name}: {path}");
            paths += 1;
        }
        assert!(paths > 2, "{name} has {paths} paths");
        let provenance = fixture.lines().next().unwrap_or_default();
        assert!(
            provenance.starts_with("# Recorded") || provenance.starts_with("# Written"),
            "{name} does not say where it is from"
        );
    }

    #[test]
    fn known_layouts_are_read() {
        for (name, fixture) in [
            (
                "containerd-cgroupfs",
                include_str!("fixtures/cgroups/containerd-cgroupfs.txt"),
            ),
            (
                "containerd-systemd",
                include_str!("fixtures/cgroups/containerd-systemd.txt"),
            ),
            ("crio", include_str!("fixtures/cgroups/crio.txt")),
            ("docker", include_str!("fixtures/cgroups/docker.txt")),
            ("k3s", include_str!("fixtures/cgroups/k3s.txt")),
            ("kind", include_str!("fixtures/cgroups/kind.txt")),
            (
                "podman-cgroupfs",
                include_str!("fixtures/cgroups/podman-cgroupfs.txt"),
            ),
            (
                "podman-systemd",
                include_str!("fixtures/cgroups/podman-systemd.txt"),
            ),
        ] {
            check(name, fixture);
        }
    }

    #[test]
    fn a_pod_cannot_pass_for_another_by_making_cgroups() {
        let own = format!("/kubepods/burstable/podown/{ID}");
        for forged in [
            format!("/kubepods/besteffort/podvictim/{OTHER}"),
            format!("/docker/{OTHER}"),
            format!("/cri-containerd-{OTHER}.scope"),
        ] {
            assert_eq!(
                shown(&format!("{own}{forged}")),
                format!("Unknown 8852eac251d8 pod own Burstable below {forged}")
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_inside_a_container_leave_it_known() {
        let path = [format!("/docker/{ID}/").as_bytes(), b"\xff\n/x"].concat();
        let (found, below) = identify(&path).expect("the container is in the path");
        assert_eq!((&*found.container, below), (ID, &b"/\xff\n/x"[..]));
    }

    #[test]
    fn a_path_cut_anywhere_names_its_container_or_nobody() {
        let path = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podown.slice/cri-containerd-{ID}.scope/init"
        );
        let whole = path.find("/init").expect("it is there");
        for length in 0..path.len() {
            let cut = &path[..length];
            match identify(cut.as_bytes()) {
                None => assert!(length < whole, "{cut}"),
                Some((found, _)) => assert_eq!(&*found.container, ID, "{cut}"),
            }
        }
    }

    #[test]
    fn hostile_names_are_nobodys() {
        for path in [
            "",
            "/",
            "//",
            "no slash in front",
            &format!("relative/{ID}"),
            &format!("/docker/{}", ID.to_uppercase()),
            &format!("/docker/{ID}0"),
            &format!("/docker/ {ID}"),
            &format!("/kubepods/pod/x-{ID}"),
            &format!("/kubepods/podx/crio-conmon-{ID}.scope"),
            &format!("/x.slice:cri-containerd:{ID}:"),
            &format!("/x:evil:{ID}"),
            &"/".repeat(100_000),
            &"/kubepods".repeat(10_000),
        ] {
            assert_eq!(shown(path), "nobody", "{path}");
        }
    }

    #[test]
    fn a_uid_is_bounded_and_plain() {
        let of = |uid: &str| {
            identify(format!("/kubepods/pod{uid}/{ID}").as_bytes()).and_then(|(found, _)| found.pod)
        };
        assert!(of("0e2ac9b5bd2b3f5a8f0d4a76a4c1d9e2").is_some());
        assert_eq!(of(&"a".repeat(64)), None);
        assert_eq!(of("a\x1b[2J"), None);
        assert_eq!(of(""), None);
    }
}
