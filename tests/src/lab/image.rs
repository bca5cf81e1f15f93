//! Images without a registry: archives that `ctr images import`, `docker load` and `podman load`
//! accept.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use super::places;
use crate::image_archive;

/// The image of a pod's pause: the reference pause, unless a runtime was started with another.
pub const PAUSE: &str = "localhost/pause-trace/pause:lab";

/// An image with a shell and the usual tools.
pub const BUSYBOX: &str = "localhost/pause-trace/busybox:lab";

/// The image of pause-trace: `/workload BEHAVIOUR` for containers. The archive of [`workload`] must
/// be imported first.
pub const WORKLOAD: &str = "localhost/pause-trace/workload:lab";

/// Writes the archive of [`WORKLOAD`].
#[must_use]
pub fn workload() -> PathBuf {
    image_archive(WORKLOAD, "good")
}

/// Writes the other two archives to `directory`, with `program` as the pause.
pub(super) fn write_all(directory: &Path, program: &Path) -> [PathBuf; 2] {
    [pause(directory, program), busybox(directory)]
}

fn pause(directory: &Path, program: &Path) -> PathBuf {
    let root = root(directory, "pause");
    install(program, &root.join("pause"));
    // As in the pause image of Kubernetes.
    let config = json!({"Entrypoint": ["/pause"], "User": "65535:65535"});
    archive(directory, PAUSE, &root, config)
}

fn busybox(directory: &Path) -> PathBuf {
    let program = places::directory(places::BUSYBOX).join("bin/busybox");
    let root = root(directory, "busybox");
    let bin = root.join("bin");
    fs::create_dir(&bin).expect("the directory is new");
    install(&program, &bin.join("busybox"));
    let list = output(Command::new(&program).arg("--list"));
    for applet in list.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", bin.join(applet)).expect("names are listed once");
    }
    for directory in ["etc", "root", "tmp"] {
        fs::create_dir(root.join(directory)).expect("the directory is new");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
        .and_then(|()| fs::write(root.join("etc/group"), "root:x:0:\n"))
        .expect("the directory is new");
    let config = json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]});
    archive(directory, BUSYBOX, &root, config)
}

/// An empty directory for the files of an image.
fn root(directory: &Path, name: &str) -> PathBuf {
    let root = directory.join(format!("{name}.root"));
    fs::create_dir_all(&root)
        .unwrap_or_else(|error| panic!("failed to make {}: {error}", root.display()));
    root
}

fn install(program: &Path, place: &Path) {
    fs::copy(program, place)
        .and_then(|_| fs::set_permissions(place, fs::Permissions::from_mode(0o755)))
        .unwrap_or_else(|error| panic!("failed to copy {}: {error}", program.display()));
}

/// Packs the files below `root` as an OCI image layout with one layer, and adds the manifest that
/// docker needs.
fn archive(directory: &Path, name: &str, root: &Path, config: serde_json::Value) -> PathBuf {
    let layout = root.with_extension("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("the directory can be made");
    let put = |file: &Path| {
        let sum = output(Command::new("sha256sum").arg(file));
        let hash = sum[..64].to_owned();
        let size = file.metadata().expect("the file was just written").len();
        fs::rename(file, blobs.join(&hash)).expect("both are in the layout");
        (hash, size)
    };
    let put_json = |value: serde_json::Value| {
        let file = layout.join("json");
        fs::write(&file, value.to_string()).expect("the layout can be written to");
        put(&file)
    };

    let layer = layout.join("layer");
    output(tar(&layer, root).args(["--sort=name", "--mtime=@1", "--owner=0", "--group=0"]));
    let (layer, layer_size) = put(&layer);
    let (config, config_size) = put_json(json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    }));
    let (manifest, manifest_size) = put_json(json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{config}"), "size": config_size,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{layer}"), "size": layer_size,
        }],
    }));
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{manifest}"), "size": manifest_size,
            "platform": {"architecture": architecture(), "os": "linux"},
            "annotations": {
                "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name,
            },
        }],
    });
    let docker = json!([{
        "Config": format!("blobs/sha256/{config}"), "RepoTags": [name],
        "Layers": [format!("blobs/sha256/{layer}")],
    }]);
    for (file, value) in [
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
        ("index.json", index),
        ("manifest.json", docker),
    ] {
        fs::write(layout.join(file), value.to_string()).expect("the layout can be written to");
    }
    let archive = directory
        .join(name.replace(['/', ':'], "_"))
        .with_extension("tar");
    output(&mut tar(&archive, &layout));
    archive
}

/// Go's name for this architecture, which all runtimes use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar(archive: &Path, directory: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(archive);
    tar.arg("--directory").arg(directory).arg(".");
    tar
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
