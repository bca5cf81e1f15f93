//! The numbers and names of Linux signals on x86-64 and arm64.

/// Declares a constant for each signal, and the table of their names.
macro_rules! signals {
    ($($name:ident = $number:literal: $meaning:literal,)*) => {
        $(
            #[doc = $meaning]
            pub const $name: i32 = $number;
        )*

        /// The name of a signal. The C library keeps signals 32 and 33 for itself, so they have
        /// none.
        pub fn name(signal: i32) -> Option<&'static str> {
            match signal {
                $($name => Some(stringify!($name)),)*
                _ => REAL_TIME.get(usize::try_from(signal.checked_sub(SIGRTMIN)?).ok()?).copied(),
            }
        }
    };
}

/// The first real-time signal of the C library.
pub const SIGRTMIN: i32 = 34;

/// The names of the real-time signals, as in `kill -l`: systemd, for one, takes SIGRTMIN+3 as its
/// stop signal.
const REAL_TIME: [&str; 31] = [
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMAX-14",
    "SIGRTMAX-13",
    "SIGRTMAX-12",
    "SIGRTMAX-11",
    "SIGRTMAX-10",
    "SIGRTMAX-9",
    "SIGRTMAX-8",
    "SIGRTMAX-7",
    "SIGRTMAX-6",
    "SIGRTMAX-5",
    "SIGRTMAX-4",
    "SIGRTMAX-3",
    "SIGRTMAX-2",
    "SIGRTMAX-1",
    "SIGRTMAX",
];

signals! {
    SIGHUP = 1: "Hangup of the terminal.",
    SIGINT = 2: "Interrupt from the keyboard.",
    SIGQUIT = 3: "Quit from the keyboard.",
    SIGILL = 4: "Illegal instruction.",
    SIGTRAP = 5: "Breakpoint.",
    SIGABRT = 6: "The process aborted.",
    SIGBUS = 7: "Access to memory that does not exist.",
    SIGFPE = 8: "Arithmetic error.",
    SIGKILL = 9: "Kill; cannot be caught.",
    SIGUSR1 = 10: "For the program to define.",
    SIGSEGV = 11: "Invalid memory reference.",
    SIGUSR2 = 12: "For the program to define.",
    SIGPIPE = 13: "Write to a pipe without a reader.",
    SIGALRM = 14: "Timer of alarm(2).",
    SIGTERM = 15: "Request to terminate.",
    SIGSTKFLT = 16: "Unused by the kernel.",
    SIGCHLD = 17: "A child stopped or terminated.",
    SIGCONT = 18: "Continue a stopped process.",
    SIGSTOP = 19: "Stop; cannot be caught.",
    SIGTSTP = 20: "Stop from the keyboard.",
    SIGTTIN = 21: "A background process reads from the terminal.",
    SIGTTOU = 22: "A background process writes to the terminal.",
    SIGURG = 23: "Urgent data on a socket.",
    SIGXCPU = 24: "The limit of processor time is exceeded.",
    SIGXFSZ = 25: "The limit of file size is exceeded.",
    SIGVTALRM = 26: "Virtual timer of setitimer(2).",
    SIGPROF = 27: "Profiling timer of setitimer(2).",
    SIGWINCH = 28: "The size of the terminal's window changed.",
    SIGIO = 29: "Input or output is possible.",
    SIGPWR = 30: "The power fails.",
    SIGSYS = 31: "System call that is not allowed.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standard_signal_has_a_name() {
        assert!((1..=31).all(|signal| name(signal).is_some()));
        assert_eq!(
            (name(0), name(32), name(33), name(65)),
            (None, None, None, None)
        );
        assert_eq!((name(i32::MIN), name(i32::MAX)), (None, None));
        assert_eq!(name(SIGTERM), Some("SIGTERM"));
    }

    #[test]
    fn real_time_signals_have_the_names_of_the_shell() {
        for (signal, expected) in [
            (34, "SIGRTMIN"),
            (37, "SIGRTMIN+3"),
            (49, "SIGRTMIN+15"),
            (50, "SIGRTMAX-14"),
            (63, "SIGRTMAX-1"),
            (64, "SIGRTMAX"),
        ] {
            assert_eq!(name(signal), Some(expected), "{signal}");
        }
    }
}
