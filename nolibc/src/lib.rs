//! What a program without a C library needs: how it starts, and the kernel, each system call behind a safe function.
//!
//! `pause` and `workload` are such programs. Each is one small file that runs in an empty root file system, and all `unsafe`
//! of both is in this crate. A program names its main function, never allocates, and has no mutable statics:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! nolibc::start!(main);
//!
//! fn main(args: nolibc::Args) -> ! {
//!     loop {}
//! }
//! ```
//!
//! Its package says `build = "../nolibc/link.rs"`, which sees to the linking.

#![no_std]

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod arch;
mod builtin;
mod file;
mod memory;
mod namespace;
mod process;
mod signal;
mod socket;
mod start;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("nolibc knows the system calls of x86_64 and aarch64 only");

pub use file::{File, STDERR, STDOUT, close_all, write};
pub use memory::grow;
pub use namespace::{Namespace, join, unshare};
pub use process::{
    Child, Ended, crash, execute, exit, fork, getpid, own_handle, reap_one, sleep, wait,
    wait_for_end,
};
pub use signal::{
    SIGCHLD, SIGINT, SIGKILL, SIGNALS, SIGSTOP, SIGTERM, Signals, catch, default, ignore, mask,
    sleep_until_signal, take, unblock_all,
};
pub use socket::{accept, connect, listen};
pub use start::{Arg, Args};

use arch::{nr, syscall};

/// What the kernel says when it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub usize);

/// Tells a result from an error: the kernel returns errors as small negative numbers.
fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(Errno(result.unsigned_abs()))
    } else {
        Ok(result.unsigned_abs())
    }
}

/// Nothing in these programs panics; the language wants an answer. Ending loudly beats spinning as pid 1.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    write(STDERR, b"bug: panicked\n");
    exit(101)
}
