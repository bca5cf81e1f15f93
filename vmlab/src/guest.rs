//! What a machine says on its second serial port: what programs print there, an object a line, in the frame that the `guest`
//! crate puts around it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Everything that one machine said.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    running: Option<Ran>,
    ended: usize,
    closed: bool,
}

/// A program that ran in the machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    /// As the plan called it.
    pub(crate) name: String,
    /// Its exit code, or 128 and the signal.
    pub(crate) code: i64,
    /// What it printed.
    pub(crate) objects: Vec<Value>,
}

impl Ran {
    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let objects = self.objects.iter();
        objects.filter(|object| object["type"] == kind).collect()
    }
}

impl Transcript {
    /// Takes a line; gives the program that ended with it.
    pub(crate) fn hear(&mut self, line: &str) -> Result<Option<Ran>> {
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("failed to read a result: `{line}`"))?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        if self.closed {
            bail!("the machine went on after its last line: `{line}`");
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
            (_, None) => bail!("a result comes out of turn: `{line}`"),
        }
        Ok(None)
    }

    /// That the machine has said its last line.
    pub(crate) fn finish(self) -> Result<()> {
        if !self.closed {
            let count = self.ended;
            bail!("the machine stopped before its last line, after {count} programs had ended");
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

    fn heard(lines: &[&str]) -> Result<Vec<Ran>> {
        let mut transcript = Transcript::default();
        let mut ran = Vec::new();
        for line in lines {
            ran.extend(transcript.hear(line)?);
        }
        transcript.finish().map(|()| ran)
    }

    #[test]
    fn a_program_is_what_came_between_its_lines() {
        let ran = heard(&[STARTED, HELLO, ENDED, CLOSED]).expect("it is whole");
        assert_eq!((&*ran[0].name, ran[0].code), ("0", 0));
        assert_eq!(ran[0].of_type("hello").len(), 1);
    }

    #[test]
    fn a_machine_that_stops_early_fails() {
        for lines in [&[][..], &[STARTED, HELLO], &[STARTED, HELLO, ENDED]] {
            assert!(heard(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn there_is_one_last_line() {
        assert!(heard(&[STARTED, ENDED, CLOSED, CLOSED]).is_err());
        let of_two = r#"{"type":"closed","checks":2}"#;
        assert!(heard(&[STARTED, ENDED, of_two]).is_err());
    }

    #[test]
    fn a_line_out_of_turn_fails() {
        assert!(heard(&[HELLO]).is_err());
        assert!(heard(&[STARTED, ENDED, ENDED, CLOSED]).is_err());
        assert!(heard(&[STARTED, "Oops", ENDED, CLOSED]).is_err());
    }
}
