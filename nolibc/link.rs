//! The build script of each program that uses this crate. It links the program without a C library
//! and with its own layout, so that a plain `cargo build` is enough.

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

    // rustc passes the option for a position-independent executable; the later `-no-pie` overrides
    // it. A fixed address needs no relocations, and so no writable page and no code to apply them.
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
