//! YAML -> presets and routes. A file is good as a whole or not at all; whether its options are, is for the parser of
//! labels to say, and costs a route or a preset at a time.

use std::collections::BTreeMap;

use crate::docker::labels::{Definition, excerpt};
use crate::docker::{Container, FILE, Health, State};
use crate::model::LabelPrefix;

use super::yaml::{Document, Fault, Node, Span};

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// With the places of their options.
    pub(crate) presets: Vec<(Definition, Span)>,
    pub(crate) routes: Vec<Route>,
}

/// A route whose app is no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// `file:nas.yaml/nas`: its owner, and what messages call it.
    pub(crate) name: String,
    pub(crate) at: Span,
    pub(crate) options: Vec<Written>,
}

/// An option as it is written, nested mappings joined by dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) key_at: Span,
    pub(crate) value_at: Span,
}

/// Whether a document is one of Wharf's own rather than a compose file.
pub(crate) fn is_wharf_file(root: &Node) -> bool {
    let has = |key: &str| root.get(key).is_some();
    (has("routes") || has("presets")) && !has("services")
}

/// Reads a file. `place` writes a place as people do: `presets.yaml:3:5`.
///
/// # Errors
///
/// What is no part of such a file, at its place.
pub(crate) fn read(
    file: &str,
    document: &Document,
    place: impl Fn(Span) -> String,
) -> Result<Content, Fault> {
    if let Some(fault) = document.doubled.first() {
        let reason = fault.reason.split(": compose").next().unwrap_or_default();
        return Err(Fault {
            at: fault.at,
            reason: reason.to_owned(),
        });
    }
    let root = &document.root;
    let mut content = Content::default();
    let all: &[_] = root.entries();
    // `presets.yaml` may hold nothing but presets.
    if file.starts_with("presets.") && !is_wharf_file(root) {
        presets(root, &place, &mut content)?;
        return Ok(content);
    }
    for (key, node) in all {
        match key.text().unwrap_or_default() {
            "presets" => presets(node, &place, &mut content)?,
            "routes" => routes(file, node, &mut content)?,
            // Anchors.
            other if other.starts_with("x-") => {}
            other => {
                let meant = WORDS
                    .iter()
                    .find(|word| strsim::damerau_levenshtein(word, other) <= 2);
                let meant = meant.map(|word| format!("; did you mean `{word}`?"));
                let reason = format!(
                    "`{}` is neither `routes` nor `presets`{}",
                    excerpt(other),
                    meant.unwrap_or_default()
                );
                return Err(fault(key, &reason));
            }
        }
    }
    let scalar = all.is_empty() && !root.is_null() && root.text() != Some("");
    match scalar && (root.text().is_some() || !root.items().is_empty()) {
        true => Err(fault(root, "a file has `routes:` and `presets:`")),
        false => Ok(content),
    }
}

/// The containers that routes of a file are to the plan, by name.
pub(crate) fn containers(content: &Content, prefix: &LabelPrefix) -> Vec<Container> {
    let container = |route: &Route| {
        let labels = route.options.iter().map(|option| {
            let label = format!("{prefix}.{}", option.key);
            (label, option.value.clone())
        });
        Container {
            id: route.name.clone(),
            name: route.name.clone(),
            labels: labels.collect(),
            image: String::new(),
            created: 0,
            state: State::Running,
            ended: 0,
            health: Health::None,
            complaint: None,
            networks: Vec::new(),
            exposed: Vec::new(),
            published: Vec::new(),
            network_mode: "none".to_owned(),
        }
    };
    content.routes.iter().map(container).collect()
}

fn presets(
    node: &Node,
    place: &impl Fn(Span) -> String,
    content: &mut Content,
) -> Result<(), Fault> {
    for (name, node) in mapping(node, "presets have names, and under each its options")? {
        let preset = name.text().unwrap_or_default();
        for option in options(node)? {
            let definition = Definition {
                preset: preset.to_owned(),
                label: format!(
                    "{}: {}.{}",
                    place(option.key_at),
                    excerpt(preset),
                    excerpt(&option.key)
                ),
                option: option.key,
                value: option.value,
            };
            content.presets.push((definition, option.key_at));
        }
    }
    Ok(())
}

fn routes(file: &str, node: &Node, content: &mut Content) -> Result<(), Fault> {
    for (key, node) in mapping(node, "routes have names, and under each its options")? {
        let name = key.text().unwrap_or_default();
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(inner) {
            let reason = format!(
                "`{}` is no name of a route: 1 to {MAX_NAME} letters, digits, `-` or `_`",
                excerpt(name)
            );
            return Err(fault(key, &reason));
        }
        if content.routes.len() == MAX_ROUTES {
            return Err(fault(
                key,
                &format!("a file has at most {MAX_ROUTES} routes"),
            ));
        }
        content.routes.push(Route {
            name: format!("{FILE}{file}/{name}"),
            at: key.at,
            options: options(node)?,
        });
    }
    Ok(())
}

/// The entries of a mapping, or of nothing at all.
fn mapping<'a>(node: &'a Node, what: &str) -> Result<&'a [super::yaml::Entry], Fault> {
    match node.entries() {
        [] if !node.is_null() => Err(fault(node, what)),
        entries => Ok(entries),
    }
}

fn options(node: &Node) -> Result<Vec<Written>, Fault> {
    let mut found = Vec::new();
    let entries = mapping(node, "options are written as `host: app.example.com`")?;
    flatten("", entries, &mut found)?;
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    for option in &found {
        let key = option.key.to_ascii_lowercase().replace('-', "_");
        if seen.insert(key, ()).is_some() {
            return Err(Fault {
                at: option.key_at,
                reason: format!("`{}` is written twice", excerpt(&option.key)),
            });
        }
    }
    Ok(found)
}

fn flatten(
    before: &str,
    entries: &[super::yaml::Entry],
    found: &mut Vec<Written>,
) -> Result<(), Fault> {
    for (key, node) in entries {
        let word = key.text().unwrap_or_default();
        let dot = if before.is_empty() { "" } else { "." };
        let name = format!("{before}{dot}{word}");
        if !node.entries().is_empty() {
            flatten(&name, node.entries(), found)?;
            continue;
        }
        let value = match node.items() {
            [] => node.string(),
            items => {
                let items: Option<Vec<String>> = items.iter().map(|item| item.string()).collect();
                items.map(|items| items.join("\n"))
            }
        };
        let Some(value) = value else {
            return Err(fault(node, "a value is a text, or a list of texts"));
        };
        if found.len() == MAX_OPTIONS {
            return Err(fault(
                key,
                &format!("there are at most {MAX_OPTIONS} options"),
            ));
        }
        found.push(Written {
            key: name,
            value,
            key_at: key.at,
            value_at: if node.is_null() { key.at } else { node.at },
        });
    }
    Ok(())
}

fn fault(node: &Node, reason: &str) -> Fault {
    Fault {
        at: node.at,
        reason: reason.to_owned(),
    }
}

const WORDS: [&str; 2] = ["routes", "presets"];
const MAX_NAME: usize = 32;
/// Of one file.
const MAX_ROUTES: usize = 1000;
/// Of one route or preset.
const MAX_OPTIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn content(file: &str, text: &str) -> Result<Content, String> {
        let document = yaml::parse(0, text).map_err(|fault| fault.reason)?;
        read(file, &document, |at| at.start.to_string()).map_err(|fault| fault.reason)
    }

    #[test]
    fn nested_and_dotted_words_are_the_same() {
        let text = "routes:\n  nas:\n    host: [a.test, b.test]\n    timeout: {read: 5m}\n    hsts.max-age: 1d\n    api: {path: /api, strip: yes}\n    websocket:\n";
        let content = content("nas.yaml", text).unwrap();
        let [route] = &content.routes[..] else {
            panic!("{content:?}")
        };
        assert_eq!(route.name, "file:nas.yaml/nas");
        let options: Vec<_> = { route.options.iter() }
            .map(|option| (&*option.key, &*option.value))
            .collect();
        assert_eq!(
            options,
            [
                ("host", "a.test\nb.test"),
                ("timeout.read", "5m"),
                ("hsts.max-age", "1d"),
                ("api.path", "/api"),
                ("api.strip", "yes"),
                ("websocket", ""),
            ]
        );
    }

    #[test]
    fn a_file_of_presets_needs_no_first_word() {
        for (file, text) in [
            ("presets.yaml", "office:\n  allow: 10.0.0.0/8\n"),
            (
                "presets.yaml",
                "presets:\n  office:\n    allow: 10.0.0.0/8\n",
            ),
            ("other.yml", "presets: {office: {allow: 10.0.0.0/8}}\n"),
        ] {
            let content = content(file, text).unwrap();
            let [(preset, _)] = &content.presets[..] else {
                panic!("{content:?}")
            };
            assert_eq!((&*preset.preset, &*preset.option), ("office", "allow"));
            assert!(preset.label.ends_with(": office.allow"), "{}", preset.label);
        }
    }

    #[test]
    fn what_is_no_such_file_says_why() {
        for (text, part) in [
            ("routs: {}", "did you mean `routes`?"),
            ("services: {}", "neither `routes` nor `presets`"),
            ("routes: [a]", "routes have names"),
            ("routes: {nas: x}", "options are written as"),
            ("routes: {a b: {}}", "no name of a route"),
            ("routes: {nas: {host: [[a]]}}", "a text, or a list of texts"),
            (
                "routes: {nas: {host: a, host: b}}",
                "`host` is written twice",
            ),
            (
                "routes: {nas: {hsts: {max_age: 1}, HSTS.max-age: 2}}",
                "written twice",
            ),
            ("just words", "a file has `routes:`"),
            ("routes: {a: ", "no YAML"),
        ] {
            let reason = content("nas.yaml", text).expect_err(text);
            assert!(reason.contains(part), "{text}: {reason}");
        }
        for text in [
            "",
            "routes:\n",
            "routes: {nas: }\n",
            "x-common: &a {hsts: on}\n",
        ] {
            content("nas.yaml", text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
        }
    }
}
