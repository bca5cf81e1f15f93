//! Decides whether what `watch` said is right: each plant is found or left open with a reason, no
//! other pod and no other rule is accused, each pod ends in a verdict, and the watch does not grow.
//! Pure: it gets lines, times and samples.

mod growth;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    time::Duration,
};

use serde_json::{Value, json};

pub(super) use growth::quarters;
pub use growth::{Growth, Sample};

use super::plants::Signs;

/// How long after a disturbance it can still have effects: longer than the watch takes to read what
/// waits in the rings.
const AFTERMATH: Duration = Duration::from_secs(5);

/// How many of a hundred plants that no disturbance overlapped may be left open, and at least one.
///
/// A starved machine leaves some open for good: the watch reads `/proc` and a bundle that are gone
/// by then, and says so. More than this is a watch that does not decide.
const OPEN_PERCENT: usize = 5;

/// A pod that the soak has made.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// What it was to do.
    pub plan: String,
    /// The name of its fault, if it has one.
    pub plant: Option<&'static str>,
    /// What the watch must and may say of it.
    pub signs: Signs,
    /// When it was made, at the earliest.
    pub at: Duration,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A plant was not found by this rule, which is not inconclusive either.
    Missed {
        /// The pod.
        pod: String,
        /// The rule.
        rule: &'static str,
    },
    /// A rule accuses a pod that does not have this fault.
    FalseAlarm {
        /// The pod.
        pod: String,
        /// The rule.
        rule: String,
        /// What it says.
        message: String,
    },
    /// The watch gave no verdict on a pod.
    Silent {
        /// The pod.
        pod: String,
    },
    /// Too many plants were left open that no disturbance overlapped.
    Undecided {
        /// How many were.
        open: usize,
        /// Of how many.
        of: usize,
    },
    /// The watch uses more at the end than at the beginning.
    Grows(Growth),
    /// Anything else: a line that is not as the schema says, a wrong exit code, leftovers.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed { pod, rule } => write!(f, "missed: {rule} says nothing of {pod}"),
            Self::FalseAlarm { pod, rule, message } => {
                write!(f, "false alarm: {rule} accuses {pod}: {message}")
            }
            Self::Silent { pod } => write!(f, "no verdict on {pod}"),
            Self::Undecided { open, of } => write!(
                f,
                "{open} of {of} plants that nothing disturbed are inconclusive"
            ),
            Self::Grows(growth) => write!(f, "{growth}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The pods that ended in a verdict.
    pub pods: usize,
    /// Those of them with a fault.
    pub planted: usize,
    /// The faults of which each rule was found.
    pub found: usize,
    /// Those that a rule left open, and no rule missed.
    pub open: usize,
    /// Those that a rule missed.
    pub missed: usize,
    /// The faults in pods that no disturbance overlapped, and how many of these were left open.
    pub calm: usize,
    /// How many of these were left open.
    pub calm_open: usize,
    /// Accusations without a fault.
    pub false_alarms: usize,
    /// Pods without a fault and without a disturbance of which a rule was inconclusive.
    pub healthy_open: usize,
    /// Pods that came and went during a disturbance, so that the watch could name their containers
    /// alone.
    pub only_named: usize,
    /// Events that the kernel dropped.
    pub lost: u64,
}

/// A moment in the life of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its entrypoint has started.
    Started,
    /// Its entrypoint has ended.
    Ended,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
struct Pod {
    made: Option<Made>,
    /// Those of its containers that have started and ended, by id; its sandbox is one of them.
    started: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// The rules that were broken, with the message.
    broken: BTreeMap<String, String>,
    /// Those of them that are no mere information.
    accused: BTreeSet<String>,
    /// The rules that were inconclusive, with the reason.
    open: BTreeMap<String, String>,
    /// Whether the watch named one of its containers without knowing the pod.
    named: bool,
    is_removed: bool,
    /// How many verdicts there were when it was verified.
    verified: Option<u64>,
    /// The last lines that are no pass, for who reads about a failure.
    lines: Vec<String>,
}

/// How many lines of a pod are kept for a failure.
const LINES_KEPT: usize = 40;

/// The judge of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    pods: HashMap<String, Pod>,
    /// The pods that have been judged.
    done: HashSet<String>,
    /// The pod of each container that the soak or the watch named.
    of_container: HashMap<String, String>,
    disturbances: Vec<(Duration, Option<Duration>)>,
    samples: Vec<Sample>,
    faults: Vec<Fault>,
    figures: Figures,
    by_plant: BTreeMap<&'static str, [usize; 3]>,
    lost: BTreeMap<String, u64>,
}

impl Oracle {
    /// Takes a pod that was made. Lines about it may have come before.
    pub fn made(&mut self, uid: &str, made: Made) {
        self.pods.entry(uid.to_owned()).or_default().made = Some(made);
    }

    /// Takes the id of a container of a pod.
    pub fn contains(&mut self, uid: &str, container: &str) {
        self.of_container
            .insert(container.to_owned(), uid.to_owned());
    }

    /// Takes the end of a pod that was made. Returns what is wrong with it, if it is judged now.
    pub fn removed(&mut self, now: Duration, uid: &str) -> Vec<Fault> {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.is_removed = true;
        }
        self.judge_if_over(now, uid)
    }

    /// Takes the begin of a disturbance.
    pub fn disturbed(&mut self, now: Duration) {
        self.disturbances.push((now, None));
    }

    /// Takes the end of the disturbance that goes on.
    pub fn calm(&mut self, now: Duration) {
        if let Some((_, end)) = self.disturbances.last_mut() {
            *end = Some(now);
        }
    }

    /// Takes what the watch uses.
    pub fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// Takes something else that is wrong.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes a line of the watch. Returns what is wrong with the pod that it is the last line of.
    pub fn line(&mut self, now: Duration, line: &Value) -> Vec<Fault> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if line["type"] == "loss" {
            let kind = text(&line["kind"]);
            let count = line["lost"].as_u64().unwrap_or_default();
            if kind == "output" {
                let fault = format!("the watch dropped {count} lines of its output");
                self.faults.push(Fault::Other(fault));
            }
            self.figures.lost += count;
            *self.lost.entry(kind).or_default() += count;
            return Vec::new();
        }
        let container = text(&line["container"]["id"]);
        let said = text(&line["pod"]["uid"]);
        let message = text(&line["message"]);
        let uid = if !said.is_empty() {
            said
        } else {
            match self.pod_that_is_named(&container, &message) {
                Some(uid) => uid,
                None => return Vec::new(),
            }
        };
        let accuses = line["verdict"] == "fail" && line["severity"] != "info";
        let rule = text(&line["rule"]);
        if self.done.contains(&uid) {
            if accuses && line["type"] == "finding" {
                let fault = Fault::FalseAlarm {
                    pod: format!("{uid}, after its last verdict"),
                    rule,
                    message,
                };
                self.figures.false_alarms += 1;
                self.faults.push(fault.clone());
                return vec![fault];
            }
            return Vec::new();
        }
        let is_named = line["pod"]["uid"].is_null();
        let pod = self.pods.entry(uid.clone()).or_default();
        match line["event"].as_str() {
            Some("started") => _ = pod.started.insert(container),
            Some("ended") => _ = pod.ended.insert(container),
            _ => {}
        }
        pod.named |= is_named;
        if line["verdict"] != "pass" {
            pod.lines.push(line.to_string());
            let excess = pod.lines.len().saturating_sub(LINES_KEPT);
            pod.lines.drain(..excess);
        }
        match line["verdict"].as_str() {
            Some("fail") => {
                if accuses {
                    pod.accused.insert(rule.clone());
                }
                pod.broken.entry(rule).or_insert(message);
            }
            Some("inconclusive") => {
                pod.open.insert(rule, message);
            }
            _ => {}
        }
        if line["event"] == "verified" {
            let counts = ["pass", "fail", "inconclusive"];
            let counts = counts.map(|key| line["verdicts"][key].as_u64().unwrap_or_default());
            pod.verified = Some(counts.into_iter().sum());
            return self.judge_if_over(now, &uid);
        }
        Vec::new()
    }

    /// Whether a rule accuses a pod, or is inconclusive about it.
    #[must_use]
    pub fn has_said(&self, uid: &str, rule: &str) -> bool {
        self.done.contains(uid)
            || self
                .pods
                .get(uid)
                .is_some_and(|pod| pod.broken.contains_key(rule) || pod.open.contains_key(rule))
    }

    /// Whether the watch has reported this of a container.
    #[must_use]
    pub fn has_seen(&self, container: &str, stage: Stage) -> bool {
        self.pods.values().any(|pod| match stage {
            Stage::Started => pod.started.contains(container),
            Stage::Ended => pod.ended.contains(container),
        })
    }

    /// The pods that were made and have no verdict yet. Those that were only named during a
    /// disturbance get none.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let waits = |pod: &&Pod| {
            let made = pod.made.as_ref();
            made.is_some_and(|made| !(pod.named && self.overlaps(made.at, Duration::MAX)))
        };
        self.pods.values().filter(waits).count()
    }

    /// The counts so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// How many faults of each name were found, left open and missed.
    #[must_use]
    pub fn by_plant(&self) -> &BTreeMap<&'static str, [usize; 3]> {
        &self.by_plant
    }

    /// What is wrong so far.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What the watch used.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// What the kernel dropped, by kind.
    #[must_use]
    pub fn lost(&self) -> Value {
        json!(self.lost)
    }

    /// Judges what only the whole run shows. Returns what is wrong with it.
    ///
    /// An interrupted run leaves pods without a verdict, which is no fault.
    pub fn end(&mut self, now: Duration, is_interrupted: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !is_interrupted {
            let mut left: Vec<_> = self.pods.drain().collect();
            left.sort_by(|one, other| one.0.cmp(&other.0));
            for (uid, pod) in left {
                let Some(made) = &pod.made else { continue };
                if pod.named && self.overlaps(made.at, now) {
                    self.figures.only_named += 1;
                } else {
                    let pod = describe(&uid, made, &pod);
                    faults.push(Fault::Silent { pod });
                }
            }
        }
        let Figures {
            calm, calm_open, ..
        } = self.figures;
        if calm_open > (calm * OPEN_PERCENT / 100).max(1) {
            faults.push(Fault::Undecided {
                open: calm_open,
                of: calm,
            });
        }
        faults.extend(growth::of(&self.samples).into_iter().map(Fault::Grows));
        self.faults.extend(faults.iter().cloned());
        faults
    }

    /// The pod of a line that names none: by its container, or by an id in its message.
    fn pod_that_is_named(&self, container: &str, message: &str) -> Option<String> {
        let words = message.split(|c: char| !c.is_ascii_hexdigit());
        words
            .filter(|word| word.len() == 64)
            .chain([container])
            .find_map(|id| self.of_container.get(id))
            .cloned()
    }

    fn overlaps(&self, from: Duration, to: Duration) -> bool {
        self.disturbances
            .iter()
            .any(|(begin, end)| *begin <= to && end.is_none_or(|end| end + AFTERMATH >= from))
    }

    /// Judges a pod that has been removed and verified.
    fn judge_if_over(&mut self, now: Duration, uid: &str) -> Vec<Fault> {
        let is_over = |pod: &Pod| pod.made.is_some() && pod.is_removed && pod.verified.is_some();
        if !self.pods.get(uid).is_some_and(is_over) {
            return Vec::new();
        }
        let Some(pod) = self.pods.remove(uid) else {
            return Vec::new();
        };
        self.done.insert(uid.to_owned());
        let made = pod.made.clone().unwrap_or_default();
        let is_disturbed = self.overlaps(made.at, now);
        let mut faults = Vec::new();
        if pod.verified == Some(0) {
            faults.push(Fault::Silent {
                pod: describe(uid, &made, &pod),
            });
        }
        let late = if is_disturbed { made.signs.late } else { &[] };
        let known = [made.signs.must, made.signs.may, late].concat();
        for rule in &pod.accused {
            if !known.contains(&rule.as_str()) {
                self.figures.false_alarms += 1;
                faults.push(Fault::FalseAlarm {
                    pod: describe(uid, &made, &pod),
                    rule: rule.clone(),
                    message: pod.broken.get(rule).cloned().unwrap_or_default(),
                });
            }
        }
        let is_open = |rule: &&&str| pod.open.get(**rule).is_some_and(|why| !why.is_empty());
        let not_found = || {
            let rules = made.signs.must.iter();
            rules.filter(|rule| !pod.broken.contains_key(**rule))
        };
        let missed: Vec<_> = not_found().filter(|rule| !is_open(rule)).collect();
        faults.extend(missed.iter().map(|rule| Fault::Missed {
            pod: describe(uid, &made, &pod),
            rule,
        }));
        self.figures.pods += 1;
        match made.plant {
            Some(plant) => {
                let column = match (missed.is_empty(), not_found().next().is_none()) {
                    (false, _) => 2,
                    (true, true) => 0,
                    (true, false) => 1,
                };
                self.figures.planted += 1;
                self.figures.found += usize::from(column == 0);
                self.figures.open += usize::from(column == 1);
                self.figures.missed += usize::from(column == 2);
                self.figures.calm += usize::from(!is_disturbed);
                self.figures.calm_open += usize::from(!is_disturbed && column == 1);
                self.by_plant.entry(plant).or_default()[column] += 1;
            }
            None => {
                let is_open = !pod.open.is_empty() && !is_disturbed;
                self.figures.healthy_open += usize::from(is_open);
            }
        }
        self.faults.extend(faults.iter().cloned());
        faults
    }
}

/// What a person needs to know of a pod that something is wrong with.
fn describe(uid: &str, made: &Made, pod: &Pod) -> String {
    let planted = made.plant.unwrap_or("nothing");
    let mut text = format!(
        "pod {uid} ({}), planted: {planted}; what was said:",
        made.plan
    );
    if pod.lines.is_empty() {
        text.push_str(" nothing");
    }
    for line in &pod.lines {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}
