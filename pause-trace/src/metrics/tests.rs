//! Which series there are, what they say, and whether docs/metrics.md lists them.

use std::{collections::BTreeSet, env, fs};

use super::*;
use crate::{
    event::Text,
    measure::{OTHER, PodNow},
    report::testing,
};

/// The beginning and the end of what is generated.
const BEGIN: &str =
    "<!-- generated: PAUSE_TRACE_BLESS=1 cargo test -p pause-trace the_page_lists -->\n";
const END: &str = "<!-- end -->\n";

fn metrics() -> Metrics {
    Metrics::new(1_795_291_200_000_000_000)
}

fn text(metrics: &Metrics, format: Format) -> String {
    let written = metrics.encode(format).expect("they can be written");
    String::from_utf8(written).expect("it is text")
}

/// The value of a series in OpenMetrics.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = text(metrics, Format::OpenMetrics);
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(str::to_owned)
}

/// The number of series, without comments.
fn count(metrics: &Metrics) -> usize {
    let text = text(metrics, Format::OpenMetrics);
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn every_series_with_closed_labels_is_there_from_the_start() {
    let metrics = metrics();
    for rule in rules::all() {
        let id = rule.id;
        for (_, outcome) in OUTCOMES {
            let series =
                format!("pause_trace_verdicts_total{{rule=\"{id}\",outcome=\"{outcome}\"}}");
            assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
        }
        for (severity, name) in SEVERITIES {
            let series = format!("pause_trace_findings_total{{rule=\"{id}\",severity=\"{name}\"}}");
            let expected = (severity <= rule.severity).then_some("0");
            assert_eq!(value(&metrics, &series).as_deref(), expected, "{series}");
        }
        let info = format!(
            "pause_trace_rule_info{{rule=\"{id}\",name=\"{}\"",
            rule.name
        );
        assert!(
            text(&metrics, Format::OpenMetrics).contains(&info),
            "{info}"
        );
    }
    for kind in Kind::ALL {
        for name in ["events", "lost_records", "suppressed_records"] {
            let series = format!("pause_trace_{name}_total{{kind=\"{}\"}}", kind.name());
            assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
        }
    }
    for phase in Phase::ALL {
        let name = phase.name();
        let series = format!("pause_trace_start_phase_seconds_count{{phase=\"{name}\"}}");
        assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
    }
    for name in NEWS {
        let series = format!("pause_trace_pod_events_total{{event=\"{name}\"}}");
        assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
    }
}

#[test]
fn a_violation_is_counted_with_its_own_severity() {
    let metrics = metrics();
    metrics.verdict(&testing::passed());
    metrics.verdict(&testing::failed());
    let failed = testing::failed();
    let id = failed.rule.id;
    let severity = SEVERITIES[place(&SEVERITIES, failed.severity())].1;
    let is = |series: &str, expected: &str| {
        assert_eq!(
            value(&metrics, series).as_deref(),
            Some(expected),
            "{series}"
        );
    };
    is(
        &format!("pause_trace_findings_total{{rule=\"{id}\",severity=\"{severity}\"}}"),
        "1",
    );
    is(
        &format!("pause_trace_verdicts_total{{rule=\"{id}\",outcome=\"fail\"}}"),
        "1",
    );
    let id = testing::passed().rule.id;
    is(
        &format!("pause_trace_verdicts_total{{rule=\"{id}\",outcome=\"pass\"}}"),
        "1",
    );
}

/// The finding with what the configuration decides about it.
fn decided(severity: Option<Severity>, is_accepted: bool) -> Verdict {
    let excepted = is_accepted.then(|| {
        Arc::new(crate::verdict::Excepted {
            reason: "it is known".to_owned(),
            expires: Some("2027-01-31".to_owned()),
        })
    });
    Verdict {
        decision: crate::verdict::Decision { severity, excepted },
        ..testing::failed()
    }
}

#[test]
fn an_accepted_finding_is_counted_apart() {
    let metrics = metrics();
    metrics.verdict(&decided(None, true));
    metrics.verdict(&decided(None, true));
    metrics.verdict(&decided(None, false));
    let id = testing::failed().rule.id;
    let severity = SEVERITIES[place(&SEVERITIES, testing::failed().severity())].1;
    for (series, expected) in [
        (
            format!("findings_total{{rule=\"{id}\",severity=\"{severity}\"}}"),
            "1",
        ),
        (format!("accepted_findings_total{{rule=\"{id}\"}}"), "2"),
        (
            format!("verdicts_total{{rule=\"{id}\",outcome=\"fail\"}}"),
            "3",
        ),
    ] {
        let series = format!("pause_trace_{series}");
        assert_eq!(
            value(&metrics, &series).as_deref(),
            Some(expected),
            "{series}"
        );
    }
}

#[test]
fn a_finding_is_counted_with_the_severity_that_is_configured() {
    let metrics = metrics();
    let rule = testing::failed().rule;
    for (severity, name) in SEVERITIES {
        metrics.verdict(&decided(Some(severity), false));
        let series = format!(
            "pause_trace_findings_total{{rule=\"{}\",severity=\"{name}\"}}",
            rule.id
        );
        assert_eq!(value(&metrics, &series).as_deref(), Some("1"), "{series}");
    }
    // Also one that is worse than the rule's own.
    let info = rules::all().find(|rule| rule.severity == Severity::Info);
    let info = info.expect("there is one");
    let raised = Verdict {
        rule: info,
        ..decided(Some(Severity::Error), false)
    };
    metrics.verdict(&raised);
    let series = format!(
        "pause_trace_findings_total{{rule=\"{}\",severity=\"error\"}}",
        info.id
    );
    assert_eq!(value(&metrics, &series).as_deref(), Some("1"), "{series}");
}

#[test]
fn series_are_in_a_fixed_order() {
    let written = [metrics(), metrics()].map(|metrics| {
        // In another order than that of their names.
        for name in ["b", "c", "a"] {
            metrics.hooks([(name, true)].into_iter());
            metrics.missed([(name.to_owned(), 1)].into_iter());
        }
        let is_own = |line: &&str| !line.starts_with("process_");
        let text = text(&metrics, Format::OpenMetrics);
        let lines: Vec<_> = text.lines().filter(is_own).map(str::to_owned).collect();
        lines
    });
    assert_eq!(written[0], written[1]);
    let of = |name: &str| {
        let lines = written[0].iter().filter(|line| line.starts_with(name));
        lines.cloned().collect::<Vec<_>>()
    };
    for name in [
        "pause_trace_hook_attached{",
        "pause_trace_hook_missed_runs_total{",
        "pause_trace_findings_total{",
        "pause_trace_lost_records_total{",
    ] {
        let lines = of(name);
        assert!(lines.len() > 2 && lines.is_sorted(), "{lines:?}");
    }
    let first = of("pause_trace_verdicts_total{")[0].clone();
    let id = rules::all().map(|rule| rule.id).min().expect("a rule");
    assert!(first.contains(id), "{first}");
}

#[test]
fn what_happens_is_added_to_its_series() {
    let metrics = metrics();
    metrics.record(Kind::Exec);
    metrics.lost(Kind::Fork, 7);
    metrics.suppressed(Kind::SignalGenerate, 9);
    metrics.signal(SignalResult::Ignored);
    metrics.reaped(Reaper::Pause, 40_000_000);
    metrics.stopped(StopEnd::Killed, 30_500_000_000);
    metrics.started(Phase::Cni, 250_000_000);
    metrics.start_unmeasured();
    metrics.oom_killed();
    metrics.hooks([("a", true), ("b", false)].into_iter());
    for missed in [2, 5] {
        metrics.missed([("fork".to_owned(), missed)].into_iter());
    }
    for (series, expected) in [
        ("events_total{kind=\"exec\"}", "1"),
        ("lost_records_total{kind=\"fork\"}", "7"),
        ("suppressed_records_total{kind=\"signal_generate\"}", "9"),
        ("signals_total{result=\"ignored\"}", "1"),
        ("signals_total{result=\"delivered\"}", "0"),
        ("reap_latency_seconds_sum{reaper=\"pause\"}", "0.04"),
        ("reap_latency_seconds_count{reaper=\"container\"}", "0"),
        ("grace_used_seconds_sum{end=\"killed\"}", "30.5"),
        ("start_phase_seconds_bucket{le=\"0.25\",phase=\"cni\"}", "1"),
        ("start_phase_seconds_bucket{le=\"0.1\",phase=\"cni\"}", "0"),
        ("starts_unmeasured_total", "1"),
        ("oom_kills_total", "1"),
        ("hook_attached{hook=\"a\"}", "1"),
        ("hook_attached{hook=\"b\"}", "0"),
        ("hook_missed_runs_total{program=\"fork\"}", "5"),
    ] {
        let series = format!("pause_trace_{series}");
        assert_eq!(
            value(&metrics, &series).as_deref(),
            Some(expected),
            "{series}"
        );
    }
}

#[test]
fn what_the_process_uses_is_read() {
    let metrics = metrics();
    let number = |series| {
        let value = value(&metrics, series).unwrap_or_default();
        value
            .parse::<f64>()
            .unwrap_or_else(|_| panic!("{series} is {value:?}"))
    };
    assert!(number("process_resident_memory_bytes") > 100_000.0);
    assert!(number("process_open_fds") >= 3.0);
    assert!(number("process_cpu_seconds_total") > 0.0);
    assert_eq!(number("process_start_time_seconds"), 1_795_291_200.0);
}

/// A pod whose name would end a label, a line or the exposition.
const HOSTILE: &[u8] = b"x\"} 1\n# EOF\n\\\xff\x1b[2J";

#[test]
fn the_name_of_a_pod_ends_no_label_and_its_series_end_with_it() {
    let metrics = metrics();
    let before = count(&metrics);
    let name = Text(HOSTILE.to_vec().into()).to_string();
    let mut now = Now::default();
    let of_pod = PodNow {
        zombies: 2,
        findings: [("PT402", 3)].into(),
    };
    now.by_pod.insert(("default".to_owned(), name), of_pod);
    now.by_pod
        .insert((OTHER.to_owned(), OTHER.to_owned()), PodNow::default());
    metrics.refresh(&now);
    // The label twice, and the zombies of the other pods.
    assert_eq!(count(&metrics), before + 3);
    for format in [Format::OpenMetrics, Format::Text] {
        let text = text(&metrics, format);
        assert_eq!(
            text.matches("\n# EOF").count(),
            usize::from(format == Format::OpenMetrics)
        );
        let harmful = |c: char| c.is_control() && c != '\n';
        assert_eq!(text.chars().find(|c| harmful(*c)), None);
        let found: Vec<_> = text
            .lines()
            .filter(|line| line.contains("pod=\"x"))
            .collect();
        assert_eq!(found.len(), 2, "{found:?}");
        for line in found {
            let (labels, value) = line.rsplit_once("} ").expect("a series");
            assert!(matches!(value, "2" | "3"), "{line}");
            // Each quote that ends a value follows no backslash of its own.
            let quotes = labels
                .replace("\\\\", "")
                .replace("\\\"", "")
                .matches('"')
                .count();
            assert_eq!(quotes % 2, 0, "{line}");
        }
    }
    metrics.refresh(&Now::default());
    assert_eq!(count(&metrics), before);
}

#[test]
fn names_follow_the_conventions_and_have_one_help_each() {
    let metrics = metrics();
    let mut names = BTreeSet::new();
    for listed in &metrics.0.listed {
        let name = &listed.name;
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(
            name.starts_with("pause_trace_") || name.starts_with("process_"),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), listed.kind == "counter", "{name}");
        if let Some(unit) = &listed.unit {
            assert!(matches!(&unit[..], "seconds" | "bytes"), "{name}");
            assert!(
                name.trim_end_matches("_total").ends_with(unit.as_str()),
                "{name}"
            );
        }
        assert!(
            !listed.help.ends_with('.') && !listed.help.contains('\n'),
            "{name}"
        );
    }
    let text = text(&metrics, Format::Text);
    let typed = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in typed {
        assert!(names.contains(name), "{name} is not listed");
    }
}

/// The table of docs/metrics.md.
fn table(metrics: &Metrics) -> String {
    let rules = rules::all().count();
    let mut table = "| metric | type | unit | labels | most series | meaning |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|\n");
    for listed in &metrics.0.listed {
        let catalog::Listed {
            name,
            kind,
            unit,
            labels,
            bound,
            help,
        } = listed;
        let unit = unit.as_deref().unwrap_or_default();
        let labels: Vec<_> = labels.split(", ").filter(|it| !it.is_empty()).collect();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let row = format!("| `{name}` | {kind} | {unit} | {labels} | {bound} | {help} |\n");
        table.push_str(&row);
    }
    table.push_str(&format!(
        "\nThere are {rules} rules. Without `--metrics-pods`, a scrape has at most {} series.\n",
        count(metrics) + MOST_HOOKS
    ));
    table
}

/// More series than the hooks and programs can have.
const MOST_HOOKS: usize = 100;

#[test]
fn the_page_lists_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = fs::read_to_string(path).expect("it is there");
    let (before, rest) = page.split_once(BEGIN).expect("it has a generated part");
    let (_, after) = rest.split_once(END).expect("the generated part ends");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table(&metrics()));
    if env::var_os("PAUSE_TRACE_BLESS").is_some() {
        fs::write(path, expected).expect("it can be written");
        return;
    }
    assert_eq!(
        page, expected,
        "docs/metrics.md is not what PAUSE_TRACE_BLESS=1 writes"
    );
}

/// The words of a text that begin so.
fn words<'a>(text: &'a str, begin: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with(begin)).collect()
}

#[test]
fn what_is_deployed_names_metrics_and_rules_that_exist() {
    let metrics = metrics();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for listed in &metrics.0.listed {
        names.insert(listed.name.clone());
        if listed.kind == "histogram" {
            let of = |end| format!("{}_{end}", listed.name);
            names.extend(["bucket", "count", "sum"].map(of));
        }
    }
    let mut used = BTreeSet::new();
    for file in [
        "prometheus/alerts.yaml",
        "prometheus/alerts_test.yaml",
        "grafana/pause-trace.json",
    ] {
        let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).expect("it is there");
        for word in words(&text, "pause_trace_")
            .into_iter()
            .chain(words(&text, "process_"))
        {
            assert!(names.contains(word), "{file}: {word}");
            used.insert(word.to_owned());
        }
        for id in words(&text, "PT") {
            assert!(rules::find(id).is_some(), "{file}: {id}");
        }
    }
    let is_used = |listed: &catalog::Listed| {
        let of = |name: &String| name.strip_prefix(&listed.name).is_some();
        used.iter().any(of)
    };
    // Descriptors are for those who search for a leak of them.
    let unused: Vec<_> = metrics.0.listed.iter().filter(|it| !is_used(it)).collect();
    let unused: Vec<_> = unused.iter().map(|listed| &listed.name[..]).collect();
    assert_eq!(unused, ["process_open_fds"]);
}
