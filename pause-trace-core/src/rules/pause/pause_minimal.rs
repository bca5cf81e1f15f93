//! PT501: a pause uses next to no resources.

use super::subject;
use crate::rules::prelude::*;

/// Most memory of a pause, as proportional set size. Common pauses use 4 to 300 KiB; with pages of
/// 64 KiB, a few pages are a megabyte.
const MAX_PSS: u64 = 2 * 1024 * 1024;
/// Most threads.
const MAX_THREADS: u32 = 1;
/// Most open descriptors: stdin, stdout and stderr, and what a pause that waits by signalfd and
/// epoll needs.
const MAX_DESCRIPTORS: u32 = 8;
/// Most sockets besides stdin, stdout and stderr.
const MAX_SOCKETS: u32 = 0;
/// Most children. Orphans that were reparented to the pause do not count.
const MAX_CHILDREN: u32 = 0;
/// CPU time in ns that a pause may have used: for its setup before it became the pause (the count
/// includes `runc init`, because it survives exec) …
const CPU_BASE: u64 = 500_000_000;
/// … and this fraction of its age, for reaping.
const CPU_SHARE: u64 = 100;

pub(super) const RULE: Rule = Rule {
    id: "PT501",
    name: "pause-minimal",
    severity: Severity::Error,
    summary: "the pause uses more resources than a pause needs",
    doc: "\
## What it checks
Each time the pause process is measured, it may have at most 2 MiB of memory (proportional set \
size), one thread, 8 open descriptors, no socket besides stdin, stdout and stderr, no child that \
it forked itself (orphans in a shared pid namespace do not count), and CPU time of at most 0.5 s \
plus 1 % of its age.

## Why it matters
A node runs one pause for each pod, so its resources count a hundred times. And it is the one \
process of a pod that nobody watches: a pause that listens, forks or computes does something that \
is not a pause's task.

## How to fix it
See which sandbox image the runtime uses (`sandbox_image` in containerd, `pause_image` in CRI-O, \
`infra_image` in Podman), and restore the default. If the pause inherited a descriptor, the \
runtime that created it leaked it.

## Example
    the pause (pid 812) exceeds its limits: memory 5120 KiB (at most 2048 KiB), threads 4 (at most \
1)

## Source
Kubernetes: build/pause/linux/pause.c; The Almighty Pause Container (ianlewis.org).
",
    needs: &[],
    on: &[On::PauseStatus],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::PauseStatus(status) = change else {
        return;
    };
    let Some(pod) = context.state.pods.get(&status.pod) else {
        return;
    };
    let children = match pod.modes.pid {
        Mode::Pod => own_children(context, status.process),
        _ => status.children,
    };
    let max_cpu = CPU_BASE + status.age_ns / CPU_SHARE;
    let number = |number: u32| Value::Number(number.into());
    let uses = [
        (
            "memory",
            Value::Bytes(status.pss_bytes),
            Value::Bytes(MAX_PSS),
            status.pss_bytes > MAX_PSS,
        ),
        (
            "threads",
            number(status.threads),
            number(MAX_THREADS),
            status.threads > MAX_THREADS,
        ),
        (
            "descriptors",
            number(status.descriptors),
            number(MAX_DESCRIPTORS),
            status.descriptors > MAX_DESCRIPTORS,
        ),
        (
            "sockets",
            number(status.sockets),
            number(MAX_SOCKETS),
            status.sockets > MAX_SOCKETS,
        ),
        (
            "children",
            number(children),
            number(MAX_CHILDREN),
            children > MAX_CHILDREN,
        ),
        (
            "CPU time",
            Value::Duration(status.cpu_ns),
            Value::Duration(max_cpu),
            status.cpu_ns > max_cpu,
        ),
    ];
    let pid = status.process.pid;
    let age = Duration(status.age_ns);
    let excess: Vec<_> = uses.iter().filter(|(.., is_excess)| *is_excess).collect();
    let subject = subject(context, status);
    if excess.is_empty() {
        sink.pass(subject, || {
            let all: Vec<_> = uses
                .iter()
                .map(|(name, observed, ..)| format!("{name} {observed}"))
                .collect();
            let message = format!("pid {pid}, {age} old: {}", all.join(", "));
            uses.iter()
                .fold(Details::new(message), |details, (name, observed, ..)| {
                    details.observed(name, observed.clone())
                })
        });
        return;
    }
    sink.fail(subject, || {
        let all: Vec<_> = excess
            .iter()
            .map(|(name, observed, most, _)| format!("{name} {observed} (at most {most})"))
            .collect();
        let message = format!(
            "the pause (pid {pid}) exceeds its limits: {}",
            all.join(", ")
        );
        let mut details = Details::new(message)
            .evidence(context.now, format!("the pause was measured, {age} old"));
        for (name, observed, most, _) in excess {
            details = details
                .expected(name, most.clone())
                .observed(name, observed.clone());
        }
        details
    });
}

/// Living children that the pause forked itself.
fn own_children(context: &Context<'_>, pause: ProcessId) -> u32 {
    let children = context.state.processes.children(pause);
    children
        .filter(|child| child.is_alive() && child.born_of == pause)
        .count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn judged(edit: impl FnOnce(&mut PauseStatus), outcome: Outcome) -> Details {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pause_status("p", edit);
        scene.expect("PT501", &[outcome])[0].details.clone()
    }

    #[test]
    fn a_plain_pause_passes_with_its_measurements() {
        let details = judged(|_| {}, Outcome::Pass);
        assert!(
            details
                .message
                .contains("memory 20 KiB, threads 1, descriptors 3"),
            "{}",
            details.message
        );
    }

    #[test]
    fn each_excess_fails() {
        judged(|status| status.pss_bytes = MAX_PSS + 1, Outcome::Fail);
        judged(|status| status.threads = 2, Outcome::Fail);
        judged(|status| status.descriptors = 9, Outcome::Fail);
        judged(|status| status.sockets = 1, Outcome::Fail);
        judged(|status| status.children = 1, Outcome::Fail);
        let spinning = judged(|status| status.cpu_ns = status.age_ns, Outcome::Fail);
        assert_eq!(
            spinning.expected,
            [("CPU time", Value::Duration(600_000_000))]
        );
        assert_eq!(
            spinning.observed,
            [("CPU time", Value::Duration(10_000_000_000))]
        );
    }

    #[test]
    fn the_limits_themselves_pass() {
        judged(|status| status.pss_bytes = MAX_PSS, Outcome::Pass);
        judged(|status| status.descriptors = 8, Outcome::Pass);
    }

    #[test]
    fn the_setups_cpu_time_does_not_count_against_a_young_pause() {
        judged(
            |status| (status.age_ns, status.cpu_ns) = (100_000_000, 300_000_000),
            Outcome::Pass,
        );
    }

    #[test]
    fn several_excesses_are_one_finding() {
        let details = judged(
            |status| (status.threads, status.sockets) = (4, 2),
            Outcome::Fail,
        );
        assert!(
            details
                .message
                .ends_with("threads 4 (at most 1), sockets 2 (at most 0)"),
            "{}",
            details.message
        );
    }

    #[test]
    fn orphans_in_a_shared_pid_namespace_do_not_count() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Pass]);
    }

    #[test]
    fn a_forked_child_fails_in_a_shared_pid_namespace_too() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        scene.fork(pause);
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Fail]);
    }
}
