//! Every fault that can be planted is found: by its rule, in the right process, with evidence, and nothing else is
//! reported as an error.

use std::{collections::BTreeMap, sync::Mutex, thread};

use pause_trace_tests::run;
use serde_json::Value;

/// Runs at once: each mostly waits for a deadline of its own.
const AT_ONCE: usize = 4;

/// Name and rule of every fault, as `--inject help` lists them.
fn faults() -> Vec<(String, String)> {
    let help = run(["check", "--inject", "help"]);
    assert_eq!(help.code, Some(0), "{help:?}");
    help.stdout
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().expect("a name"), words.next().expect("a rule"))
        })
        .collect()
}

/// What is wrong with how a fault was found.
fn check(fault: &str, rule: &str) -> Result<(), String> {
    let run = run(["check", "--format", "json", "--inject", fault]);
    let fail = |what: &str| Err(format!("{fault} ({rule}): {what}; {run:#?}"));
    if run.code != Some(1) {
        return fail("exit code is not 1");
    }
    let findings = run.of_type("finding");
    let named: Vec<&Value> = findings
        .iter()
        .filter(|finding| finding["rule"] == rule)
        .collect();
    if named.is_empty() {
        return fail("its rule did not find it");
    }
    let is_told = |finding: &&&Value| {
        finding["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
            && finding["evidence"]
                .as_array()
                .is_some_and(|evidence| !evidence.is_empty())
            && finding["pod"]["uid"].is_string()
    };
    if named.iter().find(is_told).is_none() {
        return fail("a finding has no evidence");
    }
    let others = findings
        .iter()
        .filter(|finding| finding["rule"] != rule && finding["severity"] == "error");
    if let Some(other) = others.into_iter().next() {
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
                    let Some((fault, rule)) = next else { return };
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

/// Rules about what the reference pod cannot bring about: the evidence itself, which unit tests cover with events.
const NOT_PLANTED: [&str; 3] = ["PT901", "PT902", "PT903"];

#[test]
fn every_rule_has_a_fault_that_it_finds() {
    let mut faults_by_rule: BTreeMap<String, u32> = BTreeMap::new();
    for (_, rule) in faults() {
        *faults_by_rule.entry(rule).or_default() += 1;
    }
    let rules = run(["rules", "--format", "json"]);
    for rule in rules.objects() {
        let id = rule["id"].as_str().expect("an id");
        assert!(
            faults_by_rule.contains_key(id) || NOT_PLANTED.contains(&id),
            "no fault is found by {id}"
        );
    }
}

#[test]
fn a_fault_that_no_rule_looks_for_is_not_called_found() {
    let run = run([
        "check", "--format", "json", "--inject", "own-net", "--ignore", "PT101",
    ]);
    assert_ne!(run.code, Some(1), "{run:#?}");
    assert!(run.of_type("finding").is_empty(), "{run:#?}");
}
