//! Servers that decide who gets in, as far as a proxy sees them: Authelia's, authentik's and oauth2-proxy's ways.
//! Whoever shows the cookie `user=NAME` is NAME; `mallory` is known and may not, `renewed` gets a new cookie.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderValue, Method, Request, StatusCode};

use super::{Answer, json, text};

/// What it was asked, the last first.
#[derive(Default)]
pub(super) struct Questions(Mutex<Vec<serde_json::Value>>);

impl Questions {
    /// The answer to a path of these servers.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Answer> {
        let path = request.uri().path();
        let user = user(request);
        Some(match path {
            "/questions" => {
                let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                json(StatusCode::OK, &*asked)
            }
            "/api/authz/forward-auth" => {
                self.note(request);
                authelia(request, user.as_deref())
            }
            "/oauth2/auth" => {
                self.note(request);
                let mut answer = match user.as_deref() {
                    None | Some("mallory") => text(StatusCode::UNAUTHORIZED, "Unauthorized\n"),
                    Some(user) => {
                        let mut answer = text(StatusCode::ACCEPTED, "");
                        set(&mut answer, "x-auth-request-user", user);
                        set(
                            &mut answer,
                            "x-auth-request-email",
                            &format!("{user}@a.test"),
                        );
                        answer
                    }
                };
                if user.as_deref() == Some("renewed") {
                    set(&mut answer, SET_COOKIE.as_str(), "user=again; Path=/");
                }
                answer
            }
            "/outpost.goauthentik.io/auth/traefik" => {
                self.note(request);
                match user {
                    Some(user) => {
                        let mut answer = text(StatusCode::OK, "");
                        set(&mut answer, "x-authentik-username", &user);
                        answer
                    }
                    None => {
                        let host = field(request, "x-forwarded-host");
                        let scheme = field(request, "x-forwarded-proto");
                        let back = field(request, "x-forwarded-uri");
                        let to =
                            format!("{scheme}://{host}/outpost.goauthentik.io/start?rd={back}");
                        found(&to, None)
                    }
                }
            }
            // Whoever comes is logged in, and sent to where he wanted to go.
            "/oauth2/start" | "/outpost.goauthentik.io/start" => {
                let query = request.uri().query().unwrap_or_default();
                let rd = query.strip_prefix("rd=").unwrap_or("/");
                let rd = percent_decoded(rd);
                found(&rd, Some("user=joe; Path=/; HttpOnly"))
            }
            "/auth/large" => text(StatusCode::FORBIDDEN, Bytes::from(vec![b'x'; 2 << 20])),
            _ => return None,
        })
    }

    fn note<B>(&self, request: &Request<B>) {
        let fields = request.headers().iter();
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let question = serde_json::json!({
            "line": format!("{} {}", request.method(), request.uri()),
            "fields": fields,
        });
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(0, question);
        asked.truncate(1000);
    }
}

fn authelia<B>(request: &Request<B>, user: Option<&str>) -> Answer {
    match user {
        Some("mallory") => text(StatusCode::FORBIDDEN, "Forbidden\n"),
        Some(user) => {
            let mut answer = text(StatusCode::OK, "200 OK");
            set(&mut answer, "remote-user", user);
            set(&mut answer, "remote-groups", "staff,admins");
            set(&mut answer, "x-of-no-concern", "1");
            answer
        }
        None => {
            let accept = field(request, ACCEPT.as_str());
            let method = field(request, "x-forwarded-method");
            if accept.contains("text/html") && method == Method::GET.as_str() {
                let (scheme, host) = ("x-forwarded-proto", "x-forwarded-host");
                let to = format!(
                    "https://login.test/?rd={}://{}{}&rm={method}",
                    field(request, scheme),
                    field(request, host),
                    field(request, "x-forwarded-uri")
                );
                return found(&to, None);
            }
            let mut answer = text(StatusCode::UNAUTHORIZED, "Unauthorized\n");
            set(&mut answer, "www-authenticate", "Basic realm=\"elsewhere\"");
            answer
        }
    }
}

fn found(to: &str, cookie: Option<&str>) -> Answer {
    let mut answer = text(StatusCode::FOUND, "");
    set(&mut answer, LOCATION.as_str(), to);
    if let Some(cookie) = cookie {
        set(&mut answer, SET_COOKIE.as_str(), cookie);
    }
    answer
}

fn set(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn field<'r, B>(request: &'r Request<B>, name: &str) -> &'r str {
    let value = request.headers().get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn user<B>(request: &Request<B>) -> Option<String> {
    let cookies = field(request, COOKIE.as_str());
    let mut pairs = cookies.split(';').map(str::trim);
    let user = pairs.find_map(|pair| pair.strip_prefix("user="))?;
    Some(user.to_owned())
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let code = (byte == b'%').then(|| [bytes.next(), bytes.next()]);
        let code = code.map(|pair| pair.map(|b| b.and_then(|b| char::from(b).to_digit(16))));
        match code {
            Some([Some(high), Some(low)]) => out.push((high * 16 + low) as u8),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
