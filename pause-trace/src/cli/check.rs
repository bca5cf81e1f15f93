//! `check`: the reference check alone, or with `--cri` the check of a container runtime.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use pause_trace_cri::Socket;

use super::{
    Exit, Global, Usage, conform, output::Output, print, recording::Record, select::Selection,
    unknown, verify, watch::parse_time,
};
use crate::{
    conformance,
    playing::Script,
    reference::{self, faults, image, patience::Patience, pod::Pause, scenarios},
    text::{BOLD, Line, TextStyle},
};

/// Run the reference check: build a pod, verify it, exit
///
/// Starts a pause and a pod of its own, runs one scenario for each promise of Kubernetes, and
/// verifies what the kernel reports. It needs root, and no container runtime. With --cri, the
/// node's runtime creates the pods from an image that it must have (`pause-trace image`); the check
/// removes all of them.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run only these scenarios; --list prints them
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub(crate) scenarios: Vec<String>,
    /// Print the scenarios and exit
    #[arg(long, conflicts_with_all = ["scenarios", "inject", "pause"])]
    pub(crate) list: bool,
    /// Break the pod on purpose and expect a finding; "help" prints the faults
    #[arg(long, value_name = "FAULT", conflicts_with = "pause")]
    pub(crate) inject: Option<String>,
    /// Verify another pause binary instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub(crate) pause: Option<PathBuf>,
    /// An argument for that binary, like -P for catatonit; may be given more than once
    #[arg(
        long = "pause-arg",
        value_name = "ARG",
        requires = "pause",
        allow_hyphen_values = true
    )]
    pub(crate) pause_args: Vec<String>,
    /// Let the runtime at this CRI socket create the pods
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["inject", "pause"])]
    pub(crate) cri: Option<Socket>,
    /// The image that the containers run [default: the name that `pause-trace image` gives it]
    #[arg(long, value_name = "REF", requires = "cri")]
    pub(crate) image: Option<String>,
    /// Leave a pause alone for this long and see that it does nothing, like 30s or 5m; at least
    /// 100ms
    #[arg(long, value_name = "DURATION", value_parser = parse_idle, default_value = "2s", conflicts_with = "cri")]
    pub(crate) idle: Duration,
    /// Wait N times as long for everything; an emulated machine needs about 10
    ///
    /// Limits, grace periods and waits are all multiplied, so the rules judge the same behaviour.
    #[arg(long, value_name = "N", default_value_t)]
    pub(crate) patience: Patience,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) record: Record,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace check                                    every scenario, as text
  pause-trace check --format junit --output check.xml  for a CI server
  pause-trace check --scenario localhost -v            one scenario, with each verdict
  pause-trace check --pause ./pause                    your own pause binary
  pause-trace check --inject help                      the faults it can find
  pause-trace check --cri /run/containerd/containerd.sock
                                                       pods that the node's runtime creates";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        if let Some(socket) = &self.cri {
            return self.run_with(socket, global);
        }
        if self.list {
            return print(&list(global.text_style(), scenarios::all()));
        }
        if self.inject.as_deref() == Some("help") {
            return print(&list(global.text_style(), faults::all()));
        }
        let scenarios = match (&self.inject, &self.scenarios[..]) {
            (Some(fault), _) => vec![find(
                fault,
                "fault",
                faults::all(),
                "pause-trace check --inject help",
            )?],
            (None, []) => scenarios::all().collect(),
            (None, names) => named(names, scenarios::all(), "pause-trace check --list")?,
        };
        let pause = match &self.pause {
            Some(path) => program(path)?,
            None => Pause::Image(reference::pause_binary()),
        };
        let plan = verify::Plan {
            scripts: scenarios,
            pause,
            pause_args: self.pause_args.clone(),
            patience: self.patience,
            idle: self.idle,
            inject: self.inject.is_some(),
        };
        let reports = (&self.output, &self.record);
        verify::run(&plan, &self.selection, reports, global)
    }

    fn run_with(&self, socket: &Socket, global: &Global) -> Result<Exit> {
        let known = conformance::scenarios::all();
        if self.list {
            return print(&list(global.text_style(), known));
        }
        let scenarios = match &self.scenarios[..] {
            [] => None,
            names => Some(named(
                names,
                known,
                "pause-trace check --cri SOCKET --list",
            )?),
        };
        let default = || image::Name::of(image::Pause::Good).to_string();
        let plan = conform::Plan {
            socket: socket.clone(),
            image: self.image.clone().unwrap_or_else(default),
            scripts: scenarios,
            patience: self.patience,
        };
        let reports = (&self.output, &self.record);
        conform::run(&plan, &self.selection, reports, global)
    }
}

/// The shortest time for which a pause is left alone. PT501 allows it 20 ms of CPU time, so in a
/// shorter time even a pause that never sleeps might pass.
const LEAST_IDLE: Duration = Duration::from_millis(100);

fn parse_idle(text: &str) -> Result<Duration, String> {
    let idle = parse_time(text)?;
    match idle < LEAST_IDLE {
        true => Err("the shortest is 100ms: in less time a busy pause looks idle".to_owned()),
        false => Ok(idle),
    }
}

/// Finds the scenarios by their names.
fn named<F>(
    names: &[String],
    known: impl Iterator<Item = &'static Script<F>> + Clone,
    list: &str,
) -> Result<Vec<&'static Script<F>>, Usage> {
    names
        .iter()
        .map(|name| find(name, "scenario", known.clone(), list))
        .collect()
}

fn find<F>(
    name: &str,
    what: &str,
    known: impl Iterator<Item = &'static Script<F>> + Clone,
    list: &str,
) -> Result<&'static Script<F>, Usage> {
    known
        .clone()
        .find(|script| script.scenario.name == name)
        .ok_or_else(|| unknown(what, name, known.map(|script| script.scenario.name), list))
}

/// Checks that a file is an executable program. The path becomes absolute, because the pause starts
/// in another directory.
fn program(path: &Path) -> Result<Pause, Usage> {
    let wrong = |what: &str| Usage(format!("--pause {}: {what}", path.display()));
    let absolute = fs::canonicalize(path).map_err(|error| wrong(&error.to_string()))?;
    // Before it is opened: opening a FIFO waits for its other end.
    let metadata = fs::metadata(&absolute).map_err(|error| wrong(&error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("not a file"));
    }
    let mut file = File::open(&absolute).map_err(|error| wrong(&error.to_string()))?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(wrong("not executable; chmod +x it"));
    }
    let mut magic = [0; 4];
    let is_program =
        file.read_exact(&mut magic).is_ok() && (magic == *b"\x7fELF" || magic.starts_with(b"#!"));
    if !is_program {
        return Err(wrong("neither an ELF program nor a script"));
    }
    // A pause does not run as root, and in some pods it runs in another user namespace.
    let is_reachable = absolute.ancestors().all(|part| {
        fs::metadata(part).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    });
    if is_reachable {
        return Ok(Pause::File(absolute));
    }
    if magic.starts_with(b"#!") {
        return Err(wrong(
            "a script that only root can reach; put it where every user may execute it",
        ));
    }
    let bytes = fs::read(&absolute).map_err(|error| wrong(&error.to_string()))?;
    let name = absolute.file_name().unwrap_or_default().to_string_lossy();
    Ok(Pause::Copy(name.into_owned(), bytes.into()))
}

fn list<F: 'static>(
    text_style: TextStyle,
    scripts: impl Iterator<Item = &'static Script<F>> + Clone,
) -> String {
    let name = scripts
        .clone()
        .map(|script| script.scenario.name.len())
        .max()
        .unwrap_or_default()
        + 2;
    let mut text = String::new();
    for Script { scenario, .. } in scripts {
        let mut line = Line::new(text_style);
        line.paint(BOLD, scenario.name).pad(name);
        if scenario.is_fault() {
            line.push(&scenario.finds.join("+")).push("  ");
        }
        text.push_str(&line.push(scenario.title).end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_left_alone_long_enough_to_prove_something() {
        assert_eq!(parse_idle("100ms"), Ok(LEAST_IDLE));
        for short in ["0s", "99ms", "0"] {
            let error = parse_idle(short).expect_err("it is too short");
            assert!(error.contains("100ms"), "{short}: {error}");
        }
    }
}
