//! Links `pause` without a C library and with its own layout, so that a plain `cargo build` is all it takes.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=pause.ld");

    let here =
        env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let script = format!("-Wl,-T,{here}/pause.ld");
    // rustc asks for a position-independent executable; the later `-no-pie` wins. A fixed address needs no relocations,
    // hence no writable page and no code to apply them.
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        &script,
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
