//! `cargo xtask runtimes`: the real programs that the tests start: container runtimes, Podman's
//! pause, a browser, shells, Prometheus. It also gets the published definition of CRI, against
//! which the tests check the CRI messages.
//!
//! All of them are unpacked into the cache. Nothing is installed: no daemon is enabled, no user is
//! added, no file of the machine is replaced.

mod helm;
mod kubelet;

use anyhow::Result;

use xtask_support::{
    bundle::{self, Bundle, Extent},
    debian::Origin,
    places,
};

/// An emulator, for a program of another processor.
pub(crate) const QEMU_USER: Bundle = Bundle {
    name: places::QEMU_USER,
    origin: Origin::main("bookworm"),
    packages: &["qemu-user-static"],
    extent: Extent::Listed,
    version: "",
    programs: &[("usr/bin/qemu-aarch64-static", "--version")],
    build: None,
};

/// Every runtime uses runc of bookworm: a newer runc needs a newer C library, and crun refuses
/// hybrid cgroups. The programs of newer suites in this list work with the C library of bookworm.
pub(crate) const BUNDLES: [Bundle; 19] = [
    Bundle {
        name: places::OCI,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &["runc", "containernetworking-plugins"],
        version: "",
        programs: &[("usr/sbin/runc", "--version")],
        build: None,
    },
    Bundle {
        name: places::CONTAINERD_1,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &["containerd"],
        version: "1.6.",
        programs: &[("usr/bin/containerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::CONTAINERD_2,
        origin: Origin::main("sid"),
        extent: Extent::Listed,
        packages: &["containerd"],
        version: "2.",
        programs: &[("usr/bin/containerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::DOCKER,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &["docker.io", "libdevmapper1.02.1"],
        version: "20.10.",
        programs: &[("usr/sbin/dockerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::PODMAN,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &[
            "podman",
            "conmon",
            "libassuan0",
            "libdevmapper1.02.1",
            "libglib2.0-0",
            "libgpgme11",
            "libsubid4",
        ],
        version: "4.3.",
        programs: &[
            ("usr/bin/podman", "--version"),
            ("usr/bin/conmon", "--version"),
        ],
        build: None,
    },
    Bundle {
        name: places::BUSYBOX,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &["busybox-static"],
        version: "",
        programs: &[("bin/busybox", "true")],
        build: None,
    },
    Bundle {
        name: places::HELM,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &["python3-pip"],
        version: "",
        programs: &[],
        build: Some(helm::build),
    },
    Bundle {
        name: places::KUBELET,
        origin: Origin::main("bookworm"),
        extent: Extent::Listed,
        packages: &kubelet::PACKAGES,
        version: "1.19.",
        programs: &[("kubelet", "--version")],
        build: Some(kubelet::build),
    },
    Bundle {
        name: places::KUBECTL,
        origin: Origin::main("sid"),
        packages: &["kubectl"],
        extent: Extent::Listed,
        version: "1.36.",
        programs: &[("usr/bin/kubectl", "help")],
        build: None,
    },
    QEMU_USER,
    Bundle {
        name: places::SYSTEMD,
        origin: Origin::main("bookworm"),
        packages: &["systemd"],
        extent: Extent::Dependencies,
        version: "252.",
        // Its programs need a library in a directory of their own, which the test names.
        programs: &[],
        build: None,
    },
    Bundle {
        name: places::CATATONIT,
        origin: Origin::main("bookworm"),
        packages: &["catatonit"],
        extent: Extent::Listed,
        version: "",
        programs: &[("usr/bin/catatonit", "--version")],
        build: None,
    },
    Bundle {
        name: places::CHROMIUM,
        origin: Origin::with_security("bookworm"),
        packages: &["chromium-headless-shell"],
        extent: Extent::Dependencies,
        version: "",
        programs: &[("usr/lib/chromium/chromium-headless-shell", "--version")],
        build: None,
    },
    Bundle {
        name: places::ZSH,
        origin: Origin::main("bookworm"),
        packages: &["zsh", "zsh-common"],
        extent: Extent::Listed,
        version: "5.9",
        programs: &[("bin/zsh", "--version")],
        build: None,
    },
    Bundle {
        name: places::FISH,
        origin: Origin::with_security("bookworm"),
        packages: &["fish", "fish-common", "libpcre2-32-0"],
        extent: Extent::Listed,
        version: "3.6.",
        programs: &[("usr/bin/fish", "--version")],
        build: None,
    },
    Bundle {
        name: places::PROMETHEUS_2,
        origin: Origin::main("bookworm"),
        packages: &["prometheus"],
        extent: Extent::Listed,
        version: "2.",
        programs: &[
            ("usr/bin/prometheus", "--version"),
            ("usr/bin/promtool", "--version"),
        ],
        build: None,
    },
    Bundle {
        name: places::PROMETHEUS_3,
        origin: Origin::main("sid"),
        // promtool is a package of its own there.
        packages: &["prometheus", "promtool"],
        extent: Extent::Listed,
        version: "3.",
        programs: &[
            ("usr/bin/prometheus", "--version"),
            ("usr/bin/promtool", "--version"),
        ],
        build: None,
    },
    Bundle {
        name: places::CRI_V1,
        // The definition in the stable releases has no stop signals.
        origin: Origin::main("sid"),
        packages: &["golang-k8s-cri-api-dev"],
        extent: Extent::Listed,
        version: "0.",
        programs: &[],
        build: None,
    },
    Bundle {
        name: places::CRI_V1ALPHA2,
        origin: Origin::main("trixie"),
        packages: &["golang-github-containerd-containerd-dev"],
        extent: Extent::Listed,
        version: "1.7.",
        programs: &[],
        build: None,
    },
];

/// Gets those that are missing, and prints the directory and the packages of each.
pub(crate) fn run() -> Result<()> {
    ensure()?;
    for bundle in &BUNDLES {
        println!("{}\n  {}", bundle.name, bundle.directory().display());
        bundle.list()?.lines().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Gets those that are missing. If none is, no network is needed.
pub(crate) fn ensure() -> Result<()> {
    let all: Vec<_> = BUNDLES.iter().collect();
    bundle::ensure(
        &all,
        "the tests start real container runtimes, a real browser and a real Prometheus",
    )
}
