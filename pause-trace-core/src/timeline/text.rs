//! The timeline as a waterfall for a terminal: start, duration, phrase and bar of each element.

use super::{
    critical::Critical,
    model::{Element, ElementKind, Extent, Timeline},
    words,
};
use crate::{
    event::Ktime,
    text::{BAD, BOLD, DIM, DOUBTFUL, Line, TERM, TextStyle, wrap},
    verdict::Duration,
};

/// Where the columns begin.
const TOOK: usize = 10;
const WHAT: usize = 21;
/// Columns of the phrase on a terminal with 80 columns. A wider terminal gives half of the
/// additional columns to it.
const PHRASE: usize = 35;
/// Columns if the width is unknown.
const USUAL: usize = 100;
const NARROWEST: usize = 80;
/// Most columns of the bars.
const WIDEST_BAR: usize = 80;

/// The whole timeline.
pub fn shown(text_style: TextStyle, timeline: &Timeline) -> String {
    let mut waterfall = Waterfall::new(text_style, timeline);
    waterfall.head();
    let since = timeline.up.unwrap_or(Ktime::MAX);
    let (start, after): (Vec<_>, Vec<_>) = timeline
        .elements
        .iter()
        .partition(|element| element.time <= since);
    for element in start {
        waterfall.element(element, true);
    }
    if !timeline.unassigned.is_empty() {
        waterfall.title("Unassigned: runtime programs that cannot be attributed to a pod");
        for element in &timeline.unassigned {
            waterfall.element(element, true);
        }
        if timeline.more_unassigned > 0 {
            waterfall.sentence(&format!("and {} more", timeline.more_unassigned));
        }
    }
    if !after.is_empty() {
        waterfall.title("After the start");
        for element in after {
            waterfall.element(element, false);
        }
    }
    waterfall.foot();
    waterfall.text
}

/// One element while the pod starts. It has no bar, because there is no scale yet.
pub fn line(text_style: TextStyle, timeline: &Timeline, element: &Element) -> String {
    let mut waterfall = Waterfall::new(text_style, timeline);
    waterfall.element(element, false);
    waterfall.text
}

struct Waterfall<'a> {
    text_style: TextStyle,
    timeline: &'a Timeline,
    /// Columns of the phrase and of the bars.
    phrase: usize,
    bar: usize,
    /// The time range that the bars show.
    begin: Ktime,
    end: Ktime,
    text: String,
}

impl<'a> Waterfall<'a> {
    fn new(text_style: TextStyle, timeline: &'a Timeline) -> Self {
        let width = text_style.width.unwrap_or(USUAL).max(NARROWEST);
        let phrase = PHRASE + (width - NARROWEST) / 2;
        // One column is left free: a full line would move the cursor to the next line.
        let bar = (width - WHAT - phrase - 2).min(WIDEST_BAR);
        let begin = timeline
            .began
            .or(timeline.elements.first().map(|first| first.time))
            .unwrap_or(0);
        let end = timeline
            .up
            .unwrap_or(timeline.now)
            .max(begin.saturating_add(1));
        Self {
            text_style,
            timeline,
            phrase,
            bar,
            begin,
            end,
            text: String::new(),
        }
    }

    fn line(&mut self, write: impl FnOnce(&mut Line) -> &mut Line) {
        let mut line = Line::new(self.text_style);
        write(&mut line);
        self.text.push_str(&line.end());
    }

    fn title(&mut self, title: &str) {
        self.text.push('\n');
        self.line(|line| line.paint(BOLD, title));
    }

    fn sentence(&mut self, sentence: &str) {
        let width = self
            .text_style
            .width
            .map(|width| width.saturating_sub(2).max(20));
        for part in wrap(sentence, width) {
            self.line(|line| line.paint(DOUBTFUL, &part));
        }
    }

    fn head(&mut self) {
        let timeline = self.timeline;
        let title = timeline.title();
        let uid = crate::event::Text::new(&timeline.pod);
        self.line(|line| line.paint(TERM, &title).push(&format!("  uid {uid}")));
        match Critical::of(timeline) {
            Some(critical) => {
                let sentence = critical.sentence(timeline);
                for part in wrap(&sentence, self.text_style.width.map(|width| width - 1)) {
                    self.line(|line| line.paint(BOLD, &part));
                }
            }
            None if timeline.began.is_none() => self.sentence(words::NOT_OBSERVED),
            None => self.sentence(words::NOT_UP),
        }
        self.text.push('\n');
        let (phrase, bar) = (self.phrase, self.bar);
        let end = Duration(self.end - self.begin).to_string();
        self.line(|line| {
            line.paint(DIM, "AT")
                .pad(TOOK)
                .paint(DIM, "TOOK")
                .pad(WHAT)
                .paint(DIM, "WHAT");
            let room = bar.saturating_sub(end.chars().count() + 1);
            line.pad(WHAT + phrase + 1)
                .paint(DIM, "0")
                .pad(WHAT + phrase + 1 + room)
                .paint(DIM, &end)
        });
    }

    fn element(&mut self, element: &Element, has_bar: bool) {
        let at = format!("+{}", Duration(element.time.saturating_sub(self.begin)));
        let took = match element.extent {
            Extent::Moment => String::new(),
            Extent::Until(_) => Duration(element.duration().unwrap_or_default()).to_string(),
            Extent::Open => "still runs".to_owned(),
        };
        let room = if has_bar {
            self.phrase
        } else {
            self.phrase + self.bar
        };
        let phrase = cut(
            &words::phrase(self.timeline, element),
            room,
            self.text_style.utf8,
        );
        let style = match &element.what {
            ElementKind::Refused { .. } => BAD,
            ElementKind::Plugin { .. } | ElementKind::Program { .. }
                if element.failure().is_some() =>
            {
                BAD
            }
            ElementKind::Plugin { .. }
            | ElementKind::Create
            | ElementKind::Run { .. }
            | ElementKind::Session { .. }
            | ElementKind::Hook { .. } => TERM,
            ElementKind::Program { .. } | ElementKind::Listens { .. } => anstyle::Style::new(),
            _ => DIM,
        };
        let bar = has_bar.then(|| self.bar(element));
        let column = WHAT + self.phrase + 1;
        self.line(|line| {
            line.push(&at)
                .pad(TOOK)
                .push(&took)
                .pad(WHAT)
                .paint(style, &phrase);
            match &bar {
                Some((before, bar)) => line.pad(column + before).paint(style, bar),
                None => line,
            }
        });
    }

    /// The column at which the bar begins, and the bar.
    fn bar(&self, element: &Element) -> (usize, String) {
        // Events of the last moment that a number can hold have no time after them.
        let span = u128::from(self.end - self.begin).max(1);
        let column = |time: Ktime| {
            let time = u128::from(time.clamp(self.begin, self.end) - self.begin);
            usize::try_from(time * (self.bar as u128 - 1) / span).unwrap_or_default()
        };
        let first = column(element.time);
        let last = column(element.end().unwrap_or(self.end)).max(first);
        let (block, point, open) = if self.text_style.utf8 {
            ("█", "│", "▶")
        } else {
            ("#", "|", ">")
        };
        let drawn = match element.extent {
            Extent::Moment => point.to_owned(),
            Extent::Until(end) if end <= self.end => block.repeat(last - first + 1),
            // The element goes on past the edge.
            Extent::Until(_) | Extent::Open => block.repeat(last - first) + open,
        };
        (first, drawn)
    }

    fn foot(&mut self) {
        let timeline = self.timeline;
        self.text.push('\n');
        let listening = words::listening(timeline);
        for part in wrap(listening, self.text_style.width.map(|width| width - 1)) {
            self.line(|line| line.paint(DIM, &part));
        }
        for doubt in words::doubts(timeline) {
            self.sentence(&doubt);
        }
    }
}

/// At most `room` columns of a phrase. In ASCII, a character that is not ASCII takes several
/// columns.
fn cut(phrase: &str, room: usize, utf8: bool) -> String {
    let width = |character: char| match character {
        '·' | '–' | '—' | 'µ' | '✓' | '✗' => 1,
        _ if utf8 || character.is_ascii() => 1,
        _ => character.escape_unicode().count(),
    };
    let ellipsis = if utf8 { "…" } else { "..." };
    if phrase.chars().map(width).sum::<usize>() <= room {
        return phrase.to_owned();
    }
    let mut left = room - ellipsis.chars().count();
    let mut kept = String::new();
    for character in phrase.chars() {
        let Some(rest) = left.checked_sub(width(character)) else {
            break;
        };
        left = rest;
        kept.push(character);
    }
    kept + ellipsis
}
