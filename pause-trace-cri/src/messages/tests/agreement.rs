//! Compares every message of this crate with the published definition, in both directions: the
//! definition's decoder reads what this crate's encoder writes, and the reverse. A field agrees if
//! its name, its type and its value do.
//!
//! In this file, `ours` is a message of this crate and `theirs` is one of the definition.

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::{
    super::*,
    definition::{Definition, samples},
};
use crate::channel::Api;

mod values;

use values::Field;

/// Messages and fields of v1 that v1alpha2 lacks.
const NEWER: [&str; 5] = [
    "ContainerConfig.stop_signal",
    "ContainerStatus.stop_signal",
    "RuntimeHandler",
    "RuntimeHandlerFeatures",
    "StatusResponse.runtime_handlers",
];

/// The fields 1000 to 1004, which no version has, one of each wire type. The last one is a group
/// with one field.
const UNKNOWN: &[u8] = b"\xc0\x3e\x96\x01\
    \xc9\x3e12345678\
    \xd2\x3e\x02ab\
    \xdd\x3e1234\
    \xe3\x3e\x08\x01\xe4\x3e";

/// One of our messages.
trait Described: Message + Default {
    /// Its name in the definition; several names if one of our messages stands for several of the
    /// definition's.
    const NAMES: &'static [&'static str];

    /// Messages for our encoder: one with all fields, and one for each field with that field alone.
    fn samples() -> Vec<Self>;

    /// Our fields whose name, type or value differs in the definition's message.
    fn differences(&self, theirs: &DynamicMessage) -> Vec<String>;
}

/// One of our messages, with its type erased.
struct Entry {
    name: &'static str,
    names: &'static [&'static str],
    differences: fn(&Definition) -> Vec<String>,
}

/// Makes the table of our messages from lines `OURS = THEIRS { FIELDS }`. The compiler rejects an
/// incomplete list of fields.
macro_rules! messages {
    ($($message:ident = $($name:literal)|+ { $($field:ident),* $(,)? })+) => {
        const MESSAGES: &[Entry] = &[$(Entry {
            name: stringify!($message),
            names: $message::NAMES,
            differences: differences::<$message>,
        }),+];

        $(
            impl Described for $message {
                const NAMES: &'static [&'static str] = &[$($name),+];

                fn samples() -> Vec<Self> {
                    vec![
                        Self::filled(""),
                        $({
                            let mut alone = Self::default();
                            alone.$field = Field::filled(stringify!($field));
                            alone
                        }),*
                    ]
                }

                fn differences(&self, theirs: &DynamicMessage) -> Vec<String> {
                    let Self { $($field),* } = self;
                    let differences: Vec<Option<String>> =
                        vec![$(difference(stringify!($field), $field, theirs)),*];
                    let _ = theirs;
                    differences.into_iter().flatten().collect()
                }
            }

            impl Field for $message {
                fn filled(_: &str) -> Self {
                    Self { $($field: Field::filled(stringify!($field))),* }
                }

                fn is(&self, theirs: &Value) -> bool {
                    theirs.as_message().is_some_and(|theirs| {
                        Self::NAMES.contains(&theirs.descriptor().name())
                            && self.differences(theirs).is_empty()
                    })
                }
            }
        )+
    };
}

messages! {
    // container.rs
    Capability = "Capability" { add_capabilities, drop_capabilities }
    Container = "Container" {
        id, pod_sandbox_id, metadata, image, image_ref, state, created_at, labels, annotations
    }
    ContainerConfig = "ContainerConfig" {
        metadata, image, command, args, working_dir, envs, mounts, labels, annotations, log_path, stdin, tty, linux,
        stop_signal
    }
    ContainerFilter = "ContainerFilter" { pod_sandbox_id }
    ContainerMetadata = "ContainerMetadata" { name, attempt }
    ContainerRequest = "StartContainerRequest" | "RemoveContainerRequest" { container_id }
    ContainerResources = "LinuxContainerResources" {
        cpu_period, cpu_quota, cpu_shares, memory_limit_in_bytes, oom_score_adj
    }
    ContainerStatus = "ContainerStatus" {
        id, metadata, state, created_at, started_at, finished_at, exit_code, image, image_ref, reason, message, labels,
        annotations, stop_signal
    }
    ContainerStatusRequest = "ContainerStatusRequest" { container_id, verbose }
    ContainerStatusResponse = "ContainerStatusResponse" { status, info }
    CreateContainerRequest = "CreateContainerRequest" { pod_sandbox_id, config, sandbox_config }
    CreateContainerResponse = "CreateContainerResponse" { container_id }
    ExecOutput = "ExecSyncResponse" { stdout, stderr, exit_code }
    ExecSyncRequest = "ExecSyncRequest" { container_id, cmd, timeout }
    KeyValue = "KeyValue" { key, value }
    LinuxContainerConfig = "LinuxContainerConfig" { resources, security_context }
    LinuxContainerSecurityContext = "LinuxContainerSecurityContext" {
        capabilities, privileged, namespace_options, run_as_user, run_as_group, readonly_rootfs, no_new_privs
    }
    ListContainersRequest = "ListContainersRequest" { filter }
    ListContainersResponse = "ListContainersResponse" { containers }
    Mount = "Mount" { container_path, host_path, readonly }
    StopContainerRequest = "StopContainerRequest" { container_id, timeout }

    // image.rs
    Image = "Image" { id, repo_tags, repo_digests, size }
    ImageSpec = "ImageSpec" { image }
    ImageStatusRequest = "ImageStatusRequest" { image, verbose }
    ImageStatusResponse = "ImageStatusResponse" { image, info }
    ListImagesRequest = "ListImagesRequest" {}
    ListImagesResponse = "ListImagesResponse" { images }

    // mod.rs
    Done = "StopPodSandboxResponse" | "RemovePodSandboxResponse" | "StartContainerResponse" | "StopContainerResponse"
        | "RemoveContainerResponse" {}
    Int64Value = "Int64Value" { value }

    // namespaces.rs
    IdMapping = "IDMapping" { host_id, container_id, length }
    NamespaceOption = "NamespaceOption" { network, pid, ipc, target_id, userns_options }
    UserNamespace = "UserNamespace" { mode, uids, gids }

    // pod.rs
    DnsConfig = "DNSConfig" { servers, searches, options }
    LinuxPodSandboxConfig = "LinuxPodSandboxConfig" { cgroup_parent, security_context, sysctls, resources }
    LinuxPodSandboxStatus = "LinuxPodSandboxStatus" { namespaces }
    LinuxSandboxSecurityContext = "LinuxSandboxSecurityContext" {
        namespace_options, run_as_user, readonly_rootfs, privileged
    }
    ListPodSandboxRequest = "ListPodSandboxRequest" {}
    ListPodSandboxResponse = "ListPodSandboxResponse" { items }
    Namespaces = "Namespace" { options }
    PodIp = "PodIP" { ip }
    PodSandbox = "PodSandbox" { id, metadata, state, created_at, labels, annotations, runtime_handler }
    PodSandboxConfig = "PodSandboxConfig" {
        metadata, hostname, log_directory, dns_config, labels, annotations, linux
    }
    PodSandboxMetadata = "PodSandboxMetadata" { name, uid, namespace, attempt }
    PodSandboxNetworkStatus = "PodSandboxNetworkStatus" { ip, additional_ips }
    PodSandboxRequest = "StopPodSandboxRequest" | "RemovePodSandboxRequest" { pod_sandbox_id }
    PodSandboxStatus = "PodSandboxStatus" {
        id, metadata, state, created_at, network, linux, labels, annotations, runtime_handler
    }
    PodSandboxStatusRequest = "PodSandboxStatusRequest" { pod_sandbox_id, verbose }
    PodSandboxStatusResponse = "PodSandboxStatusResponse" { status, info }
    RunPodSandboxRequest = "RunPodSandboxRequest" { config, runtime_handler }
    RunPodSandboxResponse = "RunPodSandboxResponse" { pod_sandbox_id }

    // runtime.rs
    RuntimeCondition = "RuntimeCondition" { r#type, status, reason, message }
    RuntimeHandler = "RuntimeHandler" { name, features }
    RuntimeHandlerFeatures = "RuntimeHandlerFeatures" { user_namespaces }
    RuntimeStatus = "RuntimeStatus" { conditions }
    StatusRequest = "StatusRequest" { verbose }
    StatusResponse = "StatusResponse" { status, runtime_handlers }
    Version = "VersionResponse" { version, runtime_name, runtime_version, runtime_api_version }
    VersionRequest = "VersionRequest" { version }
}

/// Our enumerations: the name, the definition's prefix of each value, and our name of a number.
type EnumEntry = (&'static str, &'static str, fn(i32) -> Option<String>);

fn named<E: TryFrom<i32> + Debug>(number: i32) -> Option<String> {
    let value = E::try_from(number).ok()?;
    Some(format!("{value:?}").to_uppercase())
}

const ENUMERATIONS: [EnumEntry; 3] = [
    ("ContainerState", "CONTAINER_", named::<ContainerState>),
    ("NamespaceMode", "", named::<NamespaceMode>),
    ("PodSandboxState", "SANDBOX_", named::<PodSandboxState>),
];

/// The difference between the definition and one of our fields.
fn difference<F: Field>(name: &str, ours: &F, theirs: &DynamicMessage) -> Option<String> {
    let name = theirs_of(name);
    let message = theirs.descriptor();
    let Some(field) = message.get_field_by_name(name) else {
        return is_required(
            message.package_name(),
            &format!("{}.{name}", message.name()),
        )
        .then(|| format!("{} has no field {name}", message.full_name()));
    };
    let same = if theirs.has_field(&field) {
        ours.is(&theirs.get_field(&field))
    } else {
        *ours == F::default()
    };
    (!same).then(|| {
        let (ours, theirs) = (format!("{ours:?}"), theirs.get_field(&field).to_string());
        format!(
            "{}: ours is {ours:.99}, theirs is {theirs:.99}",
            field.full_name()
        )
    })
}

/// The definition's name of a field. Rust writes `r#` before a name that is a keyword.
fn theirs_of(field: &str) -> &str {
    field.trim_start_matches("r#")
}

/// Whether the version of the interface with this package must have a message or field.
fn is_required(package: &str, name: &str) -> bool {
    package == Api::V1.package() || !NEWER.contains(&name)
}

/// The differences between a definition and one of our messages.
fn differences<M: Described>(definition: &Definition) -> Vec<String> {
    let mut differences = Vec::new();
    for name in M::NAMES {
        let Some(message) = definition.message(name) else {
            if is_required(definition.api.package(), name) {
                differences.push(format!("no message {name}"));
            }
            continue;
        };
        for ours in M::samples() {
            match DynamicMessage::decode(message.clone(), &*ours.encode_to_vec()) {
                Ok(theirs) => differences.extend(ours.differences(&theirs)),
                Err(error) => differences.push(format!("{name}, encoded by us: {error}")),
            }
        }
        for theirs in samples(&message) {
            let bytes = [&theirs.encode_to_vec(), UNKNOWN].concat();
            match M::decode(&*bytes) {
                Ok(ours) => differences.extend(ours.differences(&theirs)),
                Err(error) => differences.push(format!("{name}, decoded by us: {error}")),
            }
        }
    }
    differences
}

#[track_caller]
fn agree_with(api: Api) {
    let definition = Definition::read(api);
    let differences: BTreeSet<String> = MESSAGES
        .iter()
        .flat_map(|entry| (entry.differences)(&definition))
        .collect();
    assert!(
        differences.is_empty(),
        "{api:?} differs:\n{}",
        Vec::from_iter(differences).join("\n")
    );
}

#[test]
fn every_message_agrees_with_v1() {
    agree_with(Api::V1);
}

#[test]
fn every_message_agrees_with_v1alpha2() {
    agree_with(Api::V1Alpha2);
}

#[test]
fn v1alpha2_does_not_use_the_numbers_of_newer_fields() {
    let (v1, v1alpha2) = (Definition::read(Api::V1), Definition::read(Api::V1Alpha2));
    for newer in NEWER {
        let Some((message, field)) = newer.split_once('.') else {
            assert!(v1.message(newer).is_some(), "{newer}");
            assert!(v1alpha2.message(newer).is_none(), "{newer}");
            continue;
        };
        let new = v1.message(message).expect(newer);
        let number = new.get_field_by_name(field).expect(newer).number();
        let old = v1alpha2.message(message).expect(newer);
        assert_eq!(old.get_field_by_name(field), None);
        assert_eq!(old.get_field(number), None, "{newer}");
    }
}

#[test]
fn every_enumeration_agrees_with_both_versions() {
    for api in [Api::V1, Api::V1Alpha2] {
        let definition = Definition::read(api);
        for (name, prefix, ours) in ENUMERATIONS {
            let theirs = definition.enumeration(name).expect(name);
            for number in 0..=16 {
                let theirs = theirs.get_value(number);
                let theirs = theirs.as_ref().map(|value| value.name());
                let ours = ours(number).map(|ours| format!("{prefix}{ours}"));
                assert_eq!(ours.as_deref(), theirs, "{name} {number} of {api:?}");
            }
        }
    }
}

/// The Linux signals from 1, for x86_64 and aarch64 (signal(7)).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The Linux number of a signal with the definition's name.
fn linux_signal(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG")?;
    if let Some(number) = name.strip_prefix("RTMINPLUS") {
        return Some(34 + number.parse::<i32>().ok()?);
    }
    if let Some(number) = name.strip_prefix("RTMAXMINUS") {
        return Some(64 - number.parse::<i32>().ok()?);
    }
    let name = match name {
        "RTMIN" => return Some(34),
        "RTMAX" => return Some(64),
        // Synonyms.
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    (1..)
        .zip(SIGNALS)
        .find_map(|(number, signal)| (signal == name).then_some(number))
}

#[test]
fn every_signal_agrees_with_v1() {
    let definition = Definition::read(Api::V1);
    let signals = definition.enumeration("Signal").expect("signals");
    assert!(signals.values().len() > SIGNALS.len());
    for signal in signals.values().filter(|signal| signal.number() != 0) {
        let linux = linux_signal(signal.name());
        assert!(linux.is_some(), "{signal:?}");
        assert_eq!(signal_from_cri(signal.number()), linux, "{signal:?}");
    }
}

#[test]
fn every_message_and_enumeration_is_in_the_tables() {
    let (mut messages, mut enumerations) = (BTreeSet::new(), BTreeSet::new());
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        messages.extend(deriving("Message", &source));
        enumerations.extend(deriving("Enumeration", &source));
    }
    let listed: BTreeSet<String> = MESSAGES.iter().map(|entry| entry.name.into()).collect();
    assert_eq!(messages, listed);
    let listed: BTreeSet<String> = ENUMERATIONS
        .iter()
        .map(|(name, ..)| (*name).into())
        .collect();
    assert_eq!(enumerations, listed);
}

#[test]
fn every_call_has_messages_of_the_table() {
    let listed: BTreeSet<&str> = MESSAGES
        .iter()
        .flat_map(|entry| entry.names)
        .copied()
        .collect();
    let client = [
        include_str!("../../channel.rs"),
        include_str!("../../client.rs"),
    ]
    .concat();
    let definition = Definition::read(Api::V1);
    let methods = definition.pool.services();
    let methods: Vec<_> = methods
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .filter(|method| client.contains(&format!("{:?}", method.name())))
        .collect();
    assert!(methods.len() > 10, "{methods:?}");
    for method in methods {
        for message in [method.input(), method.output()] {
            assert!(listed.contains(message.name()), "{method:?}");
        }
    }
}

/// The text of every source file below a directory.
fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory of our sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![fs::read_to_string(&path).expect("a source file")],
        })
        .collect()
}

/// The types of a source file that derive a trait.
fn deriving(name: &str, source: &str) -> Vec<String> {
    // The first part precedes the first attribute.
    let attributes = source.split("#[derive(").skip(1);
    let types = attributes.filter_map(|text| {
        let (traits, rest) = text.split_once(")]")?;
        let mut traits = traits.split(',').map(str::trim);
        traits.any(|each| each == name).then(|| {
            let words = rest.split_whitespace();
            let mut words = words
                .skip_while(|word| !["struct", "enum"].contains(word))
                .skip(1);
            let name = words.next().unwrap_or_default();
            name.trim_end_matches("{}").to_owned()
        })
    });
    types.collect()
}
