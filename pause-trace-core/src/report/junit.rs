//! JUnit XML, for CI servers. There is a test suite for each rule and each family of scenarios,
//! with a test case for each subject or scenario.
//!
//! A violation is a `<failure>` whose type is the rule's id. One below `--fail-on` is a skipped
//! test: it does not fail the run, so it must not fail the job, and yet it is shown. An
//! inconclusive verdict is an `<error>` of type `inconclusive` and not a skipped test, which CI
//! servers treat like one that passed.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration as Span,
};

use quick_junit::{
    NonSuccessKind, Property, Report as Document, TestCase, TestCaseStatus, TestSuite,
};

use super::{Hello, Loss, Names, Report, ScenarioResult, Summary, TextReport, lost};
use crate::{
    event::Kind,
    text::TextStyle,
    verdict::{Outcome, Severity, Subject, Verdict},
};

/// Collects everything until [`Report::finish`].
pub(super) struct JunitReport<W> {
    out: W,
    fail_on: Severity,
    /// The program and the kernel.
    properties: Vec<(&'static str, String)>,
    scenarios: BTreeMap<&'static str, Vec<TestCase>>,
    /// Verdicts by rule and subject. Each violation is kept, and otherwise the worst verdict of a
    /// subject.
    verdicts: BTreeMap<&'static str, BTreeMap<String, (Outcome, TestCase)>>,
    lost: BTreeMap<Kind, Loss>,
    duration: Span,
}

impl<W: Write> JunitReport<W> {
    pub(super) fn new(out: W, fail_on: Severity) -> Self {
        Self {
            out,
            fail_on,
            properties: Vec::new(),
            scenarios: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            lost: BTreeMap::new(),
            duration: Span::ZERO,
        }
    }
}

fn status(outcome: Outcome, kind: &str, message: &str, description: &str) -> TestCaseStatus {
    let (of_kind, kind) = match outcome {
        Outcome::Pass => return TestCaseStatus::success(),
        Outcome::Fail => (NonSuccessKind::Failure, kind),
        Outcome::Inconclusive => (NonSuccessKind::Error, "inconclusive"),
    };
    let mut status = TestCaseStatus::non_success(of_kind);
    status
        .set_type(kind)
        .set_message(message)
        .set_description(description);
    status
}

/// A violation as the text report shows it.
fn described(verdict: &Verdict, names: &Names) -> io::Result<String> {
    let mut text = Vec::new();
    TextReport::new(&mut text, TextStyle::PLAIN, true).verdict(verdict, names)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl<W: Write + Send> Report for JunitReport<W> {
    fn hello(&mut self, hello: &Hello) -> io::Result<()> {
        self.properties = vec![
            ("pause-trace", hello.version.clone().into_owned()),
            ("kernel", hello.kernel.clone()),
            ("arch", hello.arch.clone()),
        ];
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        let Verdict {
            rule,
            outcome,
            subject,
            details,
            ..
        } = verdict;
        let of_rule = self.verdicts.entry(rule.id).or_default();
        // Violations name the process. Other verdicts are on the container as a whole.
        let whole = names.subject(&Subject {
            process: None,
            ..subject.clone()
        });
        let name = if *outcome == Outcome::Fail {
            if of_rule
                .get(&whole)
                .is_some_and(|(known, _)| *known != Outcome::Fail)
            {
                of_rule.remove(&whole);
            }
            names.subject(subject)
        } else {
            whole
        };
        if of_rule.get(&name).is_some_and(|(known, _)| known > outcome) {
            return Ok(());
        }
        let described = described(verdict, names)?;
        let severity = verdict.severity();
        let mild = match verdict.excepted() {
            Some(excepted) => Some(excepted.to_string()),
            None if *outcome == Outcome::Fail && severity < self.fail_on => {
                Some(format!("{severity}, below --fail-on"))
            }
            None => None,
        };
        let status = if let Some(mild) = mild {
            let mut status = TestCaseStatus::skipped();
            let message = format!("{mild}: {}", details.message);
            status
                .set_type(rule.id)
                .set_message(message)
                .set_description(described);
            status
        } else {
            status(*outcome, rule.id, &details.message, &described)
        };
        let mut case = TestCase::new(name.as_str(), status);
        case.set_classname(format!("{}.{}", rule.id, rule.name));
        of_rule.insert(name, (*outcome, case));
        Ok(())
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let ScenarioResult {
            family,
            name,
            title,
            outcome,
            proof,
            reason,
            found,
            duration,
            ..
        } = scenario;
        let mut case = TestCase::new(
            *name,
            status(
                *outcome,
                "scenario",
                reason,
                &format!("{title}\n{reason}\n{proof}"),
            ),
        );
        case.set_classname(format!("scenario.{family}"))
            .set_time(Span::from_nanos(*duration));
        if !proof.is_empty() {
            case.add_property(Property::new("proof", proof.as_str()));
        }
        if !found.is_empty() {
            case.add_property(Property::new("found", found.join(",")));
        }
        self.scenarios.entry(family).or_default().push(case);
        Ok(())
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        let known = self
            .lost
            .entry(loss.kind)
            .or_insert(Loss { count: 0, ..*loss });
        known.count = known.count.saturating_add(loss.count);
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.duration = Span::from_nanos(summary.duration);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut document = Document::new("pause-trace");
        document.set_time(self.duration);
        let mut add = |name: String, cases: Vec<TestCase>| {
            if !cases.is_empty() {
                let mut suite = TestSuite::new(name);
                suite.add_properties(
                    self.properties
                        .iter()
                        .map(|(name, value)| Property::new(*name, value.as_str())),
                );
                suite
                    .set_time(cases.iter().filter_map(|case| case.time).sum())
                    .add_test_cases(cases);
                document.add_test_suite(suite);
            }
        };
        for (family, cases) in std::mem::take(&mut self.scenarios) {
            add(format!("scenarios: {family}"), cases);
        }
        for (rule, cases) in std::mem::take(&mut self.verdicts) {
            let name = crate::rules::find(rule).map_or("", |rule| rule.name);
            add(
                format!("{rule} {name}"),
                cases.into_values().map(|(_, case)| case).collect(),
            );
        }
        let lost = std::mem::take(&mut self.lost).into_values().map(|loss| {
            let status = status(Outcome::Inconclusive, "", &lost(&loss), "");
            let mut case = TestCase::new(loss.kind.name(), status);
            case.set_classname("events");
            case
        });
        add("events".to_owned(), lost.collect());
        // The document is built in memory, because quick-junit does not return the writer's own
        // error.
        let document = document.to_string().map_err(io::Error::other)?;
        self.out.write_all(document.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{self, Written};

    fn written(send: impl FnOnce(&mut dyn Report) -> io::Result<()>) -> String {
        written_with(Severity::Error, send)
    }

    fn written_with(
        fail_on: Severity,
        send: impl FnOnce(&mut dyn Report) -> io::Result<()>,
    ) -> String {
        let written = Written::default();
        let mut report = JunitReport::new(written.clone(), fail_on);
        send(&mut report)
            .and_then(|()| report.finish())
            .expect("memory has room");
        written.text()
    }

    #[test]
    fn a_violation_is_a_failure_with_its_evidence() {
        let text = written(|report| report.verdict(&testing::failed(), &testing::names()));
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="pause-trace" tests="1" skipped="0" failures="1" errors="0" time="0.000">
    <testsuite name="PT101 net-shared" tests="1" skipped="0" errors="0" failures="1" time="0.000">
        <testcase name="default/web · app · pid 4711 (nginx)" classname="PT101.net-shared">
            <failure message="the process runs in the host&apos;s network namespace" type="PT101">✗ PT101 error net-shared  default/web · app · pid 4711 (nginx)
  the process runs in the host&apos;s network namespace
    expected  net 4026532179
    observed  net 4026531840, after 1.5 ms
     -1.2 ms  pause (pid 4700) executed in net 4026532179
           0  nginx executed in net 4026531840
</failure>
        </testcase>
    </testsuite>
</testsuites>
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_violation_below_fail_on_is_skipped_and_no_failure() {
        let names = testing::names();
        let mut verdict = testing::failed();
        verdict.details = verdict.details.milder(Severity::Warning);
        let text = written(|report| report.verdict(&verdict, &names));
        assert!(
            text.contains(r#"tests="1" skipped="1" failures="0" errors="0""#),
            "{text}"
        );
        let skipped = r#"<skipped message="warning, below --fail-on: the process runs"#;
        assert!(text.contains(skipped), "{text}");
        assert!(text.contains("nginx executed in net 4026531840"), "{text}");
        let text = written_with(Severity::Warning, |report| report.verdict(&verdict, &names));
        assert!(
            text.contains(r#"tests="1" skipped="0" failures="1" errors="0""#),
            "{text}"
        );
    }

    #[test]
    fn a_violation_that_is_accepted_is_skipped() {
        let verdict = testing::excepted();
        let text = written_with(Severity::Info, |report| {
            report.verdict(&verdict, &testing::names())
        });
        let skipped = r#"<skipped message="accepted until 2099-01-31: the legacy image needs it: the process runs"#;
        assert!(text.contains(skipped), "{text}");
    }

    #[test]
    fn losses_of_a_kind_are_one_case() {
        let text = written(|report| {
            report.loss(&testing::loss())?;
            report.loss(&testing::loss())
        });
        assert!(text.contains(r#"tests="1" "#), "{text}");
        assert!(
            text.contains(r#"message="4 exec events were lost""#),
            "{text}"
        );
    }

    #[test]
    fn the_worst_verdict_of_a_subject_stands() {
        let names = testing::names();
        let text = written(|report| {
            report.verdict(&testing::passed(), &names)?;
            report.verdict(&testing::inconclusive(), &names)
        });
        assert!(
            text.contains(r#"skipped="0" failures="0" errors="1""#),
            "{text}"
        );
        assert!(
            text.contains(r#"<error message="2 Exec events were lost" type="inconclusive">"#),
            "{text}"
        );
        let text = written(|report| {
            report.verdict(&testing::passed(), &names)?;
            report.verdict(&testing::failed(), &names)
        });
        assert!(
            text.contains(r#"skipped="0" failures="1" errors="0""#),
            "{text}"
        );
    }

    #[test]
    fn hostile_names_are_xml() {
        let text = written(testing::send_all);
        assert!(
            text.contains(r#"\u{1b}[2J&lt;b a=&quot;&apos;&amp;\u{a}\u{202e}"#),
            "{text}"
        );
        assert!(!text.contains('\x1b') && !text.contains("<b a"), "{text}");
        quick_junit::Report::deserialize_from_str(&text).expect("it can be read back");
    }
}
