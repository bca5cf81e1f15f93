//! The checks of `doctor`. Each feature is tried; none is inferred from a version.

mod programs;
mod runtimes;

use std::{collections::BTreeMap, path::Path};

use nix::{sys::utsname::uname, unistd::Uid};

use super::Global;
use crate::{
    confine,
    event::Kind,
    live::Live,
    node::cgroup::Layout,
    probe::{self, Types, Verified},
    report::wire::{Check, State},
    rules,
    session::{
        Session, Setup,
        node_view::{self, Mismatch},
        privileges::{self, Job},
        sandbox,
    },
};

/// Checks everything that verdicts depend on.
pub(super) async fn examine(global: &Global, thorough: bool) -> Vec<Check> {
    let mut checks = vec![
        privileges(),
        kernel(),
        namespace("pid namespace", node_view::pid_namespace()),
        namespace("time namespace", node_view::time_namespace()),
        types(),
    ];
    let layout = Layout::discover();
    checks.push(match &layout {
        Ok(layout) => {
            let detail = format!(
                "{}, watched at {}",
                layout.name(),
                layout.watched().mount.display()
            );
            match layout.require_writable() {
                Ok(()) => ok("cgroups", &detail),
                Err(_) => Check {
                    state: State::Degraded,
                    consequence: "`run` and `check` cannot create cgroups for a reference pod"
                        .to_owned(),
                    fix: "run it as root, with /sys/fs/cgroup mounted read-write".to_owned(),
                    ..ok("cgroups", &format!("{detail}, not writable"))
                },
            }
        }
        Err(error) => missing(
            "cgroups",
            &format!("failed to {error:#}"),
            "containers cannot be told apart",
            "mount cgroup2 on /sys/fs/cgroup",
            true,
        ),
    });
    checks.push(tracefs());
    let runtimes = runtimes::runtimes().await;
    if let Ok(layout) = layout
        && checks
            .iter()
            .all(|check| check.state != State::Missing || !check.required)
    {
        let (hooks, verified) = hooks(global).await;
        checks.extend(hooks);
        let mut verified = verified.unwrap_or_default();
        if thorough {
            checks.extend(programs::ways(&layout, global, &mut verified).await);
        }
        if !verified.is_empty() {
            checks.push(programs::cost(&verified));
        }
    }
    checks.extend(runtimes);
    checks
}

fn ok(name: &str, detail: &str) -> Check {
    Check {
        name: name.to_owned(),
        state: State::Ok,
        detail: detail.to_owned(),
        consequence: String::new(),
        fix: String::new(),
        required: true,
        numbers: BTreeMap::new(),
    }
}

fn missing(name: &str, detail: &str, consequence: &str, fix: &str, required: bool) -> Check {
    Check {
        state: State::Missing,
        consequence: consequence.to_owned(),
        fix: fix.to_owned(),
        required,
        ..ok(name, detail)
    }
}

fn kernel() -> Check {
    let release = uname()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let detail = format!("Linux {release}, {}", std::env::consts::ARCH);
    if version >= (5, 10) {
        return ok("kernel", &detail);
    }
    missing(
        "kernel",
        &detail,
        "some hooks and helpers are missing",
        "boot Linux 5.10 or newer",
        true,
    )
}

fn privileges() -> Check {
    let lacks = privileges::lacks(Job::Observe);
    if lacks.is_empty() {
        return ok(
            "privileges",
            if Uid::effective().is_root() {
                "root"
            } else {
                "capabilities"
            },
        );
    }
    missing(
        "privileges",
        &format!("missing: {}", privileges::listed(&lacks)),
        "pods are invisible or are judged without their evidence",
        "run it as root: sudo pause-trace doctor",
        true,
    )
}

fn namespace(name: &str, compared: Result<String, Mismatch>) -> Check {
    match compared {
        Ok(detail) => ok(name, &detail),
        Err(Mismatch {
            detail,
            consequence,
            fix,
        }) => missing(name, &detail, consequence, fix, true),
    }
}

fn types() -> Check {
    let layout = Types::read(probe::VMLINUX).and_then(|types| types.layout(None));
    match layout {
        Ok(layout) => {
            let offsets = layout.offsets.named();
            let detail = format!("{}, {} offsets", probe::VMLINUX, offsets.len());
            Check {
                numbers: offsets
                    .into_iter()
                    .map(|(path, offset)| (path.to_owned(), offset.into()))
                    .collect(),
                ..ok("BTF", &detail)
            }
        }
        Err(error) => missing(
            "BTF",
            &error.to_string(),
            "the kernel's structures cannot be read",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y; every current distribution has one",
            true,
        ),
    }
}

fn tracefs() -> Check {
    let mounted = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|path| Path::new(path).join("events").exists());
    match mounted {
        Some(path) => ok("tracefs", path),
        None => ok(
            "tracefs",
            "not mounted; pause-trace mounts it privately where needed",
        ),
    }
}

/// Checks the hooks. Returns what their programs cost the kernel's verifier, if they could be
/// loaded.
async fn hooks(global: &Global) -> (Vec<Check>, Option<Vec<Verified>>) {
    let live = match Session::start(Setup::of_node(global.probe(), global.limits())).await {
        Ok(session) => session.live,
        Err(error) => {
            let refused = missing(
                "eBPF",
                &format!("{error:#}"),
                "nothing can be observed",
                "follow the message above",
                true,
            );
            return (vec![refused], None);
        }
    };
    let mut checks: Vec<_> = live
        .hooks
        .iter()
        .map(|hook| match &hook.how {
            Ok("tracepoint") => Check {
                state: State::Degraded,
                consequence: "every system call of this machine takes the slower entry path while pause-trace runs \
                              (about 10 to 15 ns each)"
                    .to_owned(),
                fix: "nothing, or boot a kernel that allows fentry or kprobes".to_owned(),
                ..ok(hook.name, "system call tracepoints")
            },
            Ok(how) => ok(hook.name, how),
            Err(reason) => missing(hook.name, reason, &unproven(hook.kind), "boot a kernel that has the hook", false),
        })
        .collect();
    if let Some(hook) = live.hooks.iter().find(|hook| hook.kind == Kind::Namespace) {
        checks.push(compat_entry(hook));
    }
    let mut hooks = live.hooks.iter();
    if hooks.any(|hook| hook.kind == Kind::Listen && hook.how.is_ok()) {
        let detail = "TCP only: UDP has no listen, so its ports are not visible";
        checks.push(ok("listening", detail));
    }
    checks.push(ok(
        "self-test",
        "the records of a known process are correct",
    ));
    checks.push(given_up(&live));
    (checks, Some(live.verified()))
}

/// What a run gives up once it observes.
fn given_up(live: &Live) -> Check {
    const NAME: &str = "sandbox";
    let kept = confine::named(&sandbox::kept(live));
    if confine::has_filters() {
        let detail = format!("no_new_privs, seccomp filter; keeps {kept}; no Landlock");
        return ok(NAME, &detail);
    }
    Check {
        state: State::Degraded,
        consequence: "a run gives up capabilities, but not system calls, once it observes"
            .to_owned(),
        fix: "nothing, or boot a kernel with CONFIG_SECCOMP_FILTER=y".to_owned(),
        ..ok(NAME, &format!("no_new_privs; keeps {kept}; no Landlock"))
    }
}

/// Whether a setns or unshare can be called through a door that its hook does not see.
fn compat_entry(hook: &probe::Hook) -> Check {
    const NAME: &str = "32-bit setns, unshare";
    if !hook.misses_compat {
        return ok(NAME, "seen by the same hook");
    }
    if !has_compat_entry() {
        return ok(NAME, "this kernel has no 32-bit system calls");
    }
    Check {
        state: State::Degraded,
        consequence: "the hook does not see these calls; pause-trace notices that a process of a pod is in another \
                      namespace at its next fork, exec or exit, and a process outside the pods is not noticed"
            .to_owned(),
        fix: "nothing, or boot a kernel that allows fentry or kprobes, or without 32-bit system calls \
              (CONFIG_IA32_EMULATION, CONFIG_COMPAT)"
            .to_owned(),
        ..ok(NAME, "not seen by the hook")
    }
}

/// Whether the kernel has system calls for 32-bit programs, by the names of its functions. If they
/// cannot be read, it is assumed to have them.
fn has_compat_entry() -> bool {
    const ENTRIES: [&str; 2] = ["__ia32_sys_setns", "compat_sys_call_table"];
    let Ok(symbols) = std::fs::read_to_string("/proc/kallsyms") else {
        return true;
    };
    symbols.is_empty()
        || symbols
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2))
            .any(|symbol| ENTRIES.contains(&symbol))
}

/// Names the rules that stay inconclusive without a kind of record.
fn unproven(kind: Kind) -> String {
    if kind == Kind::Listen {
        return "no rule depends on it, but nothing shows on which ports containers listen"
            .to_owned();
    }
    let rules: Vec<_> = rules::all()
        .filter(|rule| rule.needs.contains(&kind))
        .map(|rule| rule.id)
        .collect();
    match rules.is_empty() {
        true => "no rule depends on it alone".to_owned(),
        false => format!("{} stay inconclusive", rules.join(", ")),
    }
}
