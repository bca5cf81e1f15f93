//! The files of a release: what is in them, and that they can be used.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output},
};

use pause_trace_tests::{dist, lab::Engine, scratch};
use serde_json::Value;
use xtask_support::places;

fn succeeded(output: Output, what: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}: {text}{errors}");
    text
}

#[test]
fn the_archive_has_a_static_program_that_names_no_directory_of_this_machine() {
    let place = scratch("dist-archive");
    let archive = dist::file(".tar.gz");
    let list = Command::new("tar")
        .args(["--extract", "--verbose", "--strip-components=1", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&place)
        .output();
    let list = succeeded(list.expect("tar runs"), "tar");
    for wanted in [
        "/man/pause-trace-watch.1.gz",
        "/completions/pause-trace.bash",
        "/completions/_pause-trace",
        "/completions/pause-trace.fish",
        "/pause-trace.service",
        "/LICENSE-MIT",
    ] {
        assert!(
            list.lines().any(|line| line.ends_with(wanted)),
            "{wanted}: {list}"
        );
    }
    let program = place.join("pause-trace");
    let version = Command::new(&program).arg("--version").env_clear().output();
    let version = succeeded(version.expect("it runs"), "--version");
    assert_eq!(
        version.trim(),
        concat!("pause-trace ", env!("CARGO_PKG_VERSION"))
    );
    // An executable with a loader cannot be the program of an image.
    let image = Command::new(&program)
        .args(["image", "--program", "--out", "-"])
        .output();
    succeeded(image.expect("it runs"), "image");

    let bytes = fs::read(&program).expect("it was unpacked");
    let home = std::env::home_dir().expect("root has a home");
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    for directory in [
        home.to_str().expect("UTF-8"),
        &checkout[..checkout.len() - 7],
    ] {
        let place = format!("{directory}/");
        let found = bytes
            .windows(place.len())
            .position(|window| window == place.as_bytes());
        assert_eq!(found, None, "{place} is in the program");
    }
}

#[test]
fn the_sums_are_those_of_all_other_files() {
    let archive = dist::file(".tar.gz");
    let directory = archive.parent().expect("it is in a directory");
    let check = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(directory)
        .output();
    let checked = succeeded(check.expect("sha256sum runs"), "sha256sum");
    let checked: BTreeSet<_> = checked
        .lines()
        .filter_map(|line| line.strip_suffix(": OK"))
        .collect();
    let files = fs::read_dir(directory).expect("it can be read");
    let files: BTreeSet<_> = files
        .map(|file| {
            file.expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "SHA256SUMS")
        .collect();
    assert_eq!(checked, files.iter().map(String::as_str).collect());
}

#[test]
fn the_list_of_components_has_every_crate_of_the_program_with_its_version() {
    let text = fs::read(dist::file(".cdx.json")).expect("it can be read");
    let list: Value = serde_json::from_slice(&text).expect("it is JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    assert_eq!(list["specVersion"], "1.5");
    assert_eq!(list["metadata"]["component"]["name"], "pause-trace");
    let components = list["components"].as_array().expect("there are components");
    let listed: BTreeSet<_> = components
        .iter()
        .map(|component| {
            let text = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
            assert!(component["licenses"].is_array(), "{component}");
            format!("{} v{}", text("name"), text("version"))
        })
        .collect();
    let tree = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args([
            "tree",
            "--locked",
            "--package",
            "pause-trace",
            "--edges",
            "normal",
        ])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let tree = succeeded(tree.expect("cargo runs"), "cargo tree");
    let names = tree.lines().map(|line| {
        let mut words = line.split(' ');
        format!(
            "{} {}",
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default()
        )
    });
    let own = concat!("pause-trace v", env!("CARGO_PKG_VERSION"));
    let missing: BTreeSet<_> = names
        .filter(|name| name != own && !listed.contains(name))
        .collect();
    assert_eq!(missing, BTreeSet::new());
    assert!(!String::from_utf8_lossy(&text).contains(env!("CARGO_MANIFEST_DIR")));
}

/// Installs the package `$2` in the root directory `$1`, which it does not change, runs what it
/// installed, upgrades it to a later version, and removes it.
const INSTALL: &str = r#"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/later
mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
root=/mnt/root
mount -t proc proc "$root/proc"
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/dev"
[ -e "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
# dpkg asks for diff, which this Debian lacks.
cp "$3" "$root/usr/bin/diff"
cp "$2" "$root/one.deb"
dpkg-deb --raw-extract "$2" /mnt/later
sed -i 's/^Version: .*/&+later/' /mnt/later/DEBIAN/control
dpkg-deb --build --root-owner-group /mnt/later "$root/two.deb" > /dev/null
rm -r /mnt/later
cat > "$root/steps" << 'END'
set -eu
find / -xdev -path /proc -prune -o -path /var/lib/dpkg -prune -o -path /var/log -prune -o -print | sort > /dev/shm-before 2>/dev/null || true
dpkg --install /one.deb
pause-trace --version
pause-trace rules > /dev/null
dpkg --verify pause-trace
test -f /usr/lib/systemd/system/pause-trace.service
test -f /usr/share/man/man1/pause-trace.1.gz
test -f /usr/share/bash-completion/completions/pause-trace
dpkg --install /two.deb
dpkg-query --show --showformat '${Status} ${Version}\n' pause-trace
pause-trace --version
dpkg --remove pause-trace
dpkg --purge pause-trace
find / -xdev -path /proc -prune -o -path /var/lib/dpkg -prune -o -path /var/log -prune -o -print | grep -v shm-after | sort > /dev/shm-after
echo "left: $(comm -13 /dev/shm-before /dev/shm-after | tr '\n' ' ')"
END
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh /steps
"#;

#[test]
fn the_debian_package_can_be_installed_upgraded_and_removed() {
    let root = places::directory(places::BARE);
    assert!(
        root.exists(),
        "{} is missing: run `cargo xtask test`",
        root.display()
    );
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--net",
            "sh",
            "-euc",
            INSTALL,
            "install",
        ])
        .arg(root)
        .arg(dist::file(".deb"))
        .arg(places::directory(places::BUSYBOX).join("bin/busybox"))
        .output();
    let said = succeeded(output.expect("unshare runs"), "the steps");
    let version = concat!("pause-trace ", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        said.lines().filter(|line| *line == version).count(),
        2,
        "{said}"
    );
    let upgraded = said
        .lines()
        .find(|line| line.starts_with("install ok installed"));
    assert!(
        upgraded.is_some_and(|line| line.ends_with("+later")),
        "{said}"
    );
    assert!(
        said.lines().any(|line| line.trim_end() == "left:"),
        "{said}"
    );
}

#[test]
fn docker_and_podman_load_and_run_the_image() {
    for engine in [Engine::docker(), Engine::podman()] {
        engine.import(&dist::file(".oci.tar"));
        let version =
            engine.command(&["run", "--rm", "--network", "none", dist::IMAGE, "--version"]);
        assert_eq!(version, concat!("pause-trace ", env!("CARGO_PKG_VERSION")));
    }
}
