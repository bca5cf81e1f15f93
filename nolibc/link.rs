//! The build script of each program that uses this crate: links it without a C library and with a layout of its own, so
//! that a plain `cargo build` is all it takes.

use std::{env, path::Path};

fn main() {
    let package =
        env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let nolibc = Path::new(&package).join("../nolibc");
    let layout = nolibc.join("program.ld");
    println!(
        "cargo:rerun-if-changed={}",
        nolibc.join("link.rs").display()
    );
    println!("cargo:rerun-if-changed={}", layout.display());

    // rustc asks for a position-independent executable; the later `-no-pie` wins. A fixed address needs no relocations,
    // hence no writable page and no code to apply them.
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        &format!("-Wl,-T,{}", layout.display()),
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
}
