//! What a program without a C library needs: the start of the program, and a safe function for each
//! system call.
//!
//! `pause` and `workload` are such programs. Each is one small file that runs in an empty root file
//! system, and this crate contains all `unsafe` code of both. A program declares its main function,
//! never allocates, and has no mutable statics:
//!
//! ```text
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
//! Its package sets `build = "../nolibc/link.rs"`, which sets the options of the linker.

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
pub use namespace::{Namespace, join, join_unseen, unshare};
pub use process::{
    Child, Ended, crash, execute, exit, fork, getpid, own_handle, reap_one, sleep, wait,
    wait_for_end,
};
pub use signal::{
    SIGCHLD, SIGINT, SIGKILL, SIGNALS, SIGSTOP, SIGTERM, SIGUSR1, Signals, catch, default, ignore,
    mask, sleep_until_signal, take, unblock_all,
};
pub use socket::{accept, bind, bind6, connect, listen, listen_on};
pub use start::{Arg, Args};

use arch::{nr, syscall};

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub usize);

/// Separates results from errors, which the kernel returns as small negative numbers.
fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(Errno(result.unsigned_abs()))
    } else {
        Ok(result.unsigned_abs())
    }
}

/// These programs never panic, but the language requires a handler. It exits with a message, which
/// is better than a loop in pid 1.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    write(STDERR, b"bug: panicked\n");
    exit(101)
}
