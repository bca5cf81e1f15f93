//! `image`: the built-in pause and a workload as a container image.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Exit, Usage, file, print};
use crate::reference::image::{self, Name, Pause};

/// Write a container image of the built-in pause and a workload, for `ctr images import`,
/// `podman load` and `docker load`
///
/// Its entrypoint is /pause. With --program it is an image of pause-trace itself instead.
/// Containers run /workload, which has one behaviour for each promise that is kept or broken:
/// `/workload --help` lists them.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The file to write; "-" is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The name of the image [default: localhost/pause-trace:VERSION, and -KIND with --pause;
    /// localhost/pause-trace-node:VERSION with --program]
    #[arg(long, value_name = "REGISTRY/PATH:TAG")]
    pub(crate) name: Option<Name>,
    /// Use another pause as the entrypoint, one that breaks a promise
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Pause::Good)]
    pub(crate) pause: Pause,
    /// Write the image of pause-trace itself, to observe a node from a pod; without FILE, of this
    /// program. FILE is a static build of pause-trace, which may be for another processor
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "/proc/self/exe",
        conflicts_with = "pause"
    )]
    pub(crate) program: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<Exit> {
        let to_stdout = self.out == Path::new("-");
        if to_stdout && io::stdout().is_terminal() {
            return Err(Usage(
                "refused to write an image to a terminal; redirect stdout to a file".to_owned(),
            )
            .into());
        }
        let default = || match self.program {
            Some(_) => Name::of_program(),
            None => Name::of(self.pause),
        };
        let name = self.name.clone().unwrap_or_else(default);
        let archive = match &self.program {
            Some(file) => {
                let executable = fs::read(file).map_err(|error| {
                    Usage(format!("failed to read {}: {error}", file.display()))
                })?;
                image::program(&name, &executable)
                    .with_context(|| format!("failed to create an image of {}", file.display()))?
            }
            None => image::archive(&name, self.pause).context("failed to create the image")?,
        };
        if to_stdout {
            return print(&archive);
        }
        file::write(&self.out, &archive, 0o644, self.force)
    }
}
