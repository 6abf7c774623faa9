//! `env:NAME` and `file:/path` in values of labels: what they may name, and what they stand for.
//!
//! Who writes labels must not read Wharf's environment or files at large: what a header can carry, a container can get
//! at. So variables have a name that says that they are meant for labels, and files are in one directory; whoever
//! reads them (`values`) sees to the latter. What they hold is shown nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::schema::Kind;
use super::text::quote;

/// What references stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Values {
    /// Nobody has looked: what they hold is not known, and no error.
    #[default]
    Unread,
    /// By reference: what it holds, or why nobody can say.
    Read(BTreeMap<String, Result<String, String>>),
}

/// One in a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The value is what it is.
    None,
    /// Its name, and what it stands for, if that is known.
    Content(String, Option<String>),
    /// It is none, or there is nothing.
    Refused(String),
}

impl Values {
    /// What `text` stands for, if it is a reference as a whole.
    pub(super) fn find(&self, text: &str) -> Found {
        let Some(name) = reference(text) else {
            return Found::None;
        };
        if let Err(reason) = allowed(&name) {
            return Found::Refused(reason);
        }
        match self {
            Self::Unread => Found::Content(name, None),
            Self::Read(all) => match all.get(&name) {
                Some(Ok(content)) => Found::Content(name, Some(content.clone())),
                Some(Err(reason)) => Found::Refused(format!("{}: {reason}", quote(&name))),
                None => Found::Refused(format!("{} has not been read", quote(&name))),
            },
        }
    }
}

/// Whether values of this kind name files themselves, which are read and followed elsewhere.
pub(super) fn names_files(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Tls | Kind::ClientCa | Kind::Mtls | Kind::Verify | Kind::Basic
    )
}

/// Whether a value names a variable.
pub(super) fn is_env(text: &str) -> bool {
    reference(text).is_some_and(|name| name.starts_with("env:"))
}

/// The references in a value, those that may be read.
pub fn references(text: &str) -> BTreeSet<String> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '"' | '=');
    let words = text.split(ends).filter_map(reference);
    words.filter(|name| allowed(name).is_ok()).collect()
}

/// `text` as a reference in normal form.
fn reference(text: &str) -> Option<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '"');
    let is = matches!(scheme.as_str(), "env" | "file") && rest.chars().all(plain);
    (is && rest.len() <= MAX_NAME).then(|| format!("{scheme}:{rest}"))
}

fn allowed(name: &str) -> Result<(), String> {
    let steps_up = |path: &str| path.split('/').any(|part| part == "..");
    match name.split_once(':') {
        Some(("env", name)) if !name.starts_with(VARIABLE) => Err(format!(
            "labels read only variables of Wharf's that begin with {VARIABLE}, as in env:{VARIABLE}API_KEY"
        )),
        Some(("file", path)) if !path.starts_with('/') || steps_up(path) => {
            Err("a path begins with / and has no `..`, as in file:/run/secrets/api_key".to_owned())
        }
        _ => Ok(()),
    }
}

/// What names of variables that are meant for labels begin with.
pub const VARIABLE: &str = "WHARF_VALUE_";
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_values() {
        for (text, names) in [
            ("env:WHARF_VALUE_A", &["env:WHARF_VALUE_A"][..]),
            (" FILE:/run/secrets/a ", &["file:/run/secrets/a"]),
            (
                "X-A=env:WHARF_VALUE_A, +X-B=\"file:/b\"\nX-C=env:PATH",
                &["env:WHARF_VALUE_A", "file:/b"],
            ),
            ("file:a.pem", &[]),
            ("file:/run/secrets/../x", &[]),
            ("10.0.0.0/8", &[]),
            ("http://a:80", &[]),
        ] {
            let found: Vec<_> = references(text).into_iter().collect();
            assert_eq!(found, names, "{text}");
        }
    }

    #[test]
    fn what_may_not_be_read_says_so() {
        let read = Values::Read(BTreeMap::from([
            ("env:WHARF_VALUE_A".to_owned(), Ok("a".to_owned())),
            ("file:/x".to_owned(), Err("it is gone".to_owned())),
        ]));
        for (text, part) in [
            ("env:PATH", "begin with WHARF_VALUE_"),
            ("file:x", "a path begins with /"),
            ("file:/x", "`file:/x`: it is gone"),
            ("file:/y", "has not been read"),
        ] {
            let Found::Refused(reason) = read.find(text) else {
                panic!("{text}")
            };
            assert!(reason.contains(part), "{text}: {reason}");
        }
        let name = "env:WHARF_VALUE_A".to_owned();
        assert_eq!(
            read.find("env:WHARF_VALUE_A"),
            Found::Content(name.clone(), Some("a".into()))
        );
        assert_eq!(
            Values::Unread.find("env:WHARF_VALUE_A"),
            Found::Content(name, None)
        );
        assert_eq!(read.find("/api"), Found::None);
    }

    /// B87: what a reference holds is in the settings, and in nothing that people see.
    #[test]
    fn contents_are_shown_to_nobody() {
        use super::super::{Terms, read};
        use crate::model::LabelPrefix;

        let content = "s3cr3t";
        let values = Values::Read(BTreeMap::from([
            ("env:WHARF_VALUE_A".to_owned(), Ok(content.to_owned())),
            (
                "file:/x".to_owned(),
                Ok(format!("{content},{{host}} \"a\"")),
            ),
            ("file:/bad".to_owned(), Ok(format!("{content}\n1"))),
        ]));
        let prefix = LabelPrefix::default();
        let terms = Terms {
            values: &values,
            ..Terms::from(&prefix)
        };
        let with = |label: &str, value: &str| {
            let labels = [("wharf.host", "a.test"), (label, value)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            read("web", &BTreeMap::from(labels), terms).unwrap()
        };
        let edits = "X-A=env:WHARF_VALUE_A, X-B=file:/x, X-C=plain";
        let good = with("wharf.headers.request", edits);
        assert_eq!(good.problems, []);
        let shown: Vec<String> = { good.routes[0].settings.request_edits.iter() }
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["x-a=env:WHARF_VALUE_A", "x-b=file:/x", "x-c=plain"]);
        assert_eq!(
            good.routes[0].settings.request_edits[1].value.as_str(),
            "s3cr3t,{host} \"a\""
        );
        let whole = with("wharf.auth.user_header", "env:WHARF_VALUE_A");
        assert_eq!(whole.problems, []);
        assert_eq!(
            whole.routes[0].settings.hidden,
            ["auth.user_header: env:WHARF_VALUE_A"]
        );
        for (label, value) in [
            ("wharf.port", "env:WHARF_VALUE_A"),
            ("wharf.allow", "file:/x"),
            ("wharf.hsts", "file:/bad"),
            ("wharf.headers.request", "X-A=file:/bad"),
            ("wharf.headers.response", "env:WHARF_VALUE_A"),
        ] {
            let read = with(label, value);
            assert!(read.routes[0].fault.is_some(), "{label}");
            let told = format!("{:?} {:?}", read.problems, read.routes[0].fault);
            assert!(!told.contains(content) && told.contains("holds"), "{told}");
        }
        // One that stands in the label itself.
        let inline = with(
            "wharf.headers.request",
            "Authorization=Bearer s3cr3t, X-B=1",
        );
        let [problem] = &inline.problems[..] else {
            panic!("{:?}", inline.problems)
        };
        assert!(
            problem.reason.contains("has its value in a label"),
            "{problem:?}"
        );
        let settings = serde_json::to_string(&inline.routes[0].settings).unwrap();
        assert!(!format!("{settings} {problem:?}").contains(content));
    }
}
