//! Findings that an earlier run reported. A run with a baseline fails on new findings only.

use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead, Read as _},
    path::Path,
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    report::Names,
    rules,
    verdict::{Excepted, Outcome, Severity, Verdict},
};

/// The longest line that a report has, with room to spare.
const MAX_LINE: u64 = 1 << 20;

/// Most findings of a baseline.
const MAX_FINDINGS: usize = 100_000;

/// The findings of a JSON report: what they are about, and the worst severity that they had.
#[derive(Clone, Debug)]
pub struct Baseline {
    known: HashMap<About, (Severity, bool)>,
    excepted: Arc<Excepted>,
}

/// What makes two findings the same, in two runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct About {
    rule: &'static str,
    namespace: String,
    /// The name of the pod without what Kubernetes generates for each replica.
    workload: String,
    container: Option<String>,
}

/// Why a file is no baseline.
#[derive(Debug)]
pub enum Unreadable {
    /// It cannot be read.
    Io(io::Error),
    /// The number of a line that a JSON report does not have.
    Line(usize),
    /// It has more findings than are kept.
    TooMany,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Line(number) => write!(
                f,
                "line {number} is not a line of a JSON report; write a baseline with --format json --output FILE"
            ),
            Self::TooMany => write!(f, "it has more than {MAX_FINDINGS} findings"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The fields of a line that count here.
#[derive(Deserialize)]
struct Line {
    schema: u32,
    #[serde(rename = "type")]
    kind: String,
    rule: Option<String>,
    severity: Option<Severity>,
    #[serde(default)]
    pod: Named,
    container: Option<Named>,
    exception: Option<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    expires: Option<String>,
}

#[derive(Default, Deserialize)]
struct Named {
    namespace: Option<String>,
    name: Option<String>,
}

impl Baseline {
    /// Reads a JSON report. `path` is only named.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn read(mut report: impl BufRead, path: &Path) -> Result<Self, Unreadable> {
        let mut known = HashMap::new();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = report.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if read.map_err(Unreadable::Io)? == 0 {
                break;
            }
            let line: Line = serde_json::from_slice(&line).map_err(|_| Unreadable::Line(number))?;
            if let Some((about, severity)) = line.finding(number)? {
                let (worst, _) = known.entry(about).or_insert((severity, false));
                *worst = severity.max(*worst);
            }
            if known.len() > MAX_FINDINGS {
                return Err(Unreadable::TooMany);
            }
        }
        Ok(Self {
            known,
            excepted: Arc::new(Excepted {
                reason: format!("known from {}", path.display()),
                expires: None,
            }),
        })
    }

    /// Why a finding is not new. One that is worse than before is new.
    pub(super) fn knows(&self, verdict: &Verdict, names: &Names) -> Option<Arc<Excepted>> {
        let (worst, _) = self.known.get(&About::of(verdict, names)?)?;
        (verdict.severity() <= *worst).then(|| self.excepted.clone())
    }

    /// Notes that a finding has occurred again, even if it is worse.
    pub(super) fn occurs(&mut self, verdict: &Verdict, names: &Names) {
        let about = About::of(verdict, names).filter(|_| verdict.outcome == Outcome::Fail);
        if let Some((_, has_occurred)) = about.and_then(|about| self.known.get_mut(&about)) {
            *has_occurred = true;
        }
    }

    /// How many of its findings did not occur again.
    pub fn gone(&self) -> usize {
        let gone = self
            .known
            .values()
            .filter(|(_, has_occurred)| !has_occurred);
        gone.count()
    }
}

impl Line {
    /// What a finding is about. A finding about a pod without a name cannot be found again, and one
    /// that was accepted for a time is not known for ever.
    fn finding(self, number: usize) -> Result<Option<(About, Severity)>, Unreadable> {
        if self.schema != crate::report::wire::SCHEMA {
            return Err(Unreadable::Line(number));
        }
        let expires = self.exception.is_some_and(|one| one.expires.is_some());
        if self.kind != "finding" || expires {
            return Ok(None);
        }
        let (Some(rule), Some(severity)) = (self.rule, self.severity) else {
            return Err(Unreadable::Line(number));
        };
        let Some(rule) = rules::find(&rule) else {
            // A rule of another version.
            return Ok(None);
        };
        let (Some(namespace), Some(name)) = (self.pod.namespace, self.pod.name) else {
            return Ok(None);
        };
        let container = match self.container {
            None => None,
            Some(Named { name: None, .. }) => return Ok(None),
            Some(Named { name, .. }) => name,
        };
        let about = About {
            rule: rule.id,
            namespace,
            workload: workload(&name),
            container,
        };
        Ok(Some((about, severity)))
    }
}

impl About {
    fn of(verdict: &Verdict, names: &Names) -> Option<Self> {
        let (namespace, name) = names.of_pod(verdict.subject.pod.as_ref()?);
        let container = match &verdict.subject.container {
            Some(id) => Some(names.of_container(id)?.to_owned()),
            None => None,
        };
        Some(Self {
            rule: verdict.rule.id,
            namespace: namespace?.to_owned(),
            workload: workload(name?),
            container,
        })
    }
}

/// The letters of generated names: Kubernetes leaves out vowels and digits that look like them
/// (`k8s.io/apimachinery/pkg/util/rand`).
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The name of a pod with `*` for what Kubernetes generates: `web-*-*` for `web-7d4b9c6f5d-x2x7k`,
/// a pod of a Deployment, `agent-*` for `agent-x2x7k`, a pod of a DaemonSet or a Job, and
/// `backup-*-*` for `backup-29123456-x2x7k`, a pod of a CronJob. The pods of a StatefulSet keep
/// their number, and `web-https` its word: without a generated part before it, the end must have
/// letters and digits.
fn workload(pod: &str) -> String {
    let is_generated = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.chars().all(|letter| GENERATED.contains(letter))
    };
    let is_minute =
        |part: &str| part.len() == 8 && part.bytes().all(|digit| digit.is_ascii_digit());
    let is_mixed = |part: &str| {
        let is_digit = |byte: u8| byte.is_ascii_digit();
        part.bytes().any(is_digit) && !part.bytes().all(is_digit)
    };
    match pod.rsplit_once('-') {
        Some((rest, end)) if is_generated(end, &[5]) => match rest.rsplit_once('-') {
            // The hash of a ReplicaSet's template, or the minute of a CronJob's run.
            Some((name, part)) if is_generated(part, &[8, 9, 10]) || is_minute(part) => {
                format!("{name}-*-*")
            }
            _ if is_mixed(end) => format!("{rest}-*"),
            _ => pod.to_owned(),
        },
        _ => pod.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{
            self, Format, Report, Settings,
            testing::{self, Written},
        },
        text::TextStyle,
        verdict::Subject,
    };

    fn json(send: impl FnOnce(&mut dyn Report)) -> Vec<u8> {
        let written = Written::default();
        let settings = Settings {
            clock: testing::CLOCK,
            text_style: TextStyle::PLAIN,
            passes: true,
            fail_on: Severity::Error,
        };
        let mut report = report::new(Format::Json, Box::new(written.clone()), settings);
        send(&mut *report);
        written.text().into_bytes()
    }

    fn read(report: &[u8]) -> Result<Baseline, Unreadable> {
        Baseline::read(report, Path::new("known.jsonl"))
    }

    fn of_failed() -> Baseline {
        let report = json(|report| testing::send_all(report).expect("writing to memory"));
        read(&report).expect("a report")
    }

    #[test]
    fn the_findings_of_a_report_are_known() {
        let baseline = of_failed();
        let names = testing::names();
        let known = baseline.knows(&testing::failed(), &names);
        assert_eq!(
            known.expect("it is known").to_string(),
            "known from known.jsonl"
        );
    }

    #[test]
    fn another_rule_pod_or_container_and_a_worse_finding_are_new() {
        let names = testing::names();
        let mild = Verdict {
            details: testing::failed().details.milder(Severity::Warning),
            ..testing::failed()
        };
        let report = json(|report| report.verdict(&mild, &names).expect("writing to memory"));
        let baseline = read(&report).expect("a report");
        assert!(baseline.knows(&mild, &names).is_some());
        assert!(baseline.knows(&testing::failed(), &names).is_none());
        let of_the_pod = Subject {
            container: None,
            ..testing::failed().subject
        };
        let elsewhere = Subject {
            pod: Some("unknown".into()),
            ..testing::failed().subject
        };
        for subject in [of_the_pod, elsewhere, Subject::default()] {
            let verdict = Verdict {
                subject,
                ..mild.clone()
            };
            assert!(baseline.knows(&verdict, &names).is_none(), "{verdict:?}");
        }
        let other = Verdict {
            rule: rules::find("PT102").expect("a rule"),
            ..mild
        };
        assert!(baseline.knows(&other, &names).is_none());
    }

    #[test]
    fn a_finding_that_does_not_occur_again_is_counted() {
        let mut baseline = of_failed();
        let all = baseline.gone();
        assert!(all > 0);
        baseline.occurs(&testing::failed(), &testing::names());
        baseline.occurs(&testing::passed(), &testing::names());
        assert_eq!(baseline.gone(), all - 1);
    }

    #[test]
    fn what_was_accepted_for_a_time_is_not_known() {
        let names = testing::names();
        let report = json(|report| {
            let accepted = report.verdict(&testing::excepted(), &names);
            accepted.expect("writing to memory");
        });
        let baseline = read(&report).expect("a report");
        assert!(baseline.knows(&testing::failed(), &names).is_none());
        assert!(baseline.knows(&testing::excepted(), &names).is_none());
    }

    #[test]
    fn something_else_than_a_report_is_refused() {
        let text = |report: &[u8]| read(report).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(text(b""), Ok(()));
        for wrong in [
            &b"{}\n"[..],
            b"# findings\n",
            b"\xff",
            b"{\"schema\":1,\"type\":\"finding\"}",
        ] {
            let error = text(wrong).expect_err("it is no report");
            assert!(error.starts_with("line 1 is not"), "{error}");
        }
        assert_eq!(
            text(b"{\"schema\":2,\"type\":\"finding\",\"rule\":\"PT999\",\"severity\":\"info\"}"),
            Ok(()),
            "a rule of a later version"
        );
    }

    #[test]
    fn generated_names_are_those_of_their_workload() {
        for (pod, name) in [
            ("web-7d4b9c6f5d-x2x7k", "web-*-*"),
            ("web-7d4b9c6f5d-zzzzz", "web-*-*"),
            ("my-web-7d4b9c6f5d-x2x7k", "my-web-*-*"),
            ("agent-x2x7k", "agent-*"),
            ("backup-29123456-x2x7k", "backup-*-*"),
            ("web-https", "web-https"),
            ("web-24578", "web-24578"),
            ("db-0", "db-0"),
            ("web", "web"),
            ("web-proxy", "web-proxy"),
            ("x2x7k", "x2x7k"),
            ("", ""),
        ] {
            assert_eq!(workload(pod), name, "{pod}");
        }
    }

    #[test]
    fn a_pass_is_not_asked() {
        let mut policy = crate::policy::Policy::default().with_baseline(of_failed());
        let passed = testing::passed();
        assert_eq!(passed.outcome, Outcome::Pass);
        let decided = policy.decide(&passed, &testing::names(), testing::CLOCK);
        assert!(decided.is_none());
        let decided = policy.decide(&testing::failed(), &testing::names(), testing::CLOCK);
        assert!(decided.expect("it is known").excepted().is_some());
    }
}
