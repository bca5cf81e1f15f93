//! CRI numbers signals in its own way: by their names, in alphabetical order.

/// What CRI's 1 to 34 (`SIGABRT` to `SIGXFSZ`) are to Linux, on x86_64 and aarch64. Its real-time signals follow in
/// Linux' order, 35 being `SIGRTMIN` (34).
const NUMBERS: [i32; 34] = [
    6, 14, 7, 17, 17, 18, 8, 1, 4, 2, 29, 6, 9, 13, 29, 27, 30, 3, 11, 16, 19, 31, 15, 5, 20, 21,
    22, 23, 10, 12, 26, 28, 24, 25,
];

/// The last signal of both.
const LAST: i32 = 65;

/// Linux' number of CRI's signal; `None` for 0, which is "whatever the image or the runtime says", and for one that we
/// do not know.
pub fn signal_from_cri(signal: i32) -> Option<i32> {
    match signal {
        1..=34 => NUMBERS.get(signal as usize - 1).copied(),
        35..=LAST => Some(signal - 1),
        _ => None,
    }
}

/// CRI's number of Linux' signal.
pub fn signal_to_cri(signal: i32) -> Option<i32> {
    (1..=LAST).find(|cri| signal_from_cri(*cri) == Some(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_those_of_linux() {
        // As `enum Signal` in api.proto names them.
        let expected = [
            (1, 6),   // SIGABRT
            (8, 1),   // SIGHUP
            (10, 2),  // SIGINT
            (13, 9),  // SIGKILL
            (18, 3),  // SIGQUIT
            (23, 15), // SIGTERM
            (29, 10), // SIGUSR1
            (32, 28), // SIGWINCH
            (34, 25), // SIGXFSZ
            (35, 34), // SIGRTMIN
            (38, 37), // SIGRTMINPLUS3, which asks systemd in a container to stop
            (51, 50), // SIGRTMAXMINUS14
            (65, 64), // SIGRTMAX
        ];
        for (cri, linux) in expected {
            assert_eq!(signal_from_cri(cri), Some(linux), "{cri}");
            assert_eq!(signal_to_cri(linux), Some(cri), "{linux}");
        }
        for unknown in [i32::MIN, -1, 0, 66, i32::MAX] {
            assert_eq!(signal_from_cri(unknown), None);
        }
    }

    #[test]
    fn every_signal_of_linux_can_be_asked_for() {
        let unknown: Vec<i32> = (1..=64)
            .filter(|signal| signal_to_cri(*signal).is_none())
            .collect();
        // Two that are the C library's own.
        assert_eq!(unknown, [32, 33]);
    }
}
