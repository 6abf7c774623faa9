//! Answers from the cache, and how answers get there (product.md S40 to S50). What may be done is said by
//! `cache::rules`, what is there by `cache::store`; this is what a proxy has to do with both.
//!
//! What is stored is the app's answer. What a route's labels make of it is done for each client.

mod ask;
mod body;
mod fetch;
mod notes;
mod serve;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Head;
use super::onward::Onward;
use crate::access::RequestId;
use crate::cache::rules::lookup::{Around, Failure, Forward, Reason, Why, stale_after};
use crate::cache::rules::outcome::{Forwarded, Outcome};
use crate::cache::rules::{Lookup, Stored, lookup};
use crate::cache::store::{Begin, Fill, Followed, Follower, Found, Miss, Object};
use crate::proxy::audience::Client;
use crate::proxy::auths::Pass;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Client as ClientSide;
use crate::proxy::forward::{Answer, Refusal};
use crate::proxy::head::RequestHead;
use crate::proxy::hold::Stop;
use crate::proxy::service::forward_auth::Nobody;
use crate::proxy::state::ConnState;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;
use crate::route::{Route, RouteCache};

/// One request on a route that has a cache.
pub(super) struct Visit<'a> {
    onward: &'a Onward<'a>,
    cache: &'a RouteCache,
    asked: ask::Asked,
    /// Unix seconds.
    now: u64,
}

/// What is stored for a request.
struct Hit {
    object: Arc<Object>,
    stored: Stored,
}

/// Answers a request from the cache, or from the app.
pub(super) async fn answer<C: ClientSide>(
    onward: &Onward<'_>,
    cache: &RouteCache,
    side: &mut C,
    record: &mut Record,
) -> Result<Answer, Stop> {
    let visit = Visit::new(onward, cache);
    let now = Instant::now();
    let found = match visit.asked.request.refusal() {
        Some(_) => Found::Miss(Miss::default()),
        None => visit.find(now),
    };
    if let Found::Memory { object, stale } = &found
        && let Some(hit) = Hit::of(object, *stale)
        && let Lookup::Hit { age } = visit.lookup(Some(&hit.stored), Around::default())
    {
        return Ok(visit.stored(&hit, age, visit.as_hit(&hit), record));
    }
    // Boxed, so that hits need not carry its room along.
    Box::pin(visit.look(found, side, record)).await
}

impl Hit {
    fn of(object: &Arc<Object>, stale: bool) -> Option<Self> {
        let stored = notes::stored(object.meta())?;
        Some(Self {
            object: Arc::clone(object),
            stored: match stale {
                true => stored.outdated(),
                false => stored,
            },
        })
    }
}

impl<'a> Visit<'a> {
    fn new(onward: &'a Onward<'a>, cache: &'a RouteCache) -> Self {
        Self {
            asked: ask::Asked::read(onward, cache),
            onward,
            cache,
            now: unix_now(),
        }
    }

    fn find(&self, now: Instant) -> Found {
        let mut select = self.chooser();
        self.cache.store.find(&self.key(), now, &mut select)
    }

    fn key(&self) -> crate::cache::store::Key<'_> {
        let host = self.onward.head.host.as_str().as_bytes();
        (self.cache.store).key(&self.asked.key, host, &self.cache.owner)
    }

    fn chooser(&self) -> ask::Chooser<'_> {
        ask::Chooser::new(self.onward.head.request.fields())
    }

    fn lookup(&self, stored: Option<&Stored>, around: Around) -> Lookup {
        let around = Around {
            bypass: self.asked.bypass,
            ..around
        };
        let policy = &self.cache.policy;
        lookup(policy, &self.asked.request, stored, around, self.now)
    }

    fn as_hit(&self, hit: &Hit) -> Outcome {
        let ttl = hit.stored.ttl(self.now);
        Outcome::Hit { ttl }
    }

    /// From what was found to an answer.
    async fn look<C: ClientSide>(
        &self,
        found: Found,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Stop> {
        let mut found = Some(found);
        // Whatever others do meanwhile, it comes to an end.
        for _ in 0..TRIES {
            let now = Instant::now();
            let look = found.take().unwrap_or_else(|| self.find(now));
            let (hit, miss) = match look {
                Found::Memory { object, stale } => (Hit::of(&object, stale), object.miss()),
                Found::Disk { mut object, stale } => {
                    let miss = object.miss();
                    let read = object.read().await;
                    (read.and_then(|object| Hit::of(&object, stale)), miss)
                }
                Found::Miss(miss) => (None, miss),
            };
            let around = Around {
                variants: miss.varies(),
                ..Around::default()
            };
            let stored = hit.as_ref().map(|hit| &hit.stored);
            let forward = match (self.lookup(stored, around), &hit) {
                (Lookup::Hit { age }, Some(hit)) => {
                    return Ok(self.stored(hit, age, self.as_hit(hit), record));
                }
                (Lookup::Stale { age, why }, Some(hit)) => {
                    let why = match why {
                        Why::Refresh => self.refresh(hit, &miss, now),
                        why => why,
                    };
                    return Ok(self.stale(hit, age, why, record));
                }
                (Lookup::OnlyIfCached, _) => return Ok(self.only_if_cached(record)),
                (Lookup::Forward(forward), _) => forward,
                // They come of something stored.
                (Lookup::Hit { .. } | Lookup::Stale { .. }, None) => Forward {
                    reason: Reason::Miss,
                    validate: false,
                    whole: false,
                    as_get: false,
                    alone: false,
                },
            };
            if !forward.whole {
                return self.past(forward.reason, hit, side, record).await;
            }
            let mut next = Some(miss);
            while let Some(miss) = next.take() {
                let begun = self.cache.store.begin(&self.key(), &miss, now);
                let follower = match begun {
                    Begin::Lead(fill) => return self.fetch(fill, forward, hit, side, record).await,
                    Begin::Pass => return self.past(forward.reason, hit, side, record).await,
                    Begin::Again => break,
                    Begin::Follow(follower) => follower,
                };
                if !forward.alone {
                    return self.past(forward.reason, hit, side, record).await;
                }
                if let Some(hit) = &hit {
                    let around = Around {
                        flight: true,
                        ..around
                    };
                    if let Lookup::Stale { age, why } = self.lookup(Some(&hit.stored), around) {
                        return Ok(self.stale(hit, age, why, record));
                    }
                }
                match self.follow(follower, side).await {
                    Wait::Gone => return Ok(Answer::Gone),
                    Wait::Late | Wait::For(Followed::Released) => {
                        return self.past(forward.reason, hit, side, record).await;
                    }
                    Wait::For(Followed::Reader(reader)) => {
                        return match self.shares(reader.meta()) {
                            Some(stored) => {
                                let outcome = self.collapsed(forward.reason, &stored);
                                Ok(self.coming(reader, &stored, outcome, record))
                            }
                            None => self.past(forward.reason, hit, side, record).await,
                        };
                    }
                    Wait::For(Followed::Object(object)) => {
                        let Some(hit) = Hit::of(&object, false) else {
                            break;
                        };
                        if let Some(stored) = self.shares(object.meta()) {
                            let outcome = self.collapsed(forward.reason, &stored);
                            let age = stored.age(self.now);
                            return Ok(self.stored(&hit, age, outcome, record));
                        }
                        // Who led has got it in place of an error.
                        return match self.instead(Some(&hit), Failure::Error, record) {
                            Some(answer) => Ok(answer),
                            None => self.past(forward.reason, Some(hit), side, record).await,
                        };
                    }
                    Wait::For(Followed::Lead(fill)) => {
                        return self.fetch(fill, forward, hit, side, record).await;
                    }
                    Wait::For(Followed::Other(miss)) => next = Some(miss),
                    Wait::For(Followed::Again) => break,
                }
            }
        }
        self.past(Reason::Miss, None, side, record).await
    }

    /// Waits for what another request fetches.
    async fn follow<C: ClientSide>(&self, mut follower: Follower, side: &mut C) -> Wait {
        let mut select = self.chooser();
        let mut late = pin!(tokio::time::sleep(LOCK_TIMEOUT));
        poll_fn(|cx| {
            if let Poll::Ready(followed) = follower.poll(cx, &mut select) {
                return Poll::Ready(Wait::For(followed));
            }
            if side.poll_gone(cx).is_ready() {
                return Poll::Ready(Wait::Gone);
            }
            late.as_mut().poll(cx).map(|()| Wait::Late)
        })
        .await
    }

    /// Whether what another request has fetched is for this one, too: it has not asked before it was asked for.
    fn shares(&self, meta: &[u8]) -> Option<Stored> {
        let stored = notes::stored(meta)?;
        let request = &self.asked.request;
        let shared = stored.is_shared(request.unkeyed, request.authorization, self.now);
        shared.then_some(stored)
    }

    fn collapsed(&self, reason: Reason, stored: &Stored) -> Outcome {
        Outcome::Forwarded(Forwarded {
            reason,
            status: Some(stored.status),
            stored: Some(Ok(())),
            collapsed: true,
        })
    }

    /// Fetches in the background what is stale, unless somebody does already.
    fn refresh(&self, hit: &Hit, miss: &Miss, now: Instant) -> Why {
        match self.cache.store.begin(&self.key(), miss, now) {
            Begin::Lead(fill) => {
                let errand = Errand::new(self, hit);
                tokio::task::spawn_local(errand.run(fill));
                Why::Refresh
            }
            Begin::Follow(_) | Begin::Again | Begin::Pass => Why::Updating,
        }
    }

    fn stale(&self, hit: &Hit, age: u32, why: Why, record: &mut Record) -> Answer {
        let ttl = hit.stored.ttl(self.now);
        self.stored(hit, age, Outcome::Stale { ttl, why }, record)
    }

    /// What is stored, in place of a failure.
    fn instead(&self, hit: Option<&Hit>, failure: Failure, record: &mut Record) -> Option<Answer> {
        let hit = hit?;
        let (asked, policy) = (&self.asked, &self.cache.policy);
        let now = unix_now();
        let age = stale_after(
            policy,
            &asked.request,
            asked.bypass,
            &hit.stored,
            failure,
            now,
        )?;
        let ttl = hit.stored.ttl(now);
        Some(self.stored(hit, age, Outcome::Instead { ttl, failure }, record))
    }
}

/// What has become of a wait for another request.
enum Wait {
    For(Followed),
    Late,
    /// The client has left.
    Gone,
}

/// What the rules call an error; nothing where it is the client's doing.
fn failure(refusal: &Refusal) -> Option<Failure> {
    let error = match refusal {
        Refusal::ForNow(_) => return Some(Failure::NoEndpoint),
        // There is a line to wait in.
        Refusal::Full => return None,
        Refusal::Final(error) | Refusal::Cut(error, _) => error,
    };
    use crate::metrics::ErrorKind;
    Some(match error.kind() {
        ErrorKind::NoEndpoint => Failure::NoEndpoint,
        ErrorKind::UpstreamTimeout => Failure::Timeout,
        ErrorKind::Connect if matches!(error, ProxyError::ConnectTimeout { .. }) => {
            Failure::Timeout
        }
        ErrorKind::Connect
        | ErrorKind::UpstreamTls
        | ErrorKind::UpstreamClosed
        | ErrorKind::Breaker => Failure::Error,
        ErrorKind::UpstreamProtocol => Failure::Invalid,
        _ => return None,
    })
}

/// A refresh that nobody waits for.
struct Errand {
    worker: Rc<Worker>,
    conn: Rc<ConnState>,
    route: Arc<Route>,
    request: RequestHead,
    client: Client,
    user: Option<String>,
    passed: Option<Rc<Pass>>,
    hit: Hit,
}

impl Errand {
    fn new(visit: &Visit<'_>, hit: &Hit) -> Self {
        let onward = visit.onward;
        let request = onward.head.request;
        Self {
            worker: Rc::clone(onward.worker),
            conn: Rc::clone(onward.conn),
            route: Arc::clone(onward.route),
            request: request.changed(&http::Method::GET, |_| true, &[]),
            client: onward.head.client,
            user: onward.user.map(str::to_owned),
            passed: onward.passed.cloned(),
            hit: Hit {
                object: Arc::clone(&hit.object),
                stored: hit.stored,
            },
        }
    }

    async fn run(self, fill: Fill) {
        let Ok(head) = Head::read(self.conn.tls, &self.request, self.client) else {
            return;
        };
        let Some(cache) = &self.route.cache else {
            return;
        };
        let onward = Onward {
            worker: &self.worker,
            conn: &self.conn,
            head: &head,
            route: &self.route,
            request_id: RequestId::Own(self.worker.request_id()),
            websocket: false,
            user: self.user.as_deref(),
            passed: self.passed.as_ref(),
        };
        let visit = Visit::new(&onward, cache);
        let forward = Forward::refresh(&self.hit.stored);
        let mut record = Record::default();
        record.background = true;
        let (hit, mut nobody) = (Some(self.hit), Nobody);
        let fetched = visit.fetch(fill, forward, hit, &mut nobody, &mut record);
        // What is not for the store is for nobody.
        if let Ok(Answer::Response(response)) = fetched.await {
            // The app has something to say to each: nobody gets the old one without having asked.
            if !response.status.is_server_error() {
                cache.store.mark_stale(&visit.asked.key);
            }
            response.discard();
        }
    }
}

impl Visit<'_> {
    /// 504, as nothing else was asked for than what is stored (RFC 9111 section 5.2.1.7).
    fn only_if_cached(&self, record: &mut Record) -> Answer {
        let mut lines = Vec::new();
        self.tell(&mut lines, &Outcome::OnlyIfCached, record);
        self.bare(StatusCode::GATEWAY_TIMEOUT, lines)
    }
}

fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Who waits for another's fetch so long goes to the app itself (nginx `proxy_cache_lock_timeout`).
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Lookups of one request: the store may have something newer each time.
const TRIES: usize = 4;
