//! Text for people.

/// A number with the noun in its form: `1 test`, `2 tests`.
///
/// ```
/// use xtask_support::text::count;
///
/// assert_eq!(count(1, "test", "tests"), "1 test");
/// assert_eq!(count(0, "test", "tests"), "0 tests");
/// ```
#[must_use]
pub fn count(number: usize, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}
