//! What a stop signal would do to a process, as `/proc` shows it before anyone sends the signal.

use crate::{
    event::{Comm, Ktime, SignalMasks, signal_name},
    signal::{SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH},
};

/// The age up to which a process may install a handler yet: it loads its libraries and reads its
/// configuration before. In ns.
pub const YOUNG: Ktime = 5_000_000_000;

/// What happens to a process that a stop signal is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOutlook {
    /// It takes the signal: with a handler, by reading it, or by its default action.
    Stops,
    /// It ignores the signal, or the default action is to ignore it.
    Ignores,
    /// It blocks the signal, and nothing was seen to read it. It may take the signal: by asking
    /// from time to time which signals are pending (sigpending, sigtimedwait), or with a signalfd
    /// that only a thread with descriptors of its own has.
    Blocks,
    /// It blocks the signal now and has a handler for it: event loops take signals only while they
    /// wait.
    Later,
    /// It is pid 1 of its pid namespace and has no handler: the kernel drops the signal.
    Drops,
    /// It started a short time ago, and may install a handler yet.
    TooYoung,
    /// The signal is unknown or would only suspend the process, or the masks cannot be read.
    Unknown,
}

impl StopOutlook {
    /// What happens to a process that treats signals in this way. `signal` may be 0, which is
    /// unknown. `age`: the time in ns since it has run its program.
    pub fn of(signal: i32, masks: Option<SignalMasks>, is_pid_1: bool, age: Ktime) -> Self {
        let (Some(masks), 1..=64) = (masks, signal) else {
            return Self::Unknown;
        };
        match signal {
            // No process can refuse it.
            SIGKILL => return Self::Stops,
            SIGSTOP => return Self::Unknown,
            _ => {}
        }
        let has = |set: u64| set & bit(signal) != 0;
        let outlook = if has(masks.read) {
            Self::Stops
        } else if has(masks.blocked) && has(masks.caught) {
            Self::Later
        } else if has(masks.blocked) {
            Self::Blocks
        } else if has(masks.caught) {
            Self::Stops
        } else if has(masks.ignored) {
            Self::Ignores
        } else if is_pid_1 {
            Self::Drops
        } else {
            Self::by_default(signal)
        };
        match outlook {
            Self::Stops | Self::Later | Self::Unknown => outlook,
            _ if age < YOUNG => Self::TooYoung,
            other => other,
        }
    }

    /// What the default action of a signal does (signal(7)).
    fn by_default(signal: i32) -> Self {
        match signal {
            SIGCHLD | SIGCONT | SIGURG | SIGWINCH => Self::Ignores,
            SIGTSTP | SIGTTIN | SIGTTOU => Self::Unknown,
            _ => Self::Stops,
        }
    }

    /// Why a process that its stop signal was sent to still runs, as what is said of the process;
    /// `None` if that is not known.
    pub(crate) fn obstacle(self, signal: i32) -> Option<String> {
        match self {
            Self::Blocks => Some(format!(
                "blocks {}, and may take it yet",
                signal_name(signal)
            )),
            _ => self.refusal(signal),
        }
    }

    /// Why a stop will take the whole grace period, as what is said of the process; `None` if it
    /// does not, or if that is not known, as of a process that blocks the signal.
    fn refusal(self, signal: i32) -> Option<String> {
        let signal = signal_name(signal);
        match self {
            Self::Ignores => Some(format!("ignores {signal}")),
            Self::Drops => Some(format!(
                "is pid 1 of its pid namespace and has no handler for {signal}, so the kernel \
                 drops it"
            )),
            Self::Stops | Self::Blocks | Self::Later | Self::TooYoung | Self::Unknown => None,
        }
    }

    /// That a stop of a container takes its whole grace period, and why, as a sentence about its
    /// entrypoint; `None` if it does not, or if that is not known. `container` is escaped.
    pub fn warning(self, container: &str, comm: Comm, pid: u32, signal: i32) -> Option<String> {
        self.delay(
            &format!("a stop of {container} will take"),
            comm,
            pid,
            signal,
        )
    }

    /// The same of a stop that may run already. `stop` is the beginning of the sentence.
    pub(crate) fn delay(self, stop: &str, comm: Comm, pid: u32, signal: i32) -> Option<String> {
        let how = self.refusal(signal)?;
        Some(format!(
            "{stop} the whole grace period: {comm} (pid {pid}) {how}"
        ))
    }

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stops => "stops",
            Self::Ignores => "ignores",
            Self::Blocks => "blocks",
            Self::Later => "later",
            Self::Drops => "drops",
            Self::TooYoung => "too_young",
            Self::Unknown => "unknown",
        }
    }
}

/// A signal from 1 to 64 as a set.
pub(crate) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{SIGQUIT, SIGTERM};

    const S: Ktime = 1_000_000_000;

    fn of(signal: i32, change: impl FnOnce(&mut SignalMasks, u64), is_pid_1: bool) -> StopOutlook {
        let mut masks = SignalMasks::default();
        change(&mut masks, bit(signal));
        StopOutlook::of(signal, Some(masks), is_pid_1, 60 * S)
    }

    #[test]
    fn it_depends_on_the_masks_and_on_pid_1() {
        use StopOutlook::{Blocks, Drops, Ignores, Later, Stops};
        type Change = fn(&mut SignalMasks, u64);
        let none: Change = |_, _| {};
        let caught: Change = |masks, term| masks.caught = term;
        let ignored: Change = |masks, term| masks.ignored = term;
        let blocked: Change = |masks, term| masks.blocked = term;
        let read: Change = |masks, term| (masks.blocked, masks.read) = (term, term);
        let waited_for: Change = |masks, term| masks.read = term;
        let in_loop: Change = |masks, term| (masks.blocked, masks.caught) = (term, term);
        let others: Change = |masks, term| (masks.caught, masks.read) = (!term, !term);
        for (change, as_pid_1, as_another) in [
            (none, Drops, Stops),
            (others, Drops, Stops),
            (caught, Stops, Stops),
            (ignored, Ignores, Ignores),
            (blocked, Blocks, Blocks),
            (read, Stops, Stops),
            (waited_for, Stops, Stops),
            (in_loop, Later, Later),
        ] {
            let outlooks = [true, false].map(|is_pid_1| of(SIGTERM, change, is_pid_1));
            assert_eq!(outlooks, [as_pid_1, as_another]);
        }
    }

    #[test]
    fn a_young_process_may_install_a_handler_yet() {
        let of = |masks, age| StopOutlook::of(SIGTERM, Some(masks), true, age);
        let none = SignalMasks::default();
        assert_eq!(of(none, YOUNG - 1), StopOutlook::TooYoung);
        assert_eq!(of(none, YOUNG), StopOutlook::Drops);
        let caught = SignalMasks {
            caught: bit(SIGTERM),
            ..none
        };
        assert_eq!(of(caught, 0), StopOutlook::Stops);
    }

    #[test]
    fn the_containers_own_signal_counts() {
        let catches_term = |masks: &mut SignalMasks, _| masks.caught = bit(SIGTERM);
        assert_eq!(of(SIGQUIT, catches_term, true), StopOutlook::Drops);
        assert_eq!(of(SIGTERM, catches_term, true), StopOutlook::Stops);
        let none = |_: &mut SignalMasks, _| {};
        assert_eq!(of(SIGKILL, none, true), StopOutlook::Stops);
        // Apache httpd's stop signal.
        for (signal, outlook) in [
            (SIGWINCH, StopOutlook::Ignores),
            (SIGCONT, StopOutlook::Ignores),
            (SIGTSTP, StopOutlook::Unknown),
            (SIGSTOP, StopOutlook::Unknown),
            (37, StopOutlook::Stops),
        ] {
            assert_eq!(of(signal, none, false), outlook, "{signal}");
        }
        let catches = |masks: &mut SignalMasks, own| masks.caught = own;
        assert_eq!(of(SIGWINCH, catches, false), StopOutlook::Stops);
    }

    #[test]
    fn a_blocked_signal_may_be_read_unseen() {
        let blocked = SignalMasks {
            blocked: bit(SIGTERM),
            ..SignalMasks::default()
        };
        let ignored = SignalMasks {
            ignored: bit(SIGTERM),
            ..blocked
        };
        // The kernel also queues a signal that is blocked and ignored (sig_ignored,
        // kernel/signal.c), and one for a pid 1 that has no handler.
        for (masks, is_pid_1) in [(blocked, true), (blocked, false), (ignored, true)] {
            let outlook = StopOutlook::of(SIGTERM, Some(masks), is_pid_1, 60 * S);
            assert_eq!(outlook, StopOutlook::Blocks);
            assert_eq!(outlook.warning("app", Comm::new("app"), 1, SIGTERM), None);
            let obstacle = outlook.obstacle(SIGTERM);
            assert_eq!(
                obstacle.as_deref(),
                Some("blocks SIGTERM, and may take it yet")
            );
        }
        let dropped = StopOutlook::Drops;
        assert!(
            dropped
                .warning("app", Comm::new("app"), 1, SIGTERM)
                .is_some()
        );
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let masks = Some(SignalMasks::default());
        for unknown in [
            StopOutlook::of(0, masks, true, 60 * S),
            StopOutlook::of(SIGTERM, None, true, 60 * S),
            StopOutlook::of(65, masks, true, 60 * S),
            StopOutlook::of(i32::MIN, masks, true, 60 * S),
        ] {
            assert_eq!(unknown, StopOutlook::Unknown);
            assert_eq!(unknown.warning("app", Comm::new("app"), 1, SIGTERM), None);
        }
    }
}
