//! What the steps see of a request, and what is checked of it before any route is known.

use http::{Method, Uri, Version};

use crate::model::{Facts, Matcher, seen};
use crate::proxy::audience::Client;
use crate::proxy::error::ProxyError;
use crate::proxy::fields::{Fields, Known};
use crate::proxy::head::RequestHead;
use crate::proxy::headers::{self, Asked, HostName};

/// What a step sees of a request.
pub(in crate::proxy) struct Head<'a> {
    pub(in crate::proxy) request: &'a RequestHead,
    pub(in crate::proxy) authority: &'a str,
    pub(in crate::proxy) host: HostName<'a>,
    /// Path and query; see [`RequestHead::target`].
    pub(super) target: &'a str,
    pub(in crate::proxy) path: &'a str,
    pub(in crate::proxy) client: Client,
    /// As the client used it, a trusted proxy's word included.
    pub(in crate::proxy) https: bool,
}

impl<'a> Head<'a> {
    /// Checks what the parsers do not (hardening must-haves 1, 2 and 3). `tls`: it came that way.
    pub(in crate::proxy) fn read(
        tls: bool,
        request: &'a RequestHead,
        client: Client,
    ) -> Result<Self, ProxyError> {
        let fields = request.fields();
        match request.method {
            Method::GET | Method::POST => {}
            Method::CONNECT => return Err(ProxyError::Method("CONNECT")),
            Method::TRACE => return Err(ProxyError::Method("TRACE")),
            _ if request.method.as_str().len() > MAX_METHOD => {
                return Err(ProxyError::BadRequest("the method is longer than 32 bytes"));
            }
            _ => {}
        }
        // HTTP/2 knows none (RFC 9113 section 8.2.2); on HTTP/1 the parser has looked at it.
        if request.version == Version::HTTP_2 && fields.has(Known::TransferEncoding) {
            return Err(ProxyError::BadRequest(
                "Transfer-Encoding has no place in HTTP/2",
            ));
        }
        let authority = request.authority().ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let host = HostName::parse(authority).ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let target = request.target();
        if target.len() > MAX_TARGET {
            return Err(ProxyError::TargetTooLong);
        }
        let path = match request.path(target) {
            "" => "/",
            "*" if request.method == Method::OPTIONS => "/",
            path if path.starts_with('/') => path,
            _ => return Err(ProxyError::BadRequest(TARGET_FORM)),
        };
        // `GET a.test` parses as CONNECT's form, an authority without a scheme.
        let connects = |uri: &Uri| uri.authority().is_some() && uri.scheme().is_none();
        if request.uri().is_some_and(connects) {
            return Err(ProxyError::BadRequest(TARGET_FORM));
        }
        check_connection(fields)?;
        // A trusted proxy knows better than we how the client came to it.
        let https = if client.trusted {
            let told = fields.get(Known::XForwardedProto);
            told.map_or(tls, |proto| proto.eq_ignore_ascii_case(b"https"))
        } else {
            tls
        };
        Ok(Self {
            request,
            authority,
            host,
            target,
            path,
            client,
            https,
        })
    }
}

impl Head<'_> {
    /// Whether the request, with its path in this form, meets a condition.
    pub(super) fn meets(&self, matcher: &Matcher, path: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let asked = Asked {
            fields: self.request.fields(),
            authority: self.authority,
            method: &self.request.method,
            query,
            path,
            client: self.client.address,
        };
        headers::meets(asked, matcher)
    }

    /// The target, where that is a path; the root else.
    pub(super) fn rooted_target(&self) -> &str {
        match self.target {
            target if target.starts_with('/') => target,
            _ => "/",
        }
    }

    /// What placeholders of labels stand for; `path` as seen, `uri` as written.
    pub(super) fn facts<'a>(&'a self, path: &'a str, uri: &'a str) -> Facts<'a> {
        Facts {
            scheme: if self.https { "https" } else { "http" },
            host: self.host.as_str(),
            path,
            uri,
            client: self.client.address,
        }
    }

    /// The port the client used: what `Host` names, else the scheme's own. The listener's would be wrong
    /// behind a published port.
    pub(super) fn port(&self) -> u16 {
        let after_colon = self.authority.rsplit_once(':').map(|(_, port)| port);
        let named = after_colon.and_then(|port| port.parse().ok());
        named.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// The same as [`Head::meets`] with the path as patterns see it.
    pub(in crate::proxy) fn meets_as_seen(&self, matcher: &Matcher) -> bool {
        match matcher {
            Matcher::Path(_) => self.meets(matcher, &seen(self.path)),
            _ => self.meets(matcher, self.path),
        }
    }
}

/// Each name in `Connection` is compared with each field, so their number must stay small.
fn check_connection(fields: Fields<'_>) -> Result<(), ProxyError> {
    if !fields.has(Known::Connection) {
        return Ok(());
    }
    let values = fields.get_all(Known::Connection);
    if values.map(<[u8]>::len).sum::<usize>() > MAX_CONNECTION {
        return Err(ProxyError::BadRequest(
            "the Connection field is longer than 1 KiB",
        ));
    }
    Ok(())
}

const TARGET_FORM: &str = "a request target starts with `/`";
const MAX_CONNECTION: usize = 1024;
const MAX_METHOD: usize = 32;
const MAX_TARGET: usize = 16 * 1024;
