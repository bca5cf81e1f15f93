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
    lab.replace_runc(&format!(
        "{CALL}case \"$verb $pod/$name\" in\n{faults}\nesac\n"
    ));
    let watch = Watch::start(lab.node());
    Scene { lab, watch }
}

/// A runtime with the usual pause.
fn containerd() -> Containerd {
    Containerd::start(Version::V1)
}

/// Finds out what a call of runc is for. The id is the last word, but before the signal of `kill`.
const CALL: &str = r#"
verb= id= before=
for word; do
    case $verb$word in create | start | exec | kill | delete) verb=$word ;; esac
    before=$id
    id=$word
done
[ "$verb" = kill ] && id=$before
bundle=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$id
states=/run/containerd/runc/k8s.io
annotated() {
    sed -n "s/.*\"io.kubernetes.cri.$1\":\"\([^\"]*\)\".*/\1/p" "$bundle/config.json" 2>/dev/null
}
real() { /run/real/runc --root "$states" "$@"; }
name=$(annotated container-name)
pod=$(annotated sandbox-name)
"#;
