//! SARIF 2.1.0 (OASIS), for code-scanning views: one run with all rules and their help, and a
//! result for each violation.
//!
//! An inconclusive verdict is a result of kind `open`, "there was insufficient information to
//! decide whether a problem exists" (§3.27.9). Verdicts that passed are left out, because viewers
//! list every result. Locations are logical, because there is no file to point at: the pod, the
//! container and the process.

mod document;

use std::io::{self, Write};

use document::{
    Descriptor, Driver, Invocation, Location, Log, LogicalLocation, Message, Notification,
    Properties, Run, SarifResult, Step, Tool, level,
};

use super::{Clock, Hello, Loss, Names, Report, ScenarioResult, Summary, kind_name, wire::Named};
use crate::{
    event::Ktime,
    rules,
    verdict::{Outcome, Values, Verdict},
};

/// Collects everything until [`Report::finish`].
pub(super) struct SarifReport<W> {
    out: W,
    clock: Clock,
    started: Option<Ktime>,
    ended: Option<Ktime>,
    results: Vec<SarifResult>,
    notifications: Vec<Notification>,
}

impl<W: Write> SarifReport<W> {
    pub(super) fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            clock,
            started: None,
            ended: None,
            results: Vec::new(),
            notifications: Vec::new(),
        }
    }
}

fn object(values: &Values) -> io::Result<serde_json::Value> {
    Ok(serde_json::to_value(Named(values))?)
}

impl<W: Write + Send> Report for SarifReport<W> {
    fn hello(&mut self, hello: &Hello) -> io::Result<()> {
        self.started = Some(hello.time);
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        let Verdict {
            rule,
            outcome,
            time,
            subject,
            details,
        } = verdict;
        let (kind, level) = match outcome {
            Outcome::Pass => return Ok(()),
            Outcome::Fail => ("fail", level(verdict.severity())),
            // §3.27.10: the level is "none" for any kind other than "fail".
            Outcome::Inconclusive => ("open", "none"),
        };
        let parts = names.parts(subject);
        let location = LogicalLocation {
            name: parts.last().map_or("node", String::as_str).to_owned(),
            fully_qualified_name: if parts.is_empty() {
                "node".to_owned()
            } else {
                parts.join("/")
            },
            kind: "resource",
        };
        let evidence = details.evidence.iter();
        let evidence = evidence.map(|step| Step {
            time_utc: self.clock.utc(step.time),
            ktime_ns: step.time,
            what: step.what.clone(),
        });
        self.results.push(SarifResult {
            rule_id: rule.id,
            rule_index: rules::all().position(|other| other == *rule),
            kind,
            level,
            message: Message {
                text: details.message.clone(),
            },
            locations: [Location {
                logical_locations: [location],
            }],
            properties: Properties {
                time_utc: self.clock.utc(*time),
                ktime_ns: *time,
                expected: object(&details.expected)?,
                observed: object(&details.observed)?,
                evidence: evidence.collect(),
            },
        });
        Ok(())
    }

    /// A scenario that failed without a rule's finding is a notification, because results belong to
    /// rules.
    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let level = match scenario.outcome {
            Outcome::Pass => return Ok(()),
            Outcome::Inconclusive => "warning",
            Outcome::Fail => "error",
        };
        let text = format!("scenario {}: {}", scenario.name, scenario.reason);
        let time_utc = self.clock.utc(scenario.time);
        self.notifications.push(Notification {
            level,
            message: Message { text },
            time_utc,
        });
        Ok(())
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        let text = format!("{} {} events were lost", loss.count, kind_name(loss.kind));
        let time_utc = self.clock.utc(loss.time);
        self.notifications.push(Notification {
            level: "warning",
            message: Message { text },
            time_utc,
        });
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.ended = Some(summary.time);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let log = Log {
            schema: "https://json.schemastore.org/sarif-2.1.0.json",
            version: "2.1.0",
            runs: [Run {
                tool: Tool {
                    driver: Driver {
                        name: "pause-trace",
                        // The version of the program that judges, which the rules belong to. A
                        // recording may be of another version.
                        version: env!("CARGO_PKG_VERSION"),
                        semantic_version: env!("CARGO_PKG_VERSION"),
                        rules: rules::all().map(Descriptor::from).collect(),
                    },
                },
                invocations: [Invocation {
                    execution_successful: self.ended.is_some(),
                    start_time_utc: self.started.map(|time| self.clock.utc(time)),
                    end_time_utc: self.ended.map(|time| self.clock.utc(time)),
                    tool_execution_notifications: &self.notifications,
                }],
                results: &self.results,
            }],
        };
        serde_json::to_writer_pretty(&mut self.out, &log)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::report::testing::{self, CLOCK, HOSTILE, Written};

    fn written() -> (String, Json) {
        let written = Written::default();
        testing::send_all(&mut SarifReport::new(written.clone(), CLOCK)).expect("memory has room");
        let text = written.text();
        let log = serde_json::from_str(&text).expect("SARIF is JSON");
        (text, log)
    }

    #[test]
    fn violations_are_failures_and_inconclusive_verdicts_are_open() {
        let (_, log) = written();
        let results = log["runs"][0]["results"].as_array().expect("results");
        let kinds: Vec<_> = results
            .iter()
            .map(|result| (&result["kind"], &result["level"]))
            .collect();
        assert_eq!(
            json!(kinds),
            json!([["fail", "error"], ["fail", "error"], ["open", "none"]])
        );
        let location = json!({
            "name": "pid 4711 (nginx)",
            "fullyQualifiedName": "default/web/app/pid 4711 (nginx)",
            "kind": "resource"
        });
        assert_eq!(results[0]["locations"][0]["logicalLocations"][0], location);
        assert_eq!(
            results[0]["message"]["text"],
            "the process runs in the host's network namespace"
        );
        assert_eq!(
            results[0]["properties"]["expected"],
            json!({ "net": 4026532179_u32 })
        );
        assert_eq!(
            results[0]["properties"]["evidence"][0]["ktimeNs"],
            998800000
        );
    }

    /// The properties that the standard's schema requires, with its constraints on times and
    /// indices.
    #[test]
    fn required_properties_are_present() {
        let (_, log) = written();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "pause-trace");
        let invocation = &run["invocations"][0];
        assert_eq!(invocation["executionSuccessful"], true);
        assert_eq!(invocation["startTimeUtc"], "2026-11-21T20:00:00.500000000Z");
        let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), rules::all().count());
        for rule in rules {
            assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string());
            assert!(
                rule["help"]["text"]
                    .as_str()
                    .is_some_and(|text| text.contains("How to fix it"))
            );
            assert!(
                ["error", "warning", "note"]
                    .map(Json::from)
                    .contains(&rule["defaultConfiguration"]["level"])
            );
        }
        for result in run["results"].as_array().expect("results") {
            assert!(result["message"]["text"].is_string());
            let index = result["ruleIndex"].as_u64().expect("an index") as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
        assert_eq!(
            invocation["toolExecutionNotifications"][0]["message"]["text"],
            "scenario net-shared: localhost: ECONNREFUSED"
        );
    }

    #[test]
    fn hostile_names_are_escaped() {
        let (text, _) = written();
        assert!(
            text.chars()
                .all(|character| character == '\n' || !character.is_control())
        );
        assert!(!text.contains(HOSTILE));
    }
}
