//! Debian packages, without installing them: from any suite, by an apt whose whole state is a directory of ours.
//!
//! The machine's own lists, sources and packages are neither read nor changed; its apt settings, such as a proxy, apply.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{exit::CannotRun, progress};

/// Holds back other checkouts that unpack packages below `root`, and clears what one that was killed has left in
/// `root/unfinished`.
pub(crate) fn lock(root: &Path) -> Result<File> {
    let unfinished = root.join("unfinished");
    let context = || format!("failed to prepare {}", unfinished.display());
    fs::create_dir_all(root).with_context(context)?;
    let lock = File::create(root.join("lock")).with_context(context)?;
    lock.lock().with_context(context)?;
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(context)?;
    }
    Ok(lock)
}

/// What Debian signs its suites with; the package `debian-archive-keyring` brings it, and every Debian has that.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive, with its lists as they are now. Dropping it removes them.
pub(crate) struct Suite {
    /// What people are told.
    name: String,
    directory: PathBuf,
    /// Where its packages are from: a list of ours, or the machine's own lists.
    sources: Sources,
    /// Instead of this machine's.
    architecture: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sources {
    Own,
    Machines,
}

impl Suite {
    /// Fetches the lists of a suite into `directory`, which is made.
    pub(crate) fn open(name: &str, directory: PathBuf) -> Result<Self> {
        Self::open_for(name, None, directory)
    }

    /// The same of an architecture that this machine may not have.
    pub(crate) fn open_for(
        name: &str,
        architecture: Option<&'static str>,
        directory: PathBuf,
    ) -> Result<Self> {
        require_apt()?;
        let mirror = mirror()?;
        let suite = Self {
            name: name.to_owned(),
            directory,
            sources: Sources::Own,
            architecture,
        };
        suite.prepare()?;
        let source = |kind| format!("{kind} [signed-by={KEYRING}] {mirror} {name} main\n");
        fs::write(
            suite.directory.join("sources.list"),
            source("deb") + &source("deb-src"),
        )
        .with_context(|| suite.not_made())?;
        // Without this apt takes a list that cannot be fetched for no reason to fail.
        suite.update(&["-o", "APT::Update::Error-Mode=any"])?;
        Ok(suite)
    }

    /// All that this machine's own sources offer, of another architecture.
    pub(crate) fn of_this_machine(architecture: &'static str, directory: PathBuf) -> Result<Self> {
        require_apt()?;
        let suite = Self {
            name: format!("for {architecture}"),
            directory,
            sources: Sources::Machines,
            architecture: Some(architecture),
        };
        suite.prepare()?;
        // A source that has nothing for that architecture is no reason to fail.
        suite.update(&[])?;
        Ok(suite)
    }

    fn prepare(&self) -> Result<()> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.directory.join(part)).with_context(|| self.not_made())?;
        }
        Ok(())
    }

    fn update(&self, options: &[&str]) -> Result<()> {
        let title = format!("fetching the package lists of Debian {}", self.name);
        let log = format!("apt-update-{}", self.name.replace(' ', "-"));
        let mut update = self.apt("apt-get");
        update.args(options).arg("update");
        progress::run(&title, &log, &mut update).map_err(unreachable)
    }

    /// Downloads packages into `directory`, which is made, and unpacks them below `root`; returns their versions.
    pub(crate) fn unpack(
        &self,
        packages: &[&str],
        directory: &Path,
        root: &Path,
    ) -> Result<Vec<Version>> {
        self.download("download", packages, directory)?;
        let mut versions = Vec::new();
        for file in files(directory, ".deb")? {
            let unpacked = Command::new("dpkg-deb")
                .arg("--extract")
                .args([&file, root])
                .output()
                .context("failed to start dpkg-deb")?;
            if !unpacked.status.success() {
                let said = String::from_utf8_lossy(&unpacked.stderr);
                bail!("failed to unpack {}: {}", file.display(), said.trim());
            }
            versions.push(Version::of_file(&file)?);
        }
        Ok(versions)
    }

    /// Downloads the files of a source package into `directory`, which is made.
    pub(crate) fn download_source(&self, package: &str, directory: &Path) -> Result<()> {
        self.download("source", &["--download-only", package], directory)
    }

    /// The packages that `package` depends on, in the order in which it names them.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let output = self
            .apt("apt-cache")
            .args(["depends", package])
            .env("LC_ALL", "C")
            .output()
            .context("failed to start apt-cache")?;
        if !output.status.success() {
            bail!(CannotRun(format!(
                "Debian {} has no package {package}",
                self.name
            )));
        }
        Ok(dependencies(&String::from_utf8_lossy(&output.stdout)))
    }

    fn download(&self, how: &str, what: &[&str], directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        let words = what.iter().filter(|word| !word.starts_with('-'));
        let names = words.copied().collect::<Vec<_>>().join(", ");
        let mut apt_get = self.apt("apt-get");
        apt_get.current_dir(directory).arg(how).args(what);
        let title = format!("downloading {names} of Debian {}", self.name);
        let log = format!("apt-{how}-{}", self.name.replace(' ', "-"));
        progress::run(&title, &log, &mut apt_get).map_err(unreachable)
    }

    /// A program of apt's that sees this suite and nothing of the machine's.
    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let at = |part: &str| self.directory.join(part).display().to_string();
        if self.sources == Sources::Own {
            let list = format!("Dir::Etc::SourceList={}", at("sources.list"));
            apt.args(["-o", &list, "-o", "Dir::Etc::SourceParts=/dev/null"]);
        }
        if let Some(architecture) = self.architecture {
            for option in ["APT::Architecture", "APT::Architectures"] {
                apt.arg("-o").arg(format!("{option}={architecture}"));
            }
        }
        for (option, value) in [
            ("Dir::Etc::PreferencesParts", "/dev/null".into()),
            ("Dir::Etc::Preferences", "/dev/null".into()),
            ("Dir::State::Lists", at("lists")),
            ("Dir::State::Status", "/dev/null".into()),
            ("Dir::Cache", at("cache")),
            ("Acquire::Languages", "none".into()),
            ("Acquire::Retries", "3".into()),
            // apt's own user may not enter a home directory.
            ("APT::Sandbox::User", "root".into()),
        ] {
            apt.arg("-o").arg(format!("{option}={value}"));
        }
        apt.arg("--quiet").env_remove("LD_LIBRARY_PATH");
        apt
    }

    fn not_made(&self) -> String {
        format!("failed to make {}", self.directory.display())
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        // Tens of megabytes that are soon out of date; what stays is in the way of nothing.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn require_apt() -> Result<()> {
    for program in ["/usr/bin/apt-get", "/usr/bin/dpkg-deb", KEYRING] {
        if !Path::new(program).exists() {
            bail!(CannotRun(format!(
                "this takes Debian's packages, and {program} is not here"
            )));
        }
    }
    Ok(())
}

/// A download that fails says nothing about our code.
fn unreachable(error: anyhow::Error) -> anyhow::Error {
    let text = "this takes the network once; what was got is kept";
    anyhow::Error::new(CannotRun(format!("{error:#}\n{text}")))
}

/// A package and its version.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) package: String,
    pub(crate) version: String,
}

impl Version {
    /// From the name that apt gives a file: `NAME_VERSION_ARCHITECTURE.deb`, where `%3a` stands for a colon.
    fn of_file(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut parts = name.split('_');
        match (parts.next(), parts.next()) {
            (Some(package), Some(version)) => Ok(Self {
                package: package.to_owned(),
                version: version.replace("%3a", ":"),
            }),
            _ => bail!("{} is not named as a package is", file.display()),
        }
    }
}

/// The files of a directory whose names end like this, in order.
pub(crate) fn files(directory: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    Ok(files)
}

/// What `apt-cache depends` lists; a name in angle brackets is one that no package of the suite has.
fn dependencies(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .filter(|name| !name.starts_with('<'))
        .map(str::to_owned)
        .collect()
}

/// The mirror that this machine already uses.
fn mirror() -> Result<String> {
    // The installer writes one of the first two; an image may do otherwise.
    let mut places: Vec<PathBuf> = ["sources.list.d/debian.sources", "sources.list"]
        .map(|file| Path::new("/etc/apt").join(file))
        .to_vec();
    places.extend(files(Path::new("/etc/apt/sources.list.d"), "").unwrap_or_default());
    let texts = places
        .iter()
        .filter_map(|place| fs::read_to_string(place).ok());
    texts
        .filter_map(|text| first_mirror(&text))
        .next()
        .ok_or_else(|| {
            let text = "this takes Debian's packages, and /etc/apt names no mirror";
            anyhow::Error::new(CannotRun(text.into()))
        })
}

/// The first mirror that a file of sources names, in either of the two formats.
fn first_mirror(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim();
        let words = match line.strip_prefix("URIs:") {
            Some(words) => words,
            None => line
                .strip_prefix("deb ")
                .or_else(|| line.strip_prefix("deb-src "))?,
        };
        let mut words = words.split_whitespace();
        let mirror = words.find(|word| word.contains(":/") && !word.starts_with('['))?;
        Some(mirror.trim_end_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mirror_is_found_in_either_format() {
        let deb822 = "Types: deb\n# a comment\nURIs: http://mirror.example/debian/ http://b.example/debian\nSuites: x\n";
        assert_eq!(
            first_mirror(deb822).as_deref(),
            Some("http://mirror.example/debian")
        );
        let one_line = "# deb http://old.example x main\n\
                        deb [arch=amd64 signed-by=/k.gpg] https://one.example/debian bookworm main\n";
        assert_eq!(
            first_mirror(one_line).as_deref(),
            Some("https://one.example/debian")
        );
        assert_eq!(first_mirror("# nothing here\n"), None);
    }

    #[test]
    fn dependencies_are_those_that_must_be_there() {
        let text = "linux-image-cloud-amd64\n  PreDepends: linux-base\n |Depends: <dracut>\n  \
                    Depends: linux-image-7.3.4-cloud-amd64\n  Suggests: linux-doc\n";
        assert_eq!(dependencies(text), ["linux-image-7.3.4-cloud-amd64"]);
    }

    #[test]
    fn a_file_name_tells_the_version() {
        let version = Version::of_file(Path::new("/x/libdevmapper1.02.1_2%3a1.02.185-2_amd64.deb"));
        assert_eq!(
            version.expect("it is a package's name"),
            Version {
                package: "libdevmapper1.02.1".into(),
                version: "2:1.02.185-2".into()
            }
        );
        assert!(Version::of_file(Path::new("/x/other.deb")).is_err());
    }
}
