//! Text for people.

use std::fmt::Display;

/// A number with the noun in its form: `1 test`, `2 tests`.
///
/// ```
/// use xtask_support::text::count;
///
/// assert_eq!(count(1_u64, "test", "tests"), "1 test");
/// assert_eq!(count(0_usize, "test", "tests"), "0 tests");
/// ```
#[must_use]
pub fn count<N: Display + From<u8> + PartialEq>(number: N, one: &str, many: &str) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}
