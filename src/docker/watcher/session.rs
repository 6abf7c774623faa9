//! From a subscription to its end: events, lists and inspects side by side.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};

use super::asked::Asked;
use super::{End, LIST, Outputs, VERSION, Watcher, random};
use crate::docker::engine::{Address, Engine};
use crate::docker::error::EngineError;
use crate::docker::event::{Action, Event};
use crate::docker::look::{inspect, look};
use crate::docker::pace::{Pace, Reason};

impl Watcher {
    /// Subscribes and lists until something fails.
    pub(super) async fn session(&mut self, out: &Outputs) -> End {
        let engine = match self.connect(out).await {
            Ok(engine) => engine,
            Err(error) => return End::Failed(error),
        };
        let begun = Instant::now();
        let mut events = engine.events(self.signs.subscribe(clock(), begun));
        let mut stream_end = None;
        let mut inspects = FuturesUnordered::new();
        let mut asked = Asked::default();
        let mut pace = Pace::new(begun);
        let mut list = pin!(Fuse::terminated());
        let mut list_begun = None;
        let mut back = pin!(Fuse::terminated());
        let mut reason = Reason::Event;
        let mut unheard: Option<Instant> = None;
        let mut last_event = None;
        let alarm = Arc::clone(&self.alarm);
        loop {
            tokio::select! {
                // Only notes: a reader that waits for an API call would lose events.
                event = events.next(), if stream_end.is_none() => {
                    let now = Instant::now();
                    let news = self.listen(event, &mut events, now);
                    if news.count > 0 {
                        last_event = Some(SystemTime::now());
                        reason = Reason::Event;
                        unheard = None;
                        pace.event(now);
                    }
                    if news.signs {
                        self.publish(out);
                    }
                    for id in news.checked {
                        if self.hides_much(&id) {
                            asked.ask_again(id, now);
                        }
                    }
                    stream_end = news.end;
                }
                () = sleep_until(pace.next_by(self.signs.due(&self.facts))), if list.is_terminated() => {
                    let now = Instant::now();
                    let due = self.signs.due(&self.facts).is_some_and(|due| due <= now);
                    reason = match pace.start(now) {
                        Reason::Resync if due => Reason::Event,
                        reason => reason,
                    };
                    list_begun = Some(now);
                    list.set(look(&engine, Arc::clone(&self.facts), self.prefix.clone()).fuse());
                    back.set(back_from_silence(&engine).fuse());
                    self.ask(LIST, out);
                }
                () = &mut back, if !back.is_terminated() => return End::Back,
                () = alarm.for_engine() => pace.hint(Instant::now()),
                () = sleep_until(unheard.unwrap_or(begun)), if unheard.is_some() => return End::Deaf,
                () = sleep_until(asked.next_again().unwrap_or(begun)), if asked.next_again().is_some() => {
                    asked.again_is_due(Instant::now());
                }
                Some((id, facts)) = inspects.next() => {
                    asked.under_way.remove(&id);
                    self.learn(id, facts, out);
                }
                answer = &mut list, if !list.is_terminated() => {
                    let now = Instant::now();
                    let look = match answer {
                        Ok(look) => look,
                        Err(error) => return End::Failed(error),
                    };
                    back.set(Fuse::terminated());
                    let begun_at = list_begun.unwrap_or(now);
                    pace.end(now, now - begun_at, random());
                    let changed = self.see(look, begun_at, out);
                    asked.tries.retain(|id, _| self.lists(id));
                    asked.checks.retain(|id, _| self.lists(id));
                    self.report(out, last_event, begun, stream_end.is_none());
                    if let Some(error) = stream_end {
                        return End::Stream(error);
                    }
                    match reason {
                        Reason::Resync if changed => return End::Deaf,
                        // Events may be on their way.
                        Reason::Hint if changed => unheard = Some(now + HEARD_WITHIN),
                        _ => {}
                    }
                }
            }
            // Beside everything else: nothing waits for these.
            while let Some(id) = self.to_inspect(&mut asked, inspects.len(), out) {
                asked.under_way.insert(id.clone());
                *asked.tries.entry(id.clone()).or_default() += 1;
                inspects.push(inspect(&engine, id));
            }
            // A list under way is worth waiting for: where events are forbidden, it is all there is.
            let listed = list.is_terminated() && list_begun.is_some();
            if listed && let Some(error) = stream_end {
                return End::Stream(error);
            }
        }
    }

    async fn connect(&mut self, out: &Outputs) -> Result<Engine, EngineError> {
        let address = Address::parse(&self.host)?;
        self.ask(VERSION, out);
        let engine = Engine::connect(address).await?;
        self.answered(VERSION, out);
        if self.subscriptions == 0 {
            let (address, version, api) = (engine.address(), &engine.version, &engine.api);
            tracing::info!(%address, version, api, "connected to docker");
        }
        out.state.send_modify(|state| {
            state.version = Some(engine.version.clone());
            state.api = Some(engine.api.clone());
            state.reconnects = self.subscriptions;
        });
        self.subscriptions += 1;
        Ok(engine)
    }

    /// Takes note of `event` and of all that have arrived with it, so that a burst is one change.
    fn listen(
        &mut self,
        event: Option<Result<Event, EngineError>>,
        more: &mut (impl Stream<Item = Result<Event, EngineError>> + Unpin),
        now: Instant,
    ) -> News {
        let mut news = News::default();
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => {
                    news.count += 1;
                    if event.action == Action::Checked {
                        news.checked.push(event.container.clone());
                    }
                    news.signs |= self.signs.note(&event, now);
                }
                Some(Err(error)) => news.end = Some(Some(error)),
                None => news.end = Some(None),
            }
            let full = news.end.is_some() || news.count >= MOST_AT_ONCE;
            next = match full {
                true => None,
                false => more.next().now_or_never(),
            };
        }
        news
    }
}

/// Ends when a list is lost that was asked for before the engine fell silent: it is to be asked for
/// again. Cancel safe.
async fn back_from_silence(engine: &Engine) {
    sleep(PATIENCE).await;
    engine.back().await;
}

/// Ours: Unix time in nanoseconds.
fn clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

/// What [`Watcher::listen`] heard.
#[derive(Default)]
struct News {
    count: usize,
    /// The picture may have changed at once.
    signs: bool,
    /// Containers whose HEALTHCHECK has run.
    checked: Vec<String>,
    /// The stream's end.
    end: Option<Option<EngineError>>,
}

/// A list that takes longer may be lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a look has shown is told by events this soon, or they are lost.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Events read in one go, before anything else gets a turn.
const MOST_AT_ONCE: usize = 256;
