//! `cargo deny`: licences, sources and duplicates of the dependencies.

use std::{env, fs, path::Path, process::Command};

use anyhow::Result;

use xtask_support::cargo;

const VERSION: &str = "0.20.2";

/// Checks what can be checked without the network, and returns a remark about the rest.
pub(crate) fn check() -> Result<&'static str> {
    let deny = cargo::tool("cargo-deny", VERSION)?;
    let command = |global: &[&str], checks: &[&str]| {
        let mut command = Command::new(&deny);
        command
            .current_dir(cargo::workspace())
            .env_remove("LD_LIBRARY_PATH")
            .args(["--locked"])
            .args(global)
            .args(["check", "--hide-inclusion-graph"])
            .args(checks);
        command
    };
    // Not `--offline`: the first run downloads the crates that only other targets use.
    cargo::passes(&mut command(&[], &["licenses", "bans", "sources"]))?;
    // The advisories are in a git repository of their own, of which a copy is needed.
    if !has_advisories() {
        return Ok(
            "advisories not checked: their database is missing (`cargo deny fetch` gets it)",
        );
    }
    cargo::passes(&mut command(&["--offline"], &["advisories"]))?;
    Ok("with the advisories of the local database")
}

fn has_advisories() -> bool {
    let home = env::var_os("CARGO_HOME").map(Into::into);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let copies = home.and_then(|home| fs::read_dir(Path::new(&home).join("advisory-dbs")).ok());
    copies.is_some_and(|copies| copies.flatten().any(|copy| copy.path().is_dir()))
}
