//! One stream: its request, its response, its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use pin_project_lite::pin_project;

use super::super::frame::{Code, DATA, END_STREAM, HEAD, MAX_FRAME, fill_head};
use super::super::hpack::Encoder;
use super::super::shared::{Came, Shared, Slot};
use crate::proxy::clock::Timer;
use crate::proxy::exchange::{self, Chunks, Client, ExchangeError, Part, Response, ResponsePart};
use crate::proxy::fields::{Fields, OwnedFields, lines};
use crate::proxy::forward::Answer;
use crate::proxy::h1::{Framing, ResponseHead, is_bodiless};
use crate::proxy::head::RequestHead;
use crate::proxy::headers::{self, Extra, Kept};
use crate::proxy::pace::{Pace, Verdict};
use crate::proxy::page::Page;
use crate::proxy::service;
use crate::proxy::state::ConnState;
use crate::proxy::tail::Tail;

/// What a stream has to do.
pub(super) enum Job {
    Answer(Box<RequestHead>),
    /// The request cannot be read.
    Refuse(Box<Page>),
}

pin_project! {
    /// A stream as a task: it ends when the client takes it back.
    struct Task<F> {
        #[pin]
        future: F,
        shared: Rc<Shared>,
        at: usize,
    }
}

/// The client's side of one request.
pub(super) struct Side<'a> {
    pub(super) slot: &'a mut Slot,
    /// The client waits for a 100 before it sends its body.
    expects: bool,
    /// Runs while the client keeps the response waiting; most fit its window and never need one.
    timer: Option<Timer>,
    waits: bool,
    state: &'a ConnState,
    /// How fast it has to take the response; what other streams have taken counts, too, or many at a time would each
    /// be slow.
    pace: Pace,
    /// What the connection had sent when that was last looked at.
    sent_at: u64,
}

/// Why a response could not be brought to its end.
pub(super) enum Broken {
    Upstream(ExchangeError),
    /// The client takes nothing of it.
    Client,
}

/// How one frame ends.
enum Filled {
    More,
    /// The upstream has no more at the moment.
    Starved,
    End,
    Trailers(OwnedFields),
    Broken(ExchangeError),
}

/// A stream from its head to its end.
pub(super) fn stream(slot: Slot, state: Rc<ConnState>, job: Job) -> impl Future<Output = ()> {
    Task {
        shared: Rc::clone(&slot.shared),
        at: slot.at,
        future: run(slot, state, job),
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !this.shared.borrow().begin_stream(*this.at, cx.waker()) {
            return Poll::Ready(());
        }
        let polled = this.future.poll(cx);
        if polled.is_pending() {
            this.shared.borrow().end_stream_turn(*this.at);
        }
        polled
    }
}

async fn run(mut slot: Slot, state: Rc<ConnState>, job: Job) {
    let shared = Rc::clone(&slot.shared);
    let mut side = Side {
        slot: &mut slot,
        expects: false,
        timer: None,
        waits: false,
        state: &state,
        pace: Pace::new(0),
        sent_at: 0,
    };
    let head = match job {
        Job::Answer(head) => head,
        Job::Refuse(page) => return side.page(&page, true).await,
    };
    side.expects = head.has_body() && headers::expects_continue(head.fields());
    let mut tail = Tail::begin(&shared.worker, &state, head);
    let answer = service::answer(&mut tail, &mut side).await;
    side.pace.restart(tail.record.min_rate);
    side.sent_at = state.sent();
    match answer {
        Answer::Response(mut response) => side.respond(&mut response, &mut tail).await,
        Answer::Local(local) => Box::pin(side.local(*local, &mut tail)).await,
        Answer::Page(page) => {
            tail.responds(page.status());
            let body = tail.head.method != Method::HEAD;
            if body {
                tail.bytes = page.body().len() as u64;
            }
            side.page(&page, body).await;
        }
        // Boxed, so that other requests need not carry its room along.
        Answer::Switched(exchange) => return Box::pin(side.tunnel(exchange, &mut tail)).await,
        // It does not happen here: this future is dropped when the client leaves.
        Answer::Gone => return tail.gone(),
    }
    drop(tail);
    side.part().await;
}

impl Side<'_> {
    pub(super) fn shared(&self) -> &Shared {
        &self.slot.shared
    }

    /// Sends an answer of Wharf's own.
    async fn page(&mut self, page: &Page, body: bool) {
        let at = self.slot.at;
        let content: &[u8] = if body { page.body() } else { b"" };
        if poll_fn(|cx| self.poll_head_room(cx)).await.is_err() {
            return;
        }
        self.head(content.is_empty(), page.status(), |encoder, out| {
            for (name, value) in page.headers() {
                encoder.field(out, name.as_str().as_bytes(), value.as_bytes());
            }
            if !is_bodiless(page.status()) {
                let mut length = itoa::Buffer::new();
                let length = length.format(page.body().len());
                encoder.field(out, b"content-length", length.as_bytes());
            }
        });
        let mut rest = content;
        // A client that takes nothing of it has its stream reset.
        let _ = poll_fn(|cx| {
            while !rest.is_empty() {
                let room = self.shared().borrow().room(at, rest.len());
                if room == 0 {
                    return self.poll_stalled(cx);
                }
                self.moves();
                let piece = rest.split_off(..room).unwrap_or_default();
                let mut out = self.shared().take_out(room);
                let start = out.len();
                out.extend_from_slice(&[0; HEAD]);
                out.extend_from_slice(piece);
                self.put_data(out, start, rest.is_empty());
            }
            Poll::Ready(Ok(()))
        })
        .await;
    }

    /// Sends a response of an upstream, its body as it comes.
    async fn respond(&mut self, response: &mut Response, tail: &mut Tail) {
        // An answer to a body that nobody asked for: the client need not send it.
        self.expects = false;
        tail.responds(response.status);
        if poll_fn(|cx| self.poll_head_room(cx)).await.is_err() {
            return;
        }
        let (status, last) = (response.status, response.is_done());
        let keep_length = !is_bodiless(status) && response.framing != Framing::Chunked;
        if let Some((fields, _)) = response.head() {
            self.fields(last, status, fields, response.extra(), keep_length);
        }
        response.take_head();
        let sent = poll_fn(|cx| self.poll_send(cx, response, tail)).await;
        response.note(&mut tail.record.tries);
        match sent {
            Ok(()) => {}
            Err(Broken::Client) => tracing::debug!("the client takes nothing of its response"),
            Err(Broken::Upstream(error)) => {
                self.slot.code = told(&error);
                tail.worker.metrics.count_error(error.kind());
                tracing::debug!(%error, "response cut");
            }
        }
    }

    fn fields(
        &self,
        last: bool,
        status: StatusCode,
        fields: Fields<'_>,
        extra: &Extra,
        keep_length: bool,
    ) {
        let kept = Kept::of(fields, extra, keep_length);
        self.head(last, status, |encoder, out| {
            for field in fields.iter().filter(|field| kept.holds(*field)) {
                encoder.field(out, field.name, field.value);
            }
            if let Some(length) = kept.rewritten {
                let mut text = itoa::Buffer::new();
                encoder.field(out, b"content-length", text.format(length).as_bytes());
            }
            for (name, value) in lines(&extra.lines) {
                encoder.field(out, name, value);
            }
        });
    }

    pub(super) fn head(
        &self,
        last: bool,
        status: StatusCode,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let mut inner = self.shared().lend_out();
        inner.headers(self.slot.at, last, |encoder, out| {
            encoder.status(out, status.as_u16());
            write(encoder, out);
        });
    }

    /// Moves the body; `Ready` when all of it is on its way.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        tail: &mut Tail,
    ) -> Poll<Result<(), Broken>> {
        let at = self.slot.at;
        if response.is_done() {
            response.finish(cx, self);
            return Poll::Ready(Ok(()));
        }
        loop {
            let left = response.remaining().unwrap_or(u64::MAX);
            let wanted = usize::try_from(left).map_or(MAX_FRAME, |left| left.min(MAX_FRAME));
            let room = self.shared().borrow().room(at, wanted);
            if room > 0 {
                self.moves();
            } else if response.remaining().is_some() || !self.shared().borrow().has_room_for_more()
            {
                response.go_on(cx, self);
                tail.looks_at(response);
                return self.poll_stalled(cx);
            }
            // Also without a window: it may be at its end, which needs none.
            let mut out = self.shared().take_out(room);
            let start = out.len();
            out.extend_from_slice(&[0; HEAD]);
            let filled = self.fill(cx, response, &mut out, room);
            tail.looks_at(response);
            let count = out.len() - start - HEAD;
            tail.bytes += count as u64;
            if count > 0 {
                self.put_data(out, start, matches!(filled, Filled::End));
            } else {
                out.truncate(start);
                let mut inner = self.shared().put_out(out);
                if let Filled::End = filled {
                    inner.end_stream(at);
                }
            }
            match filled {
                Filled::End => return Poll::Ready(Ok(())),
                Filled::Trailers(trailers) => {
                    self.trailers(trailers.fields());
                    return Poll::Ready(Ok(()));
                }
                Filled::Broken(error) => return Poll::Ready(Err(Broken::Upstream(error))),
                Filled::Starved => {
                    self.moves();
                    return Poll::Pending;
                }
                Filled::More if room == 0 => {
                    response.go_on(cx, self);
                    tail.looks_at(response);
                    return self.poll_stalled(cx);
                }
                Filled::More => {
                    if self.shared().borrow().yields(at) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Appends what is at hand of a body, up to `room` bytes.
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Filled {
        let full = out.len() + room;
        loop {
            let room = full - out.len();
            match response.poll_body(cx, self, out, Chunks::None, room) {
                Poll::Ready(Ok(ResponsePart::Data(_))) if response.is_done() => return Filled::End,
                // What is left of a known length takes another read.
                Poll::Ready(Ok(ResponsePart::Data(_)))
                    if out.len() >= full || response.remaining().is_some() =>
                {
                    return Filled::More;
                }
                Poll::Ready(Ok(ResponsePart::Data(_))) => {}
                Poll::Ready(Ok(ResponsePart::End)) => return Filled::End,
                Poll::Ready(Ok(ResponsePart::Trailers(trailers))) => {
                    return Filled::Trailers(trailers);
                }
                Poll::Ready(Err(error)) => return Filled::Broken(error),
                Poll::Pending => return Filled::Starved,
            }
        }
    }

    /// Puts the frames back, with one more of DATA that stands at `start`.
    pub(super) fn put_data(&self, mut out: Vec<u8>, start: usize, last: bool) {
        let at = self.slot.at;
        let count = out.len() - start - HEAD;
        let flags = if last { END_STREAM } else { 0 };
        fill_head(&mut out, start, DATA, flags, self.slot.id);
        self.state.count_sent(count);
        let mut inner = self.shared().put_out(out);
        inner.sent(at, count);
        if last {
            inner.closes(at);
        }
        inner.wake_connection();
    }

    pub(super) fn trailers(&self, fields: Fields<'_>) {
        let mut inner = self.shared().lend_out();
        let mut sent = fields.iter().filter(|f| headers::may_trail_response(*f));
        let Some(first) = sent.next() else {
            return inner.end_stream(self.slot.at);
        };
        inner.headers(self.slot.at, true, |encoder, out| {
            encoder.field(out, first.name, first.value);
            for field in sent {
                encoder.field(out, field.name, field.value);
            }
        });
    }

    pub(super) fn poll_head_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.shared().borrow().has_room(self.slot.at) {
            self.moves();
            return Poll::Ready(Ok(()));
        }
        self.poll_stalled(cx)
    }

    /// The client keeps the response waiting: for so long it may.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let clock = &self.slot.shared.worker.clock;
        let timer = self.timer.get_or_insert_with(|| clock.timer());
        let begins = !std::mem::replace(&mut self.waits, true);
        if self.pace.is_on() {
            let sent = self.state.sent();
            self.pace.count(sent.wrapping_sub(self.sent_at));
            self.sent_at = sent;
        }
        if begins {
            timer.arm(match self.pace.is_on() {
                true => self.pace.wait(timer.now(), LIMIT),
                false => LIMIT,
            });
        }
        let slow = self.pace.is_on() && self.pace.is_slow(timer.now());
        if slow || timer.has_fired() && self.pace.judge(timer, LIMIT) != Some(Verdict::Goes) {
            self.slot.code = Code::Cancel;
            return Poll::Ready(Err(Broken::Client));
        }
        timer.wake_with(cx.waker());
        Poll::Pending
    }

    /// Lets the answer go out before the stream of a body that is still under way is reset: in one piece with the
    /// reset some clients take it for lost, although RFC 9113 section 8.1 has it so.
    async fn part(&self) {
        let at = self.slot.at;
        let mut waited = false;
        poll_fn(|_| {
            let mut inner = self.shared().borrow();
            if waited || inner.is_taken(at) || !inner.is_closed(at) {
                return Poll::Ready(());
            }
            waited = true;
            inner.queue(at);
            Poll::Pending
        })
        .await;
    }

    /// The client has taken something.
    pub(super) fn moves(&mut self) {
        if std::mem::take(&mut self.waits)
            && let Some(timer) = &self.timer
        {
            timer.disarm();
            if self.pace.is_on() {
                self.pace.moved(timer.now(), 0);
            }
        }
    }
}

impl Client for Side<'_> {
    fn body_ended(&self) -> bool {
        self.shared().borrow().is_taken(self.slot.at)
    }

    fn has_much(&self) -> bool {
        false
    }

    fn poll_body(
        &mut self,
        _cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        let at = self.slot.at;
        let came = self.shared().borrow().take_body(at, out, room);
        match came {
            Came::Data => Poll::Ready(Ok(Part::Appended)),
            Came::Trailers(trailers) => Poll::Ready(Ok(Part::Trailers(trailers))),
            Came::End => Poll::Ready(Ok(Part::End)),
            // What comes wakes the task.
            Came::Nothing => {
                if std::mem::take(&mut self.expects) {
                    self.head(false, StatusCode::CONTINUE, |_, _| {});
                }
                Poll::Pending
            }
        }
    }

    fn send_interim(&mut self, head: &ResponseHead, text: &[u8]) {
        let room = self.shared().borrow().has_room_for_more();
        if room {
            let fields = Fields::new(text, &head.index);
            self.fields(false, head.status, fields, &headers::NO_EXTRA, false);
        }
    }

    /// The task ends when the client takes the stream back.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// What a client is told of a response that breaks off. What was wrong between Wharf and the app is not the
/// client's business, but whether somebody has cancelled it is.
fn told(error: &ExchangeError) -> Code {
    match error {
        ExchangeError::Reset(exchange::CANCEL) => Code::Cancel,
        ExchangeError::Reset(exchange::ENHANCE_YOUR_CALM) => Code::EnhanceYourCalm,
        _ => Code::Internal,
    }
}

/// A client that takes nothing of a stream for this long loses it (nginx `send_timeout`).
const LIMIT: Duration = Duration::from_secs(60);
