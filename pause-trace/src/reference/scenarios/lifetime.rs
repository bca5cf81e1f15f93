//! Containers start, crash and end. Pause holds the namespaces until the pod ends; then nothing is
//! left.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::Duration as Time,
};

use nix::{
    libc::{SIGKILL, SIGSEGV},
    sys::signal::Signal,
};

use crate::{
    event::{Fact, NamespaceKind, Namespaces, WaitStatus},
    node::holders,
    playing::PlayError,
    reference::{
        protocol::{Answer, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
    verdict::Duration,
};

/// The namespaces that all containers of a pod share, also after a restart.
const SHARED: [NamespaceKind; 3] = [NamespaceKind::Net, NamespaceKind::Ipc, NamespaceKind::Uts];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "container-restart",
            title: "a container that exited is restarted into the same namespaces",
            proves: &["PT101", "PT202", "PT203"],
            finds: &[],
        },
        play: |play| {
            Box::pin(restarted(
                play,
                Request::Exit { code: 0 },
                WaitStatus::exited(0),
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "container-crash",
            title: "a container that crashed is restarted into the same namespaces",
            proves: &["PT101", "PT202", "PT203"],
            finds: &[],
        },
        play: |play| Box::pin(restarted(play, Request::Crash, WaitStatus::killed(SIGSEGV))),
    },
    Script {
        scenario: Scenario {
            name: "pause-outlives",
            title: "pause alone holds the namespaces while no container runs",
            proves: &["PT202", "PT203"],
            finds: &[],
        },
        play: |play| Box::pin(outlives(play)),
    },
    Script {
        scenario: Scenario {
            name: "nothing-remains",
            title: "when a pod has ended no process, cgroup or namespace of it is left",
            proves: &["PT205", "PT208"],
            finds: &[],
        },
        play: |play| Box::pin(nothing_remains(play)),
    },
    Script {
        scenario: Scenario {
            name: "pause-kill-takes-all",
            title: "shareProcessNamespace: SIGKILL to pause ends every process of the pod",
            proves: &["PT208"],
            finds: &[],
        },
        play: |play| Box::pin(takes_all(play)),
    },
];

async fn restarted(
    play: &Play<'_>,
    end: Request,
    expected: WaitStatus,
) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let first = pod.container("app").await?;
    let before = namespaces(&pod, &first)?;
    // The second container must find the shared memory that the first one leaves in the pod's ipc
    // namespace.
    let (key, bytes) = (play.unique as i32, pod.id.as_bytes().to_vec());
    first
        .ask(Request::ShmPut {
            key,
            bytes: bytes.clone(),
        })
        .await?;
    first.container.ask(end).await.ok();
    pod.ended(first.process).await?;
    let ended = pod
        .live()
        .read(|core| core.state.containers.get(&first.id)?.ended);
    pod.inner().exited(first.pid()).await?;
    pod.inner().delete(first.container)?;
    let second = pod.container("app").await?;
    let after = namespaces(&pod, &second)?;
    let found = second.ask(Request::ShmGet { key }).await?;
    let started = pod
        .live()
        .read(|core| core.state.containers.get(&second.id)?.started);
    pod.finish().await?;
    let Some((ended, started)) = ended.filter(|ended| ended.status == expected).zip(started) else {
        return Err(PlayError::Unexpected(format!(
            "the container ended with {ended:?}"
        )));
    };
    let same = same(&before, &after)?;
    if found != Answer::Bytes(bytes) {
        return Err(PlayError::Unexpected(
            "the shared memory from before the restart is gone".to_owned(),
        ));
    }
    let down = Duration(started.saturating_sub(ended.time));
    Ok(format!("{}, back after {down} in {same}", ended.status))
}

async fn outlives(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let pause = pod.pause()?;
    let first = pod.container("app").await?;
    let other = pod.container("sidecar").await?;
    let before = namespaces(&pod, &first)?;
    for container in [&first, &other] {
        container
            .container
            .ask(Request::Exit { code: 0 })
            .await
            .ok();
        pod.ended(container.process).await?;
    }
    let alone = pod.live().read(|core| {
        let living = core
            .state
            .processes
            .iter()
            .filter(|process| process.is_alive());
        living
            .filter(|process| process.namespaces.net == before.net)
            .map(|process| process.id)
            .collect::<Vec<_>>()
    });
    let again = pod.container("app").await?;
    let after = namespaces(&pod, &again)?;
    pod.finish().await?;
    let same = same(&before, &after)?;
    if alone != [pause] {
        return Err(PlayError::Unexpected(format!(
            "the pod's network was held by {alone:?}"
        )));
    }
    Ok(format!("pause, pid {}, alone held {same}", pause.pid))
}

async fn nothing_remains(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let app = pod.container("app").await?;
    let sidecar = pod.container("sidecar").await?;
    // An orphan, which outlives its container if nothing ends it.
    app.ask(Request::Orphan).await?;
    let id = pod.id.clone();
    let pinned = pin(&pod, &[&app, &sidecar])?;
    let cgroups = cgroups(&mut pod, &[&app, &sidecar]);
    pod.finish().await?;
    let inodes: HashSet<u64> = pinned.keys().copied().collect();
    let what = "search for processes and namespaces that the pod left".to_owned();
    let scan = holders::of(&inodes, &id).map_err(|source| PlayError::io(what, source))?;
    let mut left = scan.found;
    left.extend(
        cgroups
            .iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string()),
    );
    if !left.is_empty() {
        return Err(PlayError::Unexpected(format!(
            "the pod left {}",
            left.join(", ")
        )));
    }
    let (namespaces, cgroups) = (inodes.len(), cgroups.len());
    Ok(format!(
        "{} processes looked at: 0 hold its {namespaces} namespaces, 0 of {cgroups} cgroups left",
        scan.looked_at
    ))
}

async fn takes_all(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::SharedPid).await?;
    let pause = pod.pause()?;
    let containers = [pod.container("app").await?, pod.container("sidecar").await?];
    let grace = Time::ZERO.as_nanos() as u64;
    pod.live().inject(Fact::PodStopping {
        pod: pod.id.clone(),
        grace,
    });
    pod.inner()
        .signal(pause.pid as i32, Signal::SIGKILL)
        .await?;
    let mut last = 0;
    for container in &containers {
        pod.ended(container.process).await?;
        let (by_kernel, ended) = pod
            .live()
            .read(|core| {
                let process = core.state.processes.get(container.process)?;
                let killed = process
                    .signals
                    .iter()
                    .find(|received| received.signal == SIGKILL)?;
                Some((killed.sender.is_none(), process.ended?))
            })
            .ok_or_else(|| {
                PlayError::Unexpected(format!("{} was not killed", container.container.name))
            })?;
        if !by_kernel || ended.status != WaitStatus::killed(SIGKILL) {
            return Err(PlayError::Unexpected(format!(
                "{} ended with {}",
                container.container.name, ended.status
            )));
        }
        last = last.max(ended.time);
    }
    let killed = pod.live().read(|core| {
        let pause = core.state.processes.get(pause)?;
        pause
            .signals
            .iter()
            .find(|received| received.signal == SIGKILL)
            .map(|received| received.time)
    });
    pod.ended(pause).await?;
    pod.remove().await?;
    let killed =
        killed.ok_or_else(|| PlayError::Unexpected("the pause received no SIGKILL".to_owned()))?;
    let took = Duration(last.saturating_sub(killed));
    Ok(format!(
        "{} containers killed by the kernel within {took}",
        containers.len()
    ))
}

/// The namespaces that a container executed in.
fn namespaces(pod: &ReferencePod<'_>, container: &Started) -> Result<Namespaces, PlayError> {
    let namespaces = pod
        .live()
        .read(|core| core.state.containers.get(&container.id)?.namespaces);
    namespaces.ok_or_else(|| {
        PlayError::Unexpected(format!(
            "the kernel did not report the exec of {}",
            container.container.name
        ))
    })
}

/// Returns the inode numbers, if both are equal.
fn same(before: &Namespaces, after: &Namespaces) -> Result<String, PlayError> {
    let words = SHARED.map(|kind| format!("{} {}", kind.name(), before.get(kind)));
    match SHARED
        .iter()
        .all(|kind| before.get(*kind) == after.get(*kind))
    {
        true => Ok(words.join(" ")),
        false => Err(PlayError::Unexpected(format!(
            "{} before, {after:?} after",
            words.join(" ")
        ))),
    }
}

/// Opens every namespace of the pod. The kernel does not reuse the inode number of an open
/// namespace.
fn pin(pod: &ReferencePod<'_>, containers: &[&Started]) -> Result<BTreeMap<u64, File>, PlayError> {
    let host = pod.live().read(|core| core.state.host);
    let mut pinned = BTreeMap::new();
    let processes = containers
        .iter()
        .map(|container| container.process)
        .chain([pod.pause()?]);
    for process in processes {
        for kind in NamespaceKind::ALL {
            let path = format!("/proc/{}/ns/{}", process.pid, kind.name());
            let open = || -> std::io::Result<_> {
                let file = File::open(&path)?;
                Ok((file.metadata()?.ino(), file))
            };
            let (inode, file) =
                open().map_err(|source| PlayError::io(format!("open {path}"), source))?;
            if inode != u64::from(host.get(kind)) {
                pinned.insert(inode, file);
            }
        }
    }
    Ok(pinned)
}

/// The pod's cgroups: those of its containers, and their parents that the pod created.
fn cgroups(pod: &mut ReferencePod<'_>, containers: &[&Started]) -> Vec<PathBuf> {
    let pod = pod.inner();
    let ids = containers
        .iter()
        .map(|container| container.container.cgroup_id)
        .chain([pod.cgroup_id()]);
    let own: Vec<_> = ids
        .filter_map(|id| pod.cgroup(id))
        .flat_map(|cgroup| cgroup.directories().to_vec())
        .collect();
    let above = own
        .iter()
        .flat_map(|path| path.ancestors().skip(1).take(2))
        .map(PathBuf::from)
        .collect::<HashSet<_>>();
    let all: Vec<_> = own
        .iter()
        .cloned()
        .chain(above)
        .filter(|path| fs::exists(path).unwrap_or(false))
        .collect();
    all
}
