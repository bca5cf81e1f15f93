//! `watch`: verifies the node's pods.

use std::{fs, future, io, os::unix::fs::FileTypeExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use pause_trace_cri::Socket;
use tokio::net::UnixStream;

use super::{
    Console, End, Exit, Global, Missing,
    config::Reload,
    history::{Keep, Kept},
    metrics::{Bound as BoundMetrics, Exposed, MetricsArgs},
    output::Output,
    pod_reporter::{PodFilter, PodReporter},
    recording::{Bound, Record, Recording},
    select::Selection,
    summary,
};
use crate::{
    history::Server,
    pods::Follower,
    report::Summary,
    rules,
    service::Service,
    session::{self, Confine, Ended, Interrupt, Session, Setup, Stop},
};

/// Verify the node's pods, running and new, until Ctrl-C or SIGTERM
///
/// It needs root and the initial pid namespace, and changes nothing on the node.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) pods: Pods,
    #[command(flatten)]
    pub(crate) runtime: Runtime,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) record: Record,
    #[command(flatten)]
    pub(crate) bound: Bound,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) history: Keep,
}

/// Which container runtime describes the pods.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Runtime {
    /// The runtime's CRI socket; the default is the one that each container's shim names, or a
    /// well-known one
    #[arg(long, value_name = "SOCKET")]
    pub(crate) cri: Option<Socket>,
}

impl Runtime {
    /// The path of the socket that the user named.
    pub(super) fn path(&self) -> Option<&Path> {
        self.cri.as_ref().map(Socket::path)
    }

    /// Fails if the socket that the user named cannot be reached: what it would describe is
    /// unknown.
    pub(crate) async fn reach(&self) -> Result<()> {
        match &self.cri {
            Some(socket) => reach(socket).await,
            None => Ok(()),
        }
    }
}

/// How long a socket may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// Fails if nothing listens at a socket.
pub(super) async fn reach(socket: &Socket) -> Result<()> {
    let is_socket = fs::metadata(socket.path()).map(|file| file.file_type().is_socket());
    if let Ok(false) = is_socket {
        let message = format!("--cri {socket} is not a socket; name the one of the runtime");
        return Err(Missing(message).into());
    }
    let connecting = UnixStream::connect(socket.path());
    let error = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    let message = format!(
        "failed to connect to the runtime at --cri {socket}: {error}; without it, {}",
        rules::without_cri()
    );
    Err(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow!("{message}; run as root, or with CAP_DAC_OVERRIDE")
        }
        _ => Missing(message).into(),
    })
}

/// Which pods are reported, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Pods {
    #[command(flatten)]
    pub(crate) wanted: PodFilter,
    /// Verify the pods that run now, and exit
    #[arg(long, conflicts_with = "duration")]
    pub(crate) once: bool,
    /// Stop after this long: 30s, 5m, 1h; a number alone is in seconds
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  pause-trace watch                              starts, ends and violations of all pods
  pause-trace watch --pod default/web            one pod, while you debug its start
  pause-trace watch --once --format junit        the pods that run now, for CI
  pause-trace watch --select PT1,PT4 --for 10m
  pause-trace watch --metrics 9753               with metrics for Prometheus at 127.0.0.1:9753";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        self.selection.validate()?;
        let clock = summary::clock()?;
        self.output.refuse_recording(&self.record)?;
        let console = Console::open(&self.output, global, clock, false)?;
        let metrics = self.metrics.bind(clock)?;
        let recording = self.record.start(clock, self.bound.max_size)?;
        let node = Node {
            pods: &self.pods,
            runtime: &self.runtime,
            follows_reference: false,
            recording: &recording,
            metrics: None,
            history: Some(&self.history).filter(|_| !self.pods.once),
            confine: global.confine(None),
        };
        let exit = watch_alone(&node, &self.selection, global, (console, metrics))?;
        Ok(recording.close(exit))
    }
}

/// Watches the node's pods, as the whole job of a command.
pub(super) fn watch_alone(
    node: &Node<'_>,
    selection: &Selection,
    global: &Global,
    (mut console, metrics): (Console, Option<BoundMetrics>),
) -> Result<Exit> {
    session::block_on(async {
        let mut interrupt = Interrupt::catch()?;
        let exposed = metrics.map(BoundMetrics::serve).transpose()?;
        let node = Node {
            metrics: exposed.as_ref(),
            ..*node
        };
        let (end, summary) = watch(&node, selection, global, &mut console, &mut interrupt).await?;
        if let Some(exposed) = exposed {
            exposed.close().await;
        }
        Ok(console.finish(summary.as_ref(), end)?)
    })
}

/// What is watched, and how.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) pods: &'a Pods,
    pub(super) runtime: &'a Runtime,
    /// The reference check ran before, so the report has begun already. If no container runtime
    /// runs, the command ends, unless the user gave a time.
    pub(super) follows_reference: bool,
    pub(super) recording: &'a Recording,
    pub(super) metrics: Option<&'a Exposed>,
    /// Whether others are answered what happened.
    pub(super) history: Option<&'a Keep>,
    pub(super) confine: Confine<'a>,
}

/// Watches the node's pods. Returns why it stopped and the summary.
pub(super) async fn watch(
    node: &Node<'_>,
    selection: &Selection,
    global: &Global,
    console: &mut Console,
    interrupt: &mut Interrupt,
) -> Result<(End, Option<Summary>)> {
    node.runtime.reach().await?;
    let kept = node.history.map(Keep::begin).transpose()?.flatten();
    let history = kept.as_ref().map(Kept::recorder);
    let setup = Setup {
        selected: &|rule| selection.selects(rule),
        recorders: node
            .recording
            .recorder()
            .into_iter()
            .chain(history)
            .collect(),
        observers: node.metrics.map(Exposed::observer).into_iter().collect(),
        ..Setup::of_node(global.probe(), global.limits())
    };
    let Some(session) = interrupt.or(Session::start(setup)).await else {
        return Ok((End::Interrupted, None));
    };
    let session = session?;
    let reporter = PodReporter::new(&node.pods.wanted);
    let mut reporter = reporter.counted(node.metrics.map(|exposed| &exposed.metrics));
    let watched = (node, kept);
    let end = follow(&session, watched, &mut reporter, console, interrupt, global).await?;
    session.live.pipeline.end_watch();
    let times = summary::end(&session.live, end);
    let (end, summary) = reporter.end(&session.live.pipeline, console, times, end)?;
    Ok((end, Some(summary)))
}

/// Follows and reports the node's pods until the run ends.
async fn follow(
    session: &Session,
    (node, kept): (&Node<'_>, Option<Kept<'_>>),
    reporter: &mut PodReporter<'_>,
    console: &mut Console,
    interrupt: &mut Interrupt,
    global: &Global,
) -> Result<End> {
    let Node {
        pods,
        runtime,
        follows_reference,
        recording,
        metrics,
        confine,
        ..
    } = node;
    let Session { live, layout } = session;
    console.note_expired(live.started)?;
    let mut follower = Follower::start(live, layout, runtime.cri.clone())
        .context("failed to follow the node's pods")?;
    // The socket is bound while that is allowed, and removed when this ends.
    let server = kept.as_ref().and_then(Kept::serve);
    let listeners = [
        server.as_ref().map(Server::descriptor),
        metrics.map(Exposed::descriptor),
    ];
    if let (Some(exposed), Some(kept)) = (metrics, kept.as_ref().filter(|_| server.is_some())) {
        exposed.report(kept.page());
    }
    // Connected before the process gives up what that may need.
    let service = Service::of_environment();
    let mut reload = Reload::new(global, interrupt, service.is_managed());
    session.confine(confine.answering(listeners), runtime.path());
    // The first line of the report means that a pod that starts now is observed from its beginning.
    let result = match follows_reference {
        false => console.hello(&summary::hello(live)),
        true => Ok(()),
    };
    if let Err(failed) = result.and_then(|()| console.flush()) {
        return Ok(End::from_failed(failed)?);
    }
    service.ready();
    let (settled, zombies) = (follower.settled(), follower.zombies_judged());
    let judged = {
        let (settled, zombies) = (follower.settled(), follower.zombies_judged());
        async {
            settled.await;
            zombies.await;
        }
    };
    let has_runtime = follower.has_runtime();
    let is_over = *follows_reference && pods.duration.is_none() && !has_runtime;
    let ends = pods.once || is_over;
    if let Some(note) = beginning(*follows_reference, has_runtime, ends) {
        console.note(&note)?;
        reporter.said_that_nothing_runs(ends && !has_runtime);
    }
    let once = async {
        match ends {
            true => {
                settled.await;
                zombies.await;
            }
            false => future::pending().await,
        }
    };
    let reporting = async {
        tokio::pin!(once);
        loop {
            let changed = live.changed();
            recording.check()?;
            if let Err(failed) = reporter.report(&live.pipeline, console) {
                return Ok(End::from_failed(failed)?);
            }
            service.status(reporter.present(), console.violations());
            tokio::select! {
                biased;
                () = &mut once => return Ok(End::Finished),
                () = changed => {}
                () = console.tick() => {}
                () = reload.requested() => {
                    if let Err(failed) = reload.read(console) {
                        return Ok(End::from_failed(failed)?);
                    }
                }
            }
        }
    };
    let reporting = async {
        tokio::select! {
            end = reporting => end,
            () = service.beat(|| live.progress().is_ok()) => future::pending().await,
        }
    };
    let command = async {
        let Some(exposed) = metrics else {
            return reporting.await;
        };
        tokio::select! {
            biased;
            end = reporting => end,
            end = exposed.answer(live, judged) => end,
        }
    };
    let stop = Stop {
        interrupt: Some(interrupt),
        duration: pods.duration,
    };
    let ended = session::drive(live, Some(&mut follower), stop, command).await;
    service.stopping();
    Ok(match ended? {
        Ended::Done(end) => end,
        // What ran at the start is not judged yet.
        Ended::Terminated if pods.once => End::Closed,
        Ended::TimeIsUp | Ended::Terminated => End::Finished,
        Ended::Interrupted => End::Interrupted,
    })
}

/// What is said before the node's pods are watched. Without a runtime there are no pods, which must
/// not look as if all of them were verified. `ends`: whether the command then waits for nothing.
fn beginning(follows_reference: bool, has_runtime: bool, ends: bool) -> Option<String> {
    let now = match (has_runtime, ends) {
        (true, _) if follows_reference => "verifying the node's pods now",
        (true, _) => return None,
        (false, true) if follows_reference => {
            "no container runtime runs on this node (`pause-trace watch` waits for one)"
        }
        (false, true) => "no container runtime runs on this node, so there are no pods to verify",
        (false, false) => "no container runtime runs on this node; waiting for one",
    };
    Some(match follows_reference {
        true => format!("the reference pod is verified; {now}"),
        false => now.to_owned(),
    })
}

/// How long to observe, as [`parse_time`] reads it.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_time(text)?;
    match duration.is_zero() {
        true => Err("nothing can be observed in no time".to_owned()),
        false => Ok(duration),
    }
}

/// `30s`, `5m`, `1h`, `500ms`; a bare number is seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| {
        "expected a number, of seconds unless a unit follows it: 500ms, 30s, 5m, 1h".to_owned()
    })?;
    let ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("\"{unit}\" is not a unit of time: ms, s, m or h")),
    };
    let ms = number
        .checked_mul(ms)
        .ok_or_else(|| format!("{text} is too long"))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_runtime_is_said_to_have_none() {
        assert_eq!(beginning(false, true, false), None);
        for (follows_reference, ends, expected) in [
            (
                false,
                true,
                "no container runtime runs on this node, so there are no pods to verify",
            ),
            (
                false,
                false,
                "no container runtime runs on this node; waiting for one",
            ),
            (
                true,
                true,
                "the reference pod is verified; no container runtime runs on this node (`pause-trace watch` waits for \
                 one)",
            ),
        ] {
            let said = beginning(follows_reference, false, ends);
            assert_eq!(said.as_deref(), Some(expected));
        }
        let followed = beginning(true, true, false).expect("the reference pod is over");
        assert!(
            followed.ends_with("verifying the node's pods now"),
            "{followed}"
        );
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("250ms", 250),
            ("2", 2_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "0",
            "0ms",
            "s",
            "5 s",
            "-3s",
            "5d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
