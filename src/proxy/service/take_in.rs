//! Bodies that are here as a whole before anybody is asked (product.md S29).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use crate::proxy::error::ProxyError;
use crate::proxy::exchange::{Client, ExchangeError, Part, TakenIn};
use crate::proxy::head::{RequestFraming, RequestHead};
use crate::proxy::hold::Unread;
use crate::proxy::pace::{Pace, Verdict};
use crate::proxy::worker::Worker;
use crate::spool::{Intake, NoRoom};

/// Takes all of the client's body, and tells in `head` how long it is. `None` when the client leaves meanwhile.
pub(super) async fn take_in<C: Client>(
    worker: &Worker,
    side: &mut C,
    head: &mut RequestHead,
    unread: Unread,
) -> Result<Option<Rc<TakenIn>>, ProxyError> {
    let bounds = unread.bounds;
    let most = bounds.most();
    if head.length().is_some_and(|length| length > most) {
        return Err(ProxyError::NoBuffer(most));
    }
    let mut intake = Intake::new(&worker.engine.room, bounds, head.length());
    let timer = worker.clock.timer();
    let pace = Pace::new(unread.min_rate);
    let mut waits = false;
    let mut spare = Vec::new();
    let taken = poll_fn(|cx| {
        loop {
            let full = ready!(intake.poll_room(cx)).err();
            // Where there is none it may have come to its end.
            let room = match full {
                None => intake.tail(),
                Some(_) => None,
            };
            let (tail, room) = room.unwrap_or((&mut spare, 1));
            let before = tail.len();
            match side.poll_body(cx, tail, room) {
                Poll::Ready(Ok(Part::Appended)) if full.is_some() => {
                    return Poll::Ready(Err(match full {
                        Some(NoRoom::Own) => ProxyError::NoBuffer(most),
                        _ => ProxyError::NoRoom,
                    }));
                }
                Poll::Ready(Ok(Part::Appended)) => {
                    let count = tail.len() - before;
                    intake.grew(count);
                    worker.metrics.bytes_in.add(count as u64);
                    if intake.len() > unread.max_body {
                        return Poll::Ready(Err(ProxyError::BodyTooLarge(unread.max_body)));
                    }
                    waits = false;
                    if pace.is_on() {
                        let now = worker.clock.now();
                        pace.moved(now, count);
                        if pace.is_slow(now) {
                            return Poll::Ready(Err(slow(&pace)));
                        }
                    }
                }
                Poll::Ready(Ok(Part::Trailers(trailers))) => {
                    return Poll::Ready(Ok(Some(Some(trailers))));
                }
                Poll::Ready(Ok(Part::End)) => return Poll::Ready(Ok(Some(None))),
                Poll::Ready(Err(ExchangeError::ClientGone)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ProxyError::Upload(error))),
                Poll::Pending => {
                    if !std::mem::replace(&mut waits, true) {
                        timer.arm(match pace.is_on() {
                            true => pace.wait(timer.now(), unread.limit),
                            false => unread.limit,
                        });
                    }
                    if timer.has_fired() {
                        match pace.judge(&timer, unread.limit) {
                            Some(Verdict::Goes) => {}
                            Some(Verdict::Slow) => return Poll::Ready(Err(slow(&pace))),
                            None => {
                                let late = ExchangeError::ClientTimeout(unread.limit);
                                return Poll::Ready(Err(ProxyError::Upload(late)));
                            }
                        }
                    }
                    timer.wake_with(cx.waker());
                    return Poll::Pending;
                }
            }
        }
    });
    let Some(trailers) = taken.await? else {
        return Ok(None);
    };
    poll_fn(|cx| intake.poll_end(cx)).await;
    let upload = Rc::new(intake.into_upload());
    if trailers.is_none() {
        head.framing = RequestFraming::Length(upload.len());
    }
    Ok(Some(Rc::new(TakenIn { upload, trailers })))
}

fn slow(pace: &Pace) -> ProxyError {
    ProxyError::Upload(ExchangeError::TooSlow(pace.rate()))
}
