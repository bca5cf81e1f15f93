//! Builds the container image with the pause and the workload, for pods that a real runtime
//! creates.
//!
//! [`archive`] writes an [OCI image layout] as a tar archive, together with the `manifest.json`
//! that `docker load` needs, so that `ctr images import`, `podman load` and `docker load` all
//! accept the file. The image contains two programs in an otherwise empty root file system; the
//! runtime mounts everything else that a container needs (`/proc`, `/etc/hosts`). The same input
//! gives the same bytes: the image contains no time and no host name.
//!
//! [OCI image layout]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md

mod name;
mod program;

use std::io;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use name::Name;
pub(crate) use program::program;

use super::pause_binary;

/// The program that containers of the image run. `workload --help` lists its behaviours.
pub(crate) fn workload_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/workload"))
}

/// The user and group of Kubernetes' own pause image, which own no files. Numbers need no
/// `/etc/passwd`.
const USER: &str = "65535:65535";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The pause that the image contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pause {
    /// The built-in pause, which keeps its promises
    Good,
    /// Exits on any caught signal, SIGCHLD too
    ExitOnSignal,
    /// Does not reap
    NoReap,
    /// Blocks SIGTERM
    BlockTerm,
    /// Has no handler for SIGTERM
    IgnoreTerm,
    /// Exits with 1 on SIGTERM
    #[value(name = "exit-1")]
    ExitOne,
    /// Listens on port 65535
    Listen,
    /// Has a child
    Child,
    /// Allocates 64 MiB
    Big,
}

impl Pause {
    fn entrypoint(self) -> &'static [&'static str] {
        match self {
            Self::Good => &["/pause"],
            Self::ExitOnSignal => &["/workload", "exit-on-signal"],
            Self::NoReap => &["/workload", "no-reap"],
            Self::BlockTerm => &["/workload", "block-term"],
            Self::IgnoreTerm => &["/workload", "ignore-term"],
            Self::ExitOne => &["/workload", "exit-on-term", "1"],
            Self::Listen => &["/workload", "serve", "--port", "65535"],
            Self::Child => &["/workload", "shell", "/workload", "serve"],
            Self::Big => &["/workload", "eat-memory", "64"],
        }
    }
}

/// The archive of the pause and the workload, ready to be loaded.
pub(crate) fn archive(name: &Name, pause: Pause) -> io::Result<Vec<u8>> {
    let files = [("pause", pause_binary()), ("workload", workload_binary())];
    let config = json!({ "User": USER, "Entrypoint": pause.entrypoint(), "WorkingDir": "/" });
    pack(name, architecture(), &files, &config)
}

/// Packs these executables as an image for this architecture.
fn pack(
    name: &Name,
    architecture: &str,
    files: &[(&str, &[u8])],
    config: &Value,
) -> io::Result<Vec<u8>> {
    let mut layer = Archive::default();
    for (path, content) in files {
        layer.add(path, 0o755, content)?;
    }
    let layer = Blob::new(LAYER, layer.finish()?);

    let config = Blob::json(
        CONFIG,
        &json!({
            "architecture": architecture,
            "os": "linux",
            "config": config,
            // The layer is not compressed, so its digest is also that of its content.
            "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
        }),
    );
    let manifest = Blob::json(
        MANIFEST,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        }),
    );
    let mut described = manifest.descriptor();
    described["platform"] = json!({ "architecture": architecture, "os": "linux" });
    // The first annotation is the tag, by the convention of OCI layouts. containerd reads the full
    // name from the second.
    described["annotations"] = json!({
        "org.opencontainers.image.ref.name": name.tag(),
        "io.containerd.image.name": name.whole(),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [described] });
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [name.whole()],
        "Layers": [layer.path()],
    }]);

    let mut archive = Archive::default();
    let layout = json!({ "imageLayoutVersion": "1.0.0" });
    archive.add("oci-layout", 0o644, layout.to_string().as_bytes())?;
    archive.add("index.json", 0o644, index.to_string().as_bytes())?;
    archive.add("manifest.json", 0o644, docker.to_string().as_bytes())?;
    for blob in [manifest, config, layer] {
        archive.add(&blob.path(), 0o644, &blob.bytes)?;
    }
    archive.finish()
}

/// The architecture in OCI terms. The programs in the image are built for the same one as this
/// program.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A blob of the image, addressed by its digest.
struct Blob {
    kind: &'static str,
    hash: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        let hash = hash(&bytes);
        Self { kind, hash, bytes }
    }

    fn json(kind: &'static str, value: &Value) -> Self {
        Self::new(kind, value.to_string().into_bytes())
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest(), "size": self.bytes.len() })
    }
}

fn hash(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar archive of files that belong to root and have the time 0.
struct Archive(tar::Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Archive {
    fn add(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use clap::ValueEnum as _;

    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("a tar archive");
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.expect("an entry");
            let (path, mode) = (entry.path_bytes().into_owned(), entry.header().mode());
            let owner = (
                entry.header().uid(),
                entry.header().gid(),
                entry.header().mtime(),
            );
            assert_eq!(
                owner.0.ok().zip(owner.1.ok()).zip(owner.2.ok()),
                Some(((0, 0), 0))
            );
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a whole entry");
            let path = String::from_utf8(path).expect("our names are text");
            (path, (mode.expect("a mode"), content))
        };
        entries.map(read).collect()
    }

    /// Follows a descriptor and checks its digest and size.
    fn blob<'a>(files: &'a BTreeMap<String, (u32, Vec<u8>)>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let path = format!("blobs/{}", digest.replace(':', "/"));
        let (_, content) = files.get(&path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(format!("sha256:{}", hash(content)), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    }

    fn parse(json: &[u8]) -> Value {
        serde_json::from_slice(json).expect("JSON")
    }

    #[test]
    fn every_digest_and_size_is_correct() {
        let name: Name = "localhost:5000/a/b:c".parse().expect("a name");
        let files = files(&archive(&name, Pause::NoReap).expect("it is written to memory"));
        let index = parse(&files["index.json"].1);
        let entry = &index["manifests"][0];
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "localhost:5000/a/b:c"
        );
        assert_eq!(
            entry["annotations"]["org.opencontainers.image.ref.name"],
            "c"
        );
        let manifest = parse(blob(&files, entry));
        let config = parse(blob(&files, &manifest["config"]));
        assert_eq!(
            config["config"]["Entrypoint"],
            json!(["/workload", "no-reap"])
        );
        let layer = &manifest["layers"][0];
        assert_eq!(config["rootfs"]["diff_ids"], json!([layer["digest"]]));
        let programs = self::files(blob(&files, layer));
        assert_eq!(programs["pause"], (0o755, pause_binary().to_vec()));
        assert_eq!(programs["workload"], (0o755, workload_binary().to_vec()));
        assert_eq!(programs.len(), 2, "nothing else is in the root file system");
    }

    #[test]
    fn docker_finds_the_same_config_and_layer() {
        let name = Name::of(Pause::Good);
        let files = files(&archive(&name, Pause::Good).expect("it is written to memory"));
        let docker = parse(&files["manifest.json"].1);
        assert_eq!(docker[0]["RepoTags"], json!([name.to_string()]));
        let config = docker[0]["Config"].as_str().expect("a path");
        let layer = docker[0]["Layers"][0].as_str().expect("a path");
        let config = parse(&files[config].1);
        let digest = format!("sha256:{}", hash(&files[layer].1));
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/pause"]));
    }

    #[test]
    fn the_same_image_is_the_same_bytes() {
        let write =
            |pause| archive(&Name::of(Pause::Good), pause).expect("it is written to memory");
        assert_eq!(write(Pause::Good), write(Pause::Good));
        assert_ne!(write(Pause::Good), write(Pause::Big));
    }

    #[test]
    fn each_pause_has_a_unique_valid_name() {
        let names: Vec<_> = Pause::value_variants()
            .iter()
            .map(|kind| Name::of(*kind))
            .collect();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(name.to_string().parse().as_ref(), Ok(name));
            assert!(!names[..at].contains(name), "{name}");
        }
    }
}
