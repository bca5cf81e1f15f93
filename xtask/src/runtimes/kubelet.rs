//! Builds a kubelet from the last source package of Kubernetes in Debian that was complete.
//!
//! The source contains its dependencies, and the compiler is a Debian package, so nothing else is
//! downloaded. Debian's patches are not applied: they change what kubectl and a test library print.
//! The description of the API is left out, because only the API server uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use xtask_support::{
    debian::{Suite, files},
    progress,
};

/// The compiler, its library, and a newer version of a dependency: the source has reflect2 1.0.1,
/// which uses the map iterators of Go before 1.18 and does not build with this compiler.
pub(super) const PACKAGES: [&str; 3] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
];

/// The directory of the source below `GOPATH`. Its module files do not match its vendored
/// dependencies, so it is built without modules.
const IMPORT_PATH: &str = "k8s.io/kubernetes";

/// Builds the kubelet with the packages that are unpacked below `work/packages`, and writes it to
/// `finished`.
pub(super) fn build(suite: &Suite, work: &Path, finished: &Path) -> Result<()> {
    let source = work.join("go/src").join(IMPORT_PATH);
    unpack_source(suite, &work.join("source"), &source)?;
    replace_reflect2(
        &work.join("packages/usr/share/gocode/src/github.com/modern-go/reflect2"),
        &source.join("vendor/github.com/modern-go/reflect2"),
    )?;

    let go = work.join("packages/usr/lib/go-1.19");
    let temporary = work.join("tmp");
    fs::create_dir_all(&temporary)
        .with_context(|| format!("failed to make {}", temporary.display()))?;
    let mut command = Command::new(go.join("bin/go"));
    command
        .current_dir(&source)
        .args(["build", "-v", "-trimpath"])
        // Without cloud providers and the client of dockerd: this kubelet uses a CRI runtime.
        .args(["-tags", "providerless dockerless"])
        .args(["-ldflags", &linker_flags()])
        .arg("-o")
        .arg(finished.join("kubelet"))
        .arg(format!("{IMPORT_PATH}/cmd/kubelet"))
        // A clean environment: the user's Go settings must not apply.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", work)
        .env("GOROOT", &go)
        .env("GOPATH", work.join("go"))
        .env("GOCACHE", work.join("cache"))
        .env("GOTMPDIR", &temporary)
        .env("GO111MODULE", "off")
        .env("GOPROXY", "off")
        .env("CGO_ENABLED", "0");
    progress::run("building kubelet 1.20.2", "kubelet", &mut command)
}

/// Sets the version that the kubelet reports, and omits debug information.
fn linker_flags() -> String {
    let mut flags = "-s -w".to_owned();
    for package in ["component-base/version", "client-go/pkg/version"] {
        for (name, value) in [
            ("gitVersion", "v1.20.2"),
            ("gitMajor", "1"),
            ("gitMinor", "20"),
            ("gitTreeState", "clean"),
            ("buildDate", "2021-01-13T13:20:00Z"),
        ] {
            flags += &format!(" -X {IMPORT_PATH}/vendor/k8s.io/{package}.{name}={value}");
        }
    }
    flags
}

fn unpack_source(suite: &Suite, downloads: &Path, source: &Path) -> Result<()> {
    suite.download_source("kubernetes", downloads)?;
    let archives = files(downloads, ".orig.tar.gz")?;
    let [archive] = archives.as_slice() else {
        bail!("the source package of kubernetes has no single .orig.tar.gz: {archives:?}");
    };
    fs::create_dir_all(source).with_context(|| format!("failed to make {}", source.display()))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(source);
    progress::run("unpacking the source of Kubernetes", "tar", &mut tar)
}

/// Replaces the source files of `vendored` by those of `newer`.
fn replace_reflect2(newer: &Path, vendored: &Path) -> Result<()> {
    let context = || {
        format!(
            "failed to replace {} by {}",
            vendored.display(),
            newer.display()
        )
    };
    let sources = |directory: &Path| -> Result<Vec<PathBuf>> {
        let mut sources = files(directory, ".go")?;
        sources.extend(files(directory, ".s")?);
        Ok(sources)
    };
    for old in sources(vendored)? {
        fs::remove_file(old).with_context(context)?;
    }
    for new in sources(newer)? {
        let name = new.file_name().unwrap_or_default();
        if !name.to_string_lossy().ends_with("_test.go") {
            fs::copy(&new, vendored.join(name)).with_context(context)?;
        }
    }
    Ok(())
}
