//! Loads and configures the eBPF program, and attaches its hooks.

mod namespaces;

use std::{fs::File, io, thread};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, MapData, MapError},
    programs::{BtfTracePoint, Iter, ProgramError, tp_btf::BtfTracePointLinkId},
};
use pause_trace_common::{COMM_LEN, COUNTERS, Group, Kind, Watched};

use super::{
    btf::{BtfError, Types, VMLINUX},
    raw::Plain,
};
use crate::event::Namespaces;
use namespaces::attach_namespaces;

/// The eBPF object, with the alignment that the ELF reader needs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pause-trace-ebpf"));

/// Tracepoints that BTF programs attach to: the tracepoint's name, its programs in the order in
/// which they run, and the kind of record that they report.
const TRACEPOINTS: &[(&str, &[&str], Kind)] = &[
    ("sched_process_fork", &["fork", "fork_again"], Kind::Fork),
    ("sched_process_exec", &["exec", "exec_again"], Kind::Exec),
    ("sched_process_exit", &["exit", "exit_again"], Kind::Exit),
    ("sched_process_free", &["reap"], Kind::Free),
    (
        "signal_generate",
        &["signal_generate"],
        Kind::SignalGenerate,
    ),
    ("signal_deliver", &["signal_deliver"], Kind::SignalDeliver),
    ("cgroup_mkdir", &["cgroup_mkdir"], Kind::CgroupMkdir),
    ("cgroup_rmdir", &["cgroup_rmdir"], Kind::CgroupRmdir),
    ("cgroup_attach_task", &["cgroup_attach"], Kind::CgroupAttach),
    ("mark_victim", &["oom"], Kind::OomVictim),
    ("inet_sock_set_state", &["listen"], Kind::Listen),
];

/// Why the program cannot run. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Btf(#[from] BtfError),
    #[error(
        "the kernel refused the eBPF program: {}; it needs root or CAP_SYS_ADMIN, and Linux 5.10 or newer", reason(.0)
    )]
    Refused(anyhow::Error),
    #[error(
        "failed to attach to `{hook}`: {}; this hook is required (see `pause-trace doctor`)",
        reason(error)
    )]
    Essential {
        hook: &'static str,
        error: anyhow::Error,
    },
    #[error(
        "self-test failed: {0}; the records do not describe a known process correctly, so nothing is reported"
    )]
    SelfTest(String),
}

/// How setns and unshare are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NamespaceHook {
    /// At the entry and return of the functions; no cost for other system calls.
    Fentry,
    /// At the same places, through breakpoints.
    Kprobe,
    /// At the tracepoints of the system calls; every system call of the machine takes the slower
    /// entry path.
    Tracepoint,
}

impl NamespaceHook {
    /// All ways, the best first.
    pub(crate) const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// How to load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The v1 cgroup controller whose hierarchy is watched, with the hierarchy's id; `None` for the
    /// unified one.
    pub(crate) hierarchy: Option<(String, u32)>,
    /// The way to observe setns and unshare, instead of the best that the kernel supports.
    pub(crate) namespace_hook: Option<NamespaceHook>,
    /// Log from inside the kernel.
    pub(crate) kernel_log: bool,
    /// Whether each pod has a limited share of the ring, so that none hides what others do.
    pub(crate) limits_pods: bool,
}

/// A hook that was attached, or why it was not.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How it is attached, or why it is not.
    pub(crate) how: Result<&'static str, String>,
    /// Whether it misses calls through the 32-bit entry of the kernel.
    pub(crate) misses_compat: bool,
}

/// The program, loaded and attached. Dropping it detaches everything.
pub(crate) struct Loaded {
    pub(crate) ebpf: Ebpf,
    pub(crate) hooks: Vec<Hook>,
    /// The second programs of tracepoints that have two. They run first until they have been
    /// tested.
    seconds: Vec<(&'static str, BtfTracePointLinkId)>,
}

/// Loads and attaches.
pub(crate) fn load(options: &Options) -> Result<Loaded, LoadError> {
    let controller = options
        .hierarchy
        .as_ref()
        .map(|(controller, _)| controller.as_str());
    // The same hundred thousand types are parsed three times, in parallel: for the offsets, for the
    // hooks, and by aya's loader. It uses them for relocations, which this program does not have,
    // but cannot be made without them.
    let (types, btf, loader) = thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        let loader = scope.spawn(|| {
            let mut loader = EbpfLoader::new();
            loader.btf(None);
            loader
        });
        let types = Types::read(VMLINUX).and_then(|types| Ok((types.layout(controller)?, types)));
        (types, btf.join(), loader.join())
    });
    let ended_early = |_| {
        LoadError::Refused(anyhow::anyhow!(
            "the thread that reads {VMLINUX} ended early"
        ))
    };
    let (layout, types) = types?;
    let mut loader = loader.map_err(ended_early)?;
    let btf = btf
        .map_err(ended_early)?
        .map_err(|error| LoadError::Refused(error.into()))?;
    let mut config = layout.config;
    config.hierarchy = options.hierarchy.as_ref().map_or(0, |(_, id)| *id);
    config.limits_pods = options.limits_pods.into();
    let (offsets, config) = (Plain(layout.offsets), Plain(config));
    let level = if options.kernel_log { u8::MAX } else { 0 };
    let cpus = aya::util::nr_cpus()
        .map_err(|(path, error)| LoadError::Refused(anyhow::anyhow!("{path}: {error}")))?;
    let mut ebpf = loader
        .map_max_entries("LOST", COUNTERS.saturating_mul(cpus as u32))
        .override_global("OFFSETS", &offsets, true)
        .override_global("CONFIG", &config, true)
        .override_global("AYA_LOG_LEVEL", &level, false)
        .load(OBJECT)
        .map_err(|error| LoadError::Refused(error.into()))?;
    let (mut hooks, mut seconds) = (Vec::new(), Vec::new());
    for &(tracepoint, programs, kind) in TRACEPOINTS {
        let how = if types.has_tracepoint(tracepoint) {
            attach_tracepoint(&mut ebpf, programs, tracepoint, &btf).map(|second| {
                seconds.extend(second);
                "tp_btf"
            })
        } else {
            Err(anyhow::anyhow!("this kernel has no such tracepoint"))
        };
        let how = match how {
            Ok(how) => Ok(how),
            Err(error) if matches!(kind, Kind::Fork | Kind::Exec | Kind::Exit | Kind::Free) => {
                return Err(LoadError::Essential {
                    hook: tracepoint,
                    error,
                });
            }
            Err(error) => Err(reason(&error)),
        };
        hooks.push(Hook {
            name: tracepoint,
            kind,
            how,
            misses_compat: false,
        });
    }
    hooks.push(attach_namespaces(&mut ebpf, &btf, options.namespace_hook));
    hooks.push(Hook {
        name: "task iterator",
        kind: Kind::Found,
        how: load_iterator(&mut ebpf, &btf)
            .map(|()| "iter")
            .map_err(|error| reason(&error)),
        misses_compat: false,
    });
    Ok(Loaded {
        ebpf,
        hooks,
        seconds,
    })
}

/// The kind of loss when a program does not run; `None` if nothing is known to be lost. If the
/// program also starts to watch processes, more than a record is lost.
pub(super) fn lost_without(program: &str) -> Option<Kind> {
    if program == "found" {
        return Some(Kind::Found);
    }
    let of = TRACEPOINTS
        .iter()
        .find(|(_, programs, _)| programs.contains(&program));
    match of {
        Some((_, _, Kind::Fork | Kind::Exec | Kind::CgroupAttach)) => Some(Kind::Watch),
        // A packet interrupts the program, and the program is skipped for the connection of that
        // packet: a socket does not begin to listen in a softirq.
        Some((_, _, Kind::Listen)) => None,
        Some((_, _, kind)) => Some(*kind),
        None => Some(Kind::Namespace),
    }
}

/// The name of the second program for this one, which reports the runs that this one was skipped
/// for; `None` if this is a second program.
pub(super) fn second(program: &str) -> Option<String> {
    const AGAIN: &str = "_again";
    (!program.ends_with(AGAIN)).then(|| format!("{program}{AGAIN}"))
}

/// An error of attaching a program, in a phrase. aya repeats the errno and names the verifier's
/// output even if there is none, as when the kernel refuses every program.
fn reason(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) => refused(io_error, &verifier_log.to_string()),
        _ => format!("{error:#}"),
    }
}

fn refused(error: &io::Error, verifier_log: &str) -> String {
    let log = match verifier_log.trim() {
        "" => String::new(),
        log => format!("; output of its verifier: {log}"),
    };
    format!("the kernel refused to load the program: {error}{log}")
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow::anyhow!("the object has no program `{name}`"))?;
    Ok(program.try_into()?)
}

/// Attaches the programs in reverse order. If there are two, returns the second, which runs first
/// for now.
fn attach_tracepoint(
    ebpf: &mut Ebpf,
    programs: &[&'static str],
    tracepoint: &str,
    btf: &Btf,
) -> anyhow::Result<Option<(&'static str, BtfTracePointLinkId)>> {
    let mut second = None;
    for name in programs.iter().rev() {
        let program: &mut BtfTracePoint = program(ebpf, name)?;
        program.load(tracepoint, btf)?;
        let link = program.attach()?;
        if programs.len() > 1 && second.is_none() {
            second = Some((*name, link));
        }
    }
    Ok(second)
}

/// Since Linux 5.8. The iterator is attached anew for each read.
fn load_iterator(ebpf: &mut Ebpf, btf: &Btf) -> anyhow::Result<()> {
    let program: &mut Iter = program(ebpf, "found")?;
    Ok(program.load("task", btf)?)
}

impl Loaded {
    /// Reattaches the second programs, so that each tracepoint's first program runs first. The
    /// first program stays attached meanwhile, so no event is missed.
    pub(super) fn order_programs(&mut self) -> anyhow::Result<()> {
        for (name, link) in self.seconds.drain(..) {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            program.detach(link)?;
            program.attach()?;
        }
        Ok(())
    }

    /// Watches a process and all its descendants.
    pub(crate) fn watch(&mut self, pid: u32) -> anyhow::Result<()> {
        // The start time is only needed to stop watching the process, which happens after this
        // program has exited.
        let watched = Plain(Watched::default());
        self.map::<u32, Plain<Watched>>("WATCHED")?
            .insert(pid, watched, 0)?;
        Ok(())
    }

    /// Passes the host's namespaces to the eBPF program.
    pub(crate) fn set_host(&mut self, host: &Namespaces) -> anyhow::Result<()> {
        let inodes = [
            host.net,
            host.ipc,
            host.pid,
            host.mnt,
            host.uts,
            host.user,
            host.cgroup,
        ];
        let mut map = self.map::<u32, u32>("HOST")?;
        for inode in inodes {
            map.insert(inode, 1, 0)?;
        }
        // The watched helper of the self-test executed in them, which added them to the pods'
        // namespaces. A process that enters them does not enter a pod.
        self.forget_namespaces(&inodes)
    }

    /// Watches the current and future processes of a cgroup, which has a share of the rings of its
    /// own. Returns whether there is room for it.
    pub(crate) fn watch_cgroup(&mut self, id: u64) -> anyhow::Result<bool> {
        let mut map = self.map::<u64, Plain<Group>>("CGROUPS")?;
        // Who made it does not change.
        let owner = match map.get(&id, 0) {
            Ok(Plain(known)) => known.owner,
            Err(MapError::KeyNotFound) => 0,
            Err(error) => return Err(error.into()),
        };
        let group = Group { account: id, owner };
        match map.insert(id, Plain(group), 0) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::E2BIG) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Watches processes that execute a program with one of these names, and all their descendants.
    pub(crate) fn watch_names(&mut self, names: &[[u8; COMM_LEN]]) -> anyhow::Result<()> {
        let mut map = self.map::<[u8; COMM_LEN], u32>("RUNTIMES")?;
        for name in names {
            map.insert(name, 1, 0)?;
        }
        Ok(())
    }

    /// A file that makes the program report the processes to watch that already exist, when it is
    /// read to its end.
    ///
    /// # Errors
    /// Fails when the kernel has no task iterators (before Linux 5.8, or a hardened kernel).
    pub(crate) fn iterator(&mut self) -> anyhow::Result<File> {
        let program: &mut Iter = program(&mut self.ebpf, "found")?;
        let link = program.attach()?;
        Ok(program.take_link(link)?.into_file()?)
    }

    /// Whether the iterator also reports the processes that are watched already.
    pub(crate) fn set_survey(&mut self, is_on: bool) -> anyhow::Result<()> {
        let mut map = self.map::<u32, u32>("SURVEY")?;
        match is_on {
            true => map.insert(0, 1, 0)?,
            false => map.remove(&0)?,
        }
        Ok(())
    }

    /// Removes namespaces from the pods' namespaces. Processes that enter them are no longer
    /// watched.
    pub(crate) fn forget_namespaces(&mut self, inodes: &[u32]) -> anyhow::Result<()> {
        let mut map = self.map::<u32, u32>("NAMESPACES")?;
        for inode in inodes {
            if map.get(inode, 0).is_ok() {
                map.remove(inode)?;
            }
        }
        Ok(())
    }

    /// Whether the kernel refuses this thread to read a map or to begin an iteration.
    pub(crate) fn is_refused(&mut self) -> bool {
        let has_iterator = |hook: &Hook| hook.kind == Kind::Found && hook.how.is_ok();
        let has_iterator = self.hooks.iter().any(has_iterator);
        let looked = self
            .map::<u32, u32>("SURVEY")
            .and_then(|map| match map.get(&0, 0) {
                Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
                Err(error) => Err(error.into()),
            });
        let iterated = match has_iterator {
            true => self.iterator().map(drop),
            false => Ok(()),
        };
        let is_denied = |error: &(dyn std::error::Error + 'static)| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let results = [looked, iterated];
        let mut errors = results.iter().filter_map(|result| result.as_ref().err());
        errors.any(|error| error.chain().any(is_denied))
    }

    fn map<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> anyhow::Result<HashMap<&mut MapData, K, V>> {
        let map = self
            .ebpf
            .map_mut(name)
            .ok_or_else(|| anyhow::anyhow!("the object has no map `{name}`"))?;
        Ok(HashMap::try_from(map)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_program_has_one_reason_and_no_empty_output() {
        let error = io::Error::from_raw_os_error(nix::libc::EPERM);
        assert_eq!(
            refused(&error, "\n"),
            "the kernel refused to load the program: Operation not permitted (os error 1)"
        );
        assert!(refused(&error, "R1 is bad").ends_with("; output of its verifier: R1 is bad"));
        let other = anyhow::anyhow!("no such function").context("failed to attach");
        assert_eq!(reason(&other), "failed to attach: no such function");
    }
}
