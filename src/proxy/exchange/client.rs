//! What an exchange needs of the client's side, whichever protocol that is.

use std::task::{Context, Poll};

use super::ExchangeError;
use crate::proxy::fields::OwnedFields;
use crate::proxy::h1::ResponseHead;

/// The client's side of one request.
pub(crate) trait Client {
    /// Whether the whole body was taken.
    fn body_ended(&self) -> bool;

    /// Whether so much of the body is left that a large buffer pays.
    fn has_much(&self) -> bool;

    /// Takes the next part of the body: data is appended to `out`, about `room` bytes at most. An
    /// error means that the body can never be completed.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<Part, ExchangeError>>;

    /// Passes an interim (1xx) response on. Interim responses are hints: a protocol that cannot be
    /// sure to place one before the final response drops it.
    fn send_interim(&mut self, head: &ResponseHead, text: &[u8]);

    /// Whether the client has left, as far as that can be told while it is waiting for an answer.
    /// Wakes `cx` when it does.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A part of a request body.
pub(crate) enum Part {
    /// Data, now at the end of the caller's buffer.
    Appended,
    /// The end, with trailers.
    Trailers(OwnedFields),
    End,
}
