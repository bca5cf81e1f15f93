//! `top`: shows the node's pods live in the terminal.

mod app;
mod draw;
mod finding;
mod rates;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    future::{self, Future},
    io::{self, IsTerminal as _},
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use crossterm::event::{Event as Input, EventStream};
use futures::StreamExt as _;
use tokio::time::Instant;

use self::{
    app::{Action, App},
    rates::Rates,
    screen::Screen,
};
use super::{Exit, Global, Usage, inspect, pods::NodeSnapshot, summary, watch::Runtime};
use crate::{
    event::{Ktime, PodId},
    live::Live,
    node::cgroup::Hierarchies,
    pods::{self, Follower, Judged},
    probe,
    session::{self, Ended, Interrupt, Session, Setup, Stop},
    text::TextStyle,
    verdict::Verdict,
};

/// The shortest time between two redraws that events cause. A key redraws at once.
const PERIOD: Duration = Duration::from_millis(250);

/// Watch the node's pods in the terminal: verdicts, members, zombies, signals, the newest findings
///
/// It draws the screen when something changes, at most four times a second. It needs root and the
/// initial pid namespace, and changes nothing on the node.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    runtime: Runtime,
}

const AFTER_HELP: &str = "\
Keys:
  up, down, k, j, PgUp, PgDn, Home, End   select a pod, or scroll
  Enter, i                                inspect the selected pod; r refreshes
  /                                       filter by name; Esc clears
  s                                       sort by: worst, name, members, zombies, signals
  q, Esc                                  go back or quit; Ctrl-C quits

Exit codes: 0 q or Esc · 2 not a terminal · 4 cannot run; the message says what to do · 130 Ctrl-C or a signal";

impl Args {
    pub(crate) fn run(&self, global: &Global) -> Result<Exit> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let message = "top needs a terminal; `pause-trace watch` writes to files and pipes";
            return Err(Usage(message.to_owned()).into());
        }
        session::block_on(self.watch(global))
    }

    async fn watch(&self, global: &Global) -> Result<Exit> {
        let mut interrupt = Interrupt::catch()?;
        self.runtime.reach().await?;
        let rates = Rc::new(RefCell::new(Rates::default()));
        let setup = Setup {
            observers: vec![Box::new(Rc::clone(&rates))],
            ..Setup::of_node(global.probe(), global.limits())
        };
        let Some(session) = interrupt.or(Session::start(setup)).await else {
            return Ok(Exit::Interrupted);
        };
        let session = session?;
        let Session { live, layout } = &session;
        let mut follower = Follower::start(live, layout, self.runtime.cri.clone())
            .context("failed to follow the node's pods")?;
        session.confine(global.confine(None), self.runtime.path());
        let top = Top {
            args: self,
            live,
            rates: &rates,
            text_style: global.text_style(),
            began: probe::now(),
        };
        let mut screen = Screen::open().context("failed to take over the terminal")?;
        let stop = Stop {
            interrupt: Some(&mut interrupt),
            ..Stop::default()
        };
        let shown = top.show(&mut screen);
        Ok(
            match session::drive(live, Some(&mut follower), stop, shown).await? {
                Ended::Done(exit) => exit,
                Ended::TimeIsUp | Ended::Interrupted | Ended::Terminated => Exit::Interrupted,
            },
        )
    }
}

/// The sources of what the screen shows.
struct Top<'a> {
    args: &'a Args,
    live: &'a Live,
    rates: &'a RefCell<Rates>,
    text_style: TextStyle,
    /// Since when it watches.
    began: Ktime,
}

/// A running inspection of one pod.
type Inspection<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

impl Top<'_> {
    async fn show(&self, screen: &mut Screen) -> Result<Exit> {
        let mut app = App::new(self.text_style, summary::clock()?);
        let mut keys = EventStream::new();
        let mut inspection: Option<Inspection<'_>> = None;
        loop {
            let changed = self.live.changed();
            self.take(&mut app);
            screen
                .draw(|frame| draw::draw(frame, &mut app))
                .context("failed to write to the terminal")?;
            let drawn = Instant::now();
            let rates_fade = match self.rates.borrow().is_quiet(probe::now()) {
                true => None,
                false => Some(drawn + rates::WINDOW),
            };
            let action = tokio::select! {
                biased;
                input = keys.next() => match input {
                    Some(Ok(Input::Key(key))) => app.key(key),
                    // The size of the screen changed: it is drawn again.
                    Some(Ok(_)) => None,
                    Some(Err(error)) => return Err(error).context("failed to read the terminal"),
                    None => bail!("failed to read the terminal: it was closed"),
                },
                text = or_never(&mut inspection) => {
                    inspection = None;
                    app.inspected(text);
                    None
                }
                () = async { changed.await; tokio::time::sleep_until(drawn + PERIOD).await } => None,
                () = until(rates_fade) => None,
            };
            match action {
                Some(Action::Quit) => return Ok(Exit::Pass),
                Some(Action::Interrupt) => return Ok(Exit::Interrupted),
                Some(Action::Inspect(pod)) => {
                    let verdicts = app.verdicts().to_vec();
                    inspection = Some(Box::pin(self.inspect(pod, verdicts, screen.width())));
                }
                None => {}
            }
        }
    }

    fn take(&self, app: &mut App) {
        let verdicts = self.live.pipeline.verdicts();
        // The rows come from the state; the news is not needed.
        drop(self.live.pipeline.news());
        let now = probe::now();
        self.live.read(|core| {
            app.judged(verdicts, core);
            app.show(
                rows::rows(core, &self.rates.borrow(), app.findings(), now),
                core.records.lost_in_all(),
            );
        });
    }

    /// The current output of `inspect` for a pod.
    async fn inspect(&self, pod: PodId, verdicts: Vec<Verdict>, width: usize) -> Result<String> {
        let hierarchies =
            Hierarchies::discover().map_err(|error| anyhow!("failed to {error:#}"))?;
        let judged = self.live.read(|core| Judged::of(core, verdicts, false));
        let cri = self.args.runtime.cri.clone();
        let snapshot = pods::collect(&hierarchies, cri, Some(&judged.hosts)).await?;
        let node = NodeSnapshot {
            now: probe::now(),
            clock: summary::clock()?,
            snapshot,
            judged: Some(judged),
            told: None,
        };
        let Some(view) = node.snapshot.pods.iter().find(|view| view.id == pod) else {
            return Ok("the pod was removed: none of its containers is left".to_owned());
        };
        let text_style = TextStyle {
            color: false,
            width: Some(width),
            ..self.text_style
        };
        Ok(inspect::text::shown(
            text_style,
            false,
            Some(node.now.saturating_sub(self.began)),
            &node,
            view,
        )?)
    }
}

async fn or_never(inspection: &mut Option<Inspection<'_>>) -> Result<String> {
    match inspection {
        Some(inspection) => inspection.await,
        None => future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => future::pending().await,
    }
}
