//! A pod's life that is recorded: for the tests of recordings, and for the fixture that they keep.

use std::{path::Path, time::Duration};

use nix::libc;

use crate::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

/// A pod of containerd with two containers and a session. One container never sees its SIGTERM, and is killed after a
/// second: the rules named here say so.
pub const BROKEN: [&str; 2] = ["PT301", "PT302"];

/// Plays that pod's life while `pause-trace watch` records it to `path`. Gives what it wrote, which is about this pod and
/// whatever else runs on the machine, and the pod's uid.
///
/// # Panics
/// When it does not come out as it should.
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
