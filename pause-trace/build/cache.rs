//! The cache directory for downloads and built tools. `build.rs`, `xtask` and the tests share this
//! file.

use std::{env, path::PathBuf};

/// The directory in which `xtask` stores what it builds and downloads. It is outside the tree, so
/// that all checkouts share it.
pub(crate) fn cache_dir() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    base.or_else(|| Some(env::home_dir()?.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("pause-trace")
}
