//! Whether events are judged as they should be, and until when they are.

use super::Live;
use crate::{event::Ktime, probe, verdict::Duration};

/// How long something that has to be done may wait, in ns. A round waits for two seconds at most
/// until a container is declared.
const LIMIT: Ktime = 10_000_000_000;

impl Live {
    /// Fails if there has been something to do for a while and it was not done. At rest nothing
    /// has to be done, however long that lasts.
    pub(crate) fn progress(&self) -> Result<(), String> {
        let waiting = self.has_waiting();
        let due = self.pipeline.next_deadline();
        match stalled(probe::now(), self.judged.get(), due, waiting) {
            Some(since) => Err(format!("no event was judged for {}", Duration(since))),
            None => Ok(()),
        }
    }

    /// The time until which all events have been judged.
    pub(crate) fn known_until(&self) -> Ktime {
        let now = probe::now();
        match self.has_waiting() {
            true => self.judged.get(),
            false => now,
        }
    }

    /// How many runs of each program the kernel has skipped.
    pub(crate) fn missed(&self) -> Vec<(String, u64)> {
        self.kernel.borrow().rings.missed()
    }

    /// Whether records were not judged yet.
    fn has_waiting(&self) -> bool {
        let kernel = self.kernel.borrow();
        kernel.is_behind() || kernel.rings.has_held() || kernel.rings.has_records()
    }
}

/// For how long nothing was judged although records waited, or a deadline had passed. `judged`: the
/// time of the last round.
fn stalled(now: Ktime, judged: Ktime, due: Option<Ktime>, waiting: bool) -> Option<Ktime> {
    let idle = now.saturating_sub(judged);
    let late = due.map_or(0, |due| now.saturating_sub(due));
    let is_stalled = idle > LIMIT && (waiting || late > LIMIT);
    is_stalled.then_some(idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_to_be_done_can_be_late() {
        const NOW: Ktime = 1_000_000_000_000;
        let old = NOW - LIMIT - 1;
        for (judged, due, waiting, stalls) in [
            // At rest, also with a deadline that has not passed, or just has.
            (0, None, false, false),
            (0, Some(NOW + 5), false, false),
            (0, Some(NOW - 5), false, false),
            (0, Some(old), false, true),
            (old, None, true, true),
            (NOW - 5, None, true, false),
            (NOW - 5, Some(old), true, false),
        ] {
            let stalled = stalled(NOW, judged, due, waiting);
            assert_eq!(stalled.is_some(), stalls, "{judged} {due:?} {waiting}");
        }
    }
}
