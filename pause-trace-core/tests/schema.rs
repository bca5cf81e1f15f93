//! `docs/schema.json` is what the types say.

#![expect(
    clippy::disallowed_methods,
    reason = "the core reads no files; this test compares one with what the core says"
)]

use std::{env, fs};

use pause_trace_core::report::wire;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.json");

#[test]
fn the_published_schema_is_made_from_the_types() {
    let schema = wire::schema().expect("a schema is JSON");
    if env::var_os("PAUSE_TRACE_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(PATH, &schema).expect("docs/schema.json can be written");
    }
    let published = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        published == schema,
        "docs/schema.json is not what the types say; `PAUSE_TRACE_BLESS=1 cargo test -p pause-trace-core --test schema` \
         rewrites it, and a field that is renamed, removed or changed raises `wire::SCHEMA`"
    );
}
