//! The JSON that runtimes add to a verbose answer.
//!
//! CRI does not define its structure. This module reads what containerd (`toCRISandboxInfo`,
//! `toCRIContainerInfo`, `toCRIImageInfo`) and CRI-O (server/sandbox_status.go,
//! server/container_status.go, server/image_status.go) have in common, and `config`, which only
//! containerd has.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::messages::{
    ContainerStatusResponse, ImageStatusResponse, NamespaceMode, NamespaceOption,
    PodSandboxStatusResponse, UserNamespace,
};

/// The key that both runtimes use.
const KEY: &str = "info";

/// Maximum length of the JSON in bytes. Kubernetes allows a pod 256 KiB of annotations, which
/// containerd repeats twice.
const MAX_INFO: usize = 4 << 20;

/// The details that a runtime adds to a verbose answer. Each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Info {
    /// The first process of the container, or the pause; absent if it does not run.
    #[serde(deserialize_with = "running")]
    pub pid: Option<u32>,
    /// For a container, the id of its sandbox.
    #[serde(rename = "sandboxID")]
    pub sandbox_id: Option<String>,
    /// The OCI specification that was passed to the OCI runtime.
    #[serde(rename = "runtimeSpec")]
    pub runtime_spec: Value,
    /// The configuration of the CRI request. Only containerd reports it.
    pub config: Value,
    /// For an image, its OCI configuration.
    #[serde(rename = "imageSpec")]
    pub image_spec: Value,
}

/// Details that cannot be read. The text fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum BadInfo {
    /// The JSON exceeds the maximum length.
    #[error("read a runtime's verbose answer: it has {0} bytes, more than {MAX_INFO}")]
    TooLong(usize),
    /// The text is not JSON, or has another structure.
    #[error("read a runtime's verbose answer: {0}")]
    Malformed(serde_json::Error),
}

impl Info {
    /// Reads the details of an answer; `None` if it has none.
    ///
    /// # Errors
    /// If the details are too long or malformed.
    pub fn read(info: &BTreeMap<String, String>) -> Result<Option<Self>, BadInfo> {
        let Some(json) = info.get(KEY) else {
            return Ok(None);
        };
        if json.len() > MAX_INFO {
            return Err(BadInfo::TooLong(json.len()));
        }
        serde_json::from_str(json)
            .map(Some)
            .map_err(BadInfo::Malformed)
    }

    /// The requested mode of each namespace. Only containerd reports it; CRI-O does not for
    /// containers.
    ///
    /// Also `None` if a mode is unknown.
    pub fn namespace_options(&self) -> Option<NamespaceOption> {
        let options = self
            .config
            .pointer("/linux/security_context/namespace_options")?;
        let users = match options.get("userns_options") {
            None | Some(Value::Null) => None,
            Some(users) => Some(UserNamespace {
                mode: mode(users, "mode")?,
                ..UserNamespace::default()
            }),
        };
        Some(NamespaceOption {
            network: mode(options, "network")?,
            pid: mode(options, "pid")?,
            ipc: mode(options, "ipc")?,
            target_id: options
                .get("target_id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            userns_options: users,
        })
    }

    /// The namespaces of the OCI specification by type (`network`, `pid`, …): new ones without a
    /// path, and joined ones with their path. For a type that is not listed, the container uses the
    /// runtime's namespace, which is the node's.
    pub fn spec_namespaces(&self) -> Option<BTreeMap<&str, Option<&str>>> {
        let listed = self.runtime_spec.pointer("/linux/namespaces")?.as_array()?;
        Some(
            listed
                .iter()
                .filter_map(|namespace| {
                    let path = namespace.get("path").and_then(Value::as_str);
                    Some((
                        namespace.get("type")?.as_str()?,
                        path.filter(|path| !path.is_empty()),
                    ))
                })
                .collect(),
        )
    }

    /// The command line of the first process.
    pub fn args(&self) -> Vec<&str> {
        let args = self.runtime_spec.pointer("/process/args");
        args.and_then(Value::as_array)
            .map(|args| args.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    /// For an image, its stop signal as its author wrote it: `SIGQUIT`, `QUIT` or `3`.
    pub fn image_stop_signal(&self) -> Option<&str> {
        let signal = self.image_spec.pointer("/config/StopSignal")?.as_str()?;
        (!signal.is_empty()).then_some(signal)
    }
}

macro_rules! verbose {
    ($($response:ty),*) => {$(
        impl $response {
            /// The details of a verbose answer; `None` if it has none.
            ///
            /// # Errors
            /// If the details are too long or malformed.
            pub fn info(&self) -> Result<Option<Info>, BadInfo> {
                Info::read(&self.info)
            }
        }
    )*};
}

verbose!(
    PodSandboxStatusResponse,
    ContainerStatusResponse,
    ImageStatusResponse
);

/// Reads a mode. Go omits a 0 and writes an enumeration as a number; protobuf's JSON writes its
/// name.
fn mode(options: &Value, name: &str) -> Option<i32> {
    let mode = match options.get(name) {
        None | Some(Value::Null) => NamespaceMode::Pod,
        Some(Value::String(name)) => match name.as_str() {
            "POD" => NamespaceMode::Pod,
            "CONTAINER" => NamespaceMode::Container,
            "NODE" => NamespaceMode::Node,
            "TARGET" => NamespaceMode::Target,
            _ => return None,
        },
        Some(number) => i32::try_from(number.as_i64()?).ok()?.try_into().ok()?,
    };
    Some(mode.into())
}

/// Reads a pid. A container that does not run has pid 0, which gives `None`.
fn running<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(Option::<u32>::deserialize(deserializer)?.filter(|pid| *pid != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Info, BadInfo> {
        let info = BTreeMap::from([(KEY.to_owned(), json.to_owned())]);
        Info::read(&info).map(|info| info.expect("it has the key"))
    }

    /// An answer of containerd 1.6.20 about an ephemeral container, shortened by hand.
    const TARGET: &str = r#"{
        "sandboxID": "fbbb9113", "pid": 4697, "removing": false,
        "config": {
            "metadata": {"name": "debug"},
            "linux": {"security_context": {"namespace_options": {"pid": 3, "target_id": "77e5e770"}}}
        },
        "runtimeSpec": {
            "process": {"args": ["sleep", "1000"]},
            "linux": {"namespaces": [
                {"type": "pid", "path": "/proc/4647/ns/pid"},
                {"type": "mount"},
                {"type": "network", "path": "/proc/4611/ns/net"}
            ]}
        }
    }"#;

    #[test]
    fn containerds_details_are_read() {
        let info = read(TARGET).expect("details");
        assert_eq!(info.pid, Some(4697));
        assert_eq!(info.sandbox_id.as_deref(), Some("fbbb9113"));
        assert_eq!(info.args(), ["sleep", "1000"]);
        let options = info.namespace_options().expect("options");
        assert_eq!(
            (options.network(), options.pid(), options.ipc()),
            (
                NamespaceMode::Pod,
                NamespaceMode::Target,
                NamespaceMode::Pod
            )
        );
        assert_eq!(options.target_id, "77e5e770");
        assert_eq!(options.userns_options, None);
        let namespaces = info.spec_namespaces().expect("namespaces");
        assert_eq!(namespaces["pid"], Some("/proc/4647/ns/pid"));
        assert_eq!(namespaces["mount"], None);
        assert!(!namespaces.contains_key("user"));
    }

    #[test]
    fn user_namespaces_are_read_by_number_and_by_name() {
        for mode in ["2", "\"NODE\""] {
            let json = format!(
                r#"{{"config": {{"linux": {{"security_context": {{"namespace_options": {{"userns_options": {{"mode": {mode}}}}}}}}}}}}}"#
            );
            let options = read(&json).expect("details").namespace_options();
            let users = options.and_then(|options| options.userns_options);
            assert_eq!(
                users.map(|users| users.mode()),
                Some(NamespaceMode::Node),
                "{mode}"
            );
        }
    }

    #[test]
    fn an_exited_container_has_no_pid() {
        assert_eq!(read(r#"{"pid": 0}"#).expect("details").pid, None);
        assert_eq!(read("{}").expect("details").pid, None);
    }

    #[test]
    fn an_unknown_mode_is_no_mode() {
        let json =
            r#"{"config": {"linux": {"security_context": {"namespace_options": {"pid": 9}}}}}"#;
        assert_eq!(read(json).expect("details").namespace_options(), None);
    }

    #[test]
    fn an_images_stop_signal_is_read() {
        let json = r#"{"imageSpec": {"os": "linux", "config": {"StopSignal": "SIGQUIT"}}}"#;
        assert_eq!(
            read(json).expect("details").image_stop_signal(),
            Some("SIGQUIT")
        );
        let json = r#"{"imageSpec": {"os": "linux", "config": {"StopSignal": ""}}}"#;
        assert_eq!(read(json).expect("details").image_stop_signal(), None);
    }

    #[test]
    fn malformed_details_are_an_error() {
        let deep = "[".repeat(100_000);
        for json in ["", "{", "3", r#"{"pid": -1}"#, r#"{"pid": "1"}"#, &deep] {
            let error = read(json).expect_err(json);
            assert!(matches!(error, BadInfo::Malformed(_)), "{error}");
        }
        let long = format!("\"{}\"", "x".repeat(MAX_INFO));
        assert!(matches!(read(&long), Err(BadInfo::TooLong(_))));
        assert_eq!(Info::read(&BTreeMap::new()).expect("no details"), None);
    }
}
