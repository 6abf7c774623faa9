//! Challenges of RFC 8555 section 8.3 (HTTP-01), which stand before every route.

use super::Head;
use crate::proxy::forward::Answer;
use crate::proxy::page;
use crate::proxy::worker::Worker;

/// The token a request asks for, if it is a challenge's by its path.
pub(super) fn token(path: &str) -> Option<&str> {
    path.strip_prefix(ACME_PATH)
}

/// Whether a path is that of a challenge, whoever may have asked for it.
pub(super) fn is_challenge(path: &str) -> bool {
    token(path).is_some_and(is_token)
}

/// The answer to a token that is pending right now for this very host, here or in another Wharf on the
/// same store; all others are the app's.
pub(super) async fn challenge(worker: &Worker, head: &Head<'_>, token: &str) -> Option<Answer> {
    let (certs, host) = (&worker.engine.certs, head.host.as_str());
    if let Some(answer) = certs.current().challenge_answer(host, token) {
        return Some(Answer::Page(Box::new(page::text(answer))));
    }
    let answer = certs.told_answer(host, token).await?;
    Some(Answer::Page(Box::new(page::text(&answer))))
}

/// RFC 8555 section 8.3: base64url, at least 128 bits.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (22..=256).contains(&text.len()) && text.bytes().all(allowed)
}

const ACME_PATH: &str = "/.well-known/acme-challenge/";
