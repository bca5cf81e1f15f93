//! The metrics of `--metrics`: their names, labels and values. docs/metrics.md lists them, and a
//! test makes that list from this file.
//!
//! What happens is added to counters and histograms as it happens ([`Meter`]); the label sets are
//! closed, and each series exists from the start. What there is at a moment is written to gauges
//! when somebody scrapes ([`Metrics::refresh`]).

mod catalog;
mod family;
mod format;
mod own;
mod server;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc};

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, NativeHistogramConfig},
    },
    registry::{Registry, Unit},
};

use self::{catalog::Catalog, family::Family, own::Own};
pub(crate) use self::{
    format::Format,
    server::{Ask, SURVEYING, Server, Stage, Wanted},
};
use crate::{
    event::{Kind, Ktime, SignalResult},
    measure::{Meter, NEWS, Now, Phase, Reaper, StopEnd},
    news::News,
    rules,
    verdict::{Outcome, Severity, Verdict},
};

/// Labels with values of a closed set.
type Labels<const N: usize> = [(&'static str, &'static str); N];
/// Labels with values that are known at run time only.
type Named<const N: usize> = [(&'static str, String); N];

const OUTCOMES: [(Outcome, &str); 3] = [
    (Outcome::Pass, "pass"),
    (Outcome::Inconclusive, "inconclusive"),
    (Outcome::Fail, "fail"),
];
const SEVERITIES: [(Severity, &str); 3] = [
    (Severity::Info, "info"),
    (Severity::Warning, "warning"),
    (Severity::Error, "error"),
];
const RESULTS: [(SignalResult, &str); 6] = [
    (SignalResult::Delivered, "delivered"),
    (SignalResult::Ignored, "ignored"),
    (SignalResult::AlreadyPending, "already_pending"),
    (SignalResult::OverflowFail, "overflow_fail"),
    (SignalResult::LoseInfo, "lose_info"),
    (SignalResult::Unknown, "unknown"),
];

/// The buckets of the classic histograms, in seconds.
const START: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];
const REAP: [f64; 9] = [0.000_1, 0.001, 0.01, 0.1, 1.0, 5.0, 30.0, 120.0, 600.0];
const GRACE: [f64; 11] = [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0];

/// The growth from one bucket of a native histogram to the next, and the most buckets.
const GROWTH: f64 = 1.1;
const MOST_BUCKETS: usize = 100;

/// Both kinds of histogram: which one Prometheus gets depends on the format that it asks for.
fn histogram(buckets: &[f64]) -> Histogram {
    let native = NativeHistogramConfig::new(GROWTH).max_buckets(MOST_BUCKETS);
    Histogram::new_classic_and_native(buckets.iter().copied(), native)
}

/// The metrics, which their owners share.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Series>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Every series. Those with labels of a closed set are kept by value, so that no lookup is needed.
struct Series {
    registry: Registry,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the documentation is made from it")
    )]
    listed: Vec<catalog::Listed>,
    rules: HashMap<&'static str, OfRule>,
    /// Those of a severity that the configuration raised: the others are in `rules`.
    findings: Family<Labels<2>, Counter>,
    events: [Counter; Kind::ALL.len()],
    lost: [Counter; Kind::ALL.len()],
    suppressed: [Counter; Kind::ALL.len()],
    signals: [Counter; RESULTS.len()],
    reaped: [Histogram; Reaper::ALL.len()],
    stopped: [Histogram; StopEnd::ALL.len()],
    started: [Histogram; Phase::ALL.len()],
    unmeasured: Counter,
    oom_kills: Counter,
    news: HashMap<&'static str, Counter>,
    pods: Gauge,
    pauses: Gauge,
    containers: Gauge,
    zombies: Gauge,
    overdue: Gauge,
    pod_findings: Family<Named<3>, Gauge>,
    pod_zombies: Family<Named<2>, Gauge>,
    hooks: Family<Labels<1>, Gauge>,
    missed: Family<Named<1>, Counter>,
    ready: Gauge,
    own: Own,
}

struct OfRule {
    verdicts: [Counter; OUTCOMES.len()],
    /// Those that an exception accepts.
    accepted: Counter,
    /// Those that the severity of the rule excludes are not registered.
    findings: [Counter; SEVERITIES.len()],
}

impl Metrics {
    /// All of them at 0. `since`: the time of day at the start, in ns since 1970.
    pub(crate) fn new(since: i64) -> Self {
        let mut catalog = Catalog::default();
        let build = Family::<Named<1>, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        build.of(&[("version", version)]).set(1);
        catalog.add(
            "build_info",
            "The program that runs; always 1",
            "version",
            "1",
            build,
        );
        let ready = catalog.gauge(
            "ready",
            "1 once the hooks are attached, the self-test has passed and the pods that ran at the start are judged",
        );
        let (rules, findings) = of_rules(&mut catalog);
        let news = counters(
            &mut catalog,
            "pod_events",
            "What happened to pods and containers, as `watch` reports it",
            "event",
            NEWS,
        );
        let pods = catalog.gauge("pods", "Pods that have not been removed");
        let pauses = catalog.gauge("pauses", "Pauses that run");
        let containers = catalog.gauge(
            "containers",
            "Containers whose entrypoint runs, without sandboxes",
        );
        let zombies = catalog.gauge(
            "zombies",
            "Processes of pods that have ended and have not been reaped",
        );
        let overdue = catalog.gauge(
            "zombies_overdue",
            "Those of `pause_trace_zombies` that ended longer ago than the rules allow",
        );
        let reaped = histograms(
            &mut catalog,
            "reap_latency",
            "Time from the end of a process of a pod to its reaping; an upper bound",
            "reaper",
            Reaper::ALL.map(Reaper::name),
            || histogram(&REAP),
        );
        let stopped = histograms(
            &mut catalog,
            "grace_used",
            "Time from the stop signal that the runtime sent to the entrypoint of a container to its end",
            "end",
            StopEnd::ALL.map(StopEnd::name),
            || histogram(&GRACE),
        );
        let started = histograms(
            &mut catalog,
            "start_phase",
            "Time that a phase of a pod's start took",
            "phase",
            Phase::ALL.map(Phase::name),
            || histogram(&START),
        );
        let unmeasured = catalog.counter(
            "starts_unmeasured",
            "Starts of pods that are in no histogram, because their beginning or a part of them was not observed",
        );
        let oom_kills = catalog.counter(
            "oom_kills",
            "Processes of containers that the OOM killer killed",
        );
        let signals = counters(
            &mut catalog,
            "signals",
            "Signals to or from processes of pods, by what became of them; those above the rate limit are not in it",
            "result",
            RESULTS.map(|(_, name)| name),
        );
        let kinds = Kind::ALL.map(Kind::name);
        let events = counters(
            &mut catalog,
            "events",
            "Records that the kernel reported, by kind (docs/events.md)",
            "kind",
            kinds,
        );
        let lost = counters(
            &mut catalog,
            "lost_records",
            "Records that were lost, by kind: verdicts that depend on them are inconclusive",
            "kind",
            kinds,
        );
        let suppressed = counters(
            &mut catalog,
            "suppressed_records",
            "Records that were only counted, because one pod wrote too many of them: verdicts on that pod that depend on them are inconclusive, and they are not in `pause_trace_lost_records_total`",
            "kind",
            kinds,
        );
        let hooks = Family::<Labels<1>, Gauge>::default();
        catalog.add(
            "hook_attached",
            "Whether a hook is attached (1) or the kernel lacks it (0)",
            "hook",
            "the hooks of docs/events.md; there is none before the hooks are attached",
            hooks.clone(),
        );
        let missed = Family::<Named<1>, Counter>::default();
        catalog.add(
            "hook_missed_runs",
            "Runs of an eBPF program that the kernel skipped; its second program, `_again`, makes up for most",
            "program",
            "the eBPF programs; there is none before the hooks are attached",
            missed.clone(),
        );
        let pod_findings = Family::<Named<3>, Gauge>::default();
        catalog.add(
            "pod_findings",
            "Violations of a pod that exists, by rule, also those that an exception accepts; only with `--metrics-pods`",
            "namespace, pod, rule",
            "(`--metrics-pods` + 1) × rules, and only those that are violated",
            pod_findings.clone(),
        );
        let pod_zombies = Family::<Named<2>, Gauge>::default();
        catalog.add(
            "pod_zombies",
            "Zombies of a pod that exists; only with `--metrics-pods`",
            "namespace, pod",
            "`--metrics-pods` + 1",
            pod_zombies.clone(),
        );
        let own = Own::register(&mut catalog, since);
        let (registry, listed) = catalog.finish();
        Self(Arc::new(Series {
            registry,
            listed,
            rules,
            findings,
            events,
            lost,
            suppressed,
            signals,
            reaped,
            stopped,
            started,
            unmeasured,
            oom_kills,
            news: NEWS.into_iter().zip(news).collect(),
            pods,
            pauses,
            containers,
            zombies,
            overdue,
            pod_findings,
            pod_zombies,
            hooks,
            missed,
            ready,
            own,
        }))
    }

    /// Counts a verdict, as the configuration decides about it.
    pub(crate) fn verdict(&self, verdict: &Verdict) {
        let Some(of_rule) = self.0.rules.get(verdict.rule.id) else {
            return;
        };
        of_rule.verdicts[place(&OUTCOMES, verdict.outcome)].inc();
        if verdict.outcome != Outcome::Fail {
            return;
        }
        let severity = place(&SEVERITIES, verdict.severity());
        if verdict.excepted().is_some() {
            of_rule.accepted.inc();
        } else if verdict.severity() <= verdict.rule.severity {
            of_rule.findings[severity].inc();
        } else {
            let labels = [
                ("rule", verdict.rule.id),
                ("severity", SEVERITIES[severity].1),
            ];
            self.0.findings.of(&labels).inc();
        }
    }

    /// Counts news of a pod.
    pub(crate) fn news(&self, news: &News) {
        if let Some(counter) = self.0.news.get(news.what.name()) {
            counter.inc();
        }
    }

    /// Sets which hooks are attached.
    pub(crate) fn hooks(&self, hooks: impl Iterator<Item = (&'static str, bool)>) {
        for (name, is_attached) in hooks {
            let hook = self.0.hooks.of(&[("hook", name)]);
            hook.set(is_attached.into());
        }
    }

    /// Sets how many runs of each program the kernel has skipped.
    pub(crate) fn missed(&self, programs: impl Iterator<Item = (String, u64)>) {
        for (program, missed) in programs {
            let counter = self.0.missed.of(&[("program", program)]);
            catalog::set(&counter, missed);
        }
    }

    /// Sets what there is now. Series of pods that are gone cease to exist.
    pub(crate) fn refresh(&self, now: &Now) {
        let series = &self.0;
        for (gauge, value) in [
            (&series.pods, now.pods),
            (&series.pauses, now.pauses),
            (&series.containers, now.containers),
            (&series.zombies, now.zombies),
            (&series.overdue, now.overdue),
        ] {
            gauge.set(signed(value));
        }
        series.pod_findings.clear();
        series.pod_zombies.clear();
        for ((namespace, pod), of_pod) in &now.by_pod {
            let labels = || [("namespace", namespace.clone()), ("pod", pod.clone())];
            let zombies = series.pod_zombies.of(&labels());
            zombies.set(signed(of_pod.zombies));
            for (rule, count) in &of_pod.findings {
                let [namespace, pod] = labels();
                let labels = [namespace, pod, ("rule", (*rule).to_owned())];
                let findings = series.pod_findings.of(&labels);
                findings.set(signed(*count));
            }
        }
    }

    /// Everything in a format.
    fn encode(&self, format: Format) -> Result<Vec<u8>, String> {
        self.0.own.refresh();
        format.encode(&self.0.registry)
    }
}

impl Meter for Metrics {
    fn record(&self, kind: Kind) {
        self.0.events[kind as usize].inc();
    }

    fn lost(&self, kind: Kind, count: u64) {
        self.0.lost[kind as usize].inc_by(count);
    }

    fn suppressed(&self, kind: Kind, count: u64) {
        self.0.suppressed[kind as usize].inc_by(count);
    }

    fn signal(&self, result: SignalResult) {
        self.0.signals[place(&RESULTS, result)].inc();
    }

    fn reaped(&self, reaper: Reaper, after: Ktime) {
        self.0.reaped[reaper as usize].observe(seconds(after));
    }

    fn stopped(&self, end: StopEnd, after: Ktime) {
        self.0.stopped[end as usize].observe(seconds(after));
    }

    fn started(&self, phase: Phase, took: Ktime) {
        self.0.started[phase as usize].observe(seconds(took));
    }

    fn start_unmeasured(&self) {
        self.0.unmeasured.inc();
    }

    fn oom_killed(&self) {
        self.0.oom_kills.inc();
    }
}

/// The metrics of every rule, and the family of the findings.
fn of_rules(catalog: &mut Catalog) -> (HashMap<&'static str, OfRule>, Family<Labels<2>, Counter>) {
    let info = Family::<Labels<4>, Gauge>::default();
    let verdicts = Family::<Labels<2>, Counter>::default();
    let findings = Family::<Labels<2>, Counter>::default();
    let accepted = Family::<Labels<1>, Counter>::default();
    let series = |rule: &'static rules::Rule| {
        let severity = SEVERITIES[place(&SEVERITIES, rule.severity)].1;
        info.of(&[
            ("rule", rule.id),
            ("name", rule.name),
            ("family", rules::family(rule.id)),
            ("severity", severity),
        ])
        .set(1);
        let of_rule = OfRule {
            verdicts: OUTCOMES
                .map(|(_, outcome)| verdicts.of(&[("rule", rule.id), ("outcome", outcome)])),
            accepted: accepted.of(&[("rule", rule.id)]),
            findings: SEVERITIES.map(|(severity, name)| match severity <= rule.severity {
                true => findings.of(&[("rule", rule.id), ("severity", name)]),
                false => Counter::default(),
            }),
        };
        (rule.id, of_rule)
    };
    let all = rules::all().map(series).collect();
    catalog.add(
        "rule_info",
        "Every rule with its name, its family and the severity of its worst violation; always 1",
        "rule, name, family, severity",
        "rules",
        info,
    );
    catalog.add(
        "verdicts",
        "Verdicts by rule and outcome, as they are given: a pass that becomes a violation counts as both, and one that an exception accepts is a violation",
        "rule, outcome",
        "rules × 3",
        verdicts,
    );
    catalog.add(
        "findings",
        "Violations by rule and severity that no exception accepts, also those that `--pod` and `--min-severity` hide",
        "rule, severity",
        "rules × 3",
        findings.clone(),
    );
    catalog.add(
        "accepted_findings",
        "Violations by rule that an exception of the configuration file accepts; they are not in `pause_trace_findings_total`",
        "rule",
        "rules",
        accepted,
    );
    (all, findings)
}

/// A counter for each value of a label.
fn counters<const N: usize>(
    catalog: &mut Catalog,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family = Family::<Labels<1>, Counter>::default();
    let counters = values.map(|value| family.of(&[(label, value)]));
    catalog.add(name, help, label, N.to_string(), family);
    counters
}

/// A histogram of seconds for each value of a label.
fn histograms<const N: usize>(
    catalog: &mut Catalog,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: [&'static str; N],
    make: fn() -> Histogram,
) -> [Histogram; N] {
    let family = Family::<Labels<1>, Histogram>::new(make);
    let histograms = values.map(|value| family.of(&[(label, value)]));
    let bound = format!("{N}, each with its buckets");
    catalog.add_with_unit(name, Unit::Seconds, help, label, bound, family);
    histograms
}

/// The place of a value in a table that has all values of its type.
fn place<T: PartialEq>(table: &[(T, &'static str)], value: T) -> usize {
    let found = table.iter().position(|(known, _)| *known == value);
    found.unwrap_or_default()
}

fn seconds(ns: Ktime) -> f64 {
    ns as f64 / 1e9
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
