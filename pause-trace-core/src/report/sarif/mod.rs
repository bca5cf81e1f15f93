//! SARIF 2.1.0 (OASIS), for code-scanning views: one run with all rules and their help, and a
//! result for each violation.
//!
//! Verdicts that passed are left out, because viewers list every result. So are inconclusive ones:
//! GitHub ignores the kind of a result and would show each as an alert. They are notifications of
//! the run.
//!
//! GitHub refuses a result without a file, so each pod is a relative URI, [`place::uri`]. The
//! logical location names the container and the process.

mod document;
mod place;

use std::io::{self, Write};

use document::{
    ArtifactLocation, Descriptor, Driver, Fingerprints, Invocation, Location, Log, LogicalLocation,
    Message, Notification, PhysicalLocation, Properties, Region, RuleReference, Run, SarifResult,
    Step, Suppression, Tool, level,
};
use place::FingerprintCounts;

use super::{Clock, Hello, Loss, Names, Report, ScenarioResult, Summary, lost, wire::Named};
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
    seen: FingerprintCounts,
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
            seen: FingerprintCounts::default(),
        }
    }

    fn notify(
        &mut self,
        (time, level): (Ktime, &'static str),
        rule: Option<&'static str>,
        text: String,
    ) {
        self.notifications.push(Notification {
            associated_rule: rule.map(|id| RuleReference { id }),
            level,
            message: Message { text },
            time_utc: self.clock.utc(time),
        });
    }
}

/// Where the tool is described. Until the project has a published home, that is where the promises
/// are described that it verifies.
fn information_uri() -> &'static str {
    match env!("CARGO_PKG_REPOSITORY") {
        "" => "https://kubernetes.io/docs/concepts/workloads/pods/",
        repository => repository,
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
            ..
        } = verdict;
        let whole = format!("{}: {}", names.subject(subject), details.message);
        match outcome {
            Outcome::Pass => return Ok(()),
            Outcome::Inconclusive => {
                let text = format!("{} is inconclusive: {whole}", rule.id);
                self.notify((*time, "warning"), Some(rule.id), text);
                return Ok(());
            }
            Outcome::Fail => {}
        }
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
            kind: "fail",
            level: level(verdict.severity()),
            message: Message { text: whole },
            locations: [Location {
                physical_location: PhysicalLocation {
                    artifact_location: ArtifactLocation {
                        uri: place::uri(subject, names),
                    },
                    region: Region::BEGINNING,
                },
                logical_locations: [location],
            }],
            partial_fingerprints: Fingerprints {
                primary_location_line_hash: self.seen.fingerprint(verdict, names),
            },
            suppressions: verdict.excepted().map(|excepted| {
                [Suppression {
                    kind: "external",
                    status: "accepted",
                    justification: excepted.to_string(),
                }]
            }),
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
        self.notify((scenario.time, level), None, text);
        Ok(())
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        let text = lost(loss);
        self.notify((loss.time, "warning"), None, text);
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
                        information_uri: information_uri(),
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
    fn violations_are_results_and_inconclusive_verdicts_are_notifications() {
        let (_, log) = written();
        let results = log["runs"][0]["results"].as_array().expect("results");
        let kinds: Vec<_> = results
            .iter()
            .map(|result| (&result["kind"], &result["level"]))
            .collect();
        assert_eq!(json!(kinds), json!([["fail", "error"], ["fail", "error"]]));
        let location = json!({
            "physicalLocation": {
                "artifactLocation": { "uri": "pods/default/web" },
                "region": { "startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1 }
            },
            "logicalLocations": [{
                "name": "pid 4711 (nginx)",
                "fullyQualifiedName": "default/web/app/pid 4711 (nginx)",
                "kind": "resource"
            }]
        });
        assert_eq!(results[0]["locations"], json!([location]));
        assert_eq!(
            results[0]["message"]["text"],
            "default/web · app · pid 4711 (nginx): the process runs in the host's network namespace"
        );
        assert_eq!(
            results[0]["properties"]["expected"],
            json!({ "net": 4026532179_u32 })
        );
        assert_eq!(
            results[0]["properties"]["evidence"][0]["ktimeNs"],
            998800000
        );
        let notifications = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"];
        assert_eq!(
            notifications[2],
            json!({
                "associatedRule": { "id": "PT101" },
                "level": "warning",
                "message": { "text": "PT101 is inconclusive: default/web · app: 2 Exec events were lost" },
                "timeUtc": "2026-11-21T20:00:01.000000000Z"
            })
        );
    }

    /// The properties that the standard's schema requires, with its constraints on times and
    /// indices.
    #[test]
    fn a_violation_that_is_accepted_is_suppressed() {
        let written = Written::default();
        let mut report = SarifReport::new(written.clone(), CLOCK);
        report
            .verdict(&testing::excepted(), &testing::names())
            .and_then(|()| report.finish())
            .expect("memory has room");
        let log: Json = serde_json::from_str(&written.text()).expect("JSON");
        let expected = json!([{
            "kind": "external", "status": "accepted",
            "justification": "accepted until 2099-01-31: the legacy image needs it"
        }]);
        assert_eq!(log["runs"][0]["results"][0]["suppressions"], expected);
    }

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

    /// The properties that GitHub's code scanning requires or reads, as "SARIF support for code
    /// scanning" in its documentation lists them.
    #[test]
    fn github_finds_what_it_requires() {
        let is_text = |value: &Json| value.as_str().is_some_and(|text| !text.is_empty());
        let (_, log) = written();
        assert!(is_text(&log["$schema"]));
        let run = &log["runs"][0];
        let driver = &run["tool"]["driver"];
        assert!(is_text(&driver["informationUri"]));
        for rule in driver["rules"].as_array().expect("rules") {
            for text in ["shortDescription", "fullDescription", "help"] {
                assert!(is_text(&rule[text]["text"]), "{text} of {rule}");
            }
            assert_ne!(rule["fullDescription"], rule["shortDescription"], "{rule}");
            let length = rule["fullDescription"]["text"].as_str().map(str::len);
            assert!(length.is_some_and(|length| length <= 1024), "{rule}");
        }
        let results = run["results"].as_array().expect("results");
        assert!(!results.is_empty());
        let mut fingerprints = std::collections::HashSet::new();
        for result in results {
            assert_eq!(result["kind"], "fail", "it shows every result as an alert");
            assert!(is_text(&result["message"]["text"]));
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().expect("a URI");
            assert!(
                !uri.contains(':') && !uri.starts_with('/'),
                "{uri} is not relative"
            );
            for number in ["startLine", "startColumn", "endLine", "endColumn"] {
                assert!(place["region"][number].as_u64() >= Some(1), "{place}");
            }
            let fingerprint = &result["partialFingerprints"]["primaryLocationLineHash"];
            assert!(is_text(fingerprint));
            assert!(fingerprints.insert(fingerprint.to_string()), "{result}");
        }
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
