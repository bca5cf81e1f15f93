//! The files of a release, which `cargo xtask dist` makes.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::lab::places;

/// The image of pause-trace in a release.
pub const IMAGE: &str = concat!("localhost/pause-trace-node:", env!("CARGO_PKG_VERSION"));

/// The file for this machine's processor whose name ends so.
///
/// # Panics
/// When there is not exactly one.
#[must_use]
pub fn file(end: &str) -> PathBuf {
    let directory = crate::target().join("dist");
    let own = match (std::env::consts::ARCH, end) {
        ("x86_64", ".deb") => "amd64",
        ("aarch64", ".deb") => "arm64",
        (own, _) => own,
    };
    let is_wanted = |name: &str| name.ends_with(end) && name.contains(own);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask test`", directory.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| is_wanted(&path.file_name().unwrap_or_default().to_string_lossy()))
        .collect();
    assert_eq!(
        found.len(),
        1,
        "files of {own} that end with {end}: {found:?}"
    );
    found.remove(0)
}

/// A command of kubectl that needs no API server.
#[must_use]
pub fn kubectl() -> Command {
    Command::new(crate::lab::installed(places::KUBECTL).join("usr/bin/kubectl"))
}

/// What a script says to Helm: `chart` is the chart in deploy/helm, and it prints JSON.
///
/// # Panics
/// When the script fails.
#[must_use]
pub fn helm(script: &str) -> Value {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm/pause-trace");
    let script = format!(
        "import json, sys\nfrom helm_python.chart import Chart, lint\npath = sys.argv[1]\n\
         chart = Chart.load(path)\n{script}"
    );
    let output = Command::new("python3")
        .args(["-c", &script, chart])
        .env("PYTHONPATH", places::directory(places::HELM))
        .output()
        .expect("failed to start python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}
