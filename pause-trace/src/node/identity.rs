//! Derives from the path of a cgroup its container, the uid of its pod, and the runtime.
//!
//! Every runtime puts a container's id into the name of its cgroup, and kubelet puts the pod's uid
//! into the name of the parent cgroup. The owner of a cgroup is therefore known as soon as the
//! kernel reports its path.
//!
//! Kubelet and the runtime choose these names, except for cgroups that a container creates inside
//! its own: everything below the cgroup of a pod's container belongs to that container, whatever
//! its name.

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

/// The owner of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) engine: Engine,
    pub(crate) container: ContainerId,
    /// The pod's uid and class; `None` for a container that kubelet did not request.
    pub(crate) pod: Option<(PodId, Qos)>,
    /// The id of a Podman pod, which only Podman knows. The bundles of the pod's members name their
    /// infra container instead.
    pub(crate) podman_pod: Option<ContainerId>,
    /// The container that acts as the node: kind, k3d and minikube run kubelet in a container,
    /// docker-in-docker runs its daemon in one.
    pub(crate) node: Option<ContainerId>,
}

/// The container whose main cgroup this is, not one that it created below.
pub(crate) fn of_container(path: &[u8]) -> Option<Identity> {
    identify(path)
        .filter(|(_, below)| below.is_empty())
        .map(|(identity, _)| identity)
}

/// Parses a path from the root of a hierarchy. Also returns the rest of the path inside the
/// container: empty, or beginning with a slash.
///
/// If containers are nested, the result is the innermost one, because an outer one acts as the
/// node. Names inside a *pod's* container are not trusted: a pod that may create cgroups could
/// otherwise impersonate another pod. A caller that runs with kubelet inside a pod has to remove
/// that pod's part of the path first.
///
/// Ids are 64 hexadecimal digits: every CRI runtime, Docker and Podman use these. The result is
/// `None` for a truncated path, for a container with a name chosen by hand (`ctr run … NAME`), and
/// for conmon's own cgroups.
pub(crate) fn identify(path: &[u8]) -> Option<(Identity, &[u8])> {
    let mut found: Option<(Identity, &[u8])> = None;
    let mut place = Place::Elsewhere("");
    let mut rest = path.strip_prefix(b"/")?;
    loop {
        let length = rest.iter().position(|byte| *byte == b'/');
        let (component, below) = rest.split_at(length.unwrap_or(rest.len()));
        // Cgroups of containers have ASCII names.
        let name = str::from_utf8(component).unwrap_or_default();
        place = match step(name, &place) {
            Step::Into(place) => place,
            Step::Container {
                engine,
                id,
                pod,
                podman_pod,
            } => {
                // Below a parent that the user chose, a Podman pod is a bare id, which was
                // recognised as a container.
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

/// The position of a component in the tree, derived from the components above it.
enum Place<'a> {
    /// Directly below a cgroup with this name and no special meaning.
    Elsewhere(&'a str),
    /// Directly below the cgroup of this class, in the layout of kubelet's `cgroupfs` driver.
    Pods(Qos),
    /// Directly below a pod's cgroup.
    Pod(PodId, Qos),
    /// Directly below the cgroup of a Podman pod.
    PodmanPod(&'a str),
}

/// The meaning of a component.
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
    // A runtime passes `SLICE:RUNTIME:ID` to runc for systemd; runc's cgroupfs driver uses it as a
    // literal name.
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

/// Recognises a cgroup that contains containers, pods or classes of pods.
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

/// Parses `kubepods-burstable-podUID`, without the suffix. The name of a systemd slice contains the
/// names of its parents, so kubelet's own root may come first (`kubelet-kubepods-…`). Dashes
/// separate slices, so the uid has underscores (kubelet's `escapeSystemdCgroupName`).
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

/// Recognises a container's cgroup: `cri-containerd-ID.scope`, `crio-ID`, `ID` …
fn container<'a>(name: &'a str, place: &Place<'a>) -> Option<(Engine, &'a str)> {
    if is_id(name) {
        return match place {
            // Here a bare id is a Podman pod, or it is not a container at all.
            Place::Elsewhere("libpod_parent") | Place::PodmanPod(_) | Place::Pods(_) => None,
            Place::Elsewhere(parent) => {
                Some((engine_of_parent(parent).unwrap_or(Engine::Unknown), name))
            }
            Place::Pod(..) => Some((Engine::Unknown, name)),
        };
    }
    // The id has no dash, and the prefixes of conmon's cgroups (`crio-conmon`) are not in the table
    // of runtimes.
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

/// The API server generates UUIDs, and kubelet generates MD5 sums without dashes for static pods. A
/// static pod's manifest may contain any uid, so only characters that do not belong in a cgroup
/// name or an output are refused.
fn is_uid(uid: &str) -> bool {
    (1..=63).contains(&uid.len())
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs};

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
            || "none".to_owned(),
            |(found, below)| describe(&found, below),
        )
    }

    /// Each line of a fixture is a path, followed by an arrow and its owner; a path without an
    /// arrow belongs to no container.
    fn check(name: &str, fixture: &str) {
        let mut paths = 0;
        for line in fixture.lines().filter(|line| line.starts_with('/')) {
            let (path, expected) = line.split_once(" => ").unwrap_or((line, "none"));
            assert_eq!(shown(path), expected, "{name}: {path}");
            paths += 1;
        }
        assert!(paths > 2, "{name} has {paths} paths");
        let provenance = fixture.lines().next().unwrap_or_default();
        assert!(
            provenance.starts_with("# Recorded") || provenance.starts_with("# Written"),
            "{name} does not state its source"
        );
    }

    #[test]
    fn known_layouts_are_read() {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/fixtures/cgroups");
        let mut files = 0;
        for file in fs::read_dir(fixtures).expect("the directory of fixtures") {
            let path = file.expect("a fixture").path();
            let fixture = fs::read_to_string(&path).expect("text");
            check(&path.display().to_string(), &fixture);
            files += 1;
        }
        assert!(files >= 8, "{files} fixtures");
    }

    #[test]
    fn a_pod_cannot_impersonate_another_by_creating_cgroups() {
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
    fn a_path_that_is_not_utf8_inside_a_container_is_accepted() {
        let path = [format!("/docker/{ID}/").as_bytes(), b"\xff\n/x"].concat();
        let (found, below) = identify(&path).expect("the container is in the path");
        assert_eq!((&*found.container, below), (ID, &b"/\xff\n/x"[..]));
    }

    #[test]
    fn a_truncated_path_never_names_another_container() {
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
    fn hostile_names_belong_to_no_container() {
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
            assert_eq!(shown(path), "none", "{path}");
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
