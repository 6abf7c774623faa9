//! One request, step by step: [`steps`] is their list, a file for each beside it. The first refusal decides the
//! answer.

mod acme;
mod admit;
mod cache;
mod compress;
mod cors;
mod errors;
mod files;
mod find;
mod forward_auth;
mod head;
mod limit;
mod login;
mod onward;
mod page;
mod redirect;
mod take_in;
mod target;
mod tls;

use std::rc::Rc;
use std::time::Instant;

use super::audience::Client;
use super::breaker::judge;
use super::error::ProxyError;
use super::exchange::Client as ClientSide;
use super::forward::Answer;
use super::grpc;
use super::head::RequestHead;
use super::hold::{Stop, Unread, Wait, hold, pause};
use super::queue::{for_place, queue};
use super::start::first_table;
use super::state::ConnState;
use super::tail::{Record, Tail, request_id};
use super::worker::Worker;
use crate::access::RequestId;
use crate::filter::inflight::Places;
use crate::spool::Bounds;
use compress::{compressed, is_short};
use cors::preflighted;
use errors::Replacing;
use find::{check_sni, share};
use forward_auth::{Asking, Word};
use limit::{in_flight, within_rate};
use login::log_in;
use onward::Onward;
use redirect::moved;
use take_in::take_in;
use tls::{certified, check_policy, secure};

pub(super) use admit::admit;
pub(super) use cors::preflight;
pub(super) use find::{find_host, find_route};
pub(super) use head::Head;
pub(super) use limit::whose;
pub(super) use redirect::elsewhere;
pub(super) use target::changed_target;
pub(super) use tls::{redirect, wants_tls};

/// Answers one request.
///
/// What is not on every request's way is boxed, so that others need not carry its room along.
pub(crate) async fn answer<C: ClientSide>(tail: &mut Tail, side: &mut C) -> Answer {
    let (worker, fields) = (&tail.worker, tail.head.fields());
    let client = Client::of(&worker.engine.trusted, tail.conn.peer.ip(), fields);
    tail.record.client = Some(client.address);
    tail.record.trusted = client.trusted;
    match settle(tail, client, side).await {
        Ok(answer) if stays(&tail.record, &answer) => answer,
        Ok(answer) => Box::pin(changed(tail, client, answer, side)).await,
        Err(Some(error)) => Box::pin(refused(tail, client, error, side)).await,
        Err(None) => Answer::Gone,
    }
}

/// Whether no label of its route says what else becomes of an answer.
fn stays(record: &Record, answer: &Answer) -> bool {
    let compress = record.compress.as_deref();
    record.errors.is_none() && compress.is_none_or(|rules| is_short(rules, answer))
}

/// A request that has come, and from whom.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    worker: &'a Rc<Worker>,
    conn: &'a Rc<ConnState>,
    request: &'a RequestHead,
    client: Client,
    id: RequestId<'a>,
}

/// Goes through the steps, and waits for what they have to wait for, until they come to an end; `None`: the client has
/// left meanwhile.
async fn settle<C: ClientSide>(
    tail: &mut Tail,
    client: Client,
    side: &mut C,
) -> Result<Answer, Option<ProxyError>> {
    let Tail {
        worker,
        conn,
        head,
        request_id: own,
        record,
        ..
    } = tail;
    let mut waits = Waits::default();
    loop {
        let incoming = Incoming {
            worker,
            conn,
            request: head,
            client,
            id: request_id(head.fields(), *own, client.trusted),
        };
        let stop = match steps(&incoming, side, record).await {
            Ok(answer) => {
                record.taken_in = None;
                if let Some(admitted) = record.admitted.take() {
                    judge(worker, admitted, Ok(&answer));
                }
                return Ok(answer);
            }
            Err(Stop::Refused(error)) => return Err(Some(error)),
            Err(stop) => stop,
        };
        match Box::pin(wait(worker, head, side, record, stop, &mut waits)).await {
            Ok(true) => {}
            Ok(false) => return Err(None),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// What one wait leaves to the next.
#[derive(Default)]
struct Waits {
    held: Wait,
    /// When a place in the line is given up.
    line_end: Option<Instant>,
}

/// Waits for what has stopped a request; whether its client is still there.
async fn wait<C: ClientSide>(
    worker: &Rc<Worker>,
    head: &mut RequestHead,
    side: &mut C,
    record: &mut Record,
    stop: Stop,
    waits: &mut Waits,
) -> Result<bool, ProxyError> {
    match stop {
        Stop::Refused(error) => Err(error),
        Stop::Held(held) => hold(worker, side, &mut waits.held, *held).await,
        Stop::Full(upstream) => queue(worker, side, record, &mut waits.line_end, &upstream).await,
        Stop::InFlight(full) => for_place(worker, side, record, *full).await,
        Stop::Early(wait) => Ok(pause(side, wait).await),
        Stop::Unread(unread) => {
            let taken_in = take_in(worker, side, head, *unread).await?;
            let Some(taken_in) = taken_in else {
                return Ok(false);
            };
            record.tries.taken += taken_in.upload.len();
            record.taken_in = Some(taken_in);
            Ok(true)
        }
        Stop::Starting => first_table(worker, |cx| side.poll_gone(cx)).await,
    }
}

/// An answer as the route's labels want it: with the route's own page for it, compressed.
async fn changed<C: ClientSide>(
    tail: &mut Tail,
    client: Client,
    answer: Answer,
    side: &mut C,
) -> Answer {
    let Tail {
        worker,
        conn,
        head,
        request_id: own,
        record,
        ..
    } = tail;
    let id = request_id(head.fields(), *own, client.trusted);
    let answer = match (record.errors.take(), answer) {
        (Some(errors), Answer::Response(response))
            if errors.intercepts(response.status.as_u16()) =>
        {
            let replacing = Replacing::of(worker, conn, id, &errors, "");
            replacing.answer(head, client, response, side).await
        }
        // What the cache has of an app is the app's answer, too.
        (Some(errors), Answer::Local(local))
            if record.cache.is_some() && errors.intercepts(local.status().as_u16()) =>
        {
            let replacing = Replacing::of(worker, conn, id, &errors, "");
            replacing.local(head, client, local, side).await
        }
        (_, answer) => answer,
    };
    match record.compress.take() {
        None => answer,
        Some(rules) => compressed(worker, head, &rules, with_fields(answer)),
    }
}

/// The page for a request that comes to nothing.
async fn refused<C: ClientSide>(
    tail: &mut Tail,
    client: Client,
    error: ProxyError,
    side: &mut C,
) -> Answer {
    let Tail {
        worker,
        conn,
        head,
        request_id: own,
        record,
        ..
    } = tail;
    let request_id = request_id(head.fields(), *own, client.trusted);
    if let Some(admitted) = record.admitted.take() {
        judge(worker, admitted, Err(&error));
    }
    // The client may take its time over the page.
    record.busy = None;
    record.taken_in = None;
    record.queued = None;
    record.waiting = None;
    record.places = Places::default();
    worker.metrics.count_error(error.kind());
    match error.is_of_auth() && worker.auths.tells() {
        true => tracing::warn!(%error, %request_id, "nobody gets in"),
        false => tracing::debug!(%error, %request_id),
    }
    let mut page = page::refused(worker, conn, head, client, request_id, &error);
    if let Some(errors) = record.errors.take()
        && errors.page(page.status().as_u16()).is_some()
    {
        let cause = error.public_cause();
        let replacing = Replacing::of(worker, conn, request_id, &errors, &cause);
        Box::pin(replacing.page(head, client, &mut page, side)).await;
    }
    if let Some(pass) = &record.passed {
        page::add_lines(&mut page, &pass.client);
    }
    Answer::Page(Box::new(page))
}

/// The same with all fields where they can be looked up.
fn with_fields(mut answer: Answer) -> Answer {
    if let Answer::Local(local) = &mut answer {
        let lines = std::mem::take(&mut local.lines);
        page::add_lines(&mut local.head, &lines);
    }
    answer
}

/// Each is one of what may happen to a request on its way to the app.
async fn steps<C: ClientSide>(
    incoming: &Incoming<'_>,
    side: &mut C,
    record: &mut Record,
) -> Result<Answer, Stop> {
    let Incoming {
        worker,
        conn,
        request,
        client,
        id: request_id,
    } = *incoming;
    let table = worker.table(); // pinned for the whole request
    let head = Head::read(conn.tls, request, client)?;
    if let Some(token) = acme::token(head.path)
        // Boxed, so that other requests need not carry its room along.
        && let Some(answer) = Box::pin(acme::challenge(worker, &head, token)).await
    {
        return Ok(answer);
    }
    if table.generation == 0 {
        return Err(Stop::Starting);
    }
    let entry = find_host(&table, &head)?;
    let route = find_route(entry, &head)?;
    let route = match entry.split(route) {
        None => route,
        Some(split) => share(split, &head),
    };
    record.found(route, worker.access.as_ref());
    record.errors.clone_from(&route.errors);
    record.unchunked = !route.chunked;
    record.compress.clone_from(&route.compress);
    record.min_rate = route.timeouts.min_rate;
    check_sni(conn, &table, &head, entry, route)?;
    if route.grpc && record.deadline.is_none() {
        let limit = grpc::timeout(request.fields());
        record.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    }
    if let Some(preflight) = preflight(&head, route)? {
        return Ok(preflighted(&head, route, preflight));
    }
    if let Some(to) = elsewhere(&table, &head, route) {
        if to.own_tls {
            Box::pin(certified(worker, &table, &head, entry)).await?;
        }
        return moved(&head, route, &to).map_err(Stop::from);
    }
    if let Some(port) = wants_tls(&table, &head, route)
        // Boxed, so that other requests need not carry its room along.
        && let Some(answer) = Box::pin(secure(worker, port, &head, &table, entry, route)).await?
    {
        return Ok(answer);
    }
    if entry.policy.is_some() || route.client.is_some() {
        check_policy(worker, conn, entry.policy.as_deref(), route)?;
    }
    let admission = admit(entry, route, &head)?;
    // Before passwords are looked at: they are guessed no faster.
    if let Some(limiter) = &route.limiter {
        within_rate(worker, limiter, &head, record)?;
    }
    if route.in_flight.is_some() || record.waiting.is_some() {
        in_flight(route.in_flight.as_ref(), &head, record)?;
    }
    if request
        .length()
        .is_some_and(|length| length > route.max_body)
    {
        return Err(ProxyError::BodyTooLarge(route.max_body).into());
    }
    let user = match admission.basic {
        Some(basic) => Some(log_in(basic, &head).await?),
        None => None,
    };
    let mut passed = None;
    if let Some(auth) = admission.forward {
        let asking = Asking {
            worker,
            conn,
            head: &head,
            route,
            auth,
            request_id,
        };
        // Boxed, so that other requests need not carry its room along.
        match Box::pin(asking.word(side, record.passed.as_ref())).await? {
            Word::Yes(pass) => passed = Some(Rc::clone(record.passed.insert(pass))),
            Word::No(answer) => return Ok(answer),
        }
    }
    if let Some(files) = &route.files {
        let cookies = passed.as_ref().map_or(&[][..], |pass| &pass.client);
        // Boxed, so that other requests need not carry its room along.
        return Box::pin(files::serve(worker, &head, route, files, cookies, side)).await;
    }
    if let Some(buffer) = &route.buffer
        && buffer.request
        && request.has_body()
        && record.taken_in.is_none()
    {
        return Err(Stop::Unread(Box::new(Unread {
            bounds: Bounds::from(&**buffer),
            max_body: route.max_body,
            limit: route.timeouts.body,
            min_rate: route.timeouts.min_rate,
        })));
    }
    let onward = Onward {
        worker,
        conn,
        head: &head,
        route,
        request_id,
        websocket: admission.websocket,
        user: user.as_deref(),
        passed: passed.as_ref(),
    };
    if let Some(cache) = &route.cache {
        return cache::answer(&onward, cache, side, record).await;
    }
    match onward.send(request, side, record).await {
        Ok(answer) => Ok(answer),
        Err(refusal) => Err(onward.stop(refusal, record.deadline)),
    }
}
