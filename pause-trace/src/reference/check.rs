//! Plays scenarios, a few at a time, and hands each out in its turn.

use std::{cell::Cell, collections::VecDeque};

use futures::{StreamExt as _, stream};

use super::{
    scenario::{Judgement, Scenario},
    stage::{Play, Stage},
};
use crate::{probe, verdict::Verdict};

/// Scenarios that are played at once: they mostly wait.
const AT_ONCE: usize = 6;

/// A scenario that was played.
pub(crate) struct Played {
    pub(crate) scenario: &'static Scenario,
    pub(crate) judgement: Judgement,
    /// The verdicts on its pods, oldest first.
    pub(crate) verdicts: Vec<Verdict>,
    /// In ns.
    pub(crate) duration: u64,
}

/// Plays scenarios and calls `report` with each, in the order given. `started` hears of each that begins.
pub(crate) async fn play<E>(
    stage: &Stage,
    scenarios: &[&'static Scenario],
    selected: impl Fn(&str) -> bool + Copy,
    started: impl Fn(&'static Scenario),
    mut report: impl FnMut(Played) -> Result<(), E>,
) -> Result<(), E> {
    let number = Cell::new(0_u32);
    let mut waiting: VecDeque<&'static Scenario> = scenarios.iter().copied().collect();
    let started = &started;
    let number = &number;
    let playing = std::iter::from_fn(move || waiting.pop_front()).map(|scenario| async move {
        started(scenario);
        number.set(number.get() + 1);
        play_one(stage, scenario, number.get(), selected).await
    });
    let mut played = stream::iter(playing).buffered(AT_ONCE);
    while let Some(played) = played.next().await {
        report(played)?;
    }
    Ok(())
}

async fn play_one(
    stage: &Stage,
    scenario: &'static Scenario,
    number: u32,
    selected: impl Fn(&str) -> bool,
) -> Played {
    let began = probe::now();
    let play = Play::new(
        stage,
        std::process::id().wrapping_mul(64).wrapping_add(number),
    );
    let result = (scenario.play)(&play).await;
    let verdicts = stage.verdicts_of(&play.pods());
    let judgement = scenario.judge(&result, &verdicts, &play, selected);
    Played {
        scenario,
        judgement,
        verdicts,
        duration: probe::now().saturating_sub(began),
    }
}
