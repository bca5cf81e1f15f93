//! The tracers that the benchmark compares: none, empty programs, pause-trace, and those of Debian.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use xtask_support::places;

use super::floor::{Floor, mount_tracefs};
use crate::{process::before_exec, run, scratch, watch::Watch};

/// How long a tracer may take to attach or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait between two looks at a tracer that starts.
const LOOK: Duration = Duration::from_millis(2);

/// What runs beside a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracer {
    None,
    /// See [`Floor`].
    Empty,
    PauseTrace,
    /// With a filter by a pid, which no event passes.
    BpftraceOne,
    /// Prints every event.
    BpftraceAll,
    /// Traces the load itself, and only these calls and signals.
    Strace,
    Sigsnoop,
    Exitsnoop,
    /// With its modern eBPF probe.
    Sysdig,
}

impl Tracer {
    pub(super) const ALL: [Self; 9] = [
        Self::None,
        Self::Empty,
        Self::PauseTrace,
        Self::BpftraceOne,
        Self::BpftraceAll,
        Self::Strace,
        Self::Sigsnoop,
        Self::Exitsnoop,
        Self::Sysdig,
    ];

    /// Those that need no Debian package.
    pub(super) const QUICK: [Self; 3] = [Self::None, Self::Empty, Self::PauseTrace];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "no tracer",
            Self::Empty => "empty programs",
            Self::PauseTrace => "pause-trace",
            Self::BpftraceOne => "bpftrace, one pid",
            Self::BpftraceAll => "bpftrace, all",
            Self::Strace => "strace",
            Self::Sigsnoop => "sigsnoop",
            Self::Exitsnoop => "exitsnoop",
            Self::Sysdig => "sysdig",
        }
    }

    /// Attaches it.
    pub(super) fn start(self, doctor: &str) -> Result<Running, String> {
        match self {
            Self::None | Self::Strace => {
                if self == Self::Strace {
                    peer("usr/bin/strace")?;
                }
                Ok(Running::Nothing)
            }
            Self::Empty => {
                let floor = Floor::attach(doctor);
                let floor = floor.map_err(|error| format!("not attached: {error}"))?;
                Ok(Running::Floor(floor))
            }
            Self::PauseTrace => Ok(Running::Watch(Watch::start_outside())),
            Self::BpftraceOne | Self::BpftraceAll => {
                let mut command = peer("usr/bin/bpftrace")?;
                command.args(["-e", &script(self == Self::BpftraceOne)]);
                Peer::start(command, |_, errors| errors.contains("ttached"))
            }
            Self::Sigsnoop => Peer::start(peer("usr/sbin/sigsnoop-libbpf")?, has_attached),
            Self::Exitsnoop => Peer::start(peer("usr/sbin/exitsnoop-libbpf")?, has_attached),
            Self::Sysdig => {
                let mut command = peer("usr/bin/sysdig")?;
                command.args(["--modern-bpf", "evt.type=setns"]);
                Peer::start(command, has_attached)
            }
        }
    }

    /// The command of a load beside it.
    pub(super) fn load(self, load: &[String]) -> Result<Command, String> {
        let (program, arguments) = load.split_first().ok_or("no load")?;
        let mut command = if self == Self::Strace {
            let mut strace = peer("usr/bin/strace")?;
            strace
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg("trace=%process,%signal,setns,unshare")
                .arg(program);
            strace
        } else {
            Command::new(program)
        };
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }
}

/// A tracer that is attached. Dropping it detaches it.
pub(super) enum Running {
    Nothing,
    Floor(Floor),
    Watch(Watch),
    Peer(Peer),
}

impl Running {
    /// What the kernel counted for each of its programs: the id, the nanoseconds and the runs.
    pub(super) fn programs(&self) -> BTreeMap<u32, (u64, u64)> {
        match self {
            Self::Nothing => BTreeMap::new(),
            Self::Floor(floor) => floor.programs(),
            Self::Watch(watch) => programs_of(watch.pid()),
            Self::Peer(peer) => programs_of(peer.child.id()),
        }
    }
}

/// A tracer that is a process.
pub(super) struct Peer {
    child: Child,
}

impl Peer {
    /// Starts it in a mount namespace of its own with tracefs, and waits until it has attached.
    fn start(mut command: Command, is_ready: fn(u32, &str) -> bool) -> Result<Running, String> {
        let errors = scratch("bench").join(format!("peer.{}", std::process::id()));
        let file = fs::File::create(&errors).map_err(|error| error.to_string())?;
        before_exec(&mut command, mount_tracefs);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("not started: {error}"))?;
        let mut peer = Self { child };
        let until = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&errors).unwrap_or_default();
            if let Ok(Some(status)) = peer.child.try_wait() {
                return Err(format!(
                    "does not run: {}",
                    last_line(&text, &status.to_string())
                ));
            }
            if is_ready(peer.child.id(), &text) {
                return Ok(Running::Peer(peer));
            }
            if Instant::now() > until {
                return Err("does not attach within a minute".into());
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It detaches when it ends, however it does.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT);
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

/// The last line that says something.
fn last_line(text: &str, otherwise: &str) -> String {
    let mut lines = text.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty());
    line.unwrap_or(otherwise).to_owned()
}

/// A command of a program of the bundle. The bundle has its own C library, which is newer than
/// those of many machines, so its own loader starts the program.
fn peer(program: &str) -> Result<Command, String> {
    let directory = places::directory(places::TRACERS);
    let path = directory.join(program);
    if !path.exists() {
        return Err(format!("{} is missing", path.display()));
    }
    let loader = loader(&directory).ok_or("the bundle has no loader")?;
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(places::libraries(&directory))
        .arg(path);
    Ok(command)
}

/// `ld-linux-x86-64.so.2` or that of another architecture.
fn loader(root: &Path) -> Option<PathBuf> {
    let directories = ["usr/lib64", "usr/lib"].map(|part| root.join(part));
    let entries = directories
        .iter()
        .filter_map(|part| fs::read_dir(part).ok());
    let mut paths = entries.flatten().flatten().map(|entry| entry.path());
    paths.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ld-linux")
    })
}

/// A program of bpftrace on the hooks of pause-trace.
fn script(one: bool) -> String {
    // Nothing has pid 1 that forks, executes or signals here.
    let filter = if one { "/pid == 1/" } else { "" };
    let probes = [
        "sched:sched_process_fork",
        "sched:sched_process_exec",
        "sched:sched_process_exit",
        "signal:signal_generate",
        "signal:signal_deliver",
        "syscalls:sys_exit_setns",
        "syscalls:sys_exit_unshare",
    ];
    probes
        .map(|probe| {
            format!("tracepoint:{probe} {filter} {{ printf(\"%s %d\\n\", probe, pid); }} ")
        })
        .concat()
}

/// Whether a tracer has attached and waits for events.
fn has_attached(pid: u32, _: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    let waits = state.is_some_and(|state| state.starts_with('S'));
    waits && {
        let infos = file_infos(pid);
        infos.iter().any(|info| info.contains("link_type:"))
    }
}

fn file_infos(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let paths = entries.into_iter().flatten().flatten();
    paths
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect()
}

/// What the kernel counted for the programs that a process has open.
pub(super) fn programs_of(pid: u32) -> BTreeMap<u32, (u64, u64)> {
    file_infos(pid)
        .iter()
        .filter_map(|info| program(info))
        .collect()
}

/// The id, the time and the runs in the file information of a program.
pub(super) fn program(info: &str) -> Option<(u32, (u64, u64))> {
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
    };
    let (time, runs) = (field("run_time_ns")?, field("run_cnt")?);
    Some((u32::try_from(field("prog_id")?).ok()?, (time, runs)))
}

/// The names of loaded programs by their ids.
pub(super) fn names() -> BTreeMap<u32, String> {
    let loaded = aya::programs::loaded_programs().flatten();
    loaded
        .map(|program| {
            let name = program.name_as_str().unwrap_or_default();
            (program.id(), name.to_owned())
        })
        .collect()
}

/// What `pause-trace doctor` says about the hooks.
pub(super) fn doctor() -> String {
    run(["doctor", "--format", "json"]).stdout
}

/// `kernel.bpf_stats_enabled` while the kernel counts nothing. The counting itself costs each run
/// of a program about as much as an empty program, so it is off while loads are timed. Dropping
/// this writes the former value.
pub(super) struct Uncounted(String);

const COUNTED: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Uncounted {
    pub(super) fn now() -> io::Result<Self> {
        let former = fs::read_to_string(COUNTED)?;
        fs::write(COUNTED, "0")?;
        Ok(Self(former))
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        if let Err(error) = fs::write(COUNTED, self.0.trim()) {
            eprintln!("failed to write {COUNTED}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_program_are_in_its_file_information() {
        let info = "pos:\t0\nprog_type:\t26\nprog_id:\t7\nrun_time_ns:\t120\nrun_cnt:\t3\n";
        assert_eq!(program(info), Some((7, (120, 3))));
        assert_eq!(program("pos:\t0\nlink_type:\ttracing\n"), None);
    }

    #[test]
    fn a_reason_is_the_last_line_that_says_something() {
        assert_eq!(last_line("one\ntwo\n\n", "exit 1"), "two");
        assert_eq!(last_line("\n", "exit 1"), "exit 1");
    }

    #[test]
    fn the_filter_of_bpftrace_is_in_every_probe() {
        assert_eq!(script(true).matches("/pid == 1/").count(), 7);
        assert!(!script(false).contains('/'));
    }
}
