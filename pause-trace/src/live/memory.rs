//! Gives memory back to the kernel once a storm of events is over. The allocator would keep it: its
//! threshold is a multiple of what parsing BTF needed.

use crate::{event::Ktime, sys};

/// So many events are a storm, however long they take.
const STORM: usize = 10_000;

/// A round with more events belongs to the storm. The buffer of events keeps room for so many.
const FEW: usize = 1_024;

/// How long after the last such round memory is given back, in ns. By then the deadlines of the
/// processes of the storm have passed, so the state has forgotten them.
const QUIET: Ktime = 10_000_000_000;

/// When memory is given back.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Events since memory was given back.
    events: usize,
    due: Option<Ktime>,
}

impl Memory {
    /// When [`Memory::settle`] has to be called, whether there are events or not.
    pub(super) fn due(&self) -> Option<Ktime> {
        self.due
    }

    /// Takes in that a round has ended, whose events are in `round`. Its last event, at `now`, says
    /// only that time has passed.
    pub(super) fn settle<T>(&mut self, now: Ktime, round: &mut Vec<T>) {
        self.events = self.events.saturating_add(round.len());
        if self.events < STORM {
            return;
        }
        match self.due {
            Some(due) if round.len() <= FEW => {
                if now >= due {
                    *self = Self::default();
                    round.clear();
                    round.shrink_to(FEW);
                    sys::give_memory_back();
                }
            }
            _ => self.due = Some(now.saturating_add(QUIET)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(memory: &mut Memory, now: Ktime, events: usize) -> usize {
        let mut round = vec![0_u64; events];
        memory.settle(now, &mut round);
        round.len()
    }

    #[test]
    fn memory_is_given_back_once_a_storm_is_over() {
        let mut memory = Memory::default();
        settle(&mut memory, 0, STORM - 1);
        assert_eq!(memory.due(), None, "no storm yet");
        settle(&mut memory, 1, 1);
        assert_eq!(memory.due(), Some(1 + QUIET));
        settle(&mut memory, 5, FEW + 1);
        assert_eq!(memory.due(), Some(5 + QUIET), "the storm goes on");
        assert_eq!(settle(&mut memory, 6, 1), 1);
        assert_eq!(memory.due(), Some(5 + QUIET), "a small round is no storm");
        assert_eq!(settle(&mut memory, 5 + QUIET, 1), 0);
        assert_eq!((memory.due(), memory.events), (None, 0));
    }

    #[test]
    fn the_buffer_of_a_storm_becomes_small() {
        let mut memory = Memory::default();
        let mut round = vec![0_u8; 50 * STORM];
        memory.settle(0, &mut round);
        round.truncate(1);
        memory.settle(QUIET, &mut round);
        assert!(round.capacity() <= FEW, "{}", round.capacity());
    }
}
