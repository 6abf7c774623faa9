//! A body, from wherever it is, block by block.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::account::{held, held_cost};
use super::core::Core;
use super::file::{damaged, read_block};
use super::flight::{Flight, Phase, Prelude, Spill};
use super::object::{BLOCK, Body, Object};
use super::pool::{Keeper, Promise};

/// The rest of the body is lost: the app has cut it off, or the file is damaged. What was read is right as far as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rest of the body is lost")]
pub struct Lost;

/// Reads a body. Holds one block at most; never keeps anybody else from anything.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    at: u64,
    /// Where to stop, in a part of the body.
    end: u64,
    reading: Option<Arc<Promise<Read>>>,
}

type Read = Result<Bytes, Lost>;

#[derive(Debug)]
enum Source {
    Object {
        core: Arc<Core>,
        object: Arc<Object>,
    },
    Flight {
        flight: Arc<Flight>,
        prelude: Arc<Prelude>,
        place: usize,
    },
}

/// Where a block is to be read from.
enum From {
    Object(Arc<Object>),
    Flight(Arc<Flight>),
}

impl Reader {
    pub(super) fn of_object(core: &Arc<Core>, object: &Arc<Object>) -> Self {
        let (core, object) = (Arc::clone(core), Arc::clone(object));
        Self::new(Source::Object { core, object })
    }

    /// `place` is one it has joined.
    pub(super) fn of_flight(flight: &Arc<Flight>, prelude: &Arc<Prelude>, place: usize) -> Self {
        let (flight, prelude) = (Arc::clone(flight), Arc::clone(prelude));
        Self::new(Source::Flight {
            flight,
            prelude,
            place,
        })
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            at: 0,
            end: u64::MAX,
            reading: None,
        }
    }

    /// The rules' notes.
    pub fn meta(&self) -> &Bytes {
        match &self.source {
            Source::Object { object, .. } => object.meta(),
            Source::Flight { prelude, .. } => &prelude.meta,
        }
    }

    /// Status line and fields.
    pub fn head(&self) -> &Bytes {
        match &self.source {
            Source::Object { object, .. } => object.head(),
            Source::Flight { prelude, .. } => &prelude.head,
        }
    }

    /// Length of the body, where it is known already.
    pub fn length(&self) -> Option<u64> {
        match &self.source {
            Source::Object { object, .. } => Some(object.len()),
            Source::Flight { prelude, .. } => prelude.length,
        }
    }

    /// Reads only what is between two places in the body. Of a response that is still coming, that waits until it is there.
    pub fn range(mut self, from: u64, to: u64) -> Self {
        (self.at, self.end) = (from, to);
        self.tell();
        self
    }

    /// The next bytes; nothing at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        if self.reading.is_none()
            && let Some(ready) = self.look(cx)
        {
            return ready.map(|bytes| bytes.map(|bytes| Ok(self.take(bytes?))));
        }
        let Some(reading) = &self.reading else {
            return Poll::Pending;
        };
        match reading.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(lost)) => Poll::Ready(Some(Err(lost))),
            Poll::Ready(Ok(block)) => {
                self.reading = None;
                let block = block.slice((self.at % BLOCK as u64) as usize..);
                Poll::Ready(Some(Ok(self.take(block))))
            }
        }
    }

    /// As [`poll_next`](Self::poll_next). Cancel safe: nothing is taken before it returns.
    pub async fn next(&mut self) -> Option<Read> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What is in memory, or the end; nothing if a block has to be read from a file, which has begun then.
    fn look(&mut self, cx: &Context<'_>) -> Option<Poll<Option<Read>>> {
        match &self.source {
            Source::Object { object, .. } => {
                if self.at >= object.len() {
                    return Some(Poll::Ready(None));
                }
                if let Body::Memory(blocks) = &object.body {
                    let block = &blocks[(self.at / BLOCK as u64) as usize];
                    let bytes = block.slice((self.at % BLOCK as u64) as usize..);
                    return Some(Poll::Ready(Some(Ok(bytes))));
                }
                let from = From::Object(Arc::clone(object));
                self.read(from, self.at / BLOCK as u64);
            }
            Source::Flight { flight, place, .. } => {
                let mut state = flight.lock();
                match (state.bytes_at(self.at), &state.phase) {
                    (Ok(Some(bytes)), _) => return Some(Poll::Ready(Some(Ok(bytes)))),
                    (Ok(None), Phase::Whole) => return Some(Poll::Ready(None)),
                    (Ok(None), Phase::Filling) => {
                        state.await_more(*place, cx);
                        return Some(Poll::Pending);
                    }
                    (Ok(None), _) => return Some(Poll::Ready(Some(Err(Lost)))),
                    (Err(block), _) => {
                        drop(state);
                        let from = From::Flight(Arc::clone(flight));
                        self.read(from, block);
                    }
                }
            }
        }
        None
    }

    fn read(&mut self, from: From, block: u64) {
        let promise = Promise::new();
        let core = Arc::clone(self.core());
        let keeper = Keeper {
            promise: Arc::clone(&promise),
            default: Err(Lost),
        };
        self.reading = Some(promise);
        let job = Arc::clone(&core);
        core.pool.read(move || {
            if let Some(read) = read(&job, &from, block) {
                keeper.promise.keep(read);
            }
        });
    }

    fn core(&self) -> &Arc<Core> {
        match &self.source {
            Source::Object { core, .. } => core,
            Source::Flight { flight, .. } => &flight.core,
        }
    }

    fn take(&mut self, mut bytes: Bytes) -> Bytes {
        let left = self.end - self.at;
        if (bytes.len() as u64) > left {
            bytes.truncate(left as usize);
        }
        self.at += bytes.len() as u64;
        self.tell();
        bytes
    }

    fn tell(&self) {
        if let Source::Flight { flight, place, .. } = &self.source {
            let filler = flight.lock().advance(*place, self.at);
            filler.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Source::Flight { flight, place, .. } = &self.source {
            let mut state = flight.lock();
            let relay = state.leave(*place);
            // The last one has gone: a filler of something that cannot be stored has to know.
            let filler = if state.has_readers() {
                relay
            } else {
                relay.or_else(|| state.filler())
            };
            drop(state);
            filler.into_iter().for_each(Waker::wake);
        }
    }
}

fn read(core: &Arc<Core>, from: &From, block: u64) -> Option<Read> {
    let disk = core.disk.get()?;
    let from_block = block * BLOCK as u64;
    let result: io::Result<Box<[u8]>> = match from {
        From::Object(object) => {
            let Body::File(body) = &object.body else {
                return None;
            };
            let len = (body.len - from_block).min(BLOCK as u64) as usize;
            let sum = *body.sums.get(block as usize)?;
            let read = read_block(disk, &body.file, body.at + from_block, len, sum);
            if let Err(error) = &read {
                core.broken(core.index.hash(&object.ident.key), object.id, error);
            }
            read
        }
        From::Flight(flight) => {
            let (file, at, sum, len) = {
                let state = flight.lock();
                let (Spill::File(file) | Spill::Failed(Some(file))) = &state.spill else {
                    return None;
                };
                let len = (state.len - from_block).min(BLOCK as u64) as usize;
                let sum = file
                    .sums
                    .get(block as usize)
                    .copied()
                    .ok_or_else(damaged)
                    .ok()?;
                (Arc::clone(&file.file), file.header.body_at(), sum, len)
            };
            read_block(disk, &file, at + from_block, len, sum)
        }
    };
    let block = result.ok()?;
    let charge = core.transit.charge(held_cost(block.len()))?;
    Some(Ok(held(block, charge)))
}
