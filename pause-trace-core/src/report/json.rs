//! JSON lines: one object per line, flushed with the batch of events that it came from.
//! [`super::wire`] describes the lines.

use std::io::{self, Write};

use super::{
    Clock, Hello, Loss, Names, Report, ScenarioResult, Summary,
    wire::{self, Body, Line, When},
};
use crate::{
    event::Ktime,
    news::News,
    verdict::{Outcome, Verdict},
};

pub(super) struct JsonReport<W> {
    out: W,
    clock: Clock,
    /// The number of verdicts so far.
    verdicts: u64,
}

impl<W: Write> JsonReport<W> {
    pub(super) fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            clock,
            verdicts: 0,
        }
    }

    fn write(&mut self, body: Body<'_>) -> io::Result<()> {
        Line::new(body).write(&mut self.out)
    }

    fn when(&self, time: Ktime) -> When {
        When::new(self.clock, time)
    }
}

/// The line that says how many lines the reader was too slow for.
pub(super) fn dropped(clock: Clock, time: Ktime, lines: u64) -> String {
    let loss = wire::Loss {
        when: When::new(clock, time),
        kind: "output",
        lost: lines,
    };
    let mut line = Vec::new();
    // Writing to memory does not fail.
    _ = Line::new(Body::Loss(loss)).write(&mut line);
    String::from_utf8(line).unwrap_or_default()
}

impl<W: Write + Send> Report for JsonReport<W> {
    fn hello(&mut self, hello: &Hello) -> io::Result<()> {
        let Hello {
            time,
            version,
            kernel,
            arch,
            hooks,
        } = hello;
        self.write(Body::Hello(wire::Hello {
            when: self.when(*time),
            version,
            kernel,
            arch,
            hooks,
        }))
    }

    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        self.verdicts += 1;
        if verdict.outcome == Outcome::Fail {
            let finding = wire::Finding::new(verdict, names, self.clock);
            self.write(Body::Finding(finding.numbered(self.verdicts)))?;
        }
        let decided = wire::Decided::new(verdict, names, self.clock);
        self.write(Body::Verdict(decided.numbered(self.verdicts)))
    }

    fn news(&mut self, news: &News, names: &Names) -> io::Result<()> {
        let event = wire::PodEvent::new(news, names, self.clock);
        self.write(Body::Pod(Box::new(event)))
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let ScenarioResult {
            time,
            family,
            name,
            title,
            outcome,
            proof,
            reason,
            found,
            duration,
        } = scenario;
        self.write(Body::Scenario(wire::Scenario {
            when: self.when(*time),
            family,
            name,
            title,
            verdict: *outcome,
            proof,
            reason,
            found,
            duration_ns: *duration,
        }))
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        self.write(Body::Loss(wire::Loss {
            when: self.when(loss.time),
            kind: loss.kind.name(),
            lost: loss.count,
        }))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let Summary {
            time,
            rules,
            verdicts,
            excepted,
            scenarios,
            pods,
            events,
            lost,
            duration,
            interrupted,
        } = summary;
        self.write(Body::Summary(wire::Summary {
            when: self.when(*time),
            scenarios: *scenarios,
            pods: *pods,
            verdicts: *verdicts,
            excepted: *excepted,
            rules,
            events,
            lost,
            duration_ns: *duration,
            interrupted: *interrupted,
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::report::testing::{self, CLOCK, Written};

    fn written(send: impl FnOnce(&mut dyn Report) -> io::Result<()>) -> String {
        let written = Written::default();
        send(&mut JsonReport::new(written.clone(), CLOCK)).expect("memory has room");
        written.text()
    }

    #[test]
    fn a_finding_matches_the_schema() {
        let text = written(|report| report.verdict(&testing::failed(), &testing::names()));
        let [finding, verdict] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("two lines: {text}")
        };
        let about = r#""id":1,"time":"2026-11-21T20:00:01.000000000Z","ktime_ns":1000000000,"rule":"PT101","name":"net-shared","severity":"error","verdict":"fail","pod":{"namespace":"default","name":"web","uid":"uid-1"},"container":{"name":"app","id":"c1"},"process":{"pid":4711,"start_ns":900,"ns_pid":1,"comm":"nginx"}"#;
        let rest = r#""expected":{"net":4026532179},"observed":{"net":4026531840,"after_ns":1500000},"message":"the process runs in the host's network namespace","evidence":[{"time":"2026-11-21T20:00:00.998800000Z","ktime_ns":998800000,"what":"pause (pid 4700) executed in net 4026532179"},{"time":"2026-11-21T20:00:01.000000000Z","ktime_ns":1000000000,"what":"nginx executed in net 4026531840"}]"#;
        assert_eq!(
            finding,
            format!(r#"{{"schema":2,"type":"finding",{about},{rest}}}"#)
        );
        let message = r#""message":"the process runs in the host's network namespace""#;
        assert_eq!(
            verdict,
            format!(r#"{{"schema":2,"type":"verdict",{about},{message}}}"#)
        );
    }

    #[test]
    fn a_finding_and_its_verdict_have_one_id_and_the_next_verdict_another() {
        let names = testing::names();
        let text = written(|report| {
            report.verdict(&testing::passed(), &names)?;
            report.verdict(&testing::failed(), &names)?;
            report.verdict(&testing::hostile(), &names)
        });
        let lines: Vec<Json> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let ids: Vec<_> = lines
            .iter()
            .map(|line| (line["type"].as_str(), line["id"].as_u64()))
            .collect();
        let expected = [
            ("verdict", 1),
            ("finding", 2),
            ("verdict", 2),
            ("finding", 3),
            ("verdict", 3),
        ];
        assert_eq!(ids, expected.map(|(kind, id)| (Some(kind), Some(id))));
    }

    #[test]
    fn a_violation_that_is_accepted_has_the_exception() {
        let text = written(|report| {
            report.verdict(&testing::excepted(), &testing::names())?;
            report.summary(&Summary {
                excepted: 1,
                ..testing::summary()
            })
        });
        let exception =
            r#""exception":{"reason":"the legacy image needs it","expires":"2099-01-31"}"#;
        for line in text.lines().take(2) {
            assert!(line.contains(exception), "{line}");
            assert!(line.contains(r#""severity":"warning""#), "{line}");
        }
        assert!(text.contains(r#""excepted":1"#), "{text}");
    }

    #[test]
    fn the_other_lines_match_the_schema() {
        let text = written(|report| {
            report.hello(&testing::hello())?;
            report.scenario(&testing::scenario(Outcome::Fail))?;
            report.loss(&testing::loss())?;
            report.summary(&testing::summary())
        });
        let expected = r#"{"schema":2,"type":"hello","time":"2026-11-21T20:00:00.500000000Z","ktime_ns":500000000,"version":"0.1.0","kernel":"6.18.5","arch":"x86_64","hooks":[{"hook":"sched_process_fork","how":"tp_btf"},{"hook":"setns","how":"tracepoint"},{"hook":"sched_process_exec","how":"tp_btf"},{"hook":"mark_victim","how":"missing"}]}
{"schema":2,"type":"scenario","time":"2026-11-21T20:00:01.000000000Z","ktime_ns":1000000000,"family":"namespaces","name":"net-shared","title":"containers share the pod's network","verdict":"fail","proof":"net 4026532179","reason":"localhost: ECONNREFUSED","found":[],"duration_ns":12000000}
{"schema":2,"type":"loss","time":"2026-11-21T20:00:01.000000000Z","ktime_ns":1000000000,"kind":"exec","lost":2}
{"schema":2,"type":"summary","time":"2026-11-21T20:00:12.300000000Z","ktime_ns":12300000000,"scenarios":{"pass":30,"fail":1,"inconclusive":0},"pods":3,"verdicts":{"pass":409,"fail":2,"inconclusive":1},"rules":{"PT101":{"pass":409,"fail":2,"inconclusive":1}},"events":{"fork":20000,"exec":15120},"lost":{"exec":2},"duration_ns":11800000000,"interrupted":false}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn hostile_names_stay_in_their_strings() {
        let text = written(testing::send_all);
        assert!(
            text.chars()
                .all(|character| character == '\n' || !character.is_control()),
            "{text}"
        );
        for line in text.lines() {
            let _: Json = serde_json::from_str(line).expect("each line is an object");
        }
        let hostile = text
            .lines()
            .find(|line| line.contains("uid-2"))
            .expect("the hostile pod's");
        let hostile: Json = serde_json::from_str(hostile).expect("an object");
        assert_eq!(hostile["pod"]["name"], r#"\u{1b}[2J<b a="'&\u{a}\u{202e}"#);
    }
}
