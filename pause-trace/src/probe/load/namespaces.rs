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
            Ok(()) => {
                return Hook {
                    name: "setns, unshare",
                    kind: Kind::Namespace,
                    how: Ok(way.name()),
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
    })
}

/// Detaches the programs of a way that could be attached only in part.
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
