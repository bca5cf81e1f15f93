//! Folds losses, so that a reader that is behind for minutes does not report one each second.

use std::collections::BTreeMap;

use super::LossFilter;
use crate::{
    event::{Event, Fact, Kind, Ktime},
    observer::Observer,
    report::Loss,
    state::State,
};

const NS_PER_SECOND: Ktime = 1_000_000_000;

/// The time from a report of losses to the next one of the same kind, if more follow so soon. While
/// they do, it doubles.
const PERIOD: Ktime = 10 * NS_PER_SECOND;
const LONGEST_PERIOD: Ktime = 320 * NS_PER_SECOND;

/// Under pressure the kernel reports thousands of losses. The first of a kind is reported as soon
/// as its second is over, and then sums.
#[derive(Debug, Default)]
pub(super) struct LossFeed {
    by_kind: BTreeMap<Kind, Folded>,
    /// The time of the last event.
    now: Ktime,
}

/// The losses of one kind.
#[derive(Debug)]
struct Folded {
    /// Those that have not been fetched.
    pending: Option<Loss>,
    /// When they are complete; those that were fetched last were complete then.
    due: Ktime,
    /// The time until the next are complete.
    period: Ktime,
}

impl Folded {
    fn first(time: Ktime) -> Self {
        Self {
            pending: None,
            due: end_of_second(time),
            period: PERIOD,
        }
    }

    /// Decides when losses are complete that begin now.
    fn begin(&mut self, time: Ktime) {
        let next = self.due.saturating_add(self.period);
        if time < next {
            self.due = next;
            self.period = (2 * self.period).min(LONGEST_PERIOD);
        } else {
            *self = Self::first(time);
        }
    }
}

fn end_of_second(time: Ktime) -> Ktime {
    let second = time / NS_PER_SECOND;
    second.saturating_add(1).saturating_mul(NS_PER_SECOND)
}

impl Observer for LossFeed {
    fn event(&mut self, event: &Event, _: &State) {
        self.now = self.now.max(event.time);
        let Fact::Lost { kind, count } = event.fact else {
            return;
        };
        let time = event.time;
        let mut is_first = false;
        let folded = self.by_kind.entry(kind).or_insert_with(|| {
            is_first = true;
            Folded::first(time)
        });
        if folded.pending.is_none() && !is_first {
            folded.begin(time);
        }
        let loss = folded.pending.get_or_insert(Loss {
            time,
            kind,
            count: 0,
        });
        loss.time = loss.time.max(time);
        loss.count = loss.count.saturating_add(count);
    }
}

impl LossFeed {
    pub(super) fn take(&mut self, which: LossFilter) -> Vec<Loss> {
        let now = self.now;
        let is_taken = |folded: &&mut Folded| match which {
            LossFilter::Complete => folded.due <= now,
            LossFilter::All => true,
        };
        let taken = self.by_kind.values_mut().filter(is_taken);
        let mut taken: Vec<_> = taken.filter_map(|folded| folded.pending.take()).collect();
        taken.sort_by_key(|loss| (loss.time, loss.kind));
        taken
    }

    /// When the next losses are complete. Those that are complete wait for nothing but to be
    /// fetched, which not every command does.
    pub(super) fn due(&self) -> Option<Ktime> {
        let pending = self
            .by_kind
            .values()
            .filter(|folded| folded.pending.is_some());
        let due = pending.map(|folded| folded.due);
        due.filter(|due| *due > self.now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pipeline::Pipeline, state::Limits};

    const MS: Ktime = 1_000_000;

    fn pipeline() -> Pipeline {
        Pipeline::new(Limits::NODE, |_| false)
    }

    fn lose(pipeline: &Pipeline, ms: Ktime, kind: Kind) {
        let (time, fact) = (ms * MS, Fact::Lost { kind, count: 2 });
        pipeline.process_event(&Event { time, fact });
    }

    fn wait(pipeline: &Pipeline, ms: Ktime) {
        let (time, fact) = (ms * MS, Fact::Tick);
        pipeline.process_event(&Event { time, fact });
    }

    /// Time in ms, kind and count.
    fn take(pipeline: &Pipeline, which: LossFilter) -> Vec<(Ktime, Kind, u64)> {
        let losses = pipeline.losses(which).into_iter();
        losses
            .map(|loss| (loss.time / MS, loss.kind, loss.count))
            .collect()
    }

    #[test]
    fn the_first_losses_of_a_kind_are_reported_when_their_second_is_over() {
        let pipeline = pipeline();
        for ms in [1_100, 1_200, 1_900] {
            lose(&pipeline, ms, Kind::Exec);
        }
        assert_eq!(pipeline.next_deadline(), Some(2_000 * MS));
        assert_eq!(take(&pipeline, LossFilter::Complete), []);
        wait(&pipeline, 2_000);
        let first = [(1_900, Kind::Exec, 6)];
        assert_eq!(take(&pipeline, LossFilter::Complete), first);
        assert_eq!(take(&pipeline, LossFilter::Complete), []);
        assert_eq!(pipeline.next_deadline(), None);
        lose(&pipeline, 2_100, Kind::Fork);
        lose(&pipeline, 2_200, Kind::Exec);
        wait(&pipeline, 3_000);
        let other = [(2_100, Kind::Fork, 2)];
        assert_eq!(take(&pipeline, LossFilter::Complete), other);
        let rest = [(2_200, Kind::Exec, 2)];
        assert_eq!(take(&pipeline, LossFilter::All), rest);
    }

    #[test]
    fn losses_for_minutes_are_few_sums() {
        let pipeline = pipeline();
        let mut taken = Vec::new();
        let mut lost = 0;
        for ms in (1_000..600_000).step_by(100) {
            lose(&pipeline, ms, Kind::Exec);
            lost += 2;
            for (_, _, count) in take(&pipeline, LossFilter::Complete) {
                taken.push((ms / 1_000, count));
            }
        }
        let seconds: Vec<_> = taken.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [2, 12, 32, 72, 152, 312]);
        let rest = take(&pipeline, LossFilter::All);
        taken.extend(rest.iter().map(|(_, _, count)| (0, *count)));
        assert_eq!(taken.iter().map(|(_, count)| count).sum::<u64>(), lost);
        // After a quiet time the next one is a first one again.
        lose(&pipeline, 1_300_500, Kind::Exec);
        assert_eq!(pipeline.next_deadline(), Some(1_301_000 * MS));
    }

    #[test]
    fn losses_that_nobody_fetches_are_one_for_each_kind() {
        let pipeline = pipeline();
        for second in 0..10_000 {
            lose(&pipeline, second * 1_000, Kind::Exec);
        }
        assert_eq!(pipeline.next_deadline(), None);
        let all = [(9_999_000, Kind::Exec, 20_000)];
        assert_eq!(take(&pipeline, LossFilter::All), all);
    }
}
