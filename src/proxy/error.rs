//! Why a request gets an answer of Wharf's own, and which: the one table.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::exchange::ExchangeError;
use super::h1::ResponseError;
use super::http2::SPEAKS_HTTP1;
use crate::filter::Refusal;
use crate::filter::inflight::Full;
use crate::metrics::ErrorKind;
use crate::model::{Address, UpstreamKey, nothing_listens};
use crate::tls::{HandshakeFault, ObtainError};
use crate::upstream::Failure;
use crate::webroot::Fault;

/// Why a request was not answered by its upstream. See [`ProxyError::status`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the method {0} is not proxied")]
    Method(&'static str),
    #[error("the request target is longer than 16 KiB")]
    TargetTooLong,
    #[error("the body is larger than wharf.max_body allows: {0} bytes")]
    BodyTooLarge(u64),
    #[error("the body is larger than the {0} bytes that wharf.buffer lets Wharf take in")]
    NoBuffer(u64),
    #[error(
        "there is no room to take in the body: WHARF_BUFFER_MEMORY and WHARF_BUFFER_DISK are used up, or the disk fails"
    )]
    NoRoom,
    /// While the body was taken in, before anybody was asked.
    #[error("{0}")]
    Upload(#[source] ExchangeError),
    #[error("the path means one route as written and another once decoded")]
    AmbiguousPath,
    #[error("Wharf is starting and has not seen the containers yet")]
    Starting,
    #[error("no route for this host")]
    NoHost,
    #[error("no route for this path")]
    NoPath,
    #[error("this connection's certificate is not for this host")]
    Misdirected,
    #[error("this site is served over HTTPS only")]
    HttpsOnly,
    #[error("this site asks for a client certificate, and none was shown")]
    ClientCertificate,
    #[error("WebSocket is switched off for this route")]
    WebSocketOff,
    #[error("WebSocket does not reach an app that is spoken to in HTTP/2")]
    WebSocketHttp2,
    #[error(transparent)]
    Refused(Refusal),
    #[error("this page asks for a name and a password")]
    Login { realm: Box<str> },
    #[error("too many log in at the moment")]
    Logins,
    #[error("the server at {at} (wharf.auth.forward) does not say who gets in: {cause}")]
    Auth {
        /// The route that asks it.
        route: Box<str>,
        at: Box<str>,
        cause: Box<Self>,
    },
    #[error(
        "this is a question of Wharf's who gets in, and its answer would be asked about in turn"
    )]
    AuthLoop,
    #[error(transparent)]
    File(Fault),
    #[error("a label of this route has an error: {0}")]
    RouteFault(Box<str>),
    #[error("no certificate for this host yet: {0}")]
    NoCertificate(#[source] ObtainError),
    #[error("no container of upstream {upstream} can be reached: {}", or_none(.reasons))]
    Unreachable {
        upstream: UpstreamKey,
        reasons: Vec<String>,
        /// Some of its containers are missing for a time.
        awaited: bool,
    },
    #[error("no container of upstream {0} takes requests")]
    NoEndpoint(UpstreamKey),
    #[error("no container of upstream {upstream} is healthy: {}", .reasons.join("; "))]
    Unhealthy {
        upstream: UpstreamKey,
        /// A sentence for each container.
        reasons: Vec<String>,
    },
    #[error(
        "every container of upstream {upstream} has as many requests as wharf.max_conns allows; {why}"
    )]
    Full { upstream: UpstreamKey, why: NoWait },
    #[error("there are as many requests as {full} allows; {why}")]
    InFlight { full: Box<Full>, why: NoWait },
    #[error("{max} requests wait for upstream {upstream} already; {cause}")]
    Crowded {
        upstream: UpstreamKey,
        max: u32,
        cause: Box<Self>,
    },
    #[error("waited {limit:?} in vain for a container that can take the request; {cause}")]
    Waited { limit: Duration, cause: Box<Self> },
    #[error("the route's breaker (wharf.breaker) is open for another {left:?}{}", broken(*.by, *.over))]
    Breaker {
        left: Duration,
        /// How many failed, of how many; `None` while it waits for what comes of a few trials.
        by: Option<(u32, u32)>,
        over: Duration,
    },
    #[error("connecting to {container} at {endpoint} failed: {cause}")]
    Connect {
        container: Box<str>,
        endpoint: Address,
        /// TCP ports the container exposes.
        exposed: Arc<[u16]>,
        #[source]
        cause: io::Error,
    },
    #[error("{container} at {endpoint} cannot be trusted with requests: {}", .fault.why)]
    Handshake {
        container: Box<str>,
        endpoint: Address,
        fault: Box<HandshakeFault>,
    },
    #[error("connecting to {container} at {endpoint} took longer than {limit:?}")]
    ConnectTimeout {
        container: Box<str>,
        endpoint: Address,
        limit: Duration,
    },
    #[error("{container} has left {endpoint}")]
    Left {
        container: Box<str>,
        endpoint: Address,
    },
    #[error("{container} at {endpoint}: {cause}")]
    Exchange {
        container: Box<str>,
        endpoint: Address,
        #[source]
        cause: ExchangeError,
    },
    #[error("{container} at {endpoint} switched protocols without being asked")]
    UnsolicitedUpgrade {
        container: Box<str>,
        endpoint: Address,
    },
    /// To a client whose WebSocket Wharf opens for it.
    #[error("{container} at {endpoint} answered {status} to the opening of a WebSocket, {}", match status.as_u16() {
        101 => "without the Sec-WebSocket-Accept that belongs to it",
        _ => "and did not switch",
    })]
    NoWebSocket {
        container: Box<str>,
        endpoint: Address,
        status: StatusCode,
    },
}

/// Why a request does not wait for a place, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWait {
    /// None may.
    Off,
    /// So many wait already.
    Crowded(u32),
    /// It has.
    InVain(Duration),
    /// It does, for so long; nobody is refused for that.
    Still(Duration),
}

impl fmt::Display for NoWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("none may wait"),
            Self::Crowded(count) => write!(f, "{count} wait for a place already"),
            Self::Still(_) => f.write_str("there is room in the line"),
            Self::InVain(time) => write!(f, "waited {time:?} in vain for a place"),
        }
    }
}

impl ProxyError {
    /// What the client is told.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::AmbiguousPath => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge(_) | Self::NoBuffer(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upload(cause) => exchange_status(cause),
            Self::NoHost | Self::NoPath => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HttpsOnly | Self::ClientCertificate | Self::WebSocketOff => StatusCode::FORBIDDEN,
            Self::Login { .. } => StatusCode::UNAUTHORIZED,
            Self::Logins => StatusCode::SERVICE_UNAVAILABLE,
            Self::WebSocketHttp2 => StatusCode::NOT_IMPLEMENTED,
            // Never a status that its cause has by itself: the app has not been asked.
            Self::Auth { cause, .. } => match cause.status() {
                StatusCode::GATEWAY_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::AuthLoop => StatusCode::LOOP_DETECTED,
            Self::Refused(refusal) => match refusal {
                Refusal::Denied { .. } | Refusal::NotAllowed { .. } | Refusal::Origin { .. } => {
                    StatusCode::FORBIDDEN
                }
                Refusal::Blocked { .. } => StatusCode::NOT_FOUND,
                Refusal::Maintenance { .. } => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::RateLimit(_) => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::File(fault) => match fault {
                Fault::None => StatusCode::NOT_FOUND,
                Fault::Forbidden => StatusCode::FORBIDDEN,
                Fault::NoRoot(_) => StatusCode::SERVICE_UNAVAILABLE,
                Fault::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Fault::Changed => StatusCode::PRECONDITION_FAILED,
                Fault::NoPart(_) => StatusCode::RANGE_NOT_SATISFIABLE,
                Fault::Method => StatusCode::METHOD_NOT_ALLOWED,
            },
            Self::InFlight { full, .. } if full.is_of_client() => StatusCode::TOO_MANY_REQUESTS,
            Self::Starting
            | Self::InFlight { .. }
            | Self::NoRoom
            | Self::RouteFault(_)
            | Self::NoCertificate(_)
            | Self::NoEndpoint(_)
            | Self::Unhealthy { .. }
            | Self::Left { .. }
            | Self::Full { .. }
            | Self::Breaker { .. }
            | Self::Crowded { .. }
            | Self::Waited { .. }
            | Self::Unreachable { awaited: true, .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. }
            | Self::Connect { .. }
            | Self::Handshake { .. }
            | Self::UnsolicitedUpgrade { .. }
            | Self::NoWebSocket { .. } => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Exchange { cause, .. } => exchange_status(cause),
        }
    }

    /// How it is counted.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::BadRequest(_)
            | Self::Method(_)
            | Self::TargetTooLong
            | Self::AmbiguousPath
            | Self::HttpsOnly
            | Self::ClientCertificate
            | Self::WebSocketOff
            | Self::WebSocketHttp2 => ErrorKind::BadRequest,
            Self::Starting | Self::NoHost | Self::NoPath => ErrorKind::NoRoute,
            Self::Refused(refusal) => match refusal {
                Refusal::Denied { .. } | Refusal::NotAllowed { .. } | Refusal::Origin { .. } => {
                    ErrorKind::Denied
                }
                Refusal::Blocked { .. } => ErrorKind::Blocked,
                Refusal::Maintenance { .. } => ErrorKind::Maintenance,
                Refusal::RateLimit(_) => ErrorKind::RateLimit,
            },
            Self::Login { .. } | Self::Logins => ErrorKind::Login,
            Self::Auth { .. } | Self::AuthLoop => ErrorKind::Auth,
            Self::File(fault) => match fault {
                Fault::None => ErrorKind::NoRoute,
                Fault::Forbidden | Fault::NoRoot(_) | Fault::Unreadable(_) => ErrorKind::Internal,
                Fault::Changed | Fault::NoPart(_) | Fault::Method => ErrorKind::BadRequest,
            },
            Self::Misdirected => ErrorKind::Misdirected,
            Self::BodyTooLarge(_) | Self::NoBuffer(_) => ErrorKind::TooLarge,
            Self::NoRoom => ErrorKind::Internal,
            Self::Upload(cause) => cause.kind(),
            Self::RouteFault(_) => ErrorKind::RouteFault,
            Self::NoCertificate(_) => ErrorKind::NoCertificate,
            Self::Unreachable { .. }
            | Self::NoEndpoint(_)
            | Self::Unhealthy { .. }
            | Self::Left { .. } => ErrorKind::NoEndpoint,
            Self::Full { .. } => ErrorKind::Full,
            Self::InFlight { .. } => ErrorKind::InFlight,
            Self::Breaker { .. } => ErrorKind::Breaker,
            Self::Crowded { cause, .. } | Self::Waited { cause, .. } => cause.kind(),
            Self::Connect { .. } | Self::ConnectTimeout { .. } => ErrorKind::Connect,
            Self::Handshake { .. } => ErrorKind::UpstreamTls,
            Self::UnsolicitedUpgrade { .. } | Self::NoWebSocket { .. } => {
                ErrorKind::UpstreamProtocol
            }
            Self::Exchange { cause, .. } => cause.kind(),
        }
    }

    /// The cause in words any visitor may read: it names no container, address or label.
    pub(crate) fn public_cause(&self) -> String {
        match self {
            Self::BadRequest(_)
            | Self::Method(_)
            | Self::TargetTooLong
            | Self::AmbiguousPath
            | Self::Starting
            | Self::NoHost
            | Self::NoPath
            | Self::Misdirected
            | Self::HttpsOnly
            | Self::ClientCertificate
            | Self::WebSocketOff
            | Self::WebSocketHttp2
            | Self::Login { .. }
            | Self::Logins
            | Self::AuthLoop
            | Self::NoCertificate(_) => self.to_string(),
            Self::File(fault) => match fault {
                Fault::None => Self::NoPath.to_string(),
                Fault::Changed | Fault::NoPart(_) | Fault::Method => fault.to_string(),
                Fault::Forbidden | Fault::NoRoot(_) | Fault::Unreadable(_) => {
                    "this file cannot be read".into()
                }
            },
            Self::Auth { .. } => {
                "this site asks another server who gets in, and that one does not answer".into()
            }
            Self::Refused(refusal) => match refusal {
                Refusal::Denied { .. } | Refusal::NotAllowed { .. } => {
                    "this address is not let in".into()
                }
                Refusal::Origin { .. } => "pages of this origin may not call this site".into(),
                // As if there were nothing.
                Refusal::Blocked { .. } => Self::NoPath.to_string(),
                Refusal::Maintenance { .. } => self.to_string(),
                Refusal::RateLimit(_) => "too many requests; slow down".into(),
            },
            Self::BodyTooLarge(most) | Self::NoBuffer(most) => too_large(*most),
            Self::NoRoom => "there is no room for the body at the moment".into(),
            Self::Upload(cause) => match cause {
                ExchangeError::TooLarge(most) => too_large(*most),
                cause => cause.to_string(),
            },
            Self::RouteFault(_) => {
                "this site's configuration has an error; its operator finds it with `wharf status`"
                    .into()
            }
            Self::Unhealthy { .. } => {
                "no instance of the application passes its health check".into()
            }
            Self::Unreachable { .. } | Self::NoEndpoint(_) | Self::Left { .. } => {
                "the application has no running instance that can be reached".into()
            }
            Self::Full { why, .. } => {
                format!("the application has as many requests as it may; {why}")
            }
            Self::InFlight { full, why } => match full.is_of_client() {
                true => format!("too many requests at the same time; {why}"),
                false => format!("this site has as many requests at a time as it may; {why}"),
            },
            Self::Breaker { .. } => {
                "too many requests to the application have failed; it is left alone for a while"
                    .into()
            }
            Self::Crowded { .. } => "too many requests wait for the application already".into(),
            Self::Waited { limit, .. } => {
                format!("waited {limit:?} in vain for an instance of the application")
            }
            Self::Connect { .. } => "the application refused the connection".into(),
            Self::Handshake { .. } => {
                "there is no connection to the application that can be trusted".into()
            }
            Self::ConnectTimeout { .. } => "the application could not be reached in time".into(),
            Self::UnsolicitedUpgrade { .. } => "the application's answer is unusable".into(),
            Self::NoWebSocket { .. } => "there is no WebSocket here".into(),
            Self::Exchange { cause, .. } => match cause {
                ExchangeError::Closed(_) => {
                    "the application closed the connection without an answer".into()
                }
                ExchangeError::Lost => {
                    "the application's instance went away without an answer".into()
                }
                ExchangeError::Untouched => "the application takes no more requests for now".into(),
                ExchangeError::Reset(_) => "the application cancelled the request".into(),
                ExchangeError::ReadTimeout(_) => "the application did not answer in time".into(),
                ExchangeError::WriteTimeout(_) => {
                    "the application did not take the request in time".into()
                }
                ExchangeError::ClientTimeout(_)
                | ExchangeError::TooSlow(_)
                | ExchangeError::ClientBody(_)
                | ExchangeError::ClientGone => cause.to_string(),
                ExchangeError::TooLarge(most) => too_large(*most),
                ExchangeError::Spool(_) => "the body could not be passed on".into(),
                ExchangeError::Response(_) | ExchangeError::Interim | ExchangeError::Coding(_) => {
                    "the application's answer is unusable".into()
                }
            },
        }
    }

    /// Whether there may be an endpoint for the request a moment later.
    pub(crate) fn is_of_upstream(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NoEndpoint(_) | Self::Unhealthy { .. }
        )
    }

    /// Whether the app has failed the request, for its route's breaker: it gave no answer, or none that can
    /// be used. That no container is there is no reason to leave it alone.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Handshake { .. }
            | Self::ConnectTimeout { .. }
            | Self::UnsolicitedUpgrade { .. } => true,
            Self::Exchange { cause, .. } => cause.failure().is_some(),
            Self::Waited { cause, .. } | Self::Crowded { cause, .. } => cause.is_failure(),
            _ => false,
        }
    }

    /// Whether nobody has said that the request may go on; that it waited for that is no other matter.
    pub(crate) fn is_of_auth(&self) -> bool {
        match self {
            Self::Auth { .. } => true,
            Self::Waited { cause, .. } | Self::Crowded { cause, .. } => cause.is_of_auth(),
            _ => false,
        }
    }

    /// How long the request would wait for a place, if that is all that is wrong.
    pub(crate) fn waits_in_line(&self) -> Option<Duration> {
        match self {
            Self::Full {
                why: NoWait::Still(limit),
                ..
            }
            | Self::InFlight {
                why: NoWait::Still(limit),
                ..
            } => Some(*limit),
            _ => None,
        }
    }

    /// What to do about it, for those who may see the cause.
    pub(crate) fn next_step(&self) -> Option<String> {
        Some(match self {
            Self::Crowded { cause, .. } | Self::Waited { cause, .. } => return cause.next_step(),
            Self::RouteFault(_) => "correct the label and recreate the container; until then the route answers 503, because the label may have been an access rule".into(),
            Self::NoCertificate(_) => "`wharf status` tells when it is tried again".into(),
            Self::Unreachable { awaited: true, .. } => "it is served again once a container of it runs and its HEALTHCHECK, if it has one, passes; `docker ps -a` and `docker logs` tell what keeps it".into(),
            Self::Unhealthy { .. } => "it is served again once a container of it passes its health check; `docker logs` may tell why none does, wharf.health what is asked".into(),
            Self::NoEndpoint(_) => "each of its containers has wharf.weight: 0: give one another weight".into(),
            Self::Breaker { .. } => "`docker logs` may tell why requests fail; wharf.breaker says when it opens and for how long".into(),
            Self::Full { .. } => "wharf.max_conns sets how many requests each container has at once, how many wait (queue=) and how long (wait=); more containers share them".into(),
            Self::InFlight { full, .. } => {
                let proxies = "; behind another proxy, WHARF_TRUSTED_PROXIES makes its clients' addresses count";
                format!(
                    "wharf.inflight sets how many there may be at a time, how many more wait (queue=) and how long (wait=){}",
                    if full.is_of_client() { proxies } else { "" }
                )
            }
            Self::Connect { endpoint, exposed, cause, .. }
                if Failure::of_connect(cause) == Failure::Refused =>
            {
                nothing_listens(endpoint, exposed)
            }
            Self::Connect { endpoint: endpoint @ Address::Unix(_), cause, .. } => match cause.kind() {
                // It says itself what is wrong with the path.
                io::ErrorKind::PermissionDenied if cause.raw_os_error().is_none() => return None,
                io::ErrorKind::PermissionDenied => format!(
                    "let Wharf write to {endpoint}: by its mode, or its group in `group_add` of Wharf's service"
                ),
                _ => format!("see whether {endpoint} is in the volume that Wharf has"),
            },
            Self::Connect { container, endpoint, .. } | Self::ConnectTimeout { container, endpoint, .. } => format!(
                "see whether {endpoint} can be reached from where Wharf runs: the networks of {container}, and firewalls between"
            ),
            Self::Handshake { fault, .. } => return fault.remedy.map(str::to_owned),
            Self::Exchange { container, cause, .. } => match cause {
                ExchangeError::Closed(_) => format!(
                    "`docker logs {container}` may tell why; an app that speaks HTTPS on this port needs wharf.proto: https"
                ),
                ExchangeError::Untouched | ExchangeError::Reset(_) => format!(
                    "`docker logs {container}` may tell why it refuses requests"
                ),
                ExchangeError::Response(ResponseError::Http2(cause)) if *cause == SPEAKS_HTTP1 => {
                    "wharf.proto (or the scheme in wharf.upstream) says that it speaks HTTP/2: take that away, or have the app speak HTTP/2 without an upgrade (h2c)".into()
                }
                ExchangeError::Lost => format!(
                    "`docker ps -a` and the networks in `docker inspect {container}` tell what became of it; whether it has acted on the request nobody knows"
                ),
                ExchangeError::ReadTimeout(_) | ExchangeError::WriteTimeout(_) => format!(
                    "`docker logs {container}` may tell what it does; wharf.timeout sets the limits"
                ),
                ExchangeError::Response(_) | ExchangeError::Interim => format!(
                    "see whether the port speaks plain HTTP/1.1, or needs wharf.proto: https; wharf.port chooses another one of {container}"
                ),
                ExchangeError::ClientTimeout(_)
                | ExchangeError::TooSlow(_)
                | ExchangeError::ClientBody(_)
                | ExchangeError::Spool(_)
                | ExchangeError::ClientGone
                | ExchangeError::Coding(_) => return None,
                ExchangeError::TooLarge(_) => MAX_BODY.into(),
            },
            Self::Refused(refusal) => match refusal {
                Refusal::Denied { .. } | Refusal::NotAllowed { .. } => "behind another proxy, WHARF_TRUSTED_PROXIES makes its clients' addresses count".into(),
                Refusal::Origin { .. } => "wharf.cors names the origins, with scheme and port as the browser does".into(),
                Refusal::Blocked { .. } => "wharf.block on a route of its own, or off, lets this path through".into(),
                Refusal::RateLimit(_) => "wharf.ratelimit sets how many there may be; behind another proxy, WHARF_TRUSTED_PROXIES makes its clients' addresses count".into(),
                Refusal::Maintenance { .. } => "wharf.maintenance: on allow=private lets you see the site meanwhile".into(),
            },
            Self::File(fault) => match fault {
                Fault::NoRoot(root) => format!("mount the volume with the files in Wharf's container, so that {root} is there; wharf.static names it"),
                Fault::Forbidden => "let Wharf's user read the file, and search the directories above it".into(),
                Fault::None | Fault::Unreadable(_) | Fault::Changed | Fault::NoPart(_) | Fault::Method => return None,
            },
            Self::Login { .. } => "wharf.auth.basic says who gets in".into(),
            Self::Auth { cause, .. } => {
                let step = cause.next_step().map(|step| format!("; {step}"));
                format!(
                    "nobody gets in without its word: see whether it runs and answers where wharf.auth.forward says{}",
                    step.unwrap_or_default()
                )
            }
            Self::AuthLoop => "wharf.auth.forward: off on the server's own route; or name its container, not its public host".into(),
            Self::Logins => "passwords are verified few at once; those that were right count on for five minutes without".into(),
            Self::BodyTooLarge(_) => MAX_BODY.into(),
            Self::NoBuffer(_) => "wharf.buffer.mem and wharf.buffer.disk say how much; without wharf.buffer.request bodies go on as they come".into(),
            Self::NoRoom => "the log tells if it is the disk; WHARF_BUFFER_DIR says where".into(),
            Self::HttpsOnly => "ask with https://; wharf.https: redirect sends clients there".into(),
            Self::ClientCertificate => "wharf.tls.client_ca asks for one; `optional` lets others in, too".into(),
            Self::WebSocketOff => "wharf.websocket: on lets it through".into(),
            Self::WebSocketHttp2 => "a route of its own with wharf.proto: http, and the port on which the app speaks HTTP/1.1, serves its WebSockets".into(),
            Self::BadRequest(_)
            | Self::Upload(_)
            | Self::Method(_)
            | Self::TargetTooLong
            | Self::AmbiguousPath
            | Self::Starting
            | Self::NoHost
            | Self::NoPath
            | Self::Misdirected
            | Self::Unreachable { .. }
            | Self::Left { .. }
            | Self::UnsolicitedUpgrade { .. }
            | Self::NoWebSocket { .. } => return None,
        })
    }

    /// Seconds after which trying again makes sense.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Full { .. } | Self::InFlight { .. } | Self::Logins => Some(1),
            Self::Refused(Refusal::Maintenance { retry, .. }) => {
                (!retry.is_zero()).then(|| retry.as_secs().clamp(1, 604_800) as u32)
            }
            Self::Refused(Refusal::RateLimit(exceeded)) => {
                Some(u32::try_from(exceeded.retry_after()).unwrap_or(u32::MAX))
            }
            Self::Breaker { left, .. } => Some(left.as_secs_f64().ceil().clamp(1.0, 3600.0) as u32),
            _ => matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        }
    }
}

impl ExchangeError {
    /// How it is counted.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed(_) | Self::Lost | Self::Untouched | Self::Reset(_) => {
                ErrorKind::UpstreamClosed
            }
            Self::ReadTimeout(_) | Self::WriteTimeout(_) => ErrorKind::UpstreamTimeout,
            Self::ClientTimeout(_) | Self::TooSlow(_) => ErrorKind::ClientTimeout,
            Self::ClientBody(_) | Self::ClientGone => ErrorKind::ClientClosed,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Response(_) | Self::Interim => ErrorKind::UpstreamProtocol,
            Self::Coding(_) | Self::Spool(_) => ErrorKind::Internal,
        }
    }
}

/// What a client is told of an exchange that failed.
fn exchange_status(cause: &ExchangeError) -> StatusCode {
    match cause {
        ExchangeError::Untouched => StatusCode::SERVICE_UNAVAILABLE,
        ExchangeError::Closed(_)
        | ExchangeError::Lost
        | ExchangeError::Reset(_)
        | ExchangeError::Response(_)
        | ExchangeError::Interim
        | ExchangeError::Coding(_) => StatusCode::BAD_GATEWAY,
        ExchangeError::ReadTimeout(_) | ExchangeError::WriteTimeout(_) => {
            StatusCode::GATEWAY_TIMEOUT
        }
        ExchangeError::ClientTimeout(_) | ExchangeError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        ExchangeError::Spool(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ExchangeError::ClientBody(_) | ExchangeError::ClientGone => StatusCode::BAD_REQUEST,
        ExchangeError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

/// Whether `client` is an address of no public network.
pub(crate) fn is_private(client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn broken(by: Option<(u32, u32)>, over: Duration) -> String {
    match by {
        Some((failed, total)) => format!(": {failed} of {total} requests failed within {over:?}"),
        None => " or until a few requests that try it have succeeded".to_owned(),
    }
}

fn too_large(most: u64) -> String {
    format!("the body is larger than the {most} bytes that this site takes")
}

fn or_none(reasons: &[String]) -> String {
    if reasons.is_empty() {
        "none is running".into()
    } else {
        reasons.join("; ")
    }
}

const MAX_BODY: &str = "wharf.max_body sets how large a body may be";
