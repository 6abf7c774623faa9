//! Labels for property tests: noise, vocabulary, and vocabulary with typing errors.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::OPTIONS;

/// The labels of one container; some make routes, many are wrong.
pub(crate) fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let pair = prop_oneof![
        4 => (select(HOSTS), value()).prop_map(|(label, value)| (label.to_owned(), value)),
        8 => (key(), value()),
        1 => any::<(String, String)>(),
    ];
    prop::collection::vec(pair, 0..8).prop_map(|pairs| pairs.into_iter().collect())
}

/// A label key of vocabulary words, perhaps with a typing error.
fn key() -> impl Strategy<Value = String> {
    let word = (0..OPTIONS.len()).prop_map(|index| OPTIONS[index].name);
    let head = select(vec![
        "wharf.",
        "wharf.api.",
        "wharf.routes.api.",
        "WHARF.b-1.",
        "wharf.",
    ]);
    (head, word, any::<(Index, Option<char>, u8)>()).prop_map(|(head, word, (at, c, typo))| {
        let mut chars: Vec<char> = format!("{head}{word}").chars().collect();
        let at = at.index(chars.len());
        match typo % 6 {
            0 => chars.swap(at, at.saturating_sub(1)),
            1 => drop(chars.remove(at)),
            2 => chars.insert(at, c.unwrap_or('x')),
            _ => {}
        }
        chars.into_iter().collect()
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(VALUES).prop_map(str::to_owned),
        2 => (0..OPTIONS.len()).prop_map(|index| OPTIONS[index].example.to_owned()),
        1 => "[a-z0-9.,= /*\n-]{0,40}",
        1 => any::<String>(),
    ]
}

const HOSTS: &[&str] = &[
    "wharf.host",
    "wharf.host",
    "wharf.api.host",
    "wharf.blog.path",
    "wharf.weight",
    "wharf.canary",
    "wharf.beta.match",
    "wharf.redirect.from",
    "wharf.use",
    "wharf.api.use",
    "wharf.preset.x.allow",
];

const VALUES: &[&str] = &[
    "a.test",
    "a.test, b.test",
    ".c.test",
    "default",
    "*.example.com",
    "/",
    "/api",
    "3000",
    "0",
    "on",
    "false",
    "off",
    "internal",
    "hardened, internal",
    "wordpress, hardend",
    "connect=5s read=30s",
    "5m",
    "front",
    "web",
    "90",
    "header:X-Canary=1, cookie:beta*",
    "on cookie=srv",
    "hash cookie:a",
    "3/30s",
    "published",
    "**.example.com, ~^shop[0-9]{1,2}\\.test$",
    "=/x",
    "~\\.php$",
    "header:X-Beta=1, method:GET|HEAD",
    "ip:private, path:/a/*",
    "/old/* -> /new/{1} 301, ^/(a{1,2}) -> https://b.test/{1}",
    "^/v1/(.*)$ -> /{1}",
    "~(",
    "http://10.0.0.1:81, http://nas.lan",
    "https://*.example.com, http://[::1]:81 credentials methods=GET,PUT",
    "",
];
