//! Packs a static program: archive, packages, image, list of components, sums.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use xtask_support::cargo;

use super::{Architecture, Build, copy_sources, empty, files};

/// The version of the workspace, which is the version of all its packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The tools that pack, with their versions: another version may give other bytes.
const DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");
const CYCLONEDX: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// The programs that pack.
pub(super) struct Tools {
    deb: PathBuf,
    rpm: PathBuf,
    cyclonedx: PathBuf,
}

impl Tools {
    /// Builds those that are missing.
    pub(super) fn ensure() -> Result<Self> {
        let tool = |(name, version)| cargo::cached_tool(name, version);
        Ok(Self {
            deb: tool(DEB)?,
            rpm: tool(RPM)?,
            cyclonedx: tool(CYCLONEDX)?,
        })
    }

    /// Makes all files of an architecture.
    pub(super) fn pack(&self, build: &Build, architecture: Architecture) -> Result<()> {
        let name = format!("pause-trace-{VERSION}-{}", architecture.name());
        let program = build.place.programs(architecture).join("pause-trace");
        let texts = texts(build, architecture)?;
        archive(build, &program, &texts, &name)?;
        self.packages(build, architecture)?;
        image(build, &program, &name)?;
        self.components(build, architecture, &name)
    }

    fn packages(&self, build: &Build, architecture: Architecture) -> Result<()> {
        let target = architecture.target();
        let mut deb = Command::new(&self.deb);
        deb.args([
            "--package",
            "pause-trace",
            "--no-build",
            "--no-strip",
            "--locked",
            "--quiet",
        ])
        .args(["--target", target, "--output"])
        .arg(&build.out);
        build.prepare(&mut deb);
        cargo::passes(&mut deb).context("failed to make the Debian package")?;
        let mut rpm = Command::new(&self.rpm);
        rpm.args(["--package", "pause-trace", "--auto-req", "disabled"])
            .args(["--target", target, "--source-date", &build.epoch])
            .arg("--target-dir")
            .arg(&build.place.target)
            .arg("--output")
            .arg(&build.out);
        build.prepare(&mut rpm);
        cargo::passes(&mut rpm).context("failed to make the RPM package")
    }

    /// Writes what the program is made of, as CycloneDX 1.5.
    fn components(&self, build: &Build, architecture: Architecture, name: &str) -> Result<()> {
        // The tool writes beside the manifest of each package of the workspace.
        let sources = build.place.target.join("dist-sources");
        empty(&sources)?;
        copy_sources(&build.place.sources, &sources)?;
        let mut list = Command::new(&self.cyclonedx);
        list.args([
            "cyclonedx",
            "--manifest-path",
            "pause-trace/Cargo.toml",
            "--quiet",
        ])
        .args(["--format", "json", "--spec-version", "1.5"])
        .args([
            "--override-filename",
            "components",
            "--target",
            architecture.target(),
        ]);
        build.prepare(&mut list);
        list.current_dir(&sources);
        cargo::passes(&mut list).context("failed to list the components")?;
        let made = sources.join("pause-trace/components.json");
        let text = fs::read_to_string(&made)
            .with_context(|| format!("failed to read {}", made.display()))?;
        // The references of the workspace's own packages.
        let text = text.replace(
            &format!("file://{}", sources.display()),
            "file:///pause-trace",
        );
        write(&build.out.join(format!("{name}.cdx.json")), text.as_bytes())?;
        fs::remove_dir_all(&sources)
            .with_context(|| format!("failed to remove {}", sources.display()))
    }
}

/// Makes the manual pages and the completions, beside the program. The program of this machine's
/// processor writes them, if this is another one.
fn texts(build: &Build, architecture: Architecture) -> Result<PathBuf> {
    let texts = build.place.programs(architecture).join("dist");
    let (man, completions) = (texts.join("man"), texts.join("completions"));
    empty(&man)?;
    empty(&completions)?;
    let program = writer(build, architecture)?;
    cargo::passes(Command::new(&program).args(["man", "--out"]).arg(&man))?;
    let mut gzip = Command::new("gzip");
    // Without `-n` the file would contain a time.
    gzip.args(["-9", "-n"]);
    for page in files(&man)? {
        gzip.arg(man.join(page));
    }
    cargo::passes(&mut gzip)?;
    for (shell, file) in [
        ("bash", "pause-trace.bash"),
        ("zsh", "_pause-trace"),
        ("fish", "pause-trace.fish"),
    ] {
        let output = Command::new(&program)
            .args(["completions", shell])
            .output()
            .with_context(|| format!("failed to start {}", program.display()))?;
        write(&completions.join(file), &output.stdout)?;
    }
    Ok(texts)
}

/// A program that runs here.
fn writer(build: &Build, architecture: Architecture) -> Result<PathBuf> {
    let own = Architecture::own();
    let program = build.place.programs(own).join("pause-trace");
    if architecture != own {
        build.place.build("pause-trace", own)?;
    }
    Ok(program)
}

/// The archive: the program, the texts, the unit, the script for CI and the licences below one
/// directory.
fn archive(build: &Build, program: &Path, texts: &Path, name: &str) -> Result<()> {
    let top = build.place.target.join("dist-archive").join(name);
    empty(&top)?;
    let mut copy = Command::new("cp");
    copy.arg("--recursive").arg(program);
    for text in ["man", "completions"] {
        copy.arg(texts.join(text));
    }
    for text in [
        "deploy/systemd/pause-trace.service",
        "deploy/ci/verify.sh",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        copy.arg(build.place.sources.join(text));
    }
    cargo::passes(copy.arg(&top))?;
    let script = "chmod -R u=rwX,go=rX \"$2\"
        tar --create --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime=\"@$3\" \"$2\" | gzip -9 -n > \"$1\"";
    let mut tar = Command::new("sh");
    tar.args(["-ec", script, "tar"])
        .arg(build.out.join(format!("{name}.tar.gz")))
        .args([name, &build.epoch])
        .current_dir(top.parent().unwrap_or(&top));
    cargo::passes(&mut tar).context("failed to make the archive")?;
    fs::remove_dir_all(&top).with_context(|| format!("failed to remove {}", top.display()))
}

/// The image, which pause-trace writes itself.
fn image(build: &Build, program: &Path, name: &str) -> Result<()> {
    let mut image = Command::new(
        build
            .place
            .programs(Architecture::own())
            .join("pause-trace"),
    );
    image
        .args(["image", "--force", "--program"])
        .arg(program)
        .arg("--out")
        .arg(build.out.join(format!("{name}.oci.tar")));
    cargo::passes(&mut image).context("failed to make the image")
}

/// Writes `SHA256SUMS` of all other files, for `sha256sum --check`.
pub(super) fn sums(out: &Path) -> Result<()> {
    let names = files(out)?;
    if names.is_empty() {
        return Ok(());
    }
    let output = Command::new("sha256sum")
        .arg("--")
        .args(&names)
        .current_dir(out)
        .output()
        .context("failed to run sha256sum")?;
    write(&out.join("SHA256SUMS"), &output.stdout)
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    fs::write(file, content).with_context(|| format!("failed to write {}", file.display()))
}
