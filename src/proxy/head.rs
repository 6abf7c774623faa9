//! The head of a request, whichever protocol it came in.

use http::{Method, Uri, Version};

use super::fields::{self, FieldIndex, Fields, Known, OwnedFields, write_field};
use super::headers;
use super::websocket::Key;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// How its body is framed, and how it will be towards the upstream.
    pub(crate) framing: RequestFraming,
    /// Whether the client lets the connection live on (RFC 9112 section 9.3).
    pub(crate) keep_alive: bool,
    target: Target,
    fields: OwnedFields,
    /// Of a WebSocket that the client opens without one of its own (RFC 8441).
    key: Option<Box<Key>>,
}

/// How a request body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    None,
    /// `Content-Length`, 0 included.
    Length(u64),
    Chunked,
}

/// The request target (RFC 9112 section 3.2).
#[derive(Debug)]
pub(crate) enum Target {
    /// Starts with `/`, all of it plain ASCII; a range of the head's text.
    Origin { at: u16, len: u16 },
    /// Any other form.
    Uri(Uri),
}

impl RequestHead {
    /// `fields` own the text that `target` points into.
    pub(crate) fn new(
        method: Method,
        version: Version,
        target: Target,
        fields: OwnedFields,
        framing: RequestFraming,
    ) -> Self {
        let all = fields.fields();
        let keep_alive = match version {
            Version::HTTP_10 => headers::has_token(all, Known::Connection, "keep-alive"),
            _ => !headers::has_token(all, Known::Connection, "close"),
        };
        Self {
            method,
            version,
            framing,
            keep_alive,
            target,
            fields,
            key: None,
        }
    }

    /// A request that opens a WebSocket on a stream (RFC 8441): to everybody behind it what it is on HTTP/1.1, a GET
    /// without a body.
    pub(crate) fn opening(version: Version, target: Target, fields: OwnedFields) -> Self {
        let none = RequestFraming::None;
        let mut head = Self::new(Method::GET, version, target, fields, none);
        head.key = Some(Box::new(Key::new()));
        head
    }

    /// Where the WebSocket it opens is Wharf's to shake hands for.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_deref()
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        self.fields.fields()
    }

    /// Path and query as the client sent them; `*` for the asterisk form, and perhaps without the
    /// leading slash where an absolute target has no path.
    pub(crate) fn target(&self) -> &str {
        match &self.target {
            Target::Origin { at, len } => {
                let text = &self.fields.text[usize::from(*at)..][..usize::from(*len)];
                // ASCII by the invariant of `Target`.
                std::str::from_utf8(text).unwrap_or("/")
            }
            Target::Uri(uri) => uri.path_and_query().map_or("/", |target| target.as_str()),
        }
    }

    /// The path without the query; `target` is what [`RequestHead::target`] says.
    pub(crate) fn path<'a>(&'a self, target: &'a str) -> &'a str {
        match &self.target {
            Target::Origin { .. } => match memchr::memchr(b'?', target.as_bytes()) {
                Some(query) => &target[..query],
                None => target,
            },
            Target::Uri(uri) => uri.path(),
        }
    }

    /// The target, where it is no plain path.
    pub(crate) fn uri(&self) -> Option<&Uri> {
        match &self.target {
            Target::Origin { .. } => None,
            Target::Uri(uri) => Some(uri),
        }
    }

    /// The request's one authority: `:authority` or an absolute target first, else the one `Host`.
    /// `None` when there is none, several, or one that is no text.
    pub(crate) fn authority(&self) -> Option<&str> {
        let mut hosts = self.fields().get_all(Known::Host);
        let host = hosts.next();
        if hosts.next().is_some() {
            return None;
        }
        match self.uri().and_then(Uri::authority) {
            // User information has no place in a request (RFC 9110 section 4.2.4).
            Some(authority) => (!authority.as_str().contains('@')).then(|| authority.as_str()),
            None => std::str::from_utf8(host?).ok().map(str::trim_ascii),
        }
    }

    /// Whether the client has a body to send, be it empty.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(
            self.framing,
            RequestFraming::None | RequestFraming::Length(0)
        )
    }

    /// Bytes of the body, where the client has said so.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing {
            RequestFraming::Length(length) => Some(length),
            RequestFraming::None | RequestFraming::Chunked => None,
        }
    }

    /// Bytes of the text it came in, the request line and the end of HTTP/1 included.
    pub(crate) fn len(&self) -> usize {
        self.fields.text.len()
    }

    /// A question about this request: GET without a body, and what the request says of itself. What its route
    /// was found by is not what a trusted proxy may say beside it.
    pub(crate) fn question(&self) -> Self {
        let told = Known::set(&[
            Known::XForwardedHost,
            Known::XForwardedPort,
            Known::XForwardedPrefix,
            Known::XForwardedProto,
        ]);
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            framing: RequestFraming::None,
            keep_alive: true,
            target: Target::Origin { at: 0, len: 0 },
            fields: self.fields.without(told),
            key: None,
        }
    }

    /// The same request by another method, with the fields whose names are kept, and with `lines` beside them.
    pub(crate) fn changed(
        &self,
        method: &Method,
        keeps: impl Fn(&[u8]) -> bool,
        lines: &[u8],
    ) -> Self {
        let own = self.fields();
        let mut text = Vec::with_capacity(self.fields.text.len() + lines.len() + 64);
        let target = match &self.target {
            Target::Origin { len, .. } => {
                text.extend_from_slice(self.target().as_bytes());
                Target::Origin { at: 0, len: *len }
            }
            Target::Uri(uri) => Target::Uri(uri.clone()),
        };
        let mut index = FieldIndex::default();
        let kept = own.iter().filter(|field| keeps(field.name));
        // On HTTP/2 a name does not say what is known of it: `:authority` is what HTTP/1 calls Host.
        let kept = kept.map(|field| (field.name, field.value, field.known));
        let more = fields::lines(lines).map(|(name, value)| (name, value, Known::of(name)));
        for (name, value, known) in kept.chain(more) {
            let at = text.len();
            // What positions cannot reach is left out: it was the lines'.
            if at + name.len() + value.len() + 4 > usize::from(u16::MAX) {
                break;
            }
            write_field(&mut text, name, value);
            let value_at = at + name.len() + 2;
            let value = value_at..value_at + value.len();
            index.add(at..at + name.len(), value, known);
        }
        Self {
            method: method.clone(),
            version: self.version,
            framing: self.framing,
            keep_alive: self.keep_alive,
            target,
            fields: OwnedFields { text, index },
            key: None,
        }
    }

    /// Gives back what its buffer has to spare: it will be kept for long.
    pub(crate) fn shrink(&mut self) {
        self.fields.text.shrink_to_fit();
    }

    /// What its fields are made of, to be used again; the head is empty afterwards.
    pub(crate) fn take_fields(&mut self) -> OwnedFields {
        self.target = Target::Origin { at: 0, len: 0 };
        std::mem::take(&mut self.fields)
    }
}

impl RequestFraming {
    /// Of a request without a body: an application may expect to be told so.
    pub(crate) fn of_none(method: &Method) -> Self {
        match *method {
            Method::POST | Method::PUT | Method::PATCH => Self::Length(0),
            _ => Self::None,
        }
    }
}

#[cfg(test)]
impl RequestHead {
    /// For tests: `GET` of this target with these fields.
    pub(crate) fn get(target: &str, fields: &[(&str, &str)]) -> Self {
        let mut owned = OwnedFields::default();
        for (name, value) in fields {
            let at = owned.text.len();
            write_field(&mut owned.text, name.as_bytes(), value.as_bytes());
            let end = at + name.len();
            let value = end + 2..end + 2 + value.len();
            let known = Known::of(name.as_bytes());
            owned.index.add(at..end, value, known);
        }
        let target = Target::Uri(target.parse().unwrap());
        Self::new(
            Method::GET,
            Version::HTTP_11,
            target,
            owned,
            RequestFraming::None,
        )
    }
}
