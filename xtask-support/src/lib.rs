//! What the workspace's tasks (`xtask`), its virtual machines (`vmlab`) and its live tests share:
//! the cache directory, Debian packages that are unpacked into it, long commands with a progress
//! line, and calls of cargo.
//!
//! It depends on none of them.

pub mod bundle;
#[path = "../../pause-trace/build/cache.rs"]
mod cache;
pub mod cargo;
pub mod debian;
pub mod exit;
pub mod places;
pub mod progress;
pub mod text;

/// The directory for what takes long to build or download. It is outside the tree, so that every
/// checkout shares it.
#[must_use]
pub fn cache_dir() -> std::path::PathBuf {
    cache::cache_dir()
}
