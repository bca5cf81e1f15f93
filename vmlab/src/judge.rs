//! What a job in a machine came to.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::guest::Ran;

/// One cell of the matrix, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Scenarios, faults or looks that came out as they should, of how many.
    pub(crate) passed: u64,
    pub(crate) all: u64,
    /// What did not, a line each.
    pub(crate) troubles: Vec<String>,
    /// The kernel's release, where it was told.
    pub(crate) release: String,
    /// What `doctor` measured, by the check's name: instructions of each program, offsets.
    pub(crate) numbers: BTreeMap<String, BTreeMap<String, u64>>,
    /// How long it took in the machine.
    pub(crate) seconds: u64,
}

impl Cell {
    /// Did everything come out as it should, and was there something?
    pub(crate) fn is_good(&self) -> bool {
        self.troubles.is_empty() && self.all > 0 && self.passed == self.all
    }

    /// A job that the machine did not come to, or was lost in.
    pub(crate) fn lost(why: &str) -> Self {
        Self {
            all: 1,
            troubles: vec![why.to_owned()],
            ..Self::default()
        }
    }

    /// With what another job of the same column came to.
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

/// What every run of the reference check has: one summary, and nothing lost.
fn of_check(ran: &Ran) -> (Cell, Value) {
    let mut cell = Cell::default();
    let summaries = ran.of_type("summary");
    if let [summary] = summaries[..] {
        cell.seconds = summary["duration_ns"].as_u64().unwrap_or_default() / 1_000_000_000;
    } else {
        let count = summaries.len();
        let trouble = format!("ended with code {} and {count} summaries", ran.code);
        cell.troubles.push(trouble);
    }
    for hello in ran.of_type("hello") {
        text(hello, "kernel").clone_into(&mut cell.release);
    }
    for loss in ran.of_type("loss") {
        let (kind, lost) = (text(loss, "kind"), &loss["lost"]);
        cell.troubles
            .push(format!("{lost} records of {kind} were lost"));
    }
    let summary = summaries
        .first()
        .map_or(Value::Null, |summary| (*summary).clone());
    (cell, summary)
}

/// The reference check, which has to pass in every scenario, with setns and unshare seen in the way that was asked for.
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
        cell.troubles.push(format!("was not seen by {way}"));
    }
    if ran.code != 0 && cell.troubles.is_empty() {
        cell.troubles.push(format!("ended with code {}", ran.code));
    }
    cell
}

/// A planted fault, which has to be found as a violation, by its rule and by no other that calls it an error.
pub(crate) fn fault(ran: &Ran, rule: &str) -> Cell {
    let (mut cell, _) = of_check(ran);
    cell.all = 1;
    if ran.code != 1 {
        let trouble = format!("ended with code {} instead of 1", ran.code);
        cell.troubles.push(trouble);
    }
    let findings = ran.of_type("finding");
    if !findings.iter().any(|finding| text(finding, "rule") == rule) {
        cell.troubles.push(format!("{rule} has found nothing"));
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

/// What doctor looked at. Of the ways to see setns and unshare each has to be there, but for one that the kernel `lacks`, and all have to
/// agree.
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
            cell.troubles.push(format!("nothing was said of {name}"));
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
    fn what_did_not_pass_is_named() {
        let scenario = json!({"type": "scenario", "name": "localhost", "verdict": "fail", "reason": "refused"});
        let loss = json!({"type": "loss", "kind": "exec", "lost": 3});
        let said = [
            hello("fentry"),
            finding("PT101"),
            scenario,
            loss,
            summary(1, 1),
        ];
        let cell = check(&ran(1, &said), None);
        assert!(!cell.is_good());
        let expected = [
            "3 records of exec were lost",
            "localhost: fail: refused",
            "PT101: another net",
        ];
        assert_eq!(cell.troubles, expected);
    }

    #[test]
    fn another_way_than_was_asked_for_is_trouble() {
        let said = [hello("fentry"), summary(2, 0)];
        assert!(!check(&ran(0, &said), Some("tracepoint")).is_good());
    }

    #[test]
    fn an_exit_code_outweighs_what_was_said() {
        assert!(!check(&ran(139, &[hello("fentry"), summary(2, 0)]), None).is_good());
        assert!(
            !check(&ran(0, &[hello("fentry")]), None).is_good(),
            "no summary"
        );
        assert!(!check(&ran(0, &[hello("fentry"), summary(0, 0)]), None).is_good());
    }

    #[test]
    fn a_fault_is_found_by_its_rule_with_exit_code_1() {
        let said = [hello("fentry"), finding("PT101"), summary(0, 1)];
        assert!(fault(&ran(1, &said), "PT101").is_good());
        assert!(!fault(&ran(0, &said), "PT101").is_good(), "the code");
        assert!(!fault(&ran(1, &said), "PT301").is_good(), "the rule");
        let more = [finding("PT101"), finding("PT301"), summary(0, 1)];
        assert!(!fault(&ran(1, &more), "PT101").is_good(), "another rule");
    }

    #[test]
    fn doctor_has_to_say_that_all_ways_agree() {
        let look = |name: &str, state: &str| json!({"name": name, "state": state, "detail": "x"});
        let mut said: Vec<_> = [
            "BTF",
            "by fentry",
            "by kprobe",
            "by tracepoint",
            "ways agree",
        ]
        .map(|name| look(name, "ok"))
        .to_vec();
        let verifier = json!({"name": "verifier", "state": "ok", "numbers": {"fork": 800}});
        assert!(
            !doctor(&ran(0, &said), None).is_good(),
            "the verifier is missing"
        );
        said.push(verifier);
        let cell = doctor(&ran(0, &said), None);
        assert!(cell.is_good(), "{cell:?}");
        assert_eq!(cell.numbers["verifier"]["fork"], 800);
        said[2] = look("by kprobe", "degraded");
        assert!(!doctor(&ran(0, &said), None).is_good(), "a way is missing");
        assert!(doctor(&ran(0, &said), Some("by kprobe")).is_good());
        assert!(!doctor(&ran(0, &said), Some("by fentry")).is_good());
    }
}
