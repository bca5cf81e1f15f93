//! Loads the program, tells it what it needs to know, and attaches its hooks.

use std::{fs::File, path::Path, thread};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, MapData},
    programs::{
        BtfTracePoint, FEntry, FExit, Iter, KProbe, ProgramError, TracePoint,
        tp_btf::BtfTracePointLinkId,
    },
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use pause_trace_common::{COMM_LEN, Kind, Watched};

use super::{
    btf::{BtfError, Types, VMLINUX},
    raw::Plain,
};
use crate::event::Namespaces;

/// The eBPF object, aligned as the ELF reader wants it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pause-trace-ebpf"));

/// Tracepoints that BTF programs attach to: the tracepoint's name, its programs in the order in which they run, what they report.
const TRACEPOINTS: [(&str, &[&str], Kind); 10] = [
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
];

/// Why the program can't run; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Btf(#[from] BtfError),
    #[error(
        "the kernel refused the eBPF program: {0:#}; it needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN, and Linux 5.10 or newer"
    )]
    Refused(anyhow::Error),
    #[error(
        "failed to attach to `{hook}`: {error:#}; without it nothing can be proven (see `pause-trace doctor`)"
    )]
    Essential {
        hook: &'static str,
        error: anyhow::Error,
    },
    #[error(
        "self-test failed: {0}; the kernel's description of itself does not fit it, so nothing is reported"
    )]
    SelfTest(String),
}

/// How setns and unshare are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NamespaceHook {
    /// At the entry and return of the functions: no cost for other system calls.
    Fentry,
    /// The same through the breakpoint mechanism.
    Kprobe,
    /// The tracepoints of the system calls: every system call of the machine takes the slower entry path.
    Tracepoint,
}

impl NamespaceHook {
    /// The best first.
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
    /// The v1 cgroup controller whose hierarchy is watched, with the hierarchy's id; `None` for the unified one.
    pub(crate) hierarchy: Option<(String, u32)>,
    /// One way to see setns and unshare, instead of the best there is.
    pub(crate) namespace_hook: Option<NamespaceHook>,
    /// Log from inside the kernel.
    pub(crate) kernel_log: bool,
}

/// A hook that was taken, or why not.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How, or why not.
    pub(crate) how: Result<&'static str, String>,
}

/// The program, loaded and attached. Dropping it detaches everything.
pub(crate) struct Loaded {
    pub(crate) ebpf: Ebpf,
    pub(crate) hooks: Vec<Hook>,
    /// The programs that are to run second where a tracepoint has two, and run first until they are tested.
    seconds: Vec<(&'static str, BtfTracePointLinkId)>,
}

/// Loads and attaches.
pub(crate) fn load(options: &Options) -> Result<Loaded, LoadError> {
    let controller = options
        .hierarchy
        .as_ref()
        .map(|(controller, _)| controller.as_str());
    // Two libraries read the same hundred thousand types, each for what only it tells: at the same time.
    let (types, btf) = thread::scope(|scope| {
        let btf = scope.spawn(Btf::from_sys_fs);
        let types = Types::read(VMLINUX).and_then(|types| Ok((types.layout(controller)?, types)));
        (types, btf.join())
    });
    let (layout, types) = types?;
    let btf = btf
        .map_err(|_| {
            LoadError::Refused(anyhow::anyhow!(
                "the thread that reads {VMLINUX} ended early"
            ))
        })?
        .map_err(|error| LoadError::Refused(error.into()))?;
    let mut config = layout.config;
    config.hierarchy = options.hierarchy.as_ref().map_or(0, |(_, id)| *id);
    let (offsets, config) = (Plain(layout.offsets), Plain(config));
    let level = if options.kernel_log { u8::MAX } else { 0 };
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&btf))
        .override_global("OFFSETS", &offsets, true)
        .override_global("CONFIG", &config, true)
        .override_global("AYA_LOG_LEVEL", &level, false)
        .load(OBJECT)
        .map_err(|error| LoadError::Refused(error.into()))?;
    let (mut hooks, mut seconds) = (Vec::new(), Vec::new());
    for (tracepoint, programs, kind) in TRACEPOINTS {
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
            Err(error) => Err(format!("{error:#}")),
        };
        hooks.push(Hook {
            name: tracepoint,
            kind,
            how,
        });
    }
    hooks.push(attach_namespaces(&mut ebpf, &btf, options.namespace_hook));
    hooks.push(Hook {
        name: "task iterator",
        kind: Kind::Found,
        how: load_iterator(&mut ebpf, &btf)
            .map(|()| "iter")
            .map_err(|error| format!("{error:#}")),
    });
    Ok(Loaded {
        ebpf,
        hooks,
        seconds,
    })
}

/// What is lost when a program does not run: more than a record where it puts processes under watch.
pub(super) fn lost_without(program: &str) -> Kind {
    if program == "found" {
        return Kind::Found;
    }
    let of = TRACEPOINTS
        .iter()
        .find(|(_, programs, _)| programs.contains(&program));
    match of {
        Some((_, _, Kind::Fork | Kind::Exec | Kind::CgroupAttach)) => Kind::Watch,
        Some((_, _, kind)) => *kind,
        None => Kind::Namespace,
    }
}

/// What a program would be called that reports what this one was not run for; `None` where this is such a one.
pub(super) fn second(program: &str) -> Option<String> {
    const AGAIN: &str = "_again";
    (!program.ends_with(AGAIN)).then(|| format!("{program}{AGAIN}"))
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

/// Gives what is to run second where there are two programs, which is attached before the other.
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

/// Since Linux 5.8; attached each time that it is read.
fn load_iterator(ebpf: &mut Ebpf, btf: &Btf) -> anyhow::Result<()> {
    let program: &mut Iter = program(ebpf, "found")?;
    Ok(program.load("task", btf)?)
}

/// setns and unshare, by the cheapest way that this kernel allows.
fn attach_namespaces(ebpf: &mut Ebpf, btf: &Btf, only: Option<NamespaceHook>) -> Hook {
    let mut reasons = Vec::new();
    for way in NamespaceHook::ALL {
        if only.is_some_and(|only| only != way) {
            continue;
        }
        let attached = match way {
            NamespaceHook::Fentry => attach_fexit(ebpf, btf),
            NamespaceHook::Kprobe => attach_kprobes(ebpf),
            NamespaceHook::Tracepoint => attach_syscalls(ebpf),
        };
        match attached {
            Ok(()) => {
                return Hook {
                    name: "setns, unshare",
                    kind: Kind::Namespace,
                    how: Ok(way.name()),
                };
            }
            Err(error) => reasons.push(format!("{}: {error:#}", way.name())),
        }
        detach(ebpf, way);
    }
    Hook {
        name: "setns, unshare",
        kind: Kind::Namespace,
        how: Err(reasons.join("; ")),
    }
}

fn setns_symbol() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "__arm64_sys_setns"
    } else {
        "__x64_sys_setns"
    }
}

const UNSHARE_SYMBOL: &str = "ksys_unshare";

fn attach_fexit(ebpf: &mut Ebpf, btf: &Btf) -> anyhow::Result<()> {
    // What sees the call's end comes first: a call whose beginning was not seen is not reported.
    for (name, symbol) in [
        ("setns_fexit", setns_symbol()),
        ("setns_fexit_again", setns_symbol()),
        ("unshare_fexit", UNSHARE_SYMBOL),
        ("unshare_fexit_again", UNSHARE_SYMBOL),
    ] {
        let program: &mut FExit = program(ebpf, name)?;
        program.load(symbol, btf)?;
        program.attach()?;
    }
    for (name, symbol) in [
        ("setns_fentry", setns_symbol()),
        ("unshare_fentry", UNSHARE_SYMBOL),
    ] {
        let program: &mut FEntry = program(ebpf, name)?;
        program.load(symbol, btf)?;
        program.attach()?;
    }
    Ok(())
}

fn attach_kprobes(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    for (name, symbol) in [
        ("setns_kretprobe", setns_symbol()),
        ("setns_kprobe", setns_symbol()),
        ("unshare_kretprobe", UNSHARE_SYMBOL),
        ("unshare_kprobe", UNSHARE_SYMBOL),
    ] {
        let program: &mut KProbe = program(ebpf, name)?;
        program.load()?;
        program.attach(symbol, 0)?;
    }
    Ok(())
}

fn attach_syscalls(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    in_view_of_tracefs(|| {
        for (name, event) in [
            ("setns_exit", "sys_exit_setns"),
            ("setns_enter", "sys_enter_setns"),
            ("unshare_exit", "sys_exit_unshare"),
            ("unshare_enter", "sys_enter_unshare"),
        ] {
            let program: &mut TracePoint = program(ebpf, name)?;
            program.load()?;
            program.attach("syscalls", event)?;
        }
        Ok(())
    })
}

/// Undoes what a way that failed half-way has attached.
fn detach(ebpf: &mut Ebpf, way: NamespaceHook) {
    let names: &[&str] = match way {
        NamespaceHook::Fentry => &[
            "setns_fentry",
            "setns_fexit",
            "setns_fexit_again",
            "unshare_fentry",
            "unshare_fexit",
            "unshare_fexit_again",
        ],
        NamespaceHook::Kprobe => &[
            "setns_kprobe",
            "setns_kretprobe",
            "unshare_kprobe",
            "unshare_kretprobe",
        ],
        NamespaceHook::Tracepoint => {
            &["setns_enter", "setns_exit", "unshare_enter", "unshare_exit"]
        }
    };
    for name in names {
        // Unloading closes the links; a program that was never loaded has nothing to undo.
        match ebpf.program_mut(name) {
            Some(aya::programs::Program::FEntry(program)) => drop(program.unload()),
            Some(aya::programs::Program::FExit(program)) => drop(program.unload()),
            Some(aya::programs::Program::KProbe(program)) => drop(program.unload()),
            Some(aya::programs::Program::TracePoint(program)) => drop(program.unload()),
            _ => {}
        }
    }
}

/// Runs `attach` where tracefs can be seen. Where nobody has mounted it, it is mounted for one thread alone, in a mount
/// namespace that ends with it: the node's mounts stay as they are.
fn in_view_of_tracefs(attach: impl FnOnce() -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
    use anyhow::Context as _;

    const TRACEFS: &str = "/sys/kernel/tracing";
    if [TRACEFS, "/sys/kernel/debug/tracing"]
        .iter()
        .any(|path| Path::new(path).join("events").exists())
    {
        return attach();
    }
    let mount_and_attach = || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
            .context("a mount namespace for tracefs")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)
            .context("private mounts")?;
        mount(
            Some("tracefs"),
            TRACEFS,
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
        .with_context(|| format!("mounting tracefs on {TRACEFS} (CONFIG_FTRACE)"))?;
        attach()
    };
    thread::scope(|scope| scope.spawn(mount_and_attach).join()).unwrap_or_else(|_| {
        Err(anyhow::anyhow!(
            "the thread that mounts tracefs ended early"
        ))
    })
}

impl Loaded {
    /// Lets each tracepoint's first program run first. Meanwhile there is one, and nothing goes unseen.
    pub(super) fn put_seconds_behind(&mut self) -> anyhow::Result<()> {
        for (name, link) in self.seconds.drain(..) {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?;
            program.detach(link)?;
            program.attach()?;
        }
        Ok(())
    }

    /// Watches a process and all that descends from it.
    pub(crate) fn watch(&mut self, pid: u32) -> anyhow::Result<()> {
        // Its start matters only for telling when to forget it, which is after this program has ended.
        let watched = Plain(Watched::default());
        self.map::<u32, Plain<Watched>>("WATCHED")?
            .insert(pid, watched, 0)?;
        Ok(())
    }

    /// Tells the program which namespaces are everybody's.
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
        // The self-test's helper has executed in them, and was watched: whoever enters them is no visitor of a pod.
        self.forget_namespaces(&inodes)
    }

    /// Watches what is in a cgroup, or comes to be.
    pub(crate) fn watch_cgroup(&mut self, id: u64) -> anyhow::Result<()> {
        self.map::<u64, u32>("CGROUPS")?.insert(id, 1, 0)?;
        Ok(())
    }

    /// Watches processes that execute under one of these names, and all that descends from them.
    pub(crate) fn watch_names(&mut self, names: &[[u8; COMM_LEN]]) -> anyhow::Result<()> {
        let mut map = self.map::<[u8; COMM_LEN], u32>("RUNTIMES")?;
        for name in names {
            map.insert(name, 1, 0)?;
        }
        Ok(())
    }

    /// A file whose reading to its end makes the program report what is to be watched and was there before it.
    ///
    /// # Errors
    /// When the kernel has no task iterators (before Linux 5.8, or a hardened one).
    pub(crate) fn iterator(&mut self) -> anyhow::Result<File> {
        let program: &mut Iter = program(&mut self.ebpf, "found")?;
        let link = program.attach()?;
        Ok(program.take_link(link)?.into_file()?)
    }

    /// Takes namespaces out of those whose visitors are watched.
    pub(crate) fn forget_namespaces(&mut self, inodes: &[u32]) -> anyhow::Result<()> {
        let mut map = self.map::<u32, u32>("NAMESPACES")?;
        for inode in inodes {
            if map.get(inode, 0).is_ok() {
                map.remove(inode)?;
            }
        }
        Ok(())
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
