//! Makes the recording that the tests keep of each version of the format: `cargo run -p pause-trace-tests --bin recording`.
//!
//! To be run when the format has a new version, as root, after `cargo xtask test` has built the program and got the runtimes.
//! What an older version's looks like is not to be made again: that it can still be replayed is what it is kept for.

use std::path::Path;

use pause_trace_tests::recording;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containerd-pod-v1.ptrec");
    let (_, uid) = recording::of_containerd_pod(&path);
    println!("recorded pod {uid} to {}", path.display());
}
