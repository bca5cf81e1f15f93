//! The kernel side of pause-trace, which reports facts and judges nothing.
//!
//! The crate is built for `bpfel-unknown-none`. For any other target `main` is empty, so that
//! `cargo build --workspace` and clippy work on the host.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod emit;
mod filter;
mod probes;
mod task;
mod user;

/// The licence that the kernel checks: some helpers are available only to GPL-compatible programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier rejects an endless loop, so a program in which a panic can be reached does not
    // load.
    loop {}
}
