//! What a machine says on its second serial port: what `pause-trace check --format json` prints, in the frame that the `guest`
//! crate puts around it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Everything that one machine said.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    checks: Vec<Check>,
    closed: bool,
}

/// One check, as far as it has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// How setns and unshare were seen.
    pub(crate) way: String,
    pub(crate) scenarios: Counts,
    pub(crate) verdicts: Counts,
    pub(crate) lost: u64,
    pub(crate) duration_ns: u64,
    /// What did not pass, a line each.
    pub(crate) troubles: Vec<String>,
    /// How the program ended; none while it runs.
    code: Option<i64>,
    summaries: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pass: u64,
    pub(crate) fail: u64,
    pub(crate) inconclusive: u64,
}

impl Counts {
    pub(crate) fn all(self) -> u64 {
        self.pass + self.fail + self.inconclusive
    }

    fn of(value: &Value) -> Self {
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        Self {
            pass: number("pass"),
            fail: number("fail"),
            inconclusive: number("inconclusive"),
        }
    }
}

impl Check {
    /// Did everything pass, and was there something?
    pub(crate) fn passed(&self) -> bool {
        self.code == Some(0)
            && self.summaries == 1
            && self.troubles.is_empty()
            && self.lost == 0
            && self.scenarios.all() > 0
            && self.scenarios.pass == self.scenarios.all()
    }
}

impl Transcript {
    /// Takes a line; gives the check that it ended.
    pub(crate) fn hear(&mut self, line: &str) -> Result<Option<&Check>> {
        let value: Value = serde_json::from_str(line)
            .with_context(|| format!("failed to read a result: `{line}`"))?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        if self.closed {
            bail!("the machine went on after its last line: `{line}`");
        }
        let kind = text("type");
        let count = self.checks.len();
        let is_running = self.checks.last().is_some_and(|check| check.code.is_none());
        let current = self.checks.last_mut().filter(|_| is_running);
        match (kind.as_str(), current) {
            ("started", None) => self.checks.push(Check {
                name: text("check"),
                ..Check::default()
            }),
            ("closed", None) if value["checks"] == count => self.closed = true,
            ("ended", Some(check)) => {
                check.end(value["code"].as_i64().unwrap_or(-1));
                return Ok(self.checks.last());
            }
            (_, Some(check)) => check.hear(&kind, &value),
            (_, None) => bail!("a result comes out of turn: `{line}`"),
        }
        Ok(None)
    }

    /// The checks, of a machine that said that these are all.
    pub(crate) fn finish(self) -> Result<Vec<Check>> {
        if !self.closed {
            let last = self.checks.last().map_or("any", |check| &check.name);
            bail!("the machine stopped before its last line, in or after the check {last}");
        }
        Ok(self.checks)
    }
}

impl Check {
    fn end(&mut self, code: i64) {
        self.code = Some(code);
        if self.summaries != 1 {
            let text = format!("ended with code {code} and {} summaries", self.summaries);
            self.troubles.push(text);
        } else if code != 0 && self.troubles.is_empty() {
            self.troubles.push(format!("ended with code {code}"));
        }
    }

    fn hear(&mut self, kind: &str, value: &Value) {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        match kind {
            "hello" => {
                self.kernel = text("kernel").to_owned();
                let hooks = value["hooks"].as_array().map_or(&[][..], Vec::as_slice);
                for hook in hooks {
                    let (hook, how) = (&hook["hook"], hook["how"].as_str().unwrap_or_default());
                    if hook == "setns, unshare" {
                        self.way = how.to_owned();
                    }
                }
            }
            "scenario" if text("verdict") != "pass" => {
                let (name, verdict, reason) = (text("name"), text("verdict"), text("reason"));
                self.troubles.push(format!("{name}: {verdict}: {reason}"));
            }
            "finding" => {
                let (rule, message) = (text("rule"), text("message"));
                self.troubles.push(format!("{rule}: {message}"));
            }
            "loss" => {
                let (kind, lost) = (text("kind"), value["lost"].as_u64().unwrap_or_default());
                self.lost += lost;
                self.troubles
                    .push(format!("{lost} records of {kind} were lost"));
            }
            "summary" => {
                self.summaries += 1;
                self.scenarios = Counts::of(&value["scenarios"]);
                self.verdicts = Counts::of(&value["verdicts"]);
                self.duration_ns = value["duration_ns"].as_u64().unwrap_or_default();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = r#"{"type":"started","check":"kprobe"}"#;
    const HELLO: &str = r#"{"schema":1,"type":"hello","kernel":"6.1.0","hooks":[{"hook":"sched_process_fork","how":"tp_btf"},{"hook":"setns, unshare","how":"kprobe"}]}"#;
    const SUMMARY: &str = r#"{"schema":1,"type":"summary","scenarios":{"pass":2,"fail":0,"inconclusive":0},"verdicts":{"pass":80,"fail":0,"inconclusive":0},"duration_ns":5}"#;
    const ENDED: &str = r#"{"type":"ended","check":"kprobe","code":0}"#;
    const CLOSED: &str = r#"{"type":"closed","checks":1}"#;

    fn heard(lines: &[&str]) -> Result<Vec<Check>> {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.hear(line)?;
        }
        transcript.finish()
    }

    fn one(lines: &[&str]) -> Check {
        let mut checks = heard(lines).expect("the transcript is whole");
        assert_eq!(checks.len(), 1);
        checks.remove(0)
    }

    #[test]
    fn a_check_is_what_its_lines_say() {
        let check = one(&[STARTED, HELLO, SUMMARY, ENDED, CLOSED]);
        assert!(check.passed(), "{check:?}");
        assert_eq!((&*check.kernel, &*check.way), ("6.1.0", "kprobe"));
        assert_eq!((check.scenarios.pass, check.verdicts.pass), (2, 80));
    }

    #[test]
    fn a_machine_that_stops_early_fails() {
        for lines in [&[][..], &[STARTED, HELLO], &[STARTED, SUMMARY, ENDED]] {
            assert!(heard(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn there_is_one_last_line() {
        assert!(heard(&[STARTED, SUMMARY, ENDED, CLOSED, CLOSED]).is_err());
        let of_two = r#"{"type":"closed","checks":2}"#;
        assert!(heard(&[STARTED, SUMMARY, ENDED, of_two]).is_err());
    }

    #[test]
    fn a_check_without_a_summary_has_not_passed() {
        assert!(!one(&[STARTED, HELLO, ENDED, CLOSED]).passed());
    }

    #[test]
    fn what_did_not_pass_is_named() {
        let finding = r#"{"type":"finding","rule":"PT101","message":"another net"}"#;
        let scenario =
            r#"{"type":"scenario","name":"localhost","verdict":"fail","reason":"ECONNREFUSED"}"#;
        let loss = r#"{"type":"loss","kind":"exec","lost":3}"#;
        let check = one(&[STARTED, finding, scenario, loss, SUMMARY, ENDED, CLOSED]);
        assert!(!check.passed());
        let expected = [
            "PT101: another net",
            "localhost: fail: ECONNREFUSED",
            "3 records of exec were lost",
        ];
        assert_eq!(check.troubles, expected);
    }

    #[test]
    fn an_exit_code_outweighs_what_was_said() {
        let ended = r#"{"type":"ended","check":"kprobe","code":139}"#;
        assert!(!one(&[STARTED, SUMMARY, ended, CLOSED]).passed());
    }
}
