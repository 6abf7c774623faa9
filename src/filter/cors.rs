//! What browsers are told of pages that call from elsewhere (Fetch standard, "CORS protocol"). Pure.

use crate::model::{CorsSpec, Origins};

/// A route's rules for them.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    /// As answers to preflights name them; `None` is all.
    methods: Option<Box<str>>,
    headers: Option<Box<str>>,
    max_age: Box<str>,
}

impl Cors {
    pub fn compile(spec: &CorsSpec) -> Box<Self> {
        let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", ").into());
        Box::new(Self {
            origins: spec.origins.clone(),
            credentials: spec.credentials && spec.origins != Origins::Any,
            methods: list(&spec.methods),
            headers: list(&spec.headers),
            max_age: spec.max_age.as_secs().to_string().into(),
        })
    }

    /// Whether pages of an origin may call. What may is safe to write into a field.
    pub fn admits(&self, origin: &[u8]) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::These(list) => std::str::from_utf8(origin)
                .is_ok_and(|origin| list.iter().any(|pattern| pattern.matches(origin))),
        }
    }

    /// Tells `field` the fields of an answer to a request of this origin. Answers differ by it, so caches are
    /// told even where there is none.
    pub fn answer(&self, origin: Option<&[u8]>, mut field: impl FnMut(&'static str, &[u8])) {
        let origin = match &self.origins {
            Origins::Any => Some(&b"*"[..]),
            Origins::These(_) => origin.filter(|origin| self.admits(origin)),
        };
        if let Some(origin) = origin {
            field(ORIGIN, origin);
            if self.credentials {
                field(CREDENTIALS, b"true");
            }
        }
        field(VARY, b"Origin");
    }

    /// What a preflight of an origin that may call is answered besides: it asks for a method, and for the names
    /// of fields. Those are repeated where all are allowed: `*` would leave out `Authorization`.
    pub fn preflight(
        &self,
        method: &[u8],
        headers: Option<&[u8]>,
        mut field: impl FnMut(&'static str, &[u8]),
    ) {
        let methods = self.methods.as_deref().map(str::as_bytes);
        let asked = Some(method).filter(|method| method.len() <= MAX_METHOD && is_list(method));
        if let Some(methods) = methods.or(asked) {
            field(METHODS, methods);
        }
        let named = self.headers.as_deref().map(str::as_bytes);
        let asked = headers.filter(|names| names.len() <= MAX_NAMES && is_list(names));
        if let Some(names) = named.or(asked) {
            field(HEADERS, names);
        }
        field(MAX_AGE, self.max_age.as_bytes());
    }
}

/// Tokens, separated by commas.
fn is_list(text: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(b);
    !text.is_empty() && text.iter().all(good)
}

const ORIGIN: &str = CorsSpec::FIELDS[0];
const CREDENTIALS: &str = CorsSpec::FIELDS[1];
const METHODS: &str = CorsSpec::FIELDS[2];
const HEADERS: &str = CorsSpec::FIELDS[3];
const MAX_AGE: &str = CorsSpec::FIELDS[4];
pub(crate) const VARY: &str = "vary";
const MAX_METHOD: usize = 32;
const MAX_NAMES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OriginPattern;

    fn cors(origins: &[&str]) -> CorsSpec {
        let list = origins
            .iter()
            .map(|origin| OriginPattern::parse(origin).unwrap());
        CorsSpec {
            origins: match origins {
                ["*"] => Origins::Any,
                _ => Origins::These(list.collect()),
            },
            methods: Vec::new(),
            headers: Vec::new(),
            credentials: false,
            max_age: CorsSpec::MAX_AGE,
        }
    }

    fn told(answer: impl FnOnce(&mut dyn FnMut(&'static str, &[u8]))) -> Vec<String> {
        let mut lines = Vec::new();
        let mut field = |name: &'static str, value: &[u8]| {
            let name = name.strip_prefix("access-control-").unwrap_or(name);
            lines.push(format!("{name}: {}", String::from_utf8_lossy(value)));
        };
        answer(&mut field);
        lines
    }

    #[test]
    fn an_answer_names_the_one_origin_that_asks_or_none() {
        let listed = CorsSpec {
            credentials: true,
            ..cors(&["https://a.test", "https://*.b.test"])
        };
        let vary = "vary: Origin";
        let credentials = "allow-credentials: true";
        for (spec, origin, expected) in [
            (
                &listed,
                Some("https://a.test"),
                &["allow-origin: https://a.test", credentials, vary][..],
            ),
            (
                &listed,
                Some("https://x.b.test"),
                &["allow-origin: https://x.b.test", credentials, vary],
            ),
            (&listed, Some("https://b.test"), &[vary]),
            (&listed, Some("null"), &[vary]),
            (&listed, None, &[vary]),
            (
                &cors(&["*"]),
                Some("https://c.test"),
                &["allow-origin: *", vary],
            ),
            (&cors(&["*"]), None, &["allow-origin: *", vary]),
            // The plan never has these together.
            (
                &CorsSpec {
                    credentials: true,
                    ..cors(&["*"])
                },
                Some("https://c.test"),
                &["allow-origin: *", vary],
            ),
        ] {
            let cors = Cors::compile(spec);
            let told = told(|field| cors.answer(origin.map(str::as_bytes), field));
            assert_eq!(told, expected, "{spec} {origin:?}");
        }
    }

    #[test]
    fn a_preflight_is_told_the_lists_or_what_it_asks_for() {
        let lists = CorsSpec {
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: vec!["x-a".to_owned(), "x-b".to_owned()],
            max_age: std::time::Duration::ZERO,
            ..cors(&["*"])
        };
        let long = "x".repeat(MAX_NAMES + 1);
        for (spec, method, headers, expected) in [
            (
                &lists,
                "DELETE",
                Some("x-c"),
                &[
                    "allow-methods: GET, PUT",
                    "allow-headers: x-a, x-b",
                    "max-age: 0",
                ][..],
            ),
            (
                &cors(&["*"]),
                "DELETE",
                Some("authorization,x-c"),
                &[
                    "allow-methods: DELETE",
                    "allow-headers: authorization,x-c",
                    "max-age: 3600",
                ],
            ),
            (
                &cors(&["*"]),
                "GET",
                None,
                &["allow-methods: GET", "max-age: 3600"],
            ),
            (&cors(&["*"]), "G\tT", Some("a\"b"), &["max-age: 3600"]),
            (&cors(&["*"]), "", Some(&long), &["max-age: 3600"]),
        ] {
            let cors = Cors::compile(spec);
            let headers = headers.map(str::as_bytes);
            let told = told(|field| cors.preflight(method.as_bytes(), headers, field));
            assert_eq!(told, expected, "{spec} {method}");
        }
    }
}
