//! The configuration of containerd and its network plugins.

use serde_json::{Value, json};

use super::Version;
use crate::lab::{image, places, traces::BRIDGE};

/// The configuration file of containerd, in the format of its version.
///
/// It differs from the defaults only where the machine may lack something: AppArmor, systemd, and
/// the right to lower `oom_score_adj`, without which runc would fail.
pub(super) fn containerd(version: Version, networks: &str) -> String {
    let oci = places::directory(places::OCI);
    let (runc, plugins) = (oci.join("usr/sbin/runc"), oci.join("usr/lib/cni"));
    let (runc, plugins, pause) = (runc.display(), plugins.display(), image::PAUSE);
    match version {
        Version::V1 => format!(
            r#"
version = 2
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{networks}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"#
        ),
        Version::V2 => format!(
            r#"
version = 3
oom_score = 0
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '{runc}'
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{plugins}']
    conf_dir = '{networks}'
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = '127.0.0.1'
[plugins.'io.containerd.internal.v1.opt']
  path = '/var/lib/containerd/opt'
"#
        ),
    }
}

/// The network of the node's pods: a bridge, with addresses that host-local allocates.
pub(super) fn network() -> Value {
    json!({
        "cniVersion": "0.4.0", "name": "lab",
        "plugins": [{
            "type": "bridge", "bridge": BRIDGE, "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": "/run/cni/addresses",
                "ranges": [[{"subnet": "10.214.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}
