//! `docs/rules.md` is the documentation of the rules.

#![expect(
    clippy::disallowed_methods,
    reason = "the core reads no files; this test compares one with what the core says"
)]

use std::{env, fs};

use pause_trace_core::rules;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");

#[test]
fn the_published_page_is_made_from_the_rules() {
    let page = rules::markdown(rules::all());
    if env::var_os("PAUSE_TRACE_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(PATH, &page).expect("docs/rules.md can be written");
    }
    let published = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        published == page,
        "docs/rules.md is not what the rules say; \
         `PAUSE_TRACE_BLESS=1 cargo test -p pause-trace-core --test rules_page` rewrites it"
    );
}
