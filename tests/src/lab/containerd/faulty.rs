//! A runc that does some of its calls in a wrong way.

use super::Containerd;

impl Containerd {
    /// Makes runc faulty, on this node only. `faults` are the branches of a `case` in sh over the
    /// runc command, the pod and the container, which a sandbox does not have: `start web/app`,
    /// `create web/`.
    ///
    /// # Panics
    /// When the node can't be changed.
    pub fn make_runc_faulty(&self, faults: &str) {
        self.replace_runc(&format!(
            "{CALL}case \"$verb $pod/$name\" in\n{faults}\nesac\n"
        ));
    }
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
