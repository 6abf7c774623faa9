//! What to do about an error, for those who may see its cause.

use super::error::ProxyError;
use super::head::RequestHead;
use super::headers::HostName;
use crate::model::{ContainerNote, Host, HostPattern, Standing};
use crate::route::RouteTable;

/// What to do about `error`, a sentence each, the most likely first.
pub(crate) fn hints(
    error: &ProxyError,
    table: &RouteTable,
    notes: &[ContainerNote],
    head: &RequestHead,
) -> Vec<String> {
    let host = head.authority().and_then(HostName::parse);
    match (error, host) {
        (ProxyError::NoHost, Some(host)) => unknown(host.as_str(), table, notes),
        (ProxyError::NoPath, Some(host)) => paths(host.as_str(), table).into_iter().collect(),
        _ => error.next_step().into_iter().collect(),
    }
}

/// Who should answer for a host that has no route.
pub(crate) fn unknown(host: &str, table: &RouteTable, notes: &[ContainerNote]) -> Vec<String> {
    let mut hints: Vec<String> = claimants(host, notes)
        .take(MAX_HINTS)
        .map(|note| format!("container {} asks for it: {}", note.container, why(note)))
        .collect();
    if hints.is_empty() {
        hints = nearest(host, table);
    }
    if hints.is_empty() {
        hints.push(format!(
            "no container asks for it: one with the label wharf.host: {host} would get its requests"
        ));
    }
    hints
}

/// Containers that seem to ask for a host, those first that are the most likely to be meant.
pub(crate) fn claimants<'n>(
    host: &'n str,
    notes: &'n [ContainerNote],
) -> impl Iterator<Item = &'n ContainerNote> {
    let asks = move |note: &&ContainerNote| {
        let mut asks = note.asks.iter();
        asks.any(|ask| {
            ask.split('/')
                .next()
                .is_some_and(|pattern| covers(pattern, host))
        })
    };
    let mentions = move |note: &&ContainerNote| {
        let mut texts = note.unread.iter();
        texts.any(|(_, value)| mentions(value, host))
    };
    let asking = notes.iter().filter(asks);
    asking.chain(
        notes
            .iter()
            .filter(move |note| mentions(note) && !asks(note)),
    )
}

/// Why a container is not served as asked.
pub(crate) fn why(note: &ContainerNote) -> String {
    match (note.reasons.is_empty(), note.standing) {
        (false, _) => note.reasons.join("; "),
        (true, Standing::Routed) => "it is served under other names".to_owned(),
        (true, _) => "it has no route".to_owned(),
    }
}

/// The paths there are where the one asked for is none of them.
fn paths(host: &str, table: &RouteTable) -> Option<String> {
    let entry = table.find_host(host)?;
    let paths = entry.routes.iter().map(|route| route.place());
    let mut paths: Vec<String> = paths.collect();
    paths.dedup();
    paths.truncate(MAX_HINTS);
    Some(format!(
        "there are routes for {} only; a container with the same wharf.host and no wharf.path gets the rest",
        paths.join(", ")
    ))
}

/// Names that are served and look like this one.
pub(crate) fn nearest(host: &str, table: &RouteTable) -> Vec<String> {
    let bare = |name: &str| name.strip_prefix("www.").unwrap_or(name).to_owned();
    let near = |name: &str| match bare(name) == bare(host) {
        true => Some(0),
        false if name.len().abs_diff(host.len()) > 2 || host.len() > MAX_COMPARED => None,
        false => Some(strsim::damerau_levenshtein(name, host)).filter(|edits| *edits <= 2),
    };
    let exact = table.hosts().filter_map(|entry| entry.pattern.exact());
    let names = exact.map(Host::as_str);
    let mut found: Vec<(usize, &str)> = names.filter_map(|n| Some((near(n)?, n))).collect();
    found.sort_unstable();
    found.truncate(3);
    found
        .into_iter()
        .map(|(_, name)| format!("there is a route for `{name}`: did you mean that?"))
        .collect()
}

fn covers(pattern: &str, host: &str) -> bool {
    match HostPattern::parse(pattern) {
        Ok(HostPattern::Default) | Err(_) => false,
        Ok(pattern) => pattern.matches(host),
    }
}

/// Whether a host stands in a text as a word of its own.
fn mentions(text: &str, host: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text.match_indices(host).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + host.len()..].chars().next();
        !before.is_some_and(of_name) && !after.is_some_and(of_name)
    })
}

/// Containers, or paths, named on one page.
const MAX_HINTS: usize = 5;
/// Longer names are not compared letter by letter.
const MAX_COMPARED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_as_a_word() {
        for (text, found) in [
            ("a.test", true),
            ("Host(`A.test`)", true),
            ("https://a.test/x", true),
            ("b.test, a.test", true),
            ("a.test:80", true),
            ("www.a.test", false),
            ("a.test.com", false),
            ("xa.test", false),
            ("", false),
        ] {
            assert_eq!(mentions(text, "a.test"), found, "{text}");
        }
    }
}
