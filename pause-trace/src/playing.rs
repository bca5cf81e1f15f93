//! Plays scenarios, a few at a time, and hands each out in its turn.

use std::{cell::Cell, collections::VecDeque};

use futures::{StreamExt as _, stream};

use crate::scenario::{Played, Scenario};

/// Plays scenarios, `at_once` at a time, and calls `report` with each, in the order given. `play_one` gets the number of
/// its scenario, from 1; `started` hears of each that begins.
pub(crate) async fn play<P, F, E>(
    at_once: usize,
    scenarios: &[&'static Scenario<P>],
    play_one: impl Fn(&'static Scenario<P>, u32) -> F,
    started: impl Fn(&'static Scenario<P>),
    mut report: impl FnMut(Played<P>) -> Result<(), E>,
) -> Result<(), E>
where
    F: Future<Output = Played<P>>,
{
    let number = Cell::new(0_u32);
    let mut waiting: VecDeque<&'static Scenario<P>> = scenarios.iter().copied().collect();
    let (play_one, started, number) = (&play_one, &started, &number);
    let playing = std::iter::from_fn(move || waiting.pop_front()).map(|scenario| async move {
        started(scenario);
        number.set(number.get() + 1);
        play_one(scenario, number.get()).await
    });
    let mut played = stream::iter(playing).buffered(at_once);
    while let Some(played) = played.next().await {
        report(played)?;
    }
    Ok(())
}
