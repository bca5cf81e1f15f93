//! Draws the screen. Each mark carries the same information as its colour.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row as Drawn, Table, TableState},
};

use super::{
    app::{App, View},
    finding::Finding,
    rows::{PodStatus, Row},
};
use crate::{
    cli::pods::age,
    event::PodId,
    text::{self, counted},
    verdict::Severity,
};

/// The lines of the list of findings.
const FINDINGS: u16 = 6;
/// A screen with fewer lines shows no findings.
const ROOM_FOR_FINDINGS: u16 = 16;

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let height = frame.area().height;
    let findings = if height >= ROOM_FOR_FINDINGS && app.view == View::Pods {
        FINDINGS
    } else {
        0
    };
    let [head, body, newest, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(findings),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title(app)), head);
    match app.view {
        View::Pods => pods(frame, app, body),
        View::Pod { .. } => pod(frame, app, body),
    }
    if findings > 0 {
        frame.render_widget(Paragraph::new(newest_findings(app)), newest);
    }
    frame.render_widget(Paragraph::new(keys(app)), foot);
}

/// Makes text safe for the terminal: one line, no control characters, ASCII if the locale is ASCII.
fn shown(app: &App, text: &str) -> String {
    let mut line = text::Line::new(text::TextStyle {
        color: false,
        ..app.text_style
    });
    line.push(text);
    line.end().trim_end_matches('\n').to_owned()
}

/// The style if the terminal shows colours; otherwise none.
fn style(app: &App, style: Style) -> Style {
    if app.text_style.color {
        style
    } else {
        Style::new()
    }
}

fn dim(app: &App) -> Style {
    style(app, Style::new().add_modifier(Modifier::DIM))
}

fn bad(app: &App) -> Style {
    style(
        app,
        Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    )
}

fn doubtful(app: &App) -> Style {
    style(app, Style::new().fg(Color::Yellow))
}

fn good(app: &App) -> Style {
    style(app, Style::new().fg(Color::Green))
}

/// The inspected pod, and how it is now: the lines below are from when it was inspected.
fn title_of_pod(app: &App, pod: &PodId, title: &str) -> Line<'static> {
    let text = format!("pause-trace top · {title}");
    let mut spans = vec![Span::styled(
        shown(app, &text),
        Style::new().add_modifier(Modifier::BOLD),
    )];
    let (text, style) = match app.row(pod) {
        None => ("gone".to_owned(), doubtful(app)),
        Some(row) => {
            let (mark, style) = mark(app, row.status);
            let words = match row.status {
                PodStatus::Fail => match &row.newest {
                    Some(rule) => format!("{}, last {rule}", counted(row.failed, "violation")),
                    None => counted(row.failed, "violation"),
                },
                PodStatus::Doubtful => "inconclusive".to_owned(),
                PodStatus::Pass => "no violation".to_owned(),
                PodStatus::Unknown => "not judged yet".to_owned(),
            };
            let zombies = match row.zombies {
                0 => String::new(),
                count => format!(" · {}", counted(count.into(), "zombie")),
            };
            let age = age(row.age);
            (format!("{mark} {words}{zombies} · age {age}"), style)
        }
    };
    spans.push(Span::styled(shown(app, &format!(" · {text}")), style));
    spans.into()
}

fn title(app: &App) -> Line<'static> {
    if let View::Pod { pod, title, .. } = &app.view {
        return title_of_pod(app, pod, title);
    }
    let mut parts = vec![
        "pause-trace top".to_owned(),
        counted(app.pods as u64, "pod"),
        format!("{} in violation", app.failing),
        format!("by {}", app.sort.name()),
    ];
    if app.rows.len() < app.pods {
        parts.push(format!("{} shown", app.rows.len()));
    }
    let mut spans = vec![Span::styled(
        shown(app, &parts.join(" · ")),
        Style::new().add_modifier(Modifier::BOLD),
    )];
    if app.lost > 0 {
        let lost = format!(
            " · {} lost: verdicts may be inconclusive",
            counted(app.lost, "event")
        );
        spans.push(Span::styled(shown(app, &lost), doubtful(app)));
    }
    spans.into()
}

/// The mark of a standing and its style.
fn mark(app: &App, status: PodStatus) -> (String, Style) {
    let (mark, style) = match status {
        PodStatus::Fail => ("✗", bad(app)),
        PodStatus::Doubtful => ("?", doubtful(app)),
        PodStatus::Pass => ("✓", good(app)),
        PodStatus::Unknown => ("·", dim(app)),
    };
    (shown(app, mark), style)
}

/// A number in four columns: a cut one would be another number.
fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        1_000_000..1_000_000_000 => format!("{}M", number / 1_000_000),
        _ => ">1G".to_owned(),
    }
}

fn pods(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    app.page = usize::from(area.height.saturating_sub(1)).max(1);
    if app.rows.is_empty() {
        let text = match app.pods {
            0 => "no pods run on this node; they appear here when they start",
            _ => "no pod matches the filter; Esc shows all",
        };
        frame.render_widget(Paragraph::new(shown(app, text)), area);
        return;
    }
    let heads = [
        "",
        "POD",
        "CTRS",
        "PROCS",
        "ZOMB",
        "SIG/s",
        "FAIL",
        "AGE",
        "LAST VIOLATION",
    ];
    let row = |row: &Row| {
        let (mark, style) = mark(app, row.status);
        let zombies = if row.zombies > 0 {
            doubtful(app)
        } else {
            Style::new()
        };
        let failed = if row.failed > 0 {
            bad(app)
        } else {
            Style::new()
        };
        Drawn::new([
            Cell::new(mark).style(style),
            Cell::new(shown(app, &row.title)),
            Cell::new(short(row.containers as u64)),
            Cell::new(short(row.members)),
            Cell::new(short(row.zombies.into())).style(zombies),
            Cell::new(short(row.signals)),
            Cell::new(short(row.failed)).style(failed),
            Cell::new(age(row.age)).style(dim(app)),
            Cell::new(
                row.newest
                    .as_deref()
                    .map_or(String::new(), |rule| shown(app, rule)),
            ),
        ])
    };
    let widths = [
        Constraint::Length(1),
        Constraint::Fill(3),
        // As wide as their heads, which `short` fits into.
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Fill(2),
    ];
    let table = Table::new(app.rows.iter().map(row), widths)
        .header(Drawn::new(heads).style(dim(app)))
        .column_spacing(1)
        .highlight_symbol("> ")
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(app.index());
    frame.render_stateful_widget(table, area, &mut state);
}

fn pod(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    app.page = usize::from(area.height).max(1);
    let View::Pod { lines, top, .. } = &app.view else {
        return;
    };
    let text = match lines {
        None => vec![Line::from("inspecting ...")],
        Some(lines) => lines
            .iter()
            .skip(*top)
            .take(app.page)
            .map(|line| Line::from(shown(app, line)))
            .collect(),
    };
    frame.render_widget(Paragraph::new(text), area);
}

fn newest_findings(app: &App) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("NEWEST FINDINGS", dim(app))];
    if app.findings().next().is_none() {
        lines.push(Line::styled("none", dim(app)));
    }
    let line = |finding: &Finding| {
        let (mark, style) = match finding.severity {
            Severity::Error => ("✗", bad(app)),
            Severity::Warning => ("!", doubtful(app)),
            Severity::Info => ("i", dim(app)),
        };
        Line::from(vec![
            Span::styled(
                format!("{} ", app.clock.time_of_day(finding.time)),
                dim(app),
            ),
            Span::styled(shown(app, &format!("{mark} {} ", finding.rule)), style),
            Span::raw(shown(app, &finding.text)),
        ])
    };
    lines.extend(app.findings().take(usize::from(FINDINGS) - 1).map(line));
    lines
}

fn keys(app: &App) -> Line<'static> {
    let text = match &app.view {
        _ if app.is_editing => format!("filter: {}_   Enter keeps it, Esc clears it", app.filter),
        View::Pods if app.filter.is_empty() => {
            "up/down select  Enter inspect  / filter  s sort  q quit".to_owned()
        }
        View::Pods => format!(
            "filter: {}   / changes it, Esc clears it  s sort  q quit",
            app.filter
        ),
        View::Pod { lines, top, .. } => {
            let count = lines.as_ref().map_or(0, Vec::len);
            let last = (top + app.page).min(count);
            format!(
                "lines {}-{last} of {count}  up/down scroll  r refresh  q back",
                (top + 1).min(count)
            )
        }
    };
    Line::styled(shown(app, &text), dim(app))
}
