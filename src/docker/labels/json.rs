//! The option table as a JSON schema (draft 7) of compose files, for editors that complete and underline.
//!
//! It says less than the parser: what it refuses is wrong, but what it accepts may be wrong, too.

use serde_json::{Map, Value, json};

use super::schema::{Entry, Kind, Place, Status};
use super::table::OPTIONS;

/// `wharf labels --schema`. Of a compose file it knows `labels` alone, so that it can be used beside that of
/// compose itself.
pub fn render_schema() -> String {
    let labels = json!({ "$ref": "#/definitions/labels" });
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Labels of Wharf in a compose file",
        "type": "object",
        "properties": {
            "services": {
                "type": "object",
                "additionalProperties": {
                    "type": ["object", "null"],
                    "properties": {
                        "labels": labels,
                        "build": { "properties": { "labels": labels } },
                        "deploy": { "properties": { "labels": labels } },
                    },
                },
            },
        },
        "definitions": {
            "labels": {
                "anyOf": [
                    { "$ref": "#/definitions/map" },
                    { "$ref": "#/definitions/list" },
                    { "type": "null" },
                ],
            },
            "map": map(),
            "list": {
                "type": "array",
                "items": {
                    "type": "string",
                    "anyOf": [
                        { "pattern": NOT_OURS },
                        { "pattern": format!("^{}(=[\\s\\S]*)?$", keys()) },
                    ],
                },
            },
        },
    });
    format!("{schema:#}\n")
}

/// Labels as a mapping: completed by name, refused where no option is meant. Route names cannot be listed,
/// nor all spellings: they are only patterns.
fn map() -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for entry in supported() {
        let value = value(entry);
        properties.insert(format!("wharf.{}", entry.name), value.clone());
        if entry.place == Place::Route {
            patterns.insert(format!("^{ROUTE}{}$", spelled(entry.name)), value.clone());
        }
        if entry.is_common() {
            patterns.insert(format!("^{PRESET}{}$", spelled(entry.name)), value);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": patterns,
        "propertyNames": {
            "anyOf": [
                { "pattern": NOT_OURS },
                { "pattern": format!("^{}$", keys()) },
            ],
        },
    })
}

/// Every key there can be, in lower case.
fn keys() -> String {
    let own: Vec<String> = supported().map(|entry| spelled(entry.name)).collect();
    let of_routes = supported().filter(|entry| entry.place == Place::Route);
    let of_routes: Vec<String> = of_routes.map(|entry| spelled(entry.name)).collect();
    let common = supported().filter(|entry| entry.is_common());
    let common: Vec<String> = common.map(|entry| spelled(entry.name)).collect();
    format!(
        "(wharf\\.({})|{ROUTE}({})|{PRESET}({}))",
        own.join("|"),
        of_routes.join("|"),
        common.join("|")
    )
}

/// `-` and `_` are the same.
fn spelled(name: &str) -> String {
    name.replace('.', "\\.").replace('_', "[-_]")
}

/// `routes` and `preset` are words of the grammar, no options.
fn supported() -> impl Iterator<Item = &'static Entry> {
    let all = OPTIONS.iter();
    all.filter(|entry| entry.status == Status::Supported && !entry.is_grammar())
}

/// What a value may be: compose makes texts of numbers and truth values. One with a variable may be anything.
fn value(entry: &Entry) -> Value {
    let help = format!(
        "{}. Value: {}. Default: {}",
        entry.help,
        entry.kind.describe(),
        entry.default
    );
    let mut schema = json!({
        "description": help,
        "type": ["string", "number", "boolean", "null"],
        "examples": [entry.example],
    });
    let Some((pattern, null)) = pattern(entry.kind) else {
        return schema;
    };
    // A pattern is for texts alone.
    let mut types = vec![json!({ "type": "string", "pattern": pattern })];
    types.push(json!({ "type": "string", "pattern": "\\$" }));
    types.push(match entry.kind {
        Kind::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Kind::Share => json!({ "type": "integer", "minimum": 0, "maximum": 1000 }),
        Kind::TlsVersion => json!({ "enum": [1.2, 1.3] }),
        Kind::Switch => json!({ "enum": [true, false, 0, 1] }),
        _ => json!({ "enum": [false] }),
    });
    if null {
        types.push(json!({ "type": "null" }));
    }
    schema["anyOf"] = Value::Array(types);
    schema
}

/// A pattern that every good value of a kind meets, where one can say that in short, and whether it may be
/// empty.
fn pattern(kind: Kind) -> Option<(String, bool)> {
    let any = |inner: &str| format!("^\\s*({inner})\\s*$");
    Some(match kind {
        Kind::Switch => {
            let words = words(&["true", "on", "yes", "1", "false", "off", "no", "0", ""]);
            (any(&words), true)
        }
        Kind::Port => (any("[0-9]+"), false),
        Kind::Share => (any("[0-9]+"), false),
        Kind::TlsVersion => (any("1\\.[23]"), false),
        Kind::Https => (
            any(&words(&["redirect", "both", "only", "off", "false"])),
            false,
        ),
        _ => return None,
    })
}

/// These words in any case, which patterns of a schema cannot leave open otherwise.
fn words(words: &[&str]) -> String {
    let letter = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{c}]", c.to_ascii_uppercase()),
        false => c.to_string(),
    };
    let words: Vec<String> = words
        .iter()
        .map(|word| word.chars().map(letter).collect())
        .collect();
    words.join("|")
}

/// What a label begins with that is not Wharf's, or not in lower case, which patterns do not follow.
const NOT_OURS: &str = "^(?!wharf\\.)";

/// A named route, in its short or long form.
const ROUTE: &str = "wharf\\.(routes\\.)?[a-z0-9][a-z0-9_-]{0,31}\\.";

const PRESET: &str = "wharf\\.preset\\.[a-z0-9][a-z0-9_-]{0,31}\\.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_every_option_and_no_reserved_word() {
        let schema: Value = serde_json::from_str(&render_schema()).unwrap();
        let map = &schema["definitions"]["map"];
        for entry in OPTIONS.iter().filter(|entry| !entry.is_grammar()) {
            let known = &map["properties"][format!("wharf.{}", entry.name)];
            let supported = entry.status == Status::Supported;
            assert_eq!(known.is_object(), supported, "{}", entry.name);
            if supported {
                assert_eq!(known["examples"][0], entry.example);
            }
        }
        let keys = map["propertyNames"]["anyOf"][1]["pattern"]
            .as_str()
            .unwrap();
        let keys = regex::Regex::new(keys).unwrap();
        for (key, known) in [
            ("wharf.host", true),
            ("wharf.slow-start", true),
            ("wharf.api.strip.cookies", true),
            ("wharf.routes.tls.path", true),
            ("wharf.preset.office.allow", true),
            ("wharf.preset.office.host", false),
            ("wharf.hots", false),
            ("wharf.api.weight", false),
            ("wharf.tcp", false),
        ] {
            assert_eq!(keys.is_match(key), known, "{key}");
        }
    }

    #[test]
    fn patterns_accept_what_the_parser_accepts() {
        for entry in supported() {
            let Some((pattern, _)) = pattern(entry.kind) else {
                continue;
            };
            let pattern = regex::Regex::new(&pattern).unwrap();
            assert!(pattern.is_match(entry.example), "{}", entry.name);
            for value in [
                "on", "Yes", "", "false", "OFF", "both", "80", "1000", "1.2", "TLSv1.3", "nope",
            ] {
                let parsed = super::super::value::parse(entry.kind, value);
                let good = parsed.errors.is_empty();
                assert!(!good || pattern.is_match(value), "{}: {value}", entry.name);
            }
        }
    }
}
