//! An answer of Wharf's own whose bytes are read as the client takes them.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use http::Method;

use super::super::frame::{HEAD, MAX_FRAME};
use super::stream::{Broken, Side};
use crate::metrics::ErrorKind;
use crate::proxy::fields::lines;
use crate::proxy::local::{Body, Local, Pieces};
use crate::proxy::tail::Tail;

impl Side<'_> {
    pub(super) async fn local(&mut self, mut local: Local, tail: &mut Tail) {
        tail.responds(local.status());
        if poll_fn(|cx| self.poll_head_room(cx)).await.is_err() {
            return;
        }
        let last = !local.has_body() || tail.head.method == Method::HEAD;
        self.head(last, local.status(), |encoder, out| {
            for (name, value) in local.head.headers() {
                encoder.field(out, name.as_str().as_bytes(), value.as_bytes());
            }
            for (name, value) in lines(&local.lines) {
                encoder.field(out, name, value);
            }
            if let Some(length) = local.length.known() {
                let mut text = itoa::Buffer::new();
                encoder.field(out, b"content-length", text.format(length).as_bytes());
            }
        });
        if last {
            return;
        }
        // A stream that is not ended is reset, so that nobody takes a part for the whole.
        match poll_fn(|cx| self.poll_local(cx, &mut local.body, tail)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tail.worker.metrics.count_error(ErrorKind::Internal);
                tracing::warn!(%error, path = tail.head.target(), "answer cut");
            }
            Err(_) => tracing::debug!("the client takes nothing of its response"),
        }
    }

    fn poll_local(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tail: &mut Tail,
    ) -> Poll<Result<io::Result<()>, Broken>> {
        let at = self.slot.at;
        loop {
            match body.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    match body.trailers() {
                        Some(trailers) => self.trailers(trailers.fields()),
                        None => self.shared().lend_out().end_stream(at),
                    }
                    return Poll::Ready(Ok(Ok(())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Ok(Err(error))),
                Poll::Pending => {
                    self.moves();
                    return Poll::Pending;
                }
            }
            let wanted = body.data().len().min(MAX_FRAME);
            let room = self.shared().borrow().room(at, wanted);
            if room == 0 {
                return self.poll_stalled(cx).map_ok(Ok);
            }
            self.moves();
            let mut out = self.shared().take_out(room);
            let start = out.len();
            out.extend_from_slice(&[0; HEAD]);
            out.extend_from_slice(&body.data()[..room]);
            body.consume(room);
            tail.bytes += room as u64;
            let done = body.is_done();
            self.put_data(out, start, done);
            if done {
                return Poll::Ready(Ok(Ok(())));
            }
            if self.shared().borrow().yields(at) {
                return Poll::Pending;
            }
        }
    }
}
