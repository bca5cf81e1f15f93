//! The JSON Schema of the file, for editors. It is made from the command line and the table of
//! rules, so that it cannot be out of date.

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use serde_json::{Map, Value, json};

use super::{file, options};
use crate::{cli::Cli, rules};

/// The schema, as text.
pub(super) fn schema() -> String {
    let command = Cli::command();
    let mut properties = Map::new();
    for command in command.get_subcommands() {
        let own = options_of(command);
        for (name, value) in &own {
            // Commands may take different values.
            let known = properties.insert(name.clone(), value.clone());
            if let Some(known) = known.filter(|known| known != value) {
                properties.insert(name.clone(), json!({ "anyOf": [known, value] }));
            }
        }
        properties.insert(command.get_name().to_owned(), object(own));
    }
    properties.extend(options_of(&command));
    let severity = json!({ "enum": ["info", "warning", "error"] });
    let ids = rules::all().flat_map(|rule| [rule.id, rule.name]);
    let rule = json!({
        "anyOf": [{ "enum": ids.collect::<Vec<_>>() }, { "pattern": "^PT[0-9]{0,2}$" }]
    });
    properties.insert(
        "severity".to_owned(),
        json!({
            "description": "The severity of a rule's violations on this node",
            "type": "object", "propertyNames": rule, "additionalProperties": severity
        }),
    );
    let limits = file::limit_names().map(|name| (name.to_owned(), json!({})));
    properties.insert("limits".to_owned(), object(limits.collect()));
    let glob = json!({ "type": "string" });
    properties.insert(
        "exception".to_owned(),
        json!({
            "description": "Findings that are accepted, for the time being",
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["reason", "expires"],
                "properties": {
                    "rule": { "anyOf": [rule, { "type": "array", "items": rule }] },
                    "namespace": glob, "pod": glob, "container": glob,
                    "reason": { "type": "string", "minLength": 1, "maxLength": file::MAX_REASON },
                    "expires": { "description": "The last day, in UTC: 2027-01-31" }
                }
            }
        }),
    );
    let mut schema = object(properties);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("The configuration of pause-trace");
    format!("{schema:#}\n")
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn options_of(command: &Command) -> Map<String, Value> {
    let named = command
        .get_arguments()
        .filter_map(|argument| Some((options::name(argument)?, value(argument))));
    named.collect()
}

/// What an option takes.
fn value(argument: &Arg) -> Value {
    let description = argument.get_help().map(ToString::to_string);
    let possible = argument.get_possible_values();
    let possible: Vec<_> = possible.iter().map(|value| value.get_name()).collect();
    let one = match argument.get_action() {
        ArgAction::SetTrue => return json!({ "type": "boolean", "description": description }),
        _ if possible.is_empty() => json!({ "type": ["string", "integer"] }),
        _ => json!({ "enum": possible }),
    };
    let mut value = match argument.get_action() {
        ArgAction::Append => json!({ "anyOf": [one, { "type": "array", "items": one }] }),
        _ => one,
    };
    value["description"] = json!(description);
    value
}
