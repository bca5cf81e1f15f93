//! Attaches the hooks of setns and unshare, in one of three ways.

use std::{path::Path, thread};

use anyhow::Context as _;
use aya::{
    Btf, Ebpf,
    programs::{FEntry, FExit, KProbe, TracePoint},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use pause_trace_common::Kind;

use super::{Hook, NamespaceHook, program, reason};

/// Observes setns and unshare in the cheapest way that this kernel supports.
pub(super) fn attach_namespaces(ebpf: &mut Ebpf, btf: &Btf, only: Option<NamespaceHook>) -> Hook {
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
            Ok(misses_compat) => {
                return Hook {
                    name: "setns, unshare",
                    kind: Kind::Namespace,
                    how: Ok(way.name()),
                    misses_compat,
                };
            }
            Err(error) => reasons.push(format!("{}: {}", way.name(), reason(&error))),
        }
        detach(ebpf, way);
    }
    Hook {
        name: "setns, unshare",
        kind: Kind::Namespace,
        how: Err(reasons.join("; ")),
        misses_compat: true,
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

/// What the 32-bit entry of an x86_64 kernel leads to, if it has one. On other processors both
/// entries lead to the same function.
const COMPAT_SETNS: Option<&str> = if cfg!(target_arch = "x86_64") {
    Some("__ia32_sys_setns")
} else {
    None
};

/// Returns whether calls through the 32-bit entry are missed.
fn attach_fexit(ebpf: &mut Ebpf, btf: &Btf) -> anyhow::Result<bool> {
    // The exit programs are attached first: a call whose entry was not observed is not reported.
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
    let Some(symbol) = COMPAT_SETNS else {
        return Ok(false);
    };
    let mut attach_compat = || -> anyhow::Result<()> {
        for name in ["setns_compat_fexit", "setns_compat_fexit_again"] {
            let program: &mut FExit = program(ebpf, name)?;
            program.load(symbol, btf)?;
            program.attach()?;
        }
        let program: &mut FEntry = program(ebpf, "setns_compat_fentry")?;
        program.load(symbol, btf)?;
        program.attach()?;
        Ok(())
    };
    Ok(attach_compat().is_err())
}

/// Returns whether calls through the 32-bit entry are missed.
fn attach_kprobes(ebpf: &mut Ebpf) -> anyhow::Result<bool> {
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
    let Some(symbol) = COMPAT_SETNS else {
        return Ok(false);
    };
    let mut attach_compat = || -> anyhow::Result<()> {
        for name in ["setns_compat_kretprobe", "setns_compat_kprobe"] {
            let program: &mut KProbe = program(ebpf, name)?;
            program.load()?;
            program.attach(symbol, 0)?;
        }
        Ok(())
    };
    Ok(attach_compat().is_err())
}

/// The tracepoints of system calls miss every call through the 32-bit entry
/// (`ARCH_TRACE_IGNORE_COMPAT_SYSCALLS`, on x86_64 and aarch64).
fn attach_syscalls(ebpf: &mut Ebpf) -> anyhow::Result<bool> {
    with_tracefs(|| {
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
    })?;
    Ok(true)
}

/// Detaches the programs of a way that could be attached only in part.
fn detach(ebpf: &mut Ebpf, way: NamespaceHook) {
    let names: &[&str] = match way {
        NamespaceHook::Fentry => &[
            "setns_fentry",
            "setns_fexit",
            "setns_fexit_again",
            "setns_compat_fentry",
            "setns_compat_fexit",
            "setns_compat_fexit_again",
            "unshare_fentry",
            "unshare_fexit",
            "unshare_fexit_again",
        ],
        NamespaceHook::Kprobe => &[
            "setns_kprobe",
            "setns_kretprobe",
            "setns_compat_kprobe",
            "setns_compat_kretprobe",
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

/// Runs `attach` with tracefs mounted. If it is not mounted, it is mounted for one thread, in a
/// mount namespace that ends with the thread. The node's mounts are not changed.
fn with_tracefs(attach: impl FnOnce() -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
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
