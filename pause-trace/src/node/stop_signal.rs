//! The names of stop signals, as images, annotations and engines write them.

use std::str::FromStr as _;

use nix::sys::signal::Signal;

/// The first and the last real-time signal that a program may use, as in the C library.
const REAL_TIME: (i32, i32) = (34, 64);

/// Parses a signal: `SIGQUIT`, `quit`, `3`, `RTMIN+3`.
pub(crate) fn parse(name: &str) -> Option<i32> {
    let (first, last) = REAL_TIME;
    if let Ok(number) = name.parse::<i32>() {
        return (1..=last).contains(&number).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let from_end = |above: &str, sign: char| match above {
        "" => Some(0),
        _ => above.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    if let Some(above) = name.strip_prefix("RTMIN") {
        let signal = first + from_end(above, '+')?;
        return (signal <= last).then_some(signal);
    }
    if let Some(below) = name.strip_prefix("RTMAX") {
        let signal = last - from_end(below, '-')?;
        return (signal >= first).then_some(signal);
    }
    let known = Signal::from_str(&format!("SIG{name}"));
    known.ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_parsed() {
        for (name, signal) in [
            ("SIGTERM", Some(15)),
            ("QUIT", Some(3)),
            ("sigint", Some(2)),
            ("9", Some(9)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-2", Some(62)),
            ("SIGRTMIN+31", None),
            ("SIGRTMIN+2147483647", None),
            ("SIGRTMIN-1", None),
            ("SIGRTMIN3", None),
            ("RTMAX-31", None),
            ("SIGRTMAX--5", None),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("SIGSIGTERM", None),
            ("SIGNONE", None),
            ("RTMINé", None),
        ] {
            assert_eq!(parse(name), signal, "{name}");
        }
    }
}
