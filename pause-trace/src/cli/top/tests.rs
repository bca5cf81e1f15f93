use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    app::{Action, App, View},
    draw::draw,
    rows::{PodStatus, Row, Sort},
};
use crate::{
    event::Text,
    report::testing::{self, CLOCK, HOSTILE},
    text::TextStyle,
};

fn row(pod: &str, title: &str, status: PodStatus, members: u64, zombies: u32) -> Row {
    Row {
        pod: pod.into(),
        title: title.to_owned(),
        status,
        failed: u64::from(status == PodStatus::Fail),
        containers: 2,
        members,
        zombies,
        signals: 0,
        age: 61_000_000_000,
        newest: (status == PodStatus::Fail).then(|| "PT101 net-shared".to_owned()),
    }
}

fn app(text_style: TextStyle) -> App {
    let mut app = App::new(text_style, CLOCK);
    app.found(&[testing::failed(), testing::failed()], &testing::names());
    app.show(
        vec![
            row("a", "default/api", PodStatus::Pass, 5, 0),
            row("b", "default/web", PodStatus::Fail, 3, 2),
            row("c", "kube-system/dns", PodStatus::Doubtful, 9, 0),
            row(
                "d",
                &format!("lab/{}", Text::new(HOSTILE)),
                PodStatus::Unknown,
                1,
                1,
            ),
        ],
        0,
    );
    app
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal =
        Terminal::new(TestBackend::new(width, height)).expect("the backend is memory");
    terminal
        .draw(|frame| draw(frame, app))
        .expect("the backend is memory");
    terminal.backend().to_string()
}

fn press(app: &mut App, keys: impl IntoIterator<Item = KeyCode>) -> Option<Action> {
    let mut action = None;
    for code in keys {
        action = app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    action
}

fn type_in(app: &mut App, text: &str) {
    press(app, text.chars().map(KeyCode::Char));
}

fn titles(app: &App) -> Vec<&str> {
    app.rows.iter().map(|row| row.title.as_str()).collect()
}

#[test]
fn a_small_terminal_shows_the_essentials() {
    let mut app = app(TextStyle::PLAIN);
    let text = screen(&mut app, 80, 24);
    for shown in [
        "pause-trace top · 4 pods · 1 in violation · by worst",
        "> ✗ default/web",
        "PT101 net-shared",
        "? kube-system/dns",
        "✓ default/api",
        "NEWEST FINDINGS",
        "/ filter",
    ] {
        assert!(text.contains(shown), "no {shown}:\n{text}");
    }
}

/// Neither a long name nor a large number touches the next column, and no number is cut.
#[test]
fn columns_keep_a_space() {
    let mut app = App::new(TextStyle::PLAIN, CLOCK);
    let mut large = row("a", &"n".repeat(200), PodStatus::Fail, 123_456, 99_999);
    (large.failed, large.signals, large.containers) = (54_321, 1_234_567, 9_999);
    large.age = 400 * 86_400 * 1_000_000_000 - 1;
    app.show(vec![large], 0);
    for width in [70, 80, 100, 200] {
        let text = screen(&mut app, width, 24);
        let line = text.lines().find(|line| line.contains("nnn"));
        let cells: Vec<_> = line.expect("it is shown").split_whitespace().collect();
        let numbers: Vec<_> = cells
            .iter()
            .copied()
            .skip_while(|cell| !cell.contains("nnn"))
            .skip(1)
            .take(6)
            .collect();
        assert_eq!(
            numbers,
            ["9999", "123k", "99k", "1M", "54k", "399d23h"],
            "{text}"
        );
    }
}

#[test]
fn any_size_and_any_name_can_be_drawn() {
    for utf8 in [true, false] {
        let mut app = app(TextStyle {
            utf8,
            ..TextStyle::PLAIN
        });
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
            let text = screen(&mut app, width, height);
            assert!(
                !text
                    .chars()
                    .any(|character| character.is_control() && character != '\n'),
                "{text:?}"
            );
            assert!(utf8 || text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn marks_carry_the_information_of_colours() {
    let plain = screen(&mut app(TextStyle::PLAIN), 100, 30);
    let painted = screen(
        &mut app(TextStyle {
            color: true,
            ..TextStyle::PLAIN
        }),
        100,
        30,
    );
    assert_eq!(plain, painted);
    let ascii = screen(
        &mut app(TextStyle {
            utf8: false,
            ..TextStyle::PLAIN
        }),
        100,
        30,
    );
    for shown in [
        "x default/web",
        "+ default/api",
        "? kube-system/dns",
        "- lab/",
    ] {
        assert!(ascii.contains(shown), "no {shown}:\n{ascii}");
    }
}

#[test]
fn rows_are_sorted_and_the_selection_follows_its_pod() {
    let mut app = app(TextStyle::PLAIN);
    let hostile = format!("lab/{}", Text::new(HOSTILE));
    assert_eq!(
        titles(&app),
        ["default/web", "kube-system/dns", "default/api", &hostile]
    );
    press(&mut app, [KeyCode::Char('s')]);
    assert_eq!((app.sort, titles(&app)[0]), (Sort::Name, "default/api"));
    press(&mut app, [KeyCode::Char('s')]);
    assert_eq!(
        titles(&app)[0],
        "kube-system/dns",
        "it has the most members"
    );
    press(&mut app, [KeyCode::Char('s')]);
    assert_eq!(titles(&app)[0], "default/web", "it has the most zombies");
    assert_eq!(
        app.selected.as_deref(),
        Some("b"),
        "the selection follows its pod"
    );
}

#[test]
fn a_filter_narrows_as_it_is_typed() {
    let mut app = app(TextStyle::PLAIN);
    type_in(&mut app, "/DEF");
    assert_eq!(titles(&app), ["default/web", "default/api"]);
    type_in(&mut app, "q");
    assert!(titles(&app).is_empty(), "q is a letter of the filter");
    assert!(screen(&mut app, 80, 24).contains("no pod matches the filter"));
    press(&mut app, [KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(titles(&app).len(), 2);
    assert!(screen(&mut app, 80, 24).contains("2 shown"));
    assert_eq!(
        press(&mut app, [KeyCode::Esc]),
        None,
        "Esc clears the filter first"
    );
    assert_eq!(titles(&app).len(), 4);
    assert_eq!(press(&mut app, [KeyCode::Esc]), Some(Action::Quit));
}

#[test]
fn a_pod_can_be_selected_inspected_and_left() {
    let mut app = app(TextStyle::PLAIN);
    // The size of a page is known once it has been drawn.
    screen(&mut app, 80, 24);
    press(
        &mut app,
        [
            KeyCode::Down,
            KeyCode::End,
            KeyCode::Up,
            KeyCode::PageUp,
            KeyCode::Down,
        ],
    );
    assert_eq!(
        press(&mut app, [KeyCode::Enter]),
        Some(Action::Inspect("c".into()))
    );
    let text = screen(&mut app, 80, 24);
    assert!(text.contains("inspecting"), "{text}");
    let head = "pause-trace top · kube-system/dns · ? inconclusive · age 1m1s";
    assert!(text.contains(head), "{text}");
    app.inspected(Ok((1..=100)
        .map(|line| format!("line {line}\x1b[2J\n"))
        .collect()));
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("line 1\\u{1b}[2J") && text.contains("lines 1-22 of 100"),
        "{text}"
    );
    press(&mut app, [KeyCode::End, KeyCode::Down]);
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("line 100") && text.contains("lines 79-100 of 100"),
        "{text}"
    );
    assert_eq!(
        press(&mut app, [KeyCode::Char('r')]),
        Some(Action::Inspect("c".into()))
    );
    assert_eq!(press(&mut app, [KeyCode::Char('q')]), None);
    assert_eq!(app.view, View::Pods);
    press(&mut app, [KeyCode::Home, KeyCode::Enter]);
    let text = screen(&mut app, 80, 24);
    let head = "pause-trace top · default/web · ✗ 1 violation, last PT101";
    assert!(text.contains(head), "{text}");
    app.show(Vec::new(), 0);
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("pause-trace top · default/web · gone"),
        "{text}"
    );
    press(&mut app, [KeyCode::Char('r')]);
    assert!(screen(&mut app, 80, 24).contains("default/web · gone"));
    press(&mut app, [KeyCode::Char('q')]);
    // A late result changes nothing.
    app.inspected(Err(anyhow::anyhow!("gone")));
    assert_eq!(app.view, View::Pods);
}

#[test]
fn the_selection_stays_near_when_its_pod_is_gone() {
    let mut app = app(TextStyle::PLAIN);
    press(&mut app, [KeyCode::Down]);
    assert_eq!(app.selected.as_deref(), Some("c"));
    app.show(
        vec![
            row("a", "default/api", PodStatus::Pass, 5, 0),
            row("b", "default/web", PodStatus::Fail, 3, 2),
        ],
        3,
    );
    assert_eq!(app.selected.as_deref(), Some("a"));
    assert!(screen(&mut app, 120, 24).contains("3 events lost"));
    app.show(Vec::new(), 0);
    assert_eq!(app.selected, None);
    assert_eq!(press(&mut app, [KeyCode::Enter]), None);
    assert!(screen(&mut app, 80, 24).contains("no pods run"));
}

#[test]
fn ctrl_c_is_a_key_in_raw_mode() {
    for keys in ["", "/x"] {
        let mut app = app(TextStyle::PLAIN);
        type_in(&mut app, keys);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.key(ctrl_c), Some(Action::Interrupt));
    }
}
