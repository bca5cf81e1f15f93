//! The capabilities of the terminal, from the environment and the terminal itself.

use std::{env, io::IsTerminal, os::fd::AsFd};

use clap::ValueEnum;
use pause_trace_core::text::TextStyle;

/// Whether to write in colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is "dumb".
    #[default]
    Auto,
    /// Always, even in files and pipes.
    Always,
    /// Never.
    Never,
}

/// The style for output to `stream`.
pub(crate) fn text_style(stream: &(impl IsTerminal + AsFd), color: Color) -> TextStyle {
    let is_terminal = stream.is_terminal();
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            is_terminal
                && !is_set("NO_COLOR")
                && env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    let width = is_terminal
        .then(|| terminal_size::terminal_size_of(stream))
        .flatten();
    TextStyle {
        color,
        utf8: is_utf8(|name| env::var(name).ok()),
        width: width.map(|(width, _)| width.0.into()),
    }
}

/// The style for a text file.
pub(crate) fn text_style_of_file(color: Color) -> TextStyle {
    TextStyle {
        color: color == Color::Always,
        utf8: is_utf8(|name| env::var(name).ok()),
        width: None,
    }
}

/// Whether the locale uses UTF-8. The first of these variables that is set and not empty decides,
/// as in setlocale(3).
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_not_empty_decides() {
        let with = |set: &'static [(&str, &str)]| {
            is_utf8(|name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!with(&[]));
        assert!(with(&[("LANG", "de_DE.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
    }
}
