//! Makes the recording that is the fixture for a version of the format:
//! `cargo run -p pause-trace-tests --bin recording`.
//!
//! Run it as root when the format has a new version, after `cargo xtask test` has built the program
//! and got the runtimes. Never make the recording of an older version again: the tests check that
//! it can still be replayed.

use std::path::Path;

use pause_trace_tests::recording;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containerd-pod-v1.ptrec");
    let (_, uid) = recording::of_containerd_pod(&path);
    println!("recorded pod {uid} to {}", path.display());
}
