//! A containerd for a machine: the one that the live tests start, from the cache, with runc, the
//! CNI plugins for a bridge, and the kernel modules that these need.

use std::path::Path;

use anyhow::{Context, Result};

use xtask_support::places;

use crate::{initramfs::Initramfs, kernels::Kernel};

/// The path of its socket in the guest.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// The line of a plan that makes the guest start it.
pub(crate) const START: &str = "+containerd";

/// The machine's memory in MiB. The programs take 100 MiB, and containers run from memory.
pub(crate) const MEMORY: u32 = 2048;

/// The cgroup driver is cgroupfs, because the guest runs no systemd.
const CONFIG: &str = "\
version = 3
oom_score = 0
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause-trace:VERSION'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '/usr/sbin/runc'
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/usr/lib/cni']
    conf_dir = '/etc/cni/net.d'
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = '127.0.0.1'
";

const NETWORK: &str = r#"{
  "cniVersion": "0.4.0", "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "/run/cni/addresses",
      "ranges": [[{"subnet": "10.214.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
"#;

/// Adds it to a machine's archive. The runtimes must be unpacked already.
pub(crate) fn add_to(archive: &mut Initramfs, kernel: &Kernel) -> Result<()> {
    let containerd = places::directory(places::CONTAINERD_2);
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let path = format!("/usr/bin/{program}");
        archive.add_program(&path, &containerd.join(path.trim_start_matches('/')))?;
    }
    let oci = places::directory(places::OCI);
    for path in [
        "/usr/sbin/runc",
        "/usr/lib/cni/bridge",
        "/usr/lib/cni/host-local",
        "/usr/lib/cni/loopback",
    ] {
        archive.add_program(path, &oci.join(path.trim_start_matches('/')))?;
    }
    let busybox = places::directory(places::BUSYBOX).join("bin/busybox");
    archive.add_program("/usr/bin/busybox", &busybox)?;

    let mut order = String::new();
    for module in kernel.modules() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let content = std::fs::read(&module)
            .with_context(|| format!("failed to read {}", module.display()))?;
        archive.add_file(&Path::new("/modules").join(&*name), &content);
        order += &format!("{name}\n");
    }
    // All crates of the workspace have the same version, so this is the version of the image, too.
    let config = CONFIG.replace("VERSION", env!("CARGO_PKG_VERSION"));
    for (path, text) in [
        ("/modules/order", &*order),
        ("/etc/containerd/config.toml", &config),
        ("/etc/cni/net.d/10-pods.conflist", NETWORK),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/resolv.conf", ""),
    ] {
        archive.add_file(Path::new(path), text.as_bytes());
    }
    Ok(())
}
