//! "Did you mean": suggests the nearest known name.

use super::Usage;

/// The error for an unknown name, with the nearest known one and the command that lists all.
pub(crate) fn unknown<'a>(
    what: &str,
    given: &str,
    known: impl Iterator<Item = &'a str>,
    list: &str,
) -> Usage {
    let shown = bounded(given).escape_debug();
    Usage(match nearest(given, known) {
        Some(meant) => {
            format!("there is no {what} \"{shown}\"; did you mean \"{meant}\"? ({list} shows all)")
        }
        None => format!("there is no {what} \"{shown}\"; {list} shows all"),
    })
}

/// The same for a key of a file.
pub(crate) fn unknown_key<'a>(
    what: &str,
    given: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    let shown = bounded(given).escape_debug();
    match nearest(given, known) {
        Some(meant) => format!("there is no {what} \"{shown}\"; did you mean \"{meant}\"?"),
        None => format!("there is no {what} \"{shown}\""),
    }
}

/// Its beginning, longer than any known name. It is also all that is compared.
fn bounded(given: &str) -> &str {
    &given[..given.floor_char_boundary(64)]
}

/// The nearest of `known`, if at most a third of the letters differ.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = bounded(given).to_lowercase();
    let rated = known.map(|name| (distance(&given, &name.to_lowercase()), name));
    let (distance, name) = rated.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.len().max(given.len())).then_some(name)
}

/// The Levenshtein distance: letters to change, add or drop.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<_> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..to.len() {
            let changed = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_a_suggestion_and_a_guess_does_not() {
        let known = ["PT101", "net-shared", "pid-mode"];
        assert_eq!(nearest("net-shard", known.into_iter()), Some("net-shared"));
        assert_eq!(nearest("pt111", known.into_iter()), Some("PT101"));
        assert_eq!(nearest("bananas", known.into_iter()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }

    #[test]
    fn letters_are_counted() {
        let pairs = [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("same", "same", 0),
        ];
        for (from, to, expected) in pairs {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
