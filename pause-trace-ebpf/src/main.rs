//! The kernel side of pause-trace: it reports facts and judges nothing.
//!
//! Built for `bpfel-unknown-none`. For any other target `main` is empty, so that `cargo build --workspace` and clippy
//! work on the host.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod emit;
mod filter;
mod probes;
mod task;

/// Every helper used is open to any GPL-compatible program; this names the licence the kernel checks.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier refuses an endless loop: a panic that could be reached would not load.
    loop {}
}
