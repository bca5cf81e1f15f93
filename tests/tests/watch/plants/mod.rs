//! Faults that a real containerd does not have by itself: a script in front of its runc makes them,
//! or a process of the test. `pause-trace watch` must report each fault and nothing else.

mod lifecycle;
mod namespaces;
mod pauses;

use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

use crate::scene::Scene;

/// Starts a runtime whose runc is faulty, and a watch. `faults` are the branches of a `case` in
/// sh over the runc command, the pod and the container, which a sandbox does not have:
/// `start web/app`, `create web/`.
fn faulty(lab: Containerd, faults: &str) -> Scene {
    lab.import(&image::workload());
    lab.make_runc_faulty(faults);
    let watch = Watch::start(lab.node());
    Scene { lab, watch }
}

/// A runtime with the usual pause.
fn containerd() -> Containerd {
    Containerd::start(Version::V1)
}
