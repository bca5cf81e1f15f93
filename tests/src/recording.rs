//! Records the life of a pod, for the tests of recordings and for their fixture.

use std::{path::Path, time::Duration};

use nix::libc;

use crate::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// The rules that the recorded pod breaks: one of its two containers ignores SIGTERM and is killed
/// after a second.
pub const BROKEN: [&str; 2] = ["PT301", "PT302"];

/// Runs a pod of containerd with two containers and an exec session while `pause-trace watch`
/// records it to `path`. Returns the output, which also covers other pods of the machine, and the
/// pod's uid.
///
/// # Panics
/// When the pod breaks other rules.
#[must_use]
pub fn of_containerd_pod(path: &Path) -> (String, String) {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start_with(lab.node(), [Path::new("--record"), path]);
    let pod = lab.pod("recorded").run();
    let serves = pod.serve("serves");
    assert_eq!(serves.exec(["/workload", "true"]).exit_code, 0);
    let deaf = pod.container("deaf").workload(["ignore-term"]).start();
    let deaf = deaf.settled_in(libc::SYS_ppoll);
    deaf.stop(Duration::from_secs(1));
    deaf.remove();
    serves.stop(Duration::from_secs(30));
    serves.remove();
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_broken(BROKEN);
    (watch.stop_with_text(), uid)
}
