//! Judges what a job in a machine printed.

use std::collections::BTreeMap;

use serde_json::Value;
use xtask_support::text::count;

use crate::guest::Ran;

/// One cell of the matrix, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// The number of scenarios, faults or checks that passed.
    pub(crate) passed: u64,
    /// The number of all of them.
    pub(crate) all: u64,
    /// What went wrong, one line each.
    pub(crate) troubles: Vec<String>,
    /// The kernel's release; empty if it was not reported.
    pub(crate) release: String,
    /// The numbers that `doctor` measured, by the name of the check: instructions of each program,
    /// offsets.
    pub(crate) numbers: BTreeMap<String, BTreeMap<String, u64>>,
    /// The duration in the machine's own time.
    pub(crate) seconds: u64,
}

impl Cell {
    /// Whether everything passed, and there was something to pass.
    pub(crate) fn is_good(&self) -> bool {
        self.troubles.is_empty() && self.all > 0 && self.passed == self.all
    }

    /// A job that did not end, because the machine was lost.
    pub(crate) fn lost(why: &str) -> Self {
        Self {
            all: 1,
            troubles: vec![why.to_owned()],
            ..Self::default()
        }
    }

    /// Adds the result of another job of the same column.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.all += other.all;
        self.seconds += other.seconds;
        self.troubles.extend(other.troubles);
        self.numbers.extend(other.numbers);
        if self.release.is_empty() {
            self.release = other.release;
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Judges what every run of the reference check must have: one summary, and no lost records.
/// Returns the summary, too.
fn of_check(ran: &Ran) -> (Cell, Value) {
    let mut cell = Cell::default();
    let summaries = ran.of_type("summary");
    if let [summary] = summaries[..] {
        cell.seconds = summary["duration_ns"].as_u64().unwrap_or_default() / 1_000_000_000;
    } else {
        let summaries = count(summaries.len(), "summary", "summaries");
        let trouble = format!("ended with code {} and {summaries}", ran.code);
        cell.troubles.push(trouble);
    }
    for hello in ran.of_type("hello") {
        text(hello, "kernel").clone_into(&mut cell.release);
    }
    for loss in ran.of_type("loss") {
        let lost = loss["lost"].as_u64().unwrap_or_default();
        let records = count(lost, "record", "records");
        cell.troubles
            .push(format!("lost {records} of {}", text(loss, "kind")));
    }
    let summary = summaries
        .first()
        .map_or(Value::Null, |summary| (*summary).clone());
    (cell, summary)
}

/// Judges the reference check: every scenario must pass, with setns and unshare observed by the
/// hook `way`, if it is given.
pub(crate) fn check(ran: &Ran, way: Option<&str>) -> Cell {
    let (mut cell, summary) = of_check(ran);
    let counts = |name: &str| summary["scenarios"][name].as_u64().unwrap_or_default();
    cell.passed = counts("pass");
    cell.all = counts("pass") + counts("fail") + counts("inconclusive");
    for scenario in ran.of_type("scenario") {
        if text(scenario, "verdict") != "pass" {
            let [name, verdict, reason] =
                ["name", "verdict", "reason"].map(|name| text(scenario, name));
            cell.troubles.push(format!("{name}: {verdict}: {reason}"));
        }
    }
    for finding in ran.of_type("finding") {
        let (rule, message) = (text(finding, "rule"), text(finding, "message"));
        cell.troubles.push(format!("{rule}: {message}"));
    }
    let hooks = ran.of_type("hello").into_iter();
    let mut hooks = hooks.flat_map(|hello| hello["hooks"].as_array().into_iter().flatten());
    if let Some(way) = way
        && !hooks.any(|hook| hook["hook"] == "setns, unshare" && hook["how"] == way)
    {
        cell.troubles
            .push(format!("setns and unshare were not observed by {way}"));
    }
    if ran.code != 0 && cell.troubles.is_empty() {
        cell.troubles.push(format!("ended with code {}", ran.code));
    }
    cell
}

/// Judges a planted fault: its rule must find it, and no other rule may report an error.
pub(crate) fn fault(ran: &Ran, rule: &str) -> Cell {
    let (mut cell, _) = of_check(ran);
    cell.all = 1;
    if ran.code != 1 {
        let trouble = format!("ended with code {} instead of 1", ran.code);
        cell.troubles.push(trouble);
    }
    let findings = ran.of_type("finding");
    if !findings.iter().any(|finding| text(finding, "rule") == rule) {
        cell.troubles.push(format!("{rule} found nothing"));
    }
    for finding in findings {
        let (other, message) = (text(finding, "rule"), text(finding, "message"));
        if other != rule && text(finding, "severity") == "error" {
            cell.troubles.push(format!("{other}: {message}"));
        }
    }
    cell.passed = u64::from(cell.troubles.is_empty());
    cell
}

/// Judges the checks of `doctor`. Every way to observe setns and unshare must work, except for one
/// that the kernel `lacks`, and all must report the same events.
pub(crate) fn doctor(ran: &Ran, lacks: Option<&str>) -> Cell {
    let mut cell = Cell::default();
    const WANTED: [&str; 6] = [
        "BTF",
        "by fentry",
        "by kprobe",
        "by tracepoint",
        "ways agree",
        "verifier",
    ];
    for check in &ran.objects {
        let (name, state) = (text(check, "name"), text(check, "state"));
        cell.all += 1;
        let may_degrade = lacks == Some(name) || !WANTED.contains(&name);
        if state == "ok" || (state == "degraded" && may_degrade) {
            cell.passed += 1;
        } else {
            let (detail, consequence) = (text(check, "detail"), text(check, "consequence"));
            cell.troubles
                .push(format!("{name}: {state}: {detail}; {consequence}"));
        }
        let numbers = check["numbers"].as_object().into_iter().flatten();
        let numbers: BTreeMap<_, _> = numbers
            .filter_map(|(name, number)| Some((name.clone(), number.as_u64()?)))
            .collect();
        if !numbers.is_empty() {
            cell.numbers.insert(name.to_owned(), numbers);
        }
    }
    for name in WANTED {
        if !ran.objects.iter().any(|check| check["name"] == name) {
            cell.troubles.push(format!("the check {name} is missing"));
        }
    }
    if ran.code != 0 && cell.troubles.is_empty() {
        cell.troubles.push(format!("ended with code {}", ran.code));
    }
    cell
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ran(code: i64, objects: &[Value]) -> Ran {
        Ran {
            name: "0".into(),
            code,
            objects: objects.to_vec(),
        }
    }

    fn hello(way: &str) -> Value {
        let hooks =
            json!([{"hook": "fork", "how": "tp_btf"}, {"hook": "setns, unshare", "how": way}]);
        json!({"type": "hello", "kernel": "6.1.0", "hooks": hooks})
    }

    fn summary(pass: u64, fail: u64) -> Value {
        let scenarios = json!({"pass": pass, "fail": fail, "inconclusive": 0});
        json!({"type": "summary", "scenarios": scenarios, "duration_ns": 5_000_000_000_u64})
    }

    fn finding(rule: &str) -> Value {
        json!({"type": "finding", "rule": rule, "severity": "error", "message": "another net"})
    }

    #[test]
    fn a_check_that_passed() {
        let cell = check(&ran(0, &[hello("kprobe"), summary(2, 0)]), Some("kprobe"));
        assert!(cell.is_good(), "{cell:?}");
        assert_eq!((cell.passed, cell.all, cell.seconds), (2, 2, 5));
        assert_eq!(cell.release, "6.1.0");
    }

    #[test]
    fn failures_are_named() {
        let scenario = json!({"type": "scenario", "name": "localhost", "verdict": "fail", "reason": "refused"});
        let loss = json!({"type": "loss", "kind": "exec", "lost": 3});
        let objects = [
            hello("fentry"),
            finding("PT101"),
            scenario,
            loss,
            summary(1, 1),
        ];
        let cell = check(&ran(1, &objects), None);
        assert!(!cell.is_good());
        let expected = [
            "lost 3 records of exec",
            "localhost: fail: refused",
            "PT101: another net",
        ];
        assert_eq!(cell.troubles, expected);
    }

    #[test]
    fn a_check_with_another_hook_than_requested_fails() {
        let objects = [hello("fentry"), summary(2, 0)];
        assert!(!check(&ran(0, &objects), Some("tracepoint")).is_good());
    }

    #[test]
    fn an_exit_code_or_a_missing_summary_fails_the_check() {
        assert!(!check(&ran(139, &[hello("fentry"), summary(2, 0)]), None).is_good());
        assert!(
            !check(&ran(0, &[hello("fentry")]), None).is_good(),
            "no summary"
        );
        assert!(!check(&ran(0, &[hello("fentry"), summary(0, 0)]), None).is_good());
    }

    #[test]
    fn a_fault_is_found_by_its_rule_with_exit_code_1() {
        let objects = [hello("fentry"), finding("PT101"), summary(0, 1)];
        assert!(fault(&ran(1, &objects), "PT101").is_good());
        assert!(!fault(&ran(0, &objects), "PT101").is_good(), "the code");
        assert!(!fault(&ran(1, &objects), "PT301").is_good(), "the rule");
        let more = [finding("PT101"), finding("PT301"), summary(0, 1)];
        assert!(!fault(&ran(1, &more), "PT101").is_good(), "another rule");
    }

    #[test]
    fn doctor_must_report_every_required_check() {
        let check = |name: &str, state: &str| json!({"name": name, "state": state, "detail": "x"});
        let mut objects: Vec<_> = [
            "BTF",
            "by fentry",
            "by kprobe",
            "by tracepoint",
            "ways agree",
        ]
        .map(|name| check(name, "ok"))
        .to_vec();
        let verifier = json!({"name": "verifier", "state": "ok", "numbers": {"fork": 800}});
        assert!(
            !doctor(&ran(0, &objects), None).is_good(),
            "the verifier is missing"
        );
        objects.push(verifier);
        let cell = doctor(&ran(0, &objects), None);
        assert!(cell.is_good(), "{cell:?}");
        assert_eq!(cell.numbers["verifier"]["fork"], 800);
        objects[2] = check("by kprobe", "degraded");
        assert!(
            !doctor(&ran(0, &objects), None).is_good(),
            "a way is missing"
        );
        assert!(doctor(&ran(0, &objects), Some("by kprobe")).is_good());
        assert!(!doctor(&ran(0, &objects), Some("by fentry")).is_good());
    }
}
