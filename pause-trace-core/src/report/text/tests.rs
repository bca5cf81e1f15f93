//! The exact output of the text report.

use super::*;
use crate::report::testing::{self, Written};

const PLAIN: TextStyle = TextStyle::PLAIN;

fn written(
    text_style: TextStyle,
    passes: bool,
    send: impl FnOnce(&mut dyn Report) -> io::Result<()>,
) -> String {
    let written = Written::default();
    send(&mut TextReport::new(written.clone(), text_style, passes)).expect("memory has room");
    written.text()
}

#[test]
fn a_run_is_written_like_this() {
    let text = written(PLAIN, true, testing::send_all);
    let expected = "\
pause-trace 0.1.0 · Linux 6.18.5 x86_64 · 4 hooks: 2 tp_btf, 1 tracepoint, 1 missing

✓ PT101  net-shared         default/web · app               net 4026532179, as the sandbox's

✗ PT101 error net-shared  default/web · app · pid 4711 (nginx)
  the process runs in the host's network namespace
    expected  net 4026532179
    observed  net 4026531840, after 1.5 ms
     -1.2 ms  pause (pid 4700) executed in net 4026532179
           0  nginx executed in net 4026531840

✗ PT101 error net-shared  default/\\u{1b}[2J<b a=\"'&\\u{a}\\u{202e} · \\u{1b}[2J<b a=\"'&\\u{a}\\u{202e} · pid 9 (\\u{1b}]0;x\\u{7}<&\")
  ran \\u{1b}[2J<b a=\"'&\\u{a}\\u{202e}

✗ net-shared                   12 ms  containers share the pod's network              net 4026532179
    localhost: ECONNREFUSED
? lost   2 exec events: verdicts that depend on them are inconclusive
? PT101  net-shared         default/web · app               2 Exec events were lost
✓ net-shared                   12 ms  containers share the pod's network              net 4026532179

31 scenarios: 30 passed, 1 failed · 3 pods · 412 verdicts · 2 failed · 1 inconclusive · 35,120 events, 2 lost · 11.8 s
  PT101  2 failed, 1 inconclusive   pause-trace explain PT101
";
    assert_eq!(text, expected);
}

/// As news lines do, so that a reader of the log knows when it was.
#[test]
fn a_finding_of_a_live_report_begins_with_its_time() {
    let written = Written::default();
    let report = TextReport::new(written.clone(), PLAIN, false);
    let mut report = report.with_clock(testing::CLOCK);
    let verdict = testing::failed();
    let sent = report.verdict(&verdict, &testing::names());
    sent.expect("memory has room");
    let time = testing::CLOCK.time_of_day(verdict.time);
    let begin = format!("{time} ✗ PT101 error net-shared  default/web");
    assert!(written.text().starts_with(&begin), "{}", written.text());
    assert_eq!(written.text().matches(&time).count(), 1);
}

#[test]
fn a_violation_that_is_accepted_says_why_and_is_counted() {
    let text = written(PLAIN, false, |report| {
        report.verdict(&testing::excepted(), &testing::names())?;
        report.summary(&Summary {
            excepted: 1,
            ..testing::summary()
        })
    });
    let expected = "\
✗ PT101 warning net-shared  default/web · app · pid 4711 (nginx)
  the process runs in the host's network namespace
  accepted until 2099-01-31: the legacy image needs it

31 scenarios: 30 passed, 1 failed · 3 pods · 412 verdicts · 2 failed · 1 inconclusive · 1 finding accepted · 35,120";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn verdicts_that_passed_are_only_counted() {
    let text = written(PLAIN, false, |report| {
        report.verdict(&testing::passed(), &testing::names())
    });
    assert_eq!(text, "");
}

#[test]
fn an_injected_fault_names_the_rule_that_found_it() {
    let scenario = ScenarioResult {
        found: vec!["PT402"],
        ..testing::scenario(Outcome::Pass)
    };
    let text = written(PLAIN, false, |report| report.scenario(&scenario));
    assert!(text.ends_with("  found PT402 · net 4026532179\n"), "{text}");
}

#[test]
fn a_narrow_terminal_gets_more_lines() {
    let narrow = TextStyle {
        width: Some(60),
        ..PLAIN
    };
    let text = written(narrow, false, |report| {
        report.scenario(&testing::scenario(Outcome::Pass))
    });
    let title = "✓ net-shared                   12 ms  containers share the pod's network\n";
    assert_eq!(text, format!("{title}{:38}net 4026532179\n", ""));
    let narrow = TextStyle {
        width: Some(40),
        ..PLAIN
    };
    let text = written(narrow, false, |report| {
        report.verdict(&testing::failed(), &testing::names())
    });
    assert!(
        text.contains("  the process runs in the host's network\n  namespace\n"),
        "{text}"
    );
    assert!(
        text.contains("     -1.2 ms  pause (pid 4700) executed in net 4026532179\n"),
        "{text}"
    );
}

#[test]
fn ascii_locales_get_ascii() {
    let text = written(
        TextStyle {
            utf8: false,
            ..PLAIN
        },
        true,
        testing::send_all,
    );
    assert!(text.is_ascii(), "{text}");
    assert!(
        text.contains("\nx PT101 error net-shared  default/web - app - pid 4711 (nginx)\n"),
        "{text}"
    );
}

#[test]
fn every_colour_is_reset() {
    let text = written(
        TextStyle {
            color: true,
            ..PLAIN
        },
        true,
        testing::send_all,
    );
    for line in text.lines() {
        let opened = line.matches("\x1b[").count() - line.matches("\x1b[0m").count();
        assert!(opened >= line.matches("\x1b[0m").count(), "{line:?}");
        assert!(
            !line.contains("\x1b[2J") && !line.contains('\x07'),
            "{line:?}"
        );
    }
    let plain = written(PLAIN, true, testing::send_all);
    assert_eq!(without_color(&text), plain);
}

fn without_color(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}
