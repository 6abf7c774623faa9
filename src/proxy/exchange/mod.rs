//! One request and its response on one upstream connection, driven by whoever awaits it inside the
//! client connection's own task: there is no second task and no channel for it.
//!
//! On HTTP/1 the connection is the exchange's own while it lasts ([`link`]); on HTTP/2 it is one of many
//! streams, whose frames the connection's own task reads and writes ([`call`]). What was sent, what may be
//! sent again and how long anybody waits is the same for both ([`course`]).

use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;

use super::fields::Fields;
use super::h1::{BodyError, ResponseError};
use super::pool::Link;
use crate::filter::compress::CoderError;
use crate::metrics::RetryReason;
use crate::model::{FieldNames, Keepalive, Timeouts};
use crate::upstream::Failure;

mod ahead;
mod call;
mod client;
mod coded;
mod course;
mod kept;
mod link;
mod response;
mod send;
mod upload;

pub(crate) use ahead::{accel, is_stream};
pub(crate) use call::CallExchange;
pub(crate) use client::{Client, Part};
pub(crate) use course::Course;
pub(crate) use kept::{Kept, KeptBytes};
pub(crate) use link::LinkExchange;
pub(crate) use response::{Chunks, Response, ResponsePart};
pub(crate) use send::write_chunk_size;
pub(crate) use upload::TakenIn;

/// One exchange in progress.
pub(crate) enum Exchange {
    Link(LinkExchange),
    Call(CallExchange),
}

/// What an exchange has to know of its route, and of other tries of its request.
pub(crate) struct Terms {
    pub(crate) timeouts: Timeouts,
    /// Bytes of the client's body at most, see `model::Settings::max_body`.
    pub(crate) max_body: u64,
    pub(crate) keepalive: Keepalive,
    /// Fields that have no place in the client's trailers.
    pub(crate) reserved: Option<Arc<FieldNames>>,
    /// Doing it twice is harmless, so that there may be another.
    pub(crate) repeats: bool,
    /// What was taken of the client's body by one before.
    pub(crate) earlier: Option<Box<Kept>>,
    /// All of the client's body, where it was taken in before anybody was asked.
    pub(crate) taken_in: Option<Rc<TakenIn>>,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("it closed the connection without an answer")]
    Closed(#[source] Option<io::Error>),
    #[error("it is gone from there and leaves this unanswered")]
    Lost,
    #[error("it gave the request back without having looked at it")]
    Untouched,
    #[error("it took the stream back: {}", code_name(*.0))]
    Reset(u32),
    #[error("it sent no answer for {0:?}")]
    ReadTimeout(Duration),
    #[error("it took none of the request for {0:?}")]
    WriteTimeout(Duration),
    #[error("the client sent nothing of its body for {0:?}")]
    ClientTimeout(Duration),
    #[error(
        "the client sent less than {0} bytes a second of its body, which is what wharf.timeout.min_rate asks for"
    )]
    TooSlow(u64),
    #[error("the client's body cannot be used: {0}")]
    ClientBody(#[source] BodyError),
    #[error("the client's body is larger than wharf.max_body allows: {0} bytes")]
    TooLarge(u64),
    #[error("the client left")]
    ClientGone,
    #[error("what was buffered on disk cannot be read: {0}")]
    Spool(#[source] io::Error),
    #[error("its answer is unusable: {0}")]
    Response(#[source] ResponseError),
    #[error("it sent more than {MAX_INTERIM} interim responses")]
    Interim,
    #[error("its answer cannot be compressed: {0}")]
    Coding(#[source] CoderError),
}

impl ExchangeError {
    /// What the endpoint has done wrong; `None` where it is the client's doing.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Closed(_) => Some(Failure::Closed),
            Self::ReadTimeout(_) | Self::WriteTimeout(_) => Some(Failure::Timeout),
            Self::Response(_) | Self::Interim => Some(Failure::Unusable),
            // It is what its answer is: somebody has cancelled the call.
            Self::Reset(NO_ERROR | CANCEL) => None,
            Self::Reset(_) => Some(Failure::Closed),
            // Whoever has stopped it, or taken it off its network.
            Self::Lost | Self::Untouched | Self::Coding(_) => None,
            Self::ClientTimeout(_)
            | Self::TooSlow(_)
            | Self::ClientBody(_)
            | Self::TooLarge(_)
            | Self::ClientGone
            | Self::Spool(_) => None,
        }
    }
}

impl Exchange {
    /// Whether the request may be sent again: nothing of it can have been acted on, or doing it
    /// twice is harmless (`repeats`), and what was taken of the client's body is still there. Then that
    /// is in `body`.
    pub(crate) fn rescue(&mut self, repeats: bool, body: &mut Option<Box<Kept>>) -> bool {
        match self {
            Self::Link(exchange) => exchange.rescue(repeats, body),
            Self::Call(exchange) => exchange.rescue(repeats, body),
        }
    }

    /// The request will not be sent again: nothing of it is needed any more.
    pub(crate) fn release(&mut self) {
        match self {
            Self::Link(exchange) => exchange.release(),
            Self::Call(exchange) => exchange.release(),
        }
    }

    /// Another endpoint has it now: nothing more of it is sent here.
    pub(crate) fn stop_sending(&mut self) {
        match self {
            Self::Link(exchange) => exchange.stop_sending(),
            Self::Call(exchange) => exchange.stop_sending(),
        }
    }

    /// What a failure before the answer is as a reason to try again, if it is one.
    pub(crate) fn retry_reason(&self, cause: &ExchangeError) -> Option<RetryReason> {
        match self {
            Self::Link(exchange) => exchange.retry_reason(cause),
            Self::Call(exchange) => exchange.retry_reason(cause),
        }
    }

    /// The connection, where it is the exchange's own.
    pub(crate) fn into_link(self) -> Option<Box<Link>> {
        match self {
            Self::Link(exchange) => Some(exchange.into_link()),
            Self::Call(_) => None,
        }
    }

    /// The serial number of a shared connection: newer ones have higher ones. 0 where it is not shared.
    pub(crate) fn serial(&self) -> u64 {
        match self {
            Self::Link(_) => 0,
            Self::Call(exchange) => exchange.serial(),
        }
    }

    /// The text of the head that [`Exchange::poll_head`] found, until it is taken.
    pub(crate) fn head_text(&self) -> &[u8] {
        match self {
            Self::Link(exchange) => exchange.head_text(),
            Self::Call(exchange) => exchange.head_text(),
        }
    }

    /// Its fields.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::new(self.head_text(), &self.head.index)
    }

    /// Goes on behind the head.
    pub(crate) fn take_head(&mut self) {
        match self {
            Self::Link(exchange) => exchange.take_head(),
            Self::Call(exchange) => exchange.take_head(),
        }
    }

    /// Sends the request and reads until a response head is complete. It stays there until
    /// [`Exchange::take_head`].
    pub(crate) fn poll_head<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        method: &Method,
    ) -> Poll<Result<(), ExchangeError>> {
        match self {
            Self::Link(exchange) => exchange.poll_head(cx, client, method),
            Self::Call(exchange) => exchange.poll_head(cx, client),
        }
    }
}

impl Deref for Exchange {
    type Target = Course;

    fn deref(&self) -> &Course {
        match self {
            Self::Link(exchange) => exchange,
            Self::Call(exchange) => exchange,
        }
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Course {
        match self {
            Self::Link(exchange) => exchange,
            Self::Call(exchange) => exchange,
        }
    }
}

/// The codes of RFC 9113 section 7, by their names.
fn code_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.copied().unwrap_or("an unknown error")
}

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
pub(crate) const INADEQUATE_SECURITY: u32 = 12;
/// Interim responses before the final one.
pub(crate) const MAX_INTERIM: u32 = 10;
