//! Parses what a machine prints on its second serial port: the output of its programs, one JSON
//! object per line, between the lines that the `guest` crate adds.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask_support::text::count;

/// The state of parsing the results of one machine.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    running: Option<Ran>,
    ended: usize,
    closed: bool,
}

/// A program that ran in the machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Its name in the plan.
    pub(crate) name: String,
    /// Its exit code, or 128 plus the signal.
    pub(crate) code: i64,
    /// The objects that it printed.
    pub(crate) objects: Vec<Value>,
}

impl Ran {
    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let objects = self.objects.iter();
        objects.filter(|object| object["type"] == kind).collect()
    }
}

impl Transcript {
    /// Reads a line. Returns the program that ended with it, if any.
    pub(crate) fn read(&mut self, line: &str) -> Result<Option<Ran>> {
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("failed to parse a result: `{line}`"))?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        if self.closed {
            bail!("the machine printed a line after its last line: `{line}`");
        }
        match (&*text("type"), self.running.take()) {
            ("started", None) => {
                self.running = Some(Ran {
                    name: text("check"),
                    ..Ran::default()
                });
            }
            ("closed", None) if value["checks"] == self.ended => self.closed = true,
            ("ended", Some(mut ran)) => {
                ran.code = value["code"].as_i64().unwrap_or(-1);
                self.ended += 1;
                return Ok(Some(ran));
            }
            (_, Some(mut ran)) => {
                ran.objects.push(value);
                self.running = Some(ran);
            }
            (_, None) => {
                bail!("the machine printed a result while no program was running: `{line}`")
            }
        }
        Ok(None)
    }

    /// Checks that the machine printed its last line.
    pub(crate) fn finish(self) -> Result<()> {
        if !self.closed {
            let programs = count(self.ended, "program", "programs");
            bail!("the machine stopped before its last line, after {programs}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = r#"{"type":"started","check":"0"}"#;
    const HELLO: &str = r#"{"schema":2,"type":"hello","kernel":"6.1.0"}"#;
    const ENDED: &str = r#"{"type":"ended","check":"0","code":0}"#;
    const CLOSED: &str = r#"{"type":"closed","checks":1}"#;

    fn parse(lines: &[&str]) -> Result<Vec<Ran>> {
        let mut transcript = Transcript::default();
        let mut ran = Vec::new();
        for line in lines {
            ran.extend(transcript.read(line)?);
        }
        transcript.finish().map(|()| ran)
    }

    #[test]
    fn the_objects_between_two_lines_are_of_one_program() {
        let ran = parse(&[STARTED, HELLO, ENDED, CLOSED]).expect("the transcript is complete");
        assert_eq!((&*ran[0].name, ran[0].code), ("0", 0));
        assert_eq!(ran[0].of_type("hello").len(), 1);
    }

    #[test]
    fn a_machine_that_stops_early_fails() {
        for lines in [&[][..], &[STARTED, HELLO], &[STARTED, HELLO, ENDED]] {
            assert!(parse(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn a_second_last_line_or_a_wrong_count_fails() {
        assert!(parse(&[STARTED, ENDED, CLOSED, CLOSED]).is_err());
        let of_two = r#"{"type":"closed","checks":2}"#;
        assert!(parse(&[STARTED, ENDED, of_two]).is_err());
    }

    #[test]
    fn a_line_out_of_order_fails() {
        assert!(parse(&[HELLO]).is_err());
        assert!(parse(&[STARTED, ENDED, ENDED, CLOSED]).is_err());
        assert!(parse(&[STARTED, "Oops", ENDED, CLOSED]).is_err());
    }
}
