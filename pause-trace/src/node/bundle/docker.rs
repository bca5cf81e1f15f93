//! What Docker keeps of a container beside its bundle: `config.v2.json` and `hostconfig.json` below
//! its data root.
//!
//! The bundle leads there, because dockerd mounts files of that directory into the container. Those
//! mounts may also be another container's, or lead anywhere if a user chose them, so only a
//! directory with the right name, and a file that names this container, are believed.

use std::{
    fs,
    io::{BufReader, Read as _},
    path::{Component, Path, PathBuf},
};

use nix::libc::SIGTERM;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Bundle, BundleError, Docker, Location, MAX_CONFIG_BYTES, Manager, open,
    spec::{self, Spec},
};
use crate::{
    event::{Grace, Ktime, Text},
    node::stop_signal,
};

/// The files of a container's directory that dockerd mounts into containers.
const MOUNTED: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// The most containers that are searched for a name.
const MAX_CONTAINERS: usize = 1_024;

/// The default data root of dockerd.
const DATA_ROOT: &str = "/var/lib/docker";

/// `config.v2.json`. Other fields are skipped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    config: Image,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    /// Of the command line, else of the image; empty if neither has one.
    stop_signal: String,
    /// In seconds; missing if neither the command line nor the image has one.
    stop_timeout: serde_json::Value,
}

/// `hostconfig.json`. Other fields are skipped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Host {
    network_mode: String,
}

/// The directories in which dockerd may have the files of the container of this bundle.
pub(super) fn places(spec: &Spec, location: &Location) -> Vec<PathBuf> {
    let id = location.directory.file_name();
    let Some(id) = id.filter(|_| location.manager == Manager::Docker) else {
        return Vec::new();
    };
    // With `--network container:ID` the mounts are those of the other container, beside which this
    // one has its directory.
    let of_containers = |mount: &spec::Mount| {
        let name = mount.source.file_name()?.to_str()?;
        let containers = mount.source.parent()?.parent()?;
        let is_it = MOUNTED.contains(&name) && containers.ends_with("containers");
        is_it.then(|| containers.to_owned())
    };
    let mut directories: Vec<_> = spec.mounts.iter().filter_map(of_containers).collect();
    directories.push(Path::new(DATA_ROOT).join("containers"));
    directories.dedup();
    directories.truncate(MOUNTED.len() + 1);
    let root = root_of(location);
    let reach = |directory: PathBuf| {
        let below = directory.strip_prefix("/").ok()?;
        // `..` would lead out of the root.
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        below
            .components()
            .all(is_plain)
            .then(|| root.join(below).join(id))
    };
    directories.into_iter().filter_map(reach).collect()
}

/// Adds what these files say to a bundle of Docker.
pub(super) fn complete(bundle: &mut Bundle, places: &[PathBuf]) {
    let Some(id) = bundle.directory.file_name().and_then(|id| id.to_str()) else {
        return;
    };
    let found = places.iter().find_map(|place| {
        let config: Config = read(&place.join("config.v2.json")).ok()?;
        (config.id == id).then_some((place, config))
    });
    let Some((place, config)) = found else {
        return;
    };
    bundle.stop_signal = match &*config.config.stop_signal {
        // dockerd's default (`DefaultStopSignal`, daemon/container/container.go).
        "" => Some(SIGTERM),
        signal => stop_signal::parse(signal),
    };
    let host: Host = read(&place.join("hostconfig.json")).unwrap_or_default();
    bundle.stop_timeout = stop_timeout(&config.config.stop_timeout);
    bundle.docker = Docker {
        name: spec::text(config.name.strip_prefix('/').unwrap_or(&config.name)),
        network_of: host
            .network_mode
            .strip_prefix("container:")
            .and_then(|named| resolved(place.parent()?, named)),
    };
}

/// The time that dockerd waits in a stop. A negative one has no end.
fn stop_timeout(configured: &serde_json::Value) -> Option<Ktime> {
    match configured {
        // dockerd's default (`DefaultStopTimeout`, daemon/container/container.go).
        serde_json::Value::Null => Some(10_000_000_000),
        serde_json::Value::Number(seconds) => Grace::parse(&seconds.to_string()),
        _ => None,
    }
}

/// The id of a container that a user named by its id, the beginning of it, or its name, as dockerd
/// looks it up (`GetContainer`, daemon/container.go). `containers` has a directory of each.
fn resolved(containers: &Path, named: &str) -> Option<Text> {
    if is_id(named) || named.is_empty() {
        return spec::text(named);
    }
    let ids = fs::read_dir(containers).ok()?.flatten();
    let ids = ids.filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<_> = ids.filter(|id| is_id(id)).take(MAX_CONTAINERS).collect();
    ids.sort_unstable();
    let is_named = |id: &&String| {
        let config: Result<Config, _> = read(&containers.join(id).join("config.v2.json"));
        let name = config.ok().filter(|config| config.id == **id);
        name.is_some_and(|config| config.name.strip_prefix('/') == Some(named))
    };
    let mut begin = ids.iter().filter(|id| id.starts_with(named));
    let only = begin.next().filter(|_| begin.next().is_none());
    ids.iter()
        .find(is_named)
        .or(only)
        .and_then(|id| spec::text(id))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, BundleError> {
    let file = open(path, path, MAX_CONFIG_BYTES)?;
    let file = BufReader::new(file.take(MAX_CONFIG_BYTES));
    serde_json::from_reader(file).map_err(|source| BundleError::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// The root directory of the runtime, through which this process reaches its paths.
fn root_of(location: &Location) -> PathBuf {
    // `/proc/SHIM/cwd/../ID`
    let of_shim = location
        .reach
        .ancestors()
        .find(|part| part.ends_with("cwd"))
        .and_then(Path::parent);
    if let Some(shim) = of_shim {
        return shim.join("root");
    }
    // `ROOT/run/…/ID`
    let depth = location.directory.components().count() - 1;
    let root = location.reach.ancestors().nth(depth);
    root.unwrap_or(Path::new("/")).to_owned()
}

/// The shape of a file of Docker, for the fuzz target of bundles, after what always holds.
#[cfg(test)]
pub(super) fn fuzzed(input: &[u8]) -> String {
    let config = serde_json::from_reader::<_, Config>(input).map(|config| {
        let signal = stop_signal::parse(&config.config.stop_signal);
        assert!(signal.is_none_or(|signal| (1..=64).contains(&signal)));
        (
            is_id(&config.id),
            signal,
            spec::text(&config.name).is_some(),
        )
    });
    let host = serde_json::from_reader::<_, Host>(input);
    let mode = host.map(|host| host.network_mode.starts_with("container:"));
    format!("{:?} {:?}", config.ok(), mode.ok())
}

#[cfg(test)]
mod tests;
