//! The rules find every planted fault: its own rule reports the right process with evidence, and no
//! other rule reports an error.

use std::{collections::BTreeSet, sync::Mutex, thread};

use pause_trace_tests::run;
use serde_json::Value;

/// How many checks run at once. Each mostly waits for its own deadline.
const AT_ONCE: usize = 4;

/// The names of a list of scenarios, each with the rules that must find it. The first rule is the
/// one that the fault is planted for.
fn listed(args: &[&str]) -> Vec<(String, Vec<String>)> {
    let list = run(args);
    assert_eq!(list.code, Some(0), "{list:?}");
    let rules = |word: &str| word.split('+').map(str::to_owned).collect();
    list.stdout
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            (
                name,
                words
                    .next()
                    .filter(|word| word.starts_with("PT"))
                    .map_or_else(Vec::new, rules),
            )
        })
        .collect()
}

fn faults() -> Vec<(String, Vec<String>)> {
    listed(&["check", "--inject", "help"])
}

/// Checks how a fault was found.
fn check(fault: &str, rule: &str) -> Result<(), String> {
    let run = run(["check", "--format", "json", "--inject", fault]);
    let fail = |what: &str| Err(format!("{fault} ({rule}): {what}; {run:#?}"));
    if run.code != Some(1) {
        return fail("exit code is not 1");
    }
    let scenarios = run.of_type("scenario");
    if !scenarios
        .iter()
        .all(|scenario| scenario["verdict"] == "fail")
    {
        return fail("the fault was not planted as it was meant");
    }
    let findings = run.of_type("finding");
    let named: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["rule"] == *rule)
        .collect();
    if named.is_empty() {
        return fail("its rule did not find it");
    }
    let has_evidence = |finding: &&&Value| {
        finding["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
            && finding["evidence"]
                .as_array()
                .is_some_and(|evidence| !evidence.is_empty())
            && finding["pod"]["uid"].is_string()
    };
    if named.iter().find(has_evidence).is_none() {
        return fail("a finding has no evidence");
    }
    let mut others = findings
        .iter()
        .filter(|finding| finding["severity"] == "error" && finding["rule"] != *rule);
    if let Some(other) = others.next() {
        return fail(&format!("another error was reported: {other}"));
    }
    Ok(())
}

#[test]
fn each_fault_is_found_by_its_rule_and_by_no_other() {
    let faults = faults();
    assert!(faults.len() >= 20, "{faults:?}");
    let queue = Mutex::new(faults.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no test thread panics").next();
                    let Some((fault, rules)) = next else { return };
                    let [rule] = &rules[..] else {
                        panic!("{fault} is found by {rules:?}")
                    };
                    if let Err(failure) = check(fault, rule) {
                        failures
                            .lock()
                            .expect("no test thread panics")
                            .push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no test thread panics");
    assert!(
        failures.is_empty(),
        "{} of {}: {failures:#?}",
        failures.len(),
        faults.len()
    );
}

/// Rules that the reference pod cannot break: leaks and deaths of a real runtime, programs that it
/// starts, and entrypoints that are read when they have run for a while, which `lifecycle.rs`,
/// `daemons.rs`, `starts.rs` and `stops.rs` test, and missing evidence, which unit tests cover with
/// events.
const NOT_PLANTED: [&str; 8] = [
    "PT204", "PT206", "PT210", "PT212", "PT312", "PT901", "PT902", "PT903",
];

#[test]
fn every_rule_has_a_fault_that_it_finds() {
    let scenarios = listed(&["check", "--list"]);
    let found: BTreeSet<String> = faults()
        .into_iter()
        .chain(scenarios)
        .flat_map(|(_, rules)| rules)
        .collect();
    for rule in run(["rules", "--format", "json"]).objects() {
        let id = rule["id"].as_str().expect("an id");
        assert!(
            found.contains(id) || NOT_PLANTED.contains(&id),
            "no fault is found by {id}"
        );
    }
}

#[test]
fn a_fault_whose_rule_is_ignored_is_not_found() {
    let run = run([
        "check", "--format", "json", "--inject", "own-net", "--ignore", "PT101",
    ]);
    assert_ne!(run.code, Some(1), "{run:#?}");
    assert!(run.of_type("finding").is_empty(), "{run:#?}");
}
