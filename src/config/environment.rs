//! Variables nobody reads: a misspelt setting should not be silence.

use clap::Args;

use super::{Raw, RawSocketProxy};

/// One warning for each `WHARF_*` name that is no setting, in order of name. Settings that other
/// versions will have are told apart from misspelt ones.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = variables();
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
        .iter()
        .filter(|name| name.starts_with("WHARF_") || DOCKER_TLS.contains(&name.as_str()))
        .filter(|name| !known.contains(name))
        // Of `wharf run`, which does not start with one that it cannot use.
        .filter(|name| !name.starts_with(DEFAULTS) && !name.starts_with(VALUES))
        .map(|name| warning(name, &known))
        .collect()
}

fn warning(name: &str, known: &[String]) -> String {
    let shown = name.escape_debug();
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(other, _)| *other == name) {
        format!("{shown} is not read: {instead}")
    } else if LATER.contains(&name) || DOCKER_TLS.contains(&name) {
        format!("{shown} is not supported yet and has no effect")
    } else if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        format!("{shown} is no setting and has no effect; did you mean {near}?")
    } else {
        format!("{shown} is no setting and has no effect")
    }
}

/// The known word a misspelt one was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 8)
        .map(|(_, candidate)| candidate)
}

/// Read off the command line's definition, so that the two cannot drift apart; of `run` and
/// `socket-proxy` together, which may share an environment.
fn variables() -> Vec<String> {
    let run = Raw::augment_args(clap::Command::new("wharf"));
    let socket_proxy = RawSocketProxy::augment_args(clap::Command::new("wharf"));
    run.get_arguments()
        .chain(socket_proxy.get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .chain(super::dns::variables())
        .collect()
}

/// Written differently here than one may expect.
const ELSEWHERE: [(&str, &str); 4] = [
    ("WHARF_LOG_LEVEL", "the level is WHARF_LOG"),
    (
        "WHARF_LOG_FILE",
        "the file of the access log is WHARF_ACCESS_LOG",
    ),
    (
        "WHARF_METRICS",
        "metrics are on the admin listener, WHARF_ADMIN",
    ),
    ("WHARF_DOCKER_HOST", "the engine's address is DOCKER_HOST"),
];

/// Documented, and to come.
const LATER: [&str; 3] = ["WHARF_COMPAT", "WHARF_TCP_PORTS", "WHARF_UDP_PORTS"];

/// An engine behind TLS.
const DOCKER_TLS: [&str; 2] = ["DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"];

/// Begins the names of what labels may read.
pub(super) const VALUES: &str = "WHARF_VALUE_";

/// Begins the names of defaults for options of labels.
pub(super) const DEFAULTS: &str = "WHARF_DEFAULT_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_told_with_what_was_meant() {
        let names = [
            "PATH",
            "WHARF_HTTP",
            "DOCKER_HOST",
            "WHARF_HTPS",
            "WHARF_ACME_MAIL",
            "WHARF_DNS_CLOUDFLARE_TOKEN",
            "WHARF_DNS_CLOUDFLARE_TOKENS",
            "WHARF_DEFAULT_COMPRESS",
            "WHARF_LOG_LEVEL",
            "WHARF_COLOUR",
            "DOCKER_TLS_VERIFY",
        ];
        assert_eq!(
            unknown_variables(names.map(str::to_owned)),
            [
                "DOCKER_TLS_VERIFY is not supported yet and has no effect",
                "WHARF_ACME_MAIL is no setting and has no effect; did you mean WHARF_ACME_EMAIL?",
                "WHARF_COLOUR is no setting and has no effect",
                "WHARF_DNS_CLOUDFLARE_TOKENS is no setting and has no effect; did you mean WHARF_DNS_CLOUDFLARE_TOKEN?",
                "WHARF_HTPS is no setting and has no effect; did you mean WHARF_HTTPS?",
                "WHARF_LOG_LEVEL is not read: the level is WHARF_LOG",
            ]
        );
    }
}
