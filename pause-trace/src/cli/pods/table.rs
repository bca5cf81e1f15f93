//! Text tables whose columns are as wide as their contents.

use anstyle::Style;

use crate::text::{BOLD, Line, TextStyle};

/// The spaces between two columns.
const GAP: usize = 2;

/// One cell of a row.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Cell {
    pub(in crate::cli) style: Style,
    pub(in crate::cli) text: String,
}

impl Cell {
    pub(in crate::cli) fn painted(style: Style, text: impl Into<String>) -> Self {
        Self {
            style,
            text: text.into(),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(Style::new(), text)
    }
}

/// A table: the heads of its columns and its rows.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Table {
    pub(in crate::cli) heads: Vec<&'static str>,
    pub(in crate::cli) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Renders the table in one piece. If it is too wide, columns are left out in the order of
    /// `spare`.
    pub(in crate::cli) fn fitted(&self, text_style: TextStyle, spare: &[&str]) -> String {
        let widths = self.widths(text_style);
        let mut columns: Vec<usize> = (0..self.heads.len()).collect();
        let mut spare = spare.iter();
        while is_too_wide(text_style, 0, &columns, &widths)
            && let Some(next) = spare.next()
        {
            columns.retain(|column| self.heads[*column] != *next);
        }
        self.text(text_style, 0, &columns, &widths)
    }

    /// Renders every column. If the table is too wide, it is split into several pieces, each with
    /// the first column.
    pub(in crate::cli) fn in_pieces(&self, text_style: TextStyle, indent: usize) -> String {
        let widths = self.widths(text_style);
        let mut pieces = vec![vec![0]];
        for column in 1..self.heads.len() {
            if let Some(piece) = pieces.last_mut() {
                piece.push(column);
                if piece.len() > 2 && is_too_wide(text_style, indent, piece, &widths) {
                    piece.pop();
                    pieces.push(vec![0, column]);
                }
            }
        }
        let pieces = pieces
            .iter()
            .map(|piece| self.text(text_style, indent, piece, &widths));
        pieces.collect::<Vec<_>>().join("\n")
    }

    fn widths(&self, text_style: TextStyle) -> Vec<usize> {
        let width = |text: &str| Line::new(text_style).push(text).columns();
        let mut widths: Vec<usize> = self.heads.iter().map(|head| width(head)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(&cell.text).max(*widest);
            }
        }
        widths
    }

    fn text(
        &self,
        text_style: TextStyle,
        indent: usize,
        columns: &[usize],
        widths: &[usize],
    ) -> String {
        let mut text = String::new();
        let heads = self.heads.iter().map(|head| Cell::painted(BOLD, *head));
        for row in std::iter::once(&heads.collect()).chain(&self.rows) {
            let row: &Vec<Cell> = row;
            let mut line = Line::new(text_style);
            let mut at = indent;
            for column in columns {
                if at > 0 {
                    line.pad(at);
                }
                let cell = &row[*column];
                line.paint(cell.style, &cell.text);
                at += widths[*column] + GAP;
            }
            text.push_str(&line.end());
        }
        text
    }
}

fn is_too_wide(text_style: TextStyle, indent: usize, columns: &[usize], widths: &[usize]) -> bool {
    let own: usize = columns.iter().map(|column| widths[*column] + GAP).sum();
    text_style
        .width
        .is_some_and(|width| indent + own > width + GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            heads: vec!["POD", "PID", "NOTE"],
            rows: vec![
                vec!["default/web".into(), "7".into(), "x\ny".into()],
                vec!["a".into(), "31415".into(), Cell::default()],
            ],
        }
    }

    fn wide(width: usize) -> TextStyle {
        TextStyle {
            width: Some(width),
            ..TextStyle::PLAIN
        }
    }

    #[test]
    fn columns_are_aligned_and_each_row_is_one_line() {
        assert_eq!(
            table().fitted(TextStyle::PLAIN, &["PID"]),
            "POD          PID    NOTE\ndefault/web  7      x\\u{a}y\na            31415\n"
        );
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out_or_moved_below() {
        // 11 + 2 + 5 + 2 + 7 columns.
        assert_eq!(
            table().fitted(wide(27), &["PID"]),
            table().fitted(TextStyle::PLAIN, &[])
        );
        assert_eq!(
            table().fitted(wide(26), &["PID"]),
            "POD          NOTE\ndefault/web  x\\u{a}y\na\n"
        );
        assert_eq!(
            table().in_pieces(wide(22), 2),
            "  POD          PID\n  default/web  7\n  a            31415\n\n  POD          NOTE\n  default/web  x\\u{a}y\n  a\n"
        );
    }
}
