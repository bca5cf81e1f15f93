//! What still holds a pod of which nothing runs. `/proc` is searched only then.

use std::{collections::HashSet, fs, os::unix::ffi::OsStrExt as _, time::Duration};

use super::case::Seen;
use crate::{
    event::{Ktime, NamespaceKind, Text},
    node::{
        remains::{self, Remains, Wanted},
        survey::process,
    },
    why::{End, Held, Holder, KEPT_NAMESPACES, Life, RunOf},
};

/// A runtime or a kubelet that is unmounting is done after this time, or else takes long.
const MOMENT: Duration = Duration::from_secs(1);

/// The holders, and what could not be found out.
pub(super) async fn of(seen: &Seen<'_>) -> (Vec<Holder>, Vec<String>) {
    let wanted = wanted(seen);
    let mut unknown = Vec::new();
    let told = seen.node.told.as_ref();
    let knows_them = told.is_some_and(|told| told.knows_namespaces_of(&seen.pod.id));
    if wanted.namespaces.is_empty() && !knows_them {
        unknown.push(
            "whether a process keeps a namespace of the pod: no history has their numbers"
                .to_owned(),
        );
    }
    let look = || remains::search(&wanted, seen.hierarchies.watched());
    let first = look();
    let mut holders = holders(&first, seen, &wanted);
    let mut is_cut = first.is_cut;
    if !holders.is_empty() {
        tokio::time::sleep(MOMENT).await;
        let second = look();
        is_cut |= second.is_cut;
        let before: Vec<_> = holders.iter().map(identity).collect();
        holders = self::holders(&second, seen, &wanted);
        holders.retain(|holder| before.contains(&identity(holder)));
    }
    if is_cut {
        unknown.push("not every mount and open file of the node was read".to_owned());
    }
    (holders, unknown)
}

/// What makes a holder the same in two looks.
fn identity(holder: &Holder) -> (u32, Option<u32>, Option<String>) {
    let pid = holder.process.pid;
    match &holder.what {
        Held::Mounts { is_nodes, .. } => (if *is_nodes { 0 } else { pid }, None, None),
        Held::Namespace { inode, .. } => (pid, Some(*inode), None),
        Held::Pin { path } => (0, None, Some(path.clone())),
    }
}

fn wanted(seen: &Seen<'_>) -> Wanted {
    let pod = seen.pod;
    let listed = seen.listed.sandboxes.iter().map(|one| one.id.clone());
    let views = pod.containers.iter();
    let mut wanted = Wanted {
        ids: views
            .clone()
            .map(|view| view.id.to_string())
            .chain(listed)
            .chain([pod.id.to_string()])
            .collect(),
        own: views
            .flat_map(|view| &view.processes)
            .map(|process| process.pid)
            .collect(),
        ..Wanted::default()
    };
    let told = seen.node.told.as_ref();
    let life = told.and_then(|told| told.life(&pod.id));
    if let (Some(told), Some(life)) = (told, life) {
        wanted.namespaces = told.namespaces_of(&pod.id);
        let until = ended(life);
        let numbers = wanted.namespaces.keys();
        wanted.until = numbers.map(|inode| (*inode, until)).collect();
        wanted.pins.extend(life.pins.iter().cloned());
        let others = seen.node.snapshot.pods.iter();
        for other in others.filter(|other| other.id != pod.id) {
            for view in &other.containers {
                for kind in KEPT_NAMESPACES {
                    if let Some(inode) = view.inode(kind) {
                        wanted.namespaces.remove(&inode);
                    }
                }
            }
        }
    }
    // A path that is made for one sandbox identifies its namespace without a history.
    if let Some(path) = &seen.listed.network_path {
        wanted
            .pins
            .insert(Text::new(&path.to_string_lossy()).to_string());
        if let Some(inode) = remains::pinned_at(path) {
            wanted.namespaces.insert(inode, NamespaceKind::Net);
            wanted.until.remove(&inode);
        }
    }
    wanted
}

/// When the last process of a pod ended; 0 if that was not seen.
fn ended(life: &Life) -> Ktime {
    let end = |run: &RunOf| match run.end {
        End::NotStarted => Some(0),
        End::Ended { time, .. } => Some(time),
        End::Running | End::Unseen => None,
    };
    let ends: Option<Vec<_>> = life.runs.iter().map(end).collect();
    ends.and_then(|ends| ends.into_iter().max()).unwrap_or(0)
}

fn holders(remains: &Remains, seen: &Seen<'_>, wanted: &Wanted) -> Vec<Holder> {
    let nodes = nodes_mounts(seen);
    let mut holders = Vec::new();
    // The node's own mounts are listed once, although a runtime may have another namespace.
    let mut has_nodes = false;
    for (inode, mounts) in &remains.mounts {
        let is_nodes = nodes.contains(inode);
        if is_nodes && std::mem::replace(&mut has_nodes, true) {
            continue;
        }
        holders.push(Holder {
            what: Held::Mounts {
                paths: mounts.paths.clone(),
                count: mounts.count,
                is_nodes,
            },
            process: seen.process(&mounts.process),
            others: mounts.others,
        });
    }
    for (inode, keepers) in &remains.keepers {
        let (Some(kind), Some(first)) = (wanted.namespaces.get(inode), keepers.first()) else {
            continue;
        };
        holders.push(Holder {
            what: Held::Namespace {
                kind: kind.name(),
                inode: *inode,
                open: first.open.clone(),
            },
            process: seen.process(&first.process),
            others: keepers.len() - 1,
        });
    }
    let this = process::read(std::process::id());
    if let Some(this) = this {
        holders.extend(remains.pins.iter().map(|path| Holder {
            what: Held::Pin { path: path.clone() },
            process: seen.process(&this),
            others: 0,
        }));
    }
    holders
}

/// The mount namespaces in which the kubelet and the runtimes mount: those of the first process of
/// the machine, of this one, and of the programs of runtimes.
fn nodes_mounts(seen: &Seen<'_>) -> HashSet<u32> {
    let of = |pid: &str| {
        let link = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
        let digits = link.as_os_str().as_bytes().strip_prefix(b"mnt:[")?;
        str::from_utf8(digits.strip_suffix(b"]")?)
            .ok()?
            .parse()
            .ok()
    };
    let programs = seen.outside.programs();
    let runtimes = programs
        .into_iter()
        .filter(|program| program.is_runtime() || program.is_monitor())
        .map(|program| program.process.pid.to_string());
    ["1", "self"]
        .map(str::to_owned)
        .into_iter()
        .chain(runtimes)
        .filter_map(|pid| of(&pid))
        .collect()
}
