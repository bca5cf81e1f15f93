//! Starts containerd, as a node's service manager and administrator do.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::{ChildStderr, Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::kmod::{ModuleInitFlags, finit_module};

/// The directory of the kernel modules that containerd needs, with a file `order`.
const MODULES: &str = "/modules";

/// The configuration, which `cargo xtask vm` puts there.
const CONFIG: &str = "/etc/containerd/config.toml";

const SOCKET: &str = "/run/containerd/containerd.sock";

/// The log message that containerd writes when it is ready.
const READY: &str = "containerd successfully booted";

/// Starts containerd and imports the image of pause-trace.
pub(crate) fn start() -> Result<()> {
    load_modules()?;
    run("busybox", &["ip", "link", "set", "lo", "up"])?;
    let mut child = Command::new("/usr/bin/containerd")
        .args(["--config", CONFIG])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start containerd")?;
    let stderr = child.stderr.take().context("read the log of containerd")?;
    await_ready(stderr)?;
    run("pause-trace", &["image", "--out", "/run/image.tar"])?;
    let import = [
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "/run/image.tar",
    ];
    run("ctr", &[&["--address", SOCKET][..], &import].concat())
}

fn load_modules() -> Result<()> {
    let order =
        fs::read_to_string(format!("{MODULES}/order")).context("read which modules to load")?;
    for name in order.lines() {
        let path = format!("{MODULES}/{name}");
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        finit_module(&file, c"", ModuleInitFlags::empty())
            .with_context(|| format!("load {path}"))?;
    }
    Ok(())
}

/// Waits until containerd is ready. From its log only errors are shown, and the last lines if it
/// exits.
fn await_ready(stderr: ChildStderr) -> Result<()> {
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let mut last = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains(READY) {
                let _ = sender.send(());
            }
            if line.contains("level=error") || line.contains("level=fatal") {
                eprintln!("{line}");
            }
            last.push(line);
            if last.len() > 20 {
                last.remove(0);
            }
        }
        // containerd must run until the machine powers off.
        eprintln!("guest: containerd exited\n{}", last.join("\n"));
    });
    if ready.recv().is_err() {
        bail!("start containerd: it exited before it was ready");
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(format!("/usr/bin/{program}"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("run {program} {}: {}", arguments.join(" "), stderr.trim());
    }
    Ok(())
}
