//! Downloads and unpacks Debian packages of any suite without installing them, with an apt that
//! keeps all its state in one directory.
//!
//! The machine's package lists and packages are neither read nor changed. Its mirrors and apt
//! settings, such as a proxy, are used.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{exit::CannotRun, progress};

/// Locks out other checkouts that unpack packages below `root`, and removes `root/unfinished`,
/// which a killed one left.
///
/// # Errors
/// When `root` cannot be written.
pub fn lock(root: &Path) -> Result<File> {
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

/// The keys that sign Debian's suites. The package `debian-archive-keyring` has them, and every
/// Debian has that package.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive, with its current package lists. Dropping it removes the lists.
pub struct Suite {
    /// The name in messages.
    name: String,
    directory: PathBuf,
    /// The architecture, if it is not this machine's.
    architecture: Option<&'static str>,
}

/// The suite that packages are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The name of the suite, such as `bookworm`.
    pub suite: &'static str,
    /// Whether its security updates are included. They have browsers, and the compiler that
    /// browsers need.
    security: bool,
}

impl Origin {
    /// A suite without its security updates.
    pub const fn main(suite: &'static str) -> Self {
        Self {
            suite,
            security: false,
        }
    }

    /// A suite with its security updates.
    pub const fn with_security(suite: &'static str) -> Self {
        Self {
            suite,
            security: true,
        }
    }
}

impl Suite {
    /// Downloads the package lists of a suite into `directory`, which is made. The architecture is
    /// this machine's unless one is given.
    ///
    /// # Errors
    /// When this machine has no apt or names no mirror, and when the download fails.
    pub fn open(
        origin: Origin,
        architecture: Option<&'static str>,
        directory: PathBuf,
    ) -> Result<Self> {
        require_apt()?;
        let sources = Sources::read()?;
        let suite = Self {
            name: origin.suite.to_owned(),
            directory,
            architecture,
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(suite.directory.join(part)).with_context(|| suite.not_made())?;
        }
        let list = |mirror: &str, name: &str| {
            ["deb", "deb-src"]
                .map(|kind| format!("{kind} [signed-by={KEYRING}] {mirror} {name} main\n"))
                .concat()
        };
        let mut lists = list(&sources.main, origin.suite);
        if origin.security {
            lists += &list(&sources.security, &format!("{}-security", origin.suite));
        }
        fs::write(suite.directory.join("sources.list"), lists).with_context(|| suite.not_made())?;
        // Without this option apt succeeds even if it cannot fetch a list.
        suite.update(&["-o", "APT::Update::Error-Mode=any"])?;
        Ok(suite)
    }

    fn update(&self, options: &[&str]) -> Result<()> {
        let title = format!("fetching the package lists of Debian {}", self.name);
        let log = format!("apt-update-{}", self.name.replace(' ', "-"));
        let mut update = self.apt("apt-get");
        update.args(options).arg("update");
        progress::run(&title, &log, &mut update).map_err(unreachable)
    }

    /// Downloads packages into `directory`, which is made, and unpacks them below `root`. Returns
    /// their versions.
    ///
    /// # Errors
    /// When a package cannot be downloaded or unpacked.
    pub fn unpack(&self, packages: &[&str], directory: &Path, root: &Path) -> Result<Vec<Version>> {
        self.download("download", packages, directory)?;
        extract(&files(directory, ".deb")?, root)
    }

    /// The same, with all dependencies except the packages in `without`.
    ///
    /// # Errors
    /// When a package cannot be downloaded or unpacked.
    pub fn unpack_with_dependencies(
        &self,
        packages: &[&str],
        without: &[&str],
        directory: &Path,
        root: &Path,
    ) -> Result<Vec<Version>> {
        let archives = directory.join("archives");
        fs::create_dir_all(archives.join("partial"))
            .with_context(|| format!("failed to make {}", archives.display()))?;
        let mut apt_get = self.apt("apt-get");
        apt_get
            .args(["install", "--download-only", "--yes"])
            .args(["--no-install-recommends", "-o"])
            .arg(format!("Dir::Cache::Archives={}", archives.display()))
            .args(packages);
        self.run("download", packages, &mut apt_get)?;
        let mut files = files(&archives, ".deb")?;
        files.retain(|file| {
            Version::of_file(file).is_ok_and(|of| !without.contains(&of.package.as_str()))
        });
        extract(&files, root)
    }

    /// Downloads the files of a source package into `directory`, which is made.
    ///
    /// # Errors
    /// When a file cannot be downloaded.
    pub fn download_source(&self, package: &str, directory: &Path) -> Result<()> {
        self.download("source", &["--download-only", package], directory)
    }

    /// The packages that `package` depends on, in its own order.
    ///
    /// # Errors
    /// When the suite has no such package.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
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
        let mut apt_get = self.apt("apt-get");
        apt_get.current_dir(directory).arg(how).args(what);
        self.run(how, what, &mut apt_get)
    }

    fn run(&self, how: &str, what: &[&str], apt_get: &mut Command) -> Result<()> {
        let words = what.iter().filter(|word| !word.starts_with('-'));
        let names = words.copied().collect::<Vec<_>>().join(", ");
        let title = format!("downloading {names} of Debian {}", self.name);
        let log = format!("apt-{how}-{}", self.name.replace(' ', "-"));
        progress::run(&title, &log, apt_get).map_err(unreachable)
    }

    /// The command of a program of apt, which uses this suite and not the machine's lists and
    /// packages.
    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let at = |part: &str| self.directory.join(part).display().to_string();
        if let Some(architecture) = self.architecture {
            for option in ["APT::Architecture", "APT::Architectures"] {
                apt.arg("-o").arg(format!("{option}={architecture}"));
            }
        }
        for (option, value) in [
            ("Dir::Etc::SourceList", at("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".into()),
            ("Dir::Etc::PreferencesParts", "/dev/null".into()),
            ("Dir::Etc::Preferences", "/dev/null".into()),
            ("Dir::State::Lists", at("lists")),
            ("Dir::State::Status", "/dev/null".into()),
            ("Dir::Cache", at("cache")),
            // Nothing of the machine is written, so neither locks nor root are needed.
            ("Debug::NoLocking", "true".into()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::Retries", "3".into()),
            // apt's own user may not read a home directory.
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
        // The lists are large and soon out of date. If they cannot be removed, they do no harm.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Unpacks packages below `root`. Returns their versions.
fn extract(packages: &[PathBuf], root: &Path) -> Result<Vec<Version>> {
    let mut versions = Vec::new();
    for file in packages {
        let unpacked = Command::new("dpkg-deb")
            .arg("--extract")
            .args([file, root])
            .output()
            .context("failed to start dpkg-deb")?;
        if !unpacked.status.success() {
            let errors = String::from_utf8_lossy(&unpacked.stderr);
            bail!("failed to unpack {}: {}", file.display(), errors.trim());
        }
        versions.push(Version::of_file(file)?);
    }
    Ok(versions)
}

fn require_apt() -> Result<()> {
    for program in ["/usr/bin/apt-get", "/usr/bin/dpkg-deb", KEYRING] {
        if !Path::new(program).exists() {
            bail!(CannotRun(format!(
                "this needs Debian packages, but {program} is missing"
            )));
        }
    }
    Ok(())
}

/// A download that fails is no fault of the code under test.
fn unreachable(error: anyhow::Error) -> anyhow::Error {
    let text = "the network is needed once; what was downloaded is kept";
    anyhow::Error::new(CannotRun(format!("{error:#}\n{text}")))
}

/// A package and its version.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
}

impl Version {
    /// Parses a file name of apt: `NAME_VERSION_ARCHITECTURE.deb`, where `%3a` stands for a colon.
    fn of_file(file: &Path) -> Result<Self> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut parts = name.split('_');
        match (parts.next(), parts.next()) {
            (Some(package), Some(version)) => Ok(Self {
                package: package.to_owned(),
                version: version.replace("%3a", ":"),
            }),
            _ => bail!("the name of {} is not that of a package", file.display()),
        }
    }
}

/// The files of a directory whose names end with `end`, sorted.
///
/// # Errors
/// When the directory cannot be read.
pub fn files(directory: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    Ok(files)
}

/// Parses the output of `apt-cache depends`. A name in angle brackets is a virtual package.
fn dependencies(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .filter(|name| !name.starts_with('<'))
        .map(str::to_owned)
        .collect()
}

/// The mirrors that this machine uses.
struct Sources {
    main: String,
    security: String,
}

impl Sources {
    fn read() -> Result<Self> {
        // The installer writes one of the first two files. Images may use other files.
        let mut places: Vec<PathBuf> = ["sources.list.d/debian.sources", "sources.list"]
            .map(|file| Path::new("/etc/apt").join(file))
            .to_vec();
        places.extend(files(Path::new("/etc/apt/sources.list.d"), "").unwrap_or_default());
        let texts = places
            .iter()
            .filter_map(|place| fs::read_to_string(place).ok());
        let mirrors: Vec<String> = texts.flat_map(|text| mirrors(&text)).collect();
        Self::choose(&mirrors).ok_or_else(|| {
            let text = "this needs Debian packages, but /etc/apt names no mirror";
            anyhow::Error::new(CannotRun(text.into()))
        })
    }

    /// If the machine names no mirror of the security updates, the path is that of Debian's own
    /// mirrors.
    fn choose(mirrors: &[String]) -> Option<Self> {
        let is_security = |mirror: &&String| mirror.contains("security");
        // The path of a Debian mirror ends with /debian, that of another repository does not. A
        // single mirror may have any path.
        let is_debian = |mirror: &&String| mirror.ends_with("/debian");
        let mut others = mirrors.iter().filter(|mirror| !is_security(mirror));
        let main = others.clone().find(is_debian).or_else(|| others.next())?;
        let security = mirrors.iter().find(is_security).cloned();
        Some(Self {
            main: main.clone(),
            security: security.unwrap_or_else(|| format!("{main}-security")),
        })
    }
}

/// The mirrors in a file of sources, in either of its two formats.
fn mirrors(text: &str) -> Vec<String> {
    let mirrors = text.lines().filter_map(|line| {
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
    });
    mirrors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_parsed_in_both_formats() {
        let deb822 = "Types: deb\n# a comment\nURIs: http://mirror.example/debian/ http://b.example/debian\nSuites: x\n";
        assert_eq!(mirrors(deb822), ["http://mirror.example/debian"]);
        let one_line = "# deb http://old.example x main\n\
                        deb [arch=amd64 signed-by=/k.gpg] https://one.example/debian bookworm main\n";
        assert_eq!(mirrors(one_line), ["https://one.example/debian"]);
        assert!(mirrors("# nothing here\n").is_empty());
    }

    #[test]
    fn a_mirror_of_debian_is_preferred_to_other_repositories() {
        let chosen = |mirrors: &[&str]| {
            let mirrors: Vec<_> = mirrors.iter().copied().map(str::to_owned).collect();
            Sources::choose(&mirrors).map(|sources| (sources.main, sources.security))
        };
        let (vendor, main) = ("https://v.example/apt", "http://m.example/debian");
        let security = "http://s.example/debian-security";
        let expected = Some((main.to_owned(), security.to_owned()));
        assert_eq!(chosen(&[vendor, security, main]), expected);
        let derived = Some((main.to_owned(), format!("{main}-security")));
        assert_eq!(chosen(&[vendor, main]), derived);
        assert_eq!(chosen(&[security]), None);
    }

    #[test]
    fn dependencies_are_neither_virtual_nor_suggested() {
        let text = "linux-image-cloud-amd64\n  PreDepends: linux-base\n |Depends: <dracut>\n  \
                    Depends: linux-image-7.3.4-cloud-amd64\n  Suggests: linux-doc\n";
        assert_eq!(dependencies(text), ["linux-image-7.3.4-cloud-amd64"]);
    }

    #[test]
    fn a_file_name_contains_the_version() {
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
