//! The eBPF program in the kernel: its hooks and its rings. This module produces events and judges
//! nothing.

mod btf;
mod decode;
mod load;
mod log;
mod missed;
mod raw;
pub(crate) mod request;
mod ring;
mod self_test;
mod verifier;
pub(crate) mod ways;

pub(crate) use btf::{Types, VMLINUX};
pub(crate) use load::{Hook, LoadError, Loaded, NamespaceHook, Options, load};
pub(crate) use log::show as show_log;
pub(crate) use ring::{Readiness, Rings, now};
pub(crate) use self_test::{HELPER, helper, self_test};
pub(crate) use verifier::{MOST_INSTRUCTIONS, Verified, verified};
