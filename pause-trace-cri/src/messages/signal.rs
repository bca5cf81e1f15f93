//! Signal numbers of CRI, which numbers signals in the alphabetical order of their names.

/// The Linux numbers (x86_64 and aarch64) of CRI's signals 1 to 34 (`SIGABRT` to `SIGXFSZ`). The
/// real-time signals follow in the order of Linux; 35 is `SIGRTMIN` (34).
const NUMBERS: [i32; 34] = [
    6, 14, 7, 17, 17, 18, 8, 1, 4, 2, 29, 6, 9, 13, 29, 27, 30, 3, 11, 16, 19, 31, 15, 5, 20, 21,
    22, 23, 10, 12, 26, 28, 24, 25,
];

/// CRI's number of the last signal.
const LAST: i32 = 65;

/// The Linux number of a CRI signal. `None` for 0, which means the default of the image or runtime,
/// and for an unknown signal.
pub fn signal_from_cri(signal: i32) -> Option<i32> {
    match signal {
        1..=34 => NUMBERS.get(signal as usize - 1).copied(),
        35..=LAST => Some(signal - 1),
        _ => None,
    }
}

/// The CRI number of a Linux signal.
pub fn signal_to_cri(signal: i32) -> Option<i32> {
    (1..=LAST).find(|cri| signal_from_cri(*cri) == Some(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_converted_to_linux_and_back() {
        // The names are those of `enum Signal` in api.proto.
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
            (38, 37), // SIGRTMINPLUS3, the stop signal of systemd in a container
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
    fn every_linux_signal_has_a_cri_number() {
        let unknown: Vec<i32> = (1..=64)
            .filter(|signal| signal_to_cri(*signal).is_none())
            .collect();
        // The C library reserves these two.
        assert_eq!(unknown, [32, 33]);
    }
}
