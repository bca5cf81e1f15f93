//! The parts of an OCI configuration that are used, and how annotations are interpreted.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    Bundle, CriModes, Docker, Entry, Kind, Location, MAX_ARGS, MAX_NAME_BYTES, Manager, PodNames,
    Requested,
};
use crate::{
    event::{ContainerId, NamespaceKind, Text},
    node::stop_signal,
};

/// `config.json` ([OCI runtime specification], 1.x). Other fields are skipped.
///
/// [OCI runtime specification]: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Spec {
    process: Process,
    root: Root,
    hostname: Option<String>,
    annotations: Annotations,
    linux: Linux,
    pub(super) mounts: Vec<Mount>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Process {
    args: Vec<String>,
    no_new_privileges: bool,
    oom_score_adj: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Root {
    readonly: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    cgroups_path: Option<String>,
    namespaces: Vec<Namespace>,
    uid_mappings: Vec<serde::de::IgnoredAny>,
    resources: Option<Resources>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    memory: Option<Memory>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Memory {
    /// In bytes; -1 for no limit.
    limit: Option<serde_json::Number>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// The annotations of all runtimes. A pod may set those of another runtime (CRI-O copies a pod's
/// annotations into its bundles), so the manager decides which ones are used.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "io.kubernetes.cri.container-type")]
    containerd_type: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-id")]
    containerd_sandbox: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-uid")]
    containerd_pod_uid: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    containerd_pod_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    containerd_pod_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.container-name")]
    containerd_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.image-name")]
    containerd_image: Option<String>,
    // On a sandbox, since containerd 2.0.
    #[serde(rename = "io.kubernetes.cri.podsandbox.image-name")]
    containerd_sandbox_image: Option<String>,

    #[serde(rename = "io.kubernetes.cri-o.ContainerType")]
    crio_type: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.SandboxID")]
    crio_sandbox: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.Metadata")]
    crio_metadata: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.NamespaceOptions")]
    crio_namespace_options: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ImageName")]
    crio_image: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.Image")]
    crio_image_requested: Option<String>,
    // Kubelet's labels, which CRI-O copies.
    #[serde(rename = "io.kubernetes.pod.uid")]
    pod_uid: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    pod_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod_name: Option<String>,
    #[serde(rename = "io.kubernetes.container.name")]
    container_name: Option<String>,

    #[serde(rename = "org.opencontainers.image.stopSignal")]
    stop_signal: Option<String>,
}

/// CRI-O's `Metadata`, JSON in a string. Older versions wrote the names of the Go fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(alias = "Name")]
    name: Option<String>,
    #[serde(alias = "UID")]
    uid: Option<String>,
    #[serde(alias = "Namespace")]
    namespace: Option<String>,
}

/// The contents of the annotations, independent of the runtime.
#[derive(Default)]
struct Names {
    kind: Option<Kind>,
    sandbox: Option<ContainerId>,
    pod: PodNames,
    name: Option<Text>,
    image: Option<Text>,
    cri_modes: Option<CriModes>,
}

impl Spec {
    pub(super) fn into_bundle(self, location: &Location) -> Bundle {
        let mut namespaces = Requested::default();
        for namespace in self.linux.namespaces {
            let Some(kind) = namespace_kind(&namespace.kind) else {
                continue;
            };
            *namespaces.get_mut(kind) = match namespace.path {
                path if path.is_empty() => Entry::New,
                path => Entry::Path(PathBuf::from(path)),
            };
        }
        let stop_signal = self
            .annotations
            .stop_signal
            .as_deref()
            .and_then(stop_signal::parse);
        let names = self.annotations.names(location.manager);
        let args = self.process.args.iter().take(MAX_ARGS);
        let memory = self.linux.resources.and_then(|resources| resources.memory);
        let memory_limit = memory.and_then(|memory| memory.limit?.as_u64());
        Bundle {
            manager: location.manager,
            directory: location.directory.clone(),
            kind: names.kind,
            pod: names.pod,
            sandbox: names.sandbox,
            name: names.name,
            image: names.image,
            hostname: self.hostname.as_deref().and_then(text),
            namespaces,
            cri_modes: names.cri_modes,
            cgroups_path: self.linux.cgroups_path.as_deref().and_then(text),
            args: args.map(|arg| Text::new(bounded(arg))).collect(),
            stop_signal,
            stop_timeout: None,
            docker: Docker::default(),
            maps_users: !self.linux.uid_mappings.is_empty(),
            no_new_privileges: self.process.no_new_privileges,
            oom_score_adj: self.process.oom_score_adj,
            // Older runtimes write 0 for no limit.
            memory_limit: memory_limit.filter(|limit| *limit > 0),
            readonly_root: self.root.readonly,
            init: None,
        }
    }
}

impl Annotations {
    fn names(self, manager: Manager) -> Names {
        match manager {
            Manager::Containerd => self.of_containerd(),
            Manager::Docker => Names::default(),
            Manager::Conmon => self.of_conmon(),
        }
    }

    fn of_containerd(self) -> Names {
        let image = self.containerd_image.or(self.containerd_sandbox_image);
        Names {
            kind: self.containerd_type.as_deref().and_then(kind),
            sandbox: self.containerd_sandbox.as_deref().and_then(id),
            pod: PodNames {
                uid: self.containerd_pod_uid.as_deref().and_then(id),
                namespace: self.containerd_pod_namespace.as_deref().and_then(text),
                name: self.containerd_pod_name.as_deref().and_then(text),
            },
            name: self.containerd_name.as_deref().and_then(text),
            image: image.as_deref().and_then(text),
            cri_modes: None,
        }
    }

    fn of_conmon(self) -> Names {
        let kind = self.crio_type.as_deref().and_then(kind);
        let metadata: Metadata = json(self.crio_metadata.as_deref()).unwrap_or_default();
        // What CRI-O wrote itself takes precedence. On a sandbox it names the pod, on a container
        // the container.
        let (pod, own) = match kind {
            Some(Kind::Sandbox) => (metadata, Metadata::default()),
            _ => (Metadata::default(), metadata),
        };
        let uid = pod.uid.or(self.pod_uid);
        let namespace = pod.namespace.or(self.pod_namespace);
        let name = pod.name.or(self.pod_name);
        let container = match kind {
            Some(Kind::Container) => own.name.or(self.container_name),
            _ => None,
        };
        let image = [self.crio_image, self.crio_image_requested];
        Names {
            kind,
            sandbox: self.crio_sandbox.as_deref().and_then(id),
            pod: PodNames {
                uid: uid.as_deref().and_then(id),
                namespace: namespace.as_deref().and_then(text),
                name: name.as_deref().and_then(text),
            },
            name: container.as_deref().and_then(text),
            image: image.iter().flatten().find_map(|image| text(image)),
            cri_modes: json(self.crio_namespace_options.as_deref()),
        }
    }
}

fn json<'a, T: Deserialize<'a>>(text: Option<&'a str>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        "sandbox" => Some(Kind::Sandbox),
        "container" => Some(Kind::Container),
        _ => None,
    }
}

/// The names that the OCI specification uses.
fn namespace_kind(name: &str) -> Option<NamespaceKind> {
    Some(match name {
        "mount" => NamespaceKind::Mnt,
        "uts" => NamespaceKind::Uts,
        "ipc" => NamespaceKind::Ipc,
        "network" => NamespaceKind::Net,
        "pid" => NamespaceKind::Pid,
        "user" => NamespaceKind::User,
        "cgroup" => NamespaceKind::Cgroup,
        // `time`, which no runtime requests on its own.
        _ => return None,
    })
}

/// A uid or an id. They are written unescaped, so only plain characters are accepted.
fn id(text: &str) -> Option<ContainerId> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(is_plain);
    fits.then(|| text.into())
}

pub(super) fn text(text: &str) -> Option<Text> {
    (!text.is_empty()).then(|| Text::new(bounded(text)))
}

fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NAME_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_truncated_at_a_character_boundary() {
        let long = format!("{}é", "a".repeat(MAX_NAME_BYTES - 1));
        assert_eq!(bounded(&long).len(), MAX_NAME_BYTES - 1);
        assert_eq!(bounded("short"), "short");
    }

    #[test]
    fn ids_with_special_characters_are_refused() {
        assert_eq!(id("6a1c-2f").as_deref(), Some("6a1c-2f"));
        for hostile in ["", "a\nb", "a b", "\u{202e}", &"a".repeat(129)] {
            assert_eq!(id(hostile), None, "{hostile:?}");
        }
    }
}
