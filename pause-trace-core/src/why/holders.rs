//! What still holds a pod of which nothing runs: mounts, namespaces.

use super::{
    case::{Case, Held, Holder},
    cause::{Cause, Reason},
    start::{MAX_SHOWN, described},
};
use crate::text::counted;

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    if !case.is_over() {
        return; // what holds it is the pod itself
    }
    reasons.extend(case.holders.iter().map(reason));
}

pub(super) fn reason(holder: &Holder) -> Reason {
    let process = &holder.process;
    let name = format!("{} (pid {})", process.comm, process.pid);
    let others = match holder.others {
        0 => String::new(),
        count => format!(" and {}", counted(count as u64, "other")),
    };
    let (cause, sentence, mut evidence, next) = match &holder.what {
        Held::Mounts {
            paths,
            count,
            is_nodes,
        } => {
            let (mounts, are) = match count {
                1 => ("a mount".to_owned(), "is"),
                _ => (format!("{count} mounts"), "are"),
            };
            let mut shown: Vec<_> = paths.iter().take(MAX_SHOWN).cloned().collect();
            if *count > shown.len() {
                shown.push(format!("and {} more", count - shown.len()));
            }
            match is_nodes {
                true => (
                    Cause::MountLeft,
                    format!(
                        "every process of the pod has ended, and {mounts} of it {are} left on the \
                         node"
                    ),
                    shown,
                    "the kubelet or the runtime has not unmounted it: their logs say why; `fuser \
                     -vm` lists who has files open there"
                        .to_owned(),
                ),
                false => (
                    Cause::MountHeld,
                    format!(
                        "every process of the pod has ended, and {mounts} of it {are} held in the \
                         mount namespace of {name}{others}"
                    ),
                    shown,
                    format!(
                        "the volume stays busy until that namespace ends: stop {name}, or \
                         `nsenter -t {} -m umount` the mount; if a container mounts a directory \
                         of the node, set its mountPropagation to HostToContainer",
                        process.pid
                    ),
                ),
            }
        }
        Held::Namespace { kind, inode, open } => {
            let how = match open {
                Some(file) => format!("{} has it open as {file}", process.comm),
                None => format!("{} is in it", process.comm),
            };
            let keep = match holder.others {
                0 => "keeps",
                _ => "keep",
            };
            (
                Cause::NamespaceHeld,
                format!(
                    "every process of the pod has ended, and {name}{others} {keep} its {kind} \
                     namespace {inode}: {how}"
                ),
                Vec::new(),
                format!(
                    "the namespace, with its interfaces and addresses, stays until {name} ends or \
                     closes it"
                ),
            )
        }
        Held::Pin { path } => (
            Cause::MountLeft,
            format!(
                "every process of the pod has ended, and {path} still pins its network namespace"
            ),
            Vec::new(),
            "the runtime removes it when it stops the sandbox: see its log, and that of the \
             kubelet"
                .to_owned(),
        ),
    };
    if cause != Cause::MountLeft {
        evidence.push(described(process));
    }
    Reason {
        cause,
        containers: Vec::new(),
        sentence,
        evidence,
        next,
    }
}
