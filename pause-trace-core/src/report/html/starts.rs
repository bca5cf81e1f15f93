//! How the pods of the page started: their timelines, taken from the journal before it forgets what
//! they consist of.

use foldhash::HashMap;

use super::model::Pod;
use crate::{
    event::{Ktime, PodId},
    timeline::{Index, Journal, Start, Timeline},
};

/// Most bars of all pods. The pods that started first have them.
const MAX_BARS: usize = 60_000;
/// The journal keeps more removed pods than these. Their timelines are made together, because each
/// of them needs an index of the whole journal.
const MAX_REMOVED: usize = 128;

/// The timelines so far.
#[derive(Default)]
pub(super) struct Starts {
    timelines: HashMap<PodId, Timeline>,
    /// Removed pods whose timelines are not taken yet.
    removed: Vec<PodId>,
    /// The last time that the journal was full; see [`Journal::is_full`].
    saved: Option<Option<Ktime>>,
}

impl Starts {
    /// Notes that the journal will forget a pod.
    pub(super) fn removed(&mut self, pod: &PodId) {
        self.removed.push(pod.clone());
    }

    /// Takes what the journal may forget with the next event.
    pub(super) fn save(&mut self, journal: &Journal, pods: &HashMap<PodId, usize>) {
        if self.removed.len() >= MAX_REMOVED {
            let removed = std::mem::take(&mut self.removed);
            self.take(&Index::of(journal), removed.iter());
        }
        if let Some(last) = journal.is_full()
            && self.saved != Some(last)
        {
            self.saved = Some(last);
            self.take_all(journal, pods);
        }
    }

    /// Takes the rest. The next part of the run has a journal of its own.
    pub(super) fn end_part(&mut self, journal: &Journal, pods: &HashMap<PodId, usize>) {
        self.removed.clear();
        self.saved = None;
        self.take_all(journal, pods);
    }

    fn take_all(&mut self, journal: &Journal, pods: &HashMap<PodId, usize>) {
        let known = journal.pods().map(|(pod, ..)| pod);
        self.take(
            &Index::of(journal),
            known.filter(|pod| pods.contains_key(*pod)),
        );
    }

    fn take<'a>(&mut self, index: &Index<'_>, pods: impl Iterator<Item = &'a PodId>) {
        for pod in pods {
            let before = self.timelines.get(pod);
            if before.is_some_and(is_final) {
                continue;
            }
            if let Some(timeline) = index.timeline(pod)
                && before.is_none_or(|before| is_better(&timeline, before))
            {
                self.timelines.insert(pod.clone(), timeline);
            }
        }
    }

    /// Gives each pod its start.
    pub(super) fn add_to(
        &self,
        pods: &mut [Pod],
        by_id: &HashMap<PodId, usize>,
        since: impl Fn(Ktime) -> i64,
    ) {
        let mut room = MAX_BARS;
        let mut places: Vec<_> = self
            .timelines
            .keys()
            .filter_map(|pod| by_id.get_key_value(pod))
            .collect();
        places.sort_unstable_by_key(|(_, place)| **place);
        for (id, place) in places {
            if let Some(pod) = pods.get_mut(*place) {
                pod.start = Start::of(&self.timelines[id], room, &since);
                room -= pod.start.as_ref().map_or(0, |start| start.bars.len());
            }
        }
    }
}

/// Whether a later timeline of the pod shows nothing more of its start.
fn is_final(timeline: &Timeline) -> bool {
    timeline.up.is_some() && timeline.first_listen.is_some() && !timeline.is_cut
}

/// Whether a later timeline shows more than the one before, of which the journal may have forgotten
/// a part by now.
fn is_better(later: &Timeline, before: &Timeline) -> bool {
    let key = |timeline: &Timeline| {
        (
            timeline.began.is_some(),
            timeline.up.is_some(),
            !timeline.is_cut,
            timeline.elements.len(),
        )
    };
    key(later) > key(before)
}
