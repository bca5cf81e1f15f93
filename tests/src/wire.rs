//! Parses the lines of `--format json`, and validates each against the published schema.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/schema.json");

/// Parses and validates a line.
///
/// # Errors
/// When the line is not JSON or does not match the schema.
pub fn read(line: &str) -> Result<Value, String> {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| {
        let schema = serde_json::from_str(SCHEMA).expect("docs/schema.json is JSON");
        jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .expect("docs/schema.json is a schema")
    });
    let object = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
    match validator.validate(&object) {
        Ok(()) => Ok(object),
        Err(error) => Err(format!(
            "{line}\ndoes not match docs/schema.json: {error} at {}",
            error.instance_path()
        )),
    }
}

/// The objects of an output.
///
/// # Panics
/// When a line does not match the schema.
#[must_use]
#[track_caller]
pub fn objects(output: &str) -> Vec<Value> {
    let lines = output.lines();
    lines
        .map(|line| read(line).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSS: &str = r#"{"schema":2,"type":"loss","time":"2026-11-21T20:00:01.000000000Z","ktime_ns":1,"kind":"exec","lost":2}"#;

    #[test]
    fn lines_that_do_not_match_the_schema_are_refused() {
        assert!(read(LOSS).is_ok_and(|loss| loss["lost"] == 2));
        for (good, bad) in [
            (r#""lost":2"#, r#""lost":-2"#),
            (r#""kind":"exec","#, ""),
            (r#""loss""#, r#""gain""#),
            (r#""schema":2"#, r#""schema":1"#),
            ("20:00:01", "25:00:01"),
        ] {
            let line = LOSS.replace(good, bad);
            let refused = read(&line).expect_err(bad);
            assert!(refused.starts_with(&line), "{refused}");
        }
        assert!(read("{").is_err());
    }
}
