//! Text output: colour, characters and width that the reader's terminal can show.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use anstyle::{AnsiColor, Style};

use crate::event::escape;

/// For the most important text.
pub const BOLD: Style = Style::new().bold();
/// For secondary text.
pub const DIM: Style = Style::new().dimmed();
/// For what passed.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what could not be decided.
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// For what failed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// For the subject of a line: a pod, a rule, a command.
pub const TERM: Style = AnsiColor::Cyan.on_default();

/// A TCP address and port: `10.0.0.7:80`, `[::1]:80`. The port is missing if it is not known.
pub(crate) fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::from((address, port)).to_string(),
        None => format!("{address}, on a port that the kernel chose"),
    }
}

/// A memory limit: `64 MiB`, `1.5 GiB`, `900 KiB`, `100 B`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(*unit) => format!("{} {name}", bytes / unit),
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// What the reader of a stream can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// Whether to write in colour.
    pub color: bool,
    /// Whether to write UTF-8 rather than ASCII.
    pub utf8: bool,
    /// The number of columns; `None` if lines need not fit.
    pub width: Option<usize>,
}

impl TextStyle {
    /// The style of a file: no colour, UTF-8 in every locale, any width.
    pub const PLAIN: Self = Self {
        color: false,
        utf8: true,
        width: None,
    };
}

/// A line that is being written. It stays one line without control characters, whatever is
/// appended: names are escaped where they become text, and this type is the last place that can
/// catch an unescaped one.
#[derive(Clone, Debug)]
pub struct Line {
    text_style: TextStyle,
    text: String,
    columns: usize,
}

impl Line {
    /// An empty line.
    pub fn new(text_style: TextStyle) -> Self {
        Self {
            text_style,
            text: String::new(),
            columns: 0,
        }
    }

    /// Whether it is written in colour.
    pub fn has_color(&self) -> bool {
        self.text_style.color
    }

    /// Its current width.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Appends text.
    pub fn push(&mut self, text: &str) -> &mut Self {
        let shown = shown(text, self.text_style.utf8);
        self.columns += shown.chars().count();
        self.text.push_str(&shown);
        self
    }

    /// Appends text in a style, if colour is on.
    pub fn paint(&mut self, style: Style, text: &str) -> &mut Self {
        if !self.text_style.color {
            return self.push(text);
        }
        let _ = write!(self.text, "{style}");
        self.push(text);
        let _ = write!(self.text, "{style:#}");
        self
    }

    /// Pads the line to `column`. If it is already that long, two spaces follow.
    pub fn pad(&mut self, column: usize) -> &mut Self {
        let missing = if column > self.columns {
            column - self.columns
        } else {
            2
        };
        self.text.extend(std::iter::repeat_n(' ', missing));
        self.columns += missing;
        self
    }

    /// The line, with a newline.
    pub fn end(&self) -> String {
        format!("{}\n", self.text.trim_end_matches(' '))
    }
}

/// `text` in a form that is safe to write. Escapes that it already contains stay unchanged.
fn shown(text: &str, utf8: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for (index, piece) in text.split('\\').enumerate() {
        if index > 0 {
            shown.push('\\');
        }
        let _ = escape(piece.as_bytes(), &mut shown);
    }
    if utf8 || shown.is_ascii() {
        shown
    } else {
        shown.chars().fold(String::new(), to_ascii)
    }
}

fn to_ascii(mut text: String, character: char) -> String {
    match character {
        '✓' => text.push('+'),
        '✗' => text.push('x'),
        '·' | '–' | '—' => text.push('-'),
        'µ' => text.push('u'),
        '…' => text.push_str("..."),
        '→' => text.push_str("->"),
        '≥' => text.push_str(">="),
        '≤' => text.push_str("<="),
        '‘' | '’' => text.push('\''),
        '“' | '”' => text.push('"'),
        _ if character.is_ascii() => text.push(character),
        _ => text.extend(character.escape_unicode()),
    }
    text
}

/// Breaks `text` between words into lines of at most `width` columns. A longer word gets a line of
/// its own.
pub fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number with thousands separators: `35,120`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 container`, `2 containers`, `1,234 containers`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: TextStyle = TextStyle {
        utf8: false,
        ..TextStyle::PLAIN
    };
    const COLOR: TextStyle = TextStyle {
        color: true,
        ..TextStyle::PLAIN
    };

    #[test]
    fn a_line_has_no_control_characters() {
        let mut line = Line::new(TextStyle::PLAIN);
        line.push("a\x1b[2J\nb\u{202e}\u{9b}c");
        assert_eq!(line.end(), "a\\u{1b}[2J\\u{a}b\\u{202e}\\u{9b}c\n");
    }

    #[test]
    fn an_ascii_locale_gets_ascii() {
        let mut line = Line::new(ASCII);
        line.push("✓ 12 µs · größe");
        assert_eq!(line.end(), "+ 12 us - gr\\u{f6}\\u{df}e\n");
    }

    #[test]
    fn colour_takes_no_columns() {
        let mut line = Line::new(COLOR);
        line.paint(GOOD, "✓").pad(4).push("x");
        assert_eq!(line.end(), "\x1b[32m✓\x1b[0m   x\n");
        assert_eq!(line.columns(), 5);
    }

    #[test]
    fn words_are_not_broken() {
        assert_eq!(wrap("one two three", Some(7)), ["one two", "three"]);
        assert_eq!(wrap("net 4026532179", Some(4)), ["net", "4026532179"]);
        assert_eq!(wrap("one two three", None), ["one two three"]);
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [0, 999, 1000, 35120, 1234567].map(grouped),
            ["0", "999", "1,000", "35,120", "1,234,567"]
        );
    }
}
