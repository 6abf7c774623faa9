//! HTTP/2 streams as tasks, each with a limit on how long the client may keep a response waiting.
//!
//! A client that closes its flow control window blocks no write, so neither the socket nor the
//! response body notices: hyper just waits for capacity. Whose turn it is, is noted in a cell of the
//! thread while a stream is polled; when it stays the client's for too long the stream is reset.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::proxy::clock::{Clock, Timer};

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn::Wharf) };
}

/// Who has to do something for the stream being polled to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Wharf or the upstream, which have their own limits.
    Wharf,
    /// The client has just been handed something.
    Handed,
    /// The client has not taken it yet.
    Client,
}

/// Notes whose turn it is; called by responses and their bodies.
pub(crate) fn turn(turn: Turn) {
    TURN.set(turn);
}

/// Spawns HTTP/2 streams onto the worker.
#[derive(Clone)]
pub(crate) struct StreamExecutor(pub(crate) Rc<Clock>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let stream = Stream {
            future,
            clock: Rc::clone(&self.0),
            turn: Turn::Wharf,
            timer: None,
        };
        tokio::task::spawn_local(stream);
    }
}

pin_project! {
    struct Stream<F> {
        #[pin]
        future: F,
        clock: Rc<Clock>,
        turn: Turn,
        // Most responses fit the window and never need one.
        timer: Option<Timer>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        TURN.set(*this.turn);
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        *this.turn = TURN.get();
        match *this.turn {
            Turn::Wharf => {
                if let Some(timer) = this.timer {
                    timer.disarm();
                }
                return Poll::Pending;
            }
            Turn::Handed => {
                *this.turn = Turn::Client;
                this.timer
                    .get_or_insert_with(|| this.clock.timer())
                    .arm(LIMIT);
            }
            Turn::Client => {}
        }
        match this.timer {
            // Dropping hyper's future resets the stream and lets go of the upstream.
            Some(timer) if timer.has_fired() => Poll::Ready(()),
            Some(timer) => {
                timer.wake_with(cx.waker());
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

/// A client that takes nothing of a stream for this long loses it (nginx `send_timeout`).
const LIMIT: Duration = Duration::from_secs(60);
