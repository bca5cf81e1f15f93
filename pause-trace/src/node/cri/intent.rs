//! Interprets a runtime's answers: pod, container, and the requested namespace modes. Pure.

use nix::sys::signal::Signal;
use pause_trace_cri::{
    BadInfo, Info,
    messages::{
        ContainerStatusResponse, NamespaceMode, NamespaceOption, PodSandboxState,
        PodSandboxStatusResponse, signal_from_cri,
    },
};

use crate::{
    event::{ContainerFact, ContainerId, ContainerKind, Grace, Mode, Modes, PodFact, Source, Text},
    node::stop_signal,
};

/// Names are truncated to this length: the name of a Kubernetes object has at most 253 characters.
const MAX_NAME: usize = 253;

/// Longer ids are refused: runtimes use 64 characters, Kubernetes 36.
const MAX_ID: usize = 128;

/// The annotation for the stop signal of an image when the image is converted to a specification
/// (image-spec, conversion.md).
const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// A sandbox.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sandbox {
    /// Its id.
    pub(crate) id: ContainerId,
    pub(crate) pod: PodFact,
    /// Its pause; `None` if the runtime keeps the namespaces without a pause, as CRI-O does.
    pub(crate) pause: Option<ContainerFact>,
    /// The pause's pid while it runs.
    pub(crate) pid: Option<u32>,
}

/// An answer that lacks something or contains an unknown value. The text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntentError {
    #[error("interpret the runtime's answer: {0} is missing")]
    Missing(&'static str),
    #[error("interpret the runtime's answer: {0} is not valid")]
    NoId(&'static str),
    #[error(
        "interpret the runtime's answer: the mode {mode} of the {namespace} namespace is not known"
    )]
    Mode { namespace: &'static str, mode: i32 },
    #[error(
        "determine which pid namespace the container joins: the runtime reports only the path {0}"
    )]
    Joins(Text),
    #[error(transparent)]
    Details(#[from] BadInfo),
}

/// Whether a text may be the id of a pod or container: short, and without characters that need
/// escaping.
pub(crate) fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

/// Interprets a verbose answer about a sandbox.
pub(crate) fn sandbox(answer: &PodSandboxStatusResponse) -> Result<Sandbox, IntentError> {
    let status = answer
        .status
        .as_ref()
        .ok_or(IntentError::Missing("the status"))?;
    let metadata = status
        .metadata
        .as_ref()
        .ok_or(IntentError::Missing("the sandbox's metadata"))?;
    if !is_id(&status.id) {
        return Err(IntentError::NoId("the sandbox's id"));
    }
    // CRI does not require a uid; a pod created by hand may have none.
    let uid = if metadata.uid.is_empty() {
        &status.id
    } else {
        &metadata.uid
    };
    if !is_id(uid) {
        return Err(IntentError::NoId("the pod's uid"));
    }
    let info = answer.info()?;
    let modes = sandbox_modes(answer, info.as_ref())?;
    let pod = PodFact {
        pod: uid.as_str().into(),
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
        modes: modes.clone(),
        source: Source::Cri,
    };
    let pid = info.as_ref().and_then(|info| info.pid);
    let ready = status.state == i32::from(PodSandboxState::Ready);
    let has_pause = !ready || pid.is_some() || info.is_none();
    let pause = has_pause.then(|| ContainerFact {
        container: status.id.as_str().into(),
        pod: pod.pod.clone(),
        name: Text::new("pause"),
        what: ContainerKind::Sandbox,
        sandbox: None,
        cgroup: 0,
        modes,
        stop_signal: Signal::SIGTERM as i32,
        file: info.as_ref().and_then(file),
        source: Source::Cri,
    });
    Ok(Sandbox {
        id: status.id.as_str().into(),
        pod,
        pause,
        pid,
    })
}

/// Interprets a verbose answer about a container of that pod. `image` contains the details of its
/// image, for the stop signal.
pub(crate) fn container(
    pod: &PodFact,
    answer: &ContainerStatusResponse,
    image: Option<&Info>,
) -> Result<ContainerFact, IntentError> {
    let status = answer
        .status
        .as_ref()
        .ok_or(IntentError::Missing("the status"))?;
    if !is_id(&status.id) {
        return Err(IntentError::NoId("the container's id"));
    }
    let info = answer.info()?;
    let pid = container_pids(pod, info.as_ref())?;
    let name = status.metadata.as_ref().map(|metadata| &*metadata.name);
    Ok(ContainerFact {
        container: status.id.as_str().into(),
        pod: pod.pod.clone(),
        name: text(name.unwrap_or_default()),
        what: match pid {
            Mode::Target(_) => ContainerKind::Ephemeral,
            _ => ContainerKind::App,
        },
        sandbox: None,
        cgroup: 0,
        // Except for the pid namespace, a container has the modes of its sandbox, whatever its
        // request says: runtimes ignore the request (containerd: `WithPodNamespaces`), and the
        // kubelet requests the same modes.
        modes: Modes {
            pid,
            ..pod.modes.clone()
        },
        stop_signal: declared_stop_signal(answer, info.as_ref())
            .or_else(|| stop_signal::parse(image?.image_stop_signal()?))
            .unwrap_or(Signal::SIGTERM as i32),
        file: info.as_ref().and_then(file),
        source: Source::Cri,
    })
}

/// The stop signal of a container, if its own answer contains it. The image is then not needed.
pub(crate) fn declared_stop_signal(
    answer: &ContainerStatusResponse,
    info: Option<&Info>,
) -> Option<i32> {
    signal_from_cri(answer.status.as_ref()?.stop_signal).or_else(|| {
        let annotations = info?.runtime_spec.get("annotations")?;
        stop_signal::parse(annotations.get(STOP_SIGNAL)?.as_str()?)
    })
}

/// The grace period of a container, as the kubelet wrote it down when it created the container.
pub(crate) fn grace(answer: &ContainerStatusResponse) -> Option<Grace> {
    let annotations = &answer.status.as_ref()?.annotations;
    Grace::of_annotations(|key| annotations.get(key).map(String::as_str))
}

/// The modes of a sandbox. The request, which containerd repeats in `info`, takes precedence over
/// the status, in which containerd 1.6 leaves out user namespaces.
fn sandbox_modes(
    answer: &PodSandboxStatusResponse,
    info: Option<&Info>,
) -> Result<Modes, IntentError> {
    let reported = || {
        let linux = answer.status.as_ref()?.linux.as_ref()?;
        linux.namespaces.as_ref()?.options.clone()
    };
    let options = info
        .and_then(Info::namespace_options)
        .or_else(reported)
        .ok_or(IntentError::Missing("the sandbox's namespace options"))?;
    let net = mode("network", options.network, &options)?;
    Ok(Modes {
        // The uts namespace has no option of its own: a pod in the node's network has the node's
        // host name.
        uts: match net {
            Mode::Node => Mode::Node,
            _ => Mode::Pod,
        },
        net,
        ipc: mode("ipc", options.ipc, &options)?,
        pid: mode("pid", options.pid, &options)?,
        user: match &options.userns_options {
            Some(users) => mode("user", users.mode, &options)?,
            // According to api.proto this means the pod's namespace, but runtimes use the node's,
            // unless an annotation makes CRI-O create one.
            None if has_users(info) => Mode::Pod,
            None => Mode::Node,
        },
    })
}

/// Whether the specification has a user namespace.
fn has_users(info: Option<&Info>) -> bool {
    info.and_then(Info::spec_namespaces)
        .is_some_and(|namespaces| namespaces.contains_key("user"))
}

/// The pid mode of a container: from the request if the runtime repeats it, otherwise from the
/// specification.
fn container_pids(pod: &PodFact, info: Option<&Info>) -> Result<Mode, IntentError> {
    let info = info.ok_or(IntentError::Missing("the container's verbose part"))?;
    if let Some(options) = info.namespace_options() {
        return mode("pid", options.pid, &options);
    }
    let namespaces = info
        .spec_namespaces()
        .ok_or(IntentError::Missing("the container's specification"))?;
    match namespaces.get("pid") {
        None => Ok(Mode::Node),
        Some(None) => Ok(Mode::Container),
        Some(Some(_)) if pod.modes.pid == Mode::Pod => Ok(Mode::Pod),
        Some(Some(path)) => Err(IntentError::Joins(text(path))),
    }
}

fn mode(
    namespace: &'static str,
    mode: i32,
    options: &NamespaceOption,
) -> Result<Mode, IntentError> {
    match NamespaceMode::try_from(mode) {
        Ok(NamespaceMode::Pod) => Ok(Mode::Pod),
        Ok(NamespaceMode::Container) => Ok(Mode::Container),
        Ok(NamespaceMode::Node) => Ok(Mode::Node),
        Ok(NamespaceMode::Target) if is_id(&options.target_id) => {
            Ok(Mode::Target(options.target_id.as_str().into()))
        }
        Ok(NamespaceMode::Target) => Err(IntentError::NoId("the target's id")),
        Err(_) => Err(IntentError::Mode { namespace, mode }),
    }
}

/// The file that the first process executes.
fn file(info: &Info) -> Option<Text> {
    let file = *info.args().first()?;
    // The kernel program truncates file names, so a longer one cannot be compared.
    (!file.is_empty() && file.len() < MAX_NAME).then(|| Text::new(file))
}

/// A name, truncated if it is too long. It may contain any characters, and is escaped wherever it
/// is shown.
fn text(name: &str) -> Text {
    Text::new(&name[..name.floor_char_boundary(MAX_NAME)])
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
