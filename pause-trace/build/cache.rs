//! Where what is expensive to get is kept. `build.rs`, `xtask` and the tests share this file.

use std::{env, path::PathBuf};

/// Where `xtask` keeps what it builds and downloads: outside the tree, so that every checkout shares it.
pub(crate) fn cache_dir() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    base.or_else(|| Some(env::home_dir()?.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("pause-trace")
}
