//! Asking the app, for the store or past it.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use http::{Method, StatusCode};

use super::body::Trailers;
use super::{Hit, Visit, ask, failure, notes, unix_now};
use crate::cache::rules::fields::{Kept, forwarded};
use crate::cache::rules::key::Url;
use crate::cache::rules::lookup::{Failure, Forward, Reason};
use crate::cache::rules::outcome::{Forwarded, Outcome};
use crate::cache::rules::store::{NotStored, Times, store};
use crate::cache::rules::validate::{HeadSays, Merged, conditions, confirms, freshen, head_says};
use crate::cache::rules::{self, Source, Stored, conditional, invalidate, tags, vary};
use crate::cache::store::{Begin, Fill, Filling, Miss, Refused, Response as Entry};
use crate::model::Address;
use crate::proxy::breaker::judge;
use crate::proxy::exchange::{Chunks, Client as ClientSide, Response, ResponsePart};
use crate::proxy::fields::{FieldIndex, Fields, read_lines, write_field};
use crate::proxy::forward::{Answer, Refusal};
use crate::proxy::h1::Framing;
use crate::proxy::head::RequestHead;
use crate::proxy::headers;
use crate::proxy::hold::Stop;
use crate::proxy::service::forward_auth::Nobody;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;
use crate::upstream::Busy;

/// An answer that is not stored, and why.
struct Unkept {
    why: Option<NotStored>,
    response: Response,
}

impl Visit<'_> {
    /// Sends the request as it came. What comes is stored if it turns out that it may be: nobody has waited for it.
    pub(super) async fn past<C: ClientSide>(
        &self,
        reason: Reason,
        hit: Option<Hit>,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Stop> {
        let request = self.onward.head.request;
        let sent = unix_now();
        match self.send(request, side, record).await {
            Ok(Answer::Response(response)) => {
                let status = response.status.as_u16();
                let failed = Failure::Status(status);
                if let Some(answer) = self.instead(hit.as_ref(), failed, record) {
                    response.discard();
                    return Ok(answer);
                }
                self.heed(&response, hit.as_ref());
                let times = Times {
                    sent,
                    received: unix_now(),
                };
                Ok(self.keep_late(reason, hit.as_ref(), response, times, record))
            }
            Ok(answer) => Ok(answer),
            Err(refusal) => self.refused(refusal, hit.as_ref(), record),
        }
    }

    /// Sends the request so that what comes can be stored, for all who wait for it.
    pub(super) async fn fetch<C: ClientSide>(
        &self,
        fill: Fill,
        forward: Forward,
        hit: Option<Hit>,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Stop> {
        let validated = hit.as_ref().filter(|_| forward.validate);
        let request = self.changed(forward, validated);
        let sent = unix_now();
        let response = match self.send(&request, side, record).await {
            Ok(Answer::Response(response)) => response,
            Ok(answer) => return Ok(answer),
            Err(refusal) => {
                let answer = self.refused(refusal, hit.as_ref(), record);
                if let (Ok(_), Some(hit)) = (&answer, &hit) {
                    fill.serve(&hit.object);
                }
                return answer;
            }
        };
        let times = Times {
            sent,
            received: unix_now(),
        };
        let status = response.status.as_u16();
        if let (304, Some(asked)) = (status, validated) {
            return match self.confirmed(fill, forward, asked, response, times, record) {
                Ok(answer) => Ok(answer),
                // It is about something else than what is stored: once more, without asking.
                Err(fill) => Box::pin(self.fetch_anew(fill, forward, side, record)).await,
            };
        }
        if let Some(answer) = self.instead(hit.as_ref(), Failure::Status(status), record) {
            response.discard();
            if let Some(hit) = &hit {
                fill.serve(&hit.object);
            }
            return Ok(answer);
        }
        let asked = match forward.as_get {
            true => self.asked.request.as_get(),
            false => self.asked.request,
        };
        let kept = match self.decide(&asked, &response, times) {
            Ok(stored) => self.keep(fill, &asked, forward.reason, stored, response, record),
            Err(why) => {
                fill.refuse(Instant::now());
                let why = Some(why);
                Err(Box::new(Unkept { why, response }))
            }
        };
        Ok(match kept {
            Ok(answer) => answer,
            Err(unkept) => {
                if unkept.why.is_some_and(|why| why.supersedes(status)) {
                    self.cache.store.invalidate(&self.asked.key);
                }
                self.unkept(*unkept, forward, record)
            }
        })
    }

    /// As [`Visit::fetch`], with nothing that is stored.
    async fn fetch_anew<C: ClientSide>(
        &self,
        fill: Fill,
        forward: Forward,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Stop> {
        let forward = Forward {
            validate: false,
            ..forward
        };
        self.fetch(fill, forward, None, side, record).await
    }

    /// Asks the app; its breaker is told of what came, which the client may never see.
    async fn send<C: ClientSide>(
        &self,
        request: &RequestHead,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let sent = self.onward.send(request, side, record).await;
        let end = match &sent {
            Ok(answer) => Ok(answer),
            Err(Refusal::Final(error)) => Err(error),
            // It goes on.
            Err(Refusal::ForNow(_) | Refusal::Full | Refusal::Cut(..)) => return sent,
        };
        if let Some(admitted) = record.admitted.take() {
            judge(self.onward.worker, admitted, end);
        }
        sent
    }

    /// No answer: what is stored may do.
    fn refused(
        &self,
        refusal: Refusal,
        hit: Option<&Hit>,
        record: &mut Record,
    ) -> Result<Answer, Stop> {
        let failed = failure(&refusal);
        if let Some(answer) = failed.and_then(|failed| self.instead(hit, failed, record)) {
            if let (Refusal::ForNow(error) | Refusal::Final(error) | Refusal::Cut(error, _), true) =
                (&refusal, record.admitted.is_some())
                && let Some(admitted) = record.admitted.take()
            {
                judge(self.onward.worker, admitted, Err(error));
            }
            record.queued = None;
            return Ok(answer);
        }
        Err(self.onward.stop(refusal, record.deadline))
    }

    /// The request as the app gets it, where its answer is to be stored.
    fn changed(&self, forward: Forward, validated: Option<&Hit>) -> RequestHead {
        let request = self.onward.head.request;
        let mut lines = Vec::new();
        if let Some(hit) = validated {
            let head = hit.object.head();
            let mut index = FieldIndex::default();
            read_lines(head, &mut index);
            let fields = Fields::new(head, &index);
            let ask = conditions(&fields);
            if let Some(tag) = ask.if_none_match {
                write_field(&mut lines, b"if-none-match", tag);
            }
            if let Some(since) = ask.if_modified_since {
                write_field(&mut lines, b"if-modified-since", since);
            }
        }
        let method = match forward.as_get {
            true => &Method::GET,
            false => &request.method,
        };
        request.changed(method, forwarded, &lines)
    }

    /// What is stored is still good. An error: it is not that which was asked about; the duty to ask is handed
    /// back.
    fn confirmed(
        &self,
        fill: Fill,
        forward: Forward,
        hit: &Hit,
        response: Response,
        times: Times,
        record: &mut Record,
    ) -> Result<Answer, Fill> {
        let head = hit.object.head().clone();
        let mut index = FieldIndex::default();
        read_lines(&head, &mut index);
        let old = Fields::new(&head, &index);
        let Some((new, _)) = response.head() else {
            return Err(fill);
        };
        if !confirms(&old, &new) {
            response.discard();
            // Not to be asked about again.
            self.cache.store.mark_stale(&self.asked.key);
            return Err(fill);
        }
        let merged = Merged::new(&old, &new);
        let policy = &self.cache.policy;
        let request = self.asked.request.as_get();
        let path = self.onward.head.path.as_bytes();
        let bypass = self.asked.bypass;
        let known = freshen(policy, bypass, &request, path, &hit.stored, &merged, times);
        let read = rules::Response::read(hit.stored.status, &merged);
        let lines = self.lines(&read, &merged, times.received);
        response.discard();
        let outcome = |stored| {
            Outcome::Forwarded(Forwarded {
                reason: forward.reason,
                status: Some(304),
                stored: Some(stored),
                collapsed: false,
            })
        };
        let now = Instant::now();
        match known {
            Ok(stored) => {
                let notes = notes::again(hit.object.meta(), &stored);
                let object = fill.refresh(&hit.object, &notes, &lines, now);
                let hit = Hit { object, stored };
                let age = stored.age(times.received);
                Ok(self.stored(&hit, age, outcome(Ok(())), record))
            }
            Err(why) => {
                fill.refuse(now);
                self.cache.store.invalidate(&self.asked.key);
                let age = hit.stored.age(times.received);
                Ok(self.stored(hit, age, outcome(Err(why)), record))
            }
        }
    }

    /// What becomes of an answer that the request did not fetch for the store.
    fn keep_late(
        &self,
        reason: Reason,
        hit: Option<&Hit>,
        response: Response,
        times: Times,
        record: &mut Record,
    ) -> Answer {
        if self.asked.request.refusal().is_some() {
            return self.passed_on(response, reason, None, record);
        }
        let request = self.asked.request;
        let stored = match self.decide(&request, &response, times) {
            Ok(stored) => stored,
            Err(why) => return self.passed_on(response, reason, Some(Err(why)), record),
        };
        let miss = match hit {
            Some(hit) => hit.object.miss(),
            None => Miss::default(),
        };
        let store = &self.cache.store;
        let begun = store.begin_known(&self.key(), &miss, Instant::now());
        let Begin::Lead(fill) = begun else {
            return self.passed_on(response, reason, None, record);
        };
        match self.keep(fill, &request, reason, stored, response, record) {
            Ok(answer) => answer,
            Err(unkept) => self.passed_on(unkept.response, reason, None, record),
        }
    }

    /// Whether an answer may be stored, and for how long.
    fn decide(
        &self,
        request: &rules::Request,
        response: &Response,
        times: Times,
    ) -> Result<Stored, NotStored> {
        let Some((fields, _)) = response.head() else {
            return Err(NotStored::Status);
        };
        let read = rules::Response::read(response.status.as_u16(), &fields);
        let path = self.onward.head.path.as_bytes();
        let (policy, bypass) = (&self.cache.policy, self.asked.bypass);
        let stored = store(policy, bypass, request, path, &read, times)?;
        match ask::varies_by_client(self.onward, &fields) {
            true => Err(NotStored::VaryAny),
            false => Ok(stored),
        }
    }

    /// Stores what has come, as it comes, and answers the client from there.
    fn keep(
        &self,
        fill: Fill,
        request: &rules::Request,
        reason: Reason,
        stored: Stored,
        mut response: Response,
        record: &mut Record,
    ) -> Result<Answer, Box<Unkept>> {
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        let filling = match self.start(fill, request, &stored, &response, length, record) {
            Ok(filling) => filling,
            Err(refused) => {
                tracing::debug!(%refused, route = %self.onward.route.key, "not stored");
                let why = None;
                return Err(Box::new(Unkept { why, response }));
            }
        };
        let outcome = Outcome::Forwarded(Forwarded {
            reason,
            status: Some(response.status.as_u16()),
            stored: Some(Ok(())),
            collapsed: false,
        });
        if let Some(extra) = response.extra_mut() {
            self.tell(&mut extra.lines, &outcome, record);
        }
        let trailers = Trailers::default();
        let answer = match response.head() {
            Some((fields, _)) => {
                let of = (&filling, Rc::clone(&trailers));
                self.fetched(&stored, fields, response.extra(), length, of)
            }
            None => self.bare(response.status, Vec::new()),
        };
        let pump = Pump {
            worker: Rc::clone(self.onward.worker),
            filling,
            trailers,
            _busy: record.busy.take(),
        };
        tokio::task::spawn_local(pump.run(response));
        Ok(answer)
    }

    fn start(
        &self,
        fill: Fill,
        request: &rules::Request,
        stored: &Stored,
        response: &Response,
        length: Option<u64>,
        record: &Record,
    ) -> Result<Filling, Refused> {
        let Some((fields, _)) = response.head() else {
            return Err(Refused::TooLong);
        };
        let read = rules::Response::read(response.status.as_u16(), &fields);
        let client = self.onward.head.request.fields();
        let names = vary::names(request, &fields);
        let mut values = Vec::new();
        vary::values(&names, &client, &mut values);
        let tags: Vec<&[u8]> = tags::tags(&fields).collect();
        let notes = notes::write(stored, self.own(record));
        let head = self.lines(&read, &fields, stored.received);
        fill.start(&Entry {
            meta: &notes,
            head: &head,
            tags: &tags,
            vary: (!names.is_empty()).then_some((&*names, &*values)),
            length,
        })
    }

    /// What the app may call itself in addresses, where the route changes these.
    fn own(&self, record: &Record) -> Option<(&Address, &str)> {
        let route = self.onward.route;
        let endpoint = record.tries.endpoint(&route.upstream);
        let endpoint = endpoint.filter(|_| route.back.is_some())?;
        let host = route.host_of(endpoint, self.onward.head.authority);
        Some((&endpoint.addr, host))
    }

    /// The fields that are stored, as lines.
    fn lines(
        &self,
        read: &rules::Response,
        head: &(impl Source + ?Sized),
        received: u64,
    ) -> Vec<u8> {
        let kept = Kept::new(&self.cache.policy, read, head);
        let mut lines = Vec::with_capacity(512);
        for (name, value) in head.fields().filter(|(name, _)| kept.keeps(name)) {
            write_field(&mut lines, name, value);
        }
        // RFC 9110 section 6.6.1: it is stored, so it gets one.
        if read.date.is_none() {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(received);
            write_field(&mut lines, b"date", httpdate::fmt_http_date(at).as_bytes());
        }
        lines
    }

    /// An answer that was asked for to be stored, and is not: the client gets what it has asked for.
    fn unkept(&self, unkept: Unkept, forward: Forward, record: &mut Record) -> Answer {
        let Unkept { why, response } = unkept;
        let request = self.onward.head.request;
        let stored = why.map(Err);
        let Some((fields, _)) = response.head() else {
            return Answer::Response(response);
        };
        let status = response.status.as_u16();
        let conditional = self.asked.request.if_none_match || self.asked.request.if_modified_since;
        let read = conditional.then(|| rules::Response::read(status, &fields));
        let date = read.and_then(|read| read.date).unwrap_or(self.now);
        let has_it = conditional && {
            let client = request.fields();
            let own = &self.asked.request;
            let part = conditional::answer(own, &client, (status, date), &fields, None);
            part == conditional::Answer::NotModified
        };
        let head_only = request.method == Method::HEAD;
        if !has_it && !head_only {
            return self.passed_on(response, forward.reason, stored, record);
        }
        let mut lines = Vec::new();
        let kept = headers::Kept::of(fields, response.extra(), head_only && !has_it);
        fields.copy(&mut lines, |field| {
            kept.holds(field) && (!has_it || rules::fields::in_304(field.name))
        });
        lines.extend_from_slice(&response.extra().lines);
        let outcome = Outcome::Forwarded(Forwarded {
            reason: forward.reason,
            status: Some(status),
            stored,
            collapsed: false,
        });
        self.tell(&mut lines, &outcome, record);
        let status = match has_it {
            true => StatusCode::NOT_MODIFIED,
            false => response.status,
        };
        response.discard();
        self.headed(status, lines)
    }

    /// Hands the app's answer on as it comes.
    fn passed_on(
        &self,
        mut response: Response,
        reason: Reason,
        stored: Option<Result<(), NotStored>>,
        record: &mut Record,
    ) -> Answer {
        let outcome = Outcome::Forwarded(Forwarded {
            reason,
            status: Some(response.status.as_u16()),
            stored,
            collapsed: false,
        });
        if let Some(extra) = response.extra_mut() {
            self.tell(&mut extra.lines, &outcome, record);
        }
        Answer::Response(response)
    }

    /// What an answer that is not stored says of what is: an unsafe request ends it (RFC 9111 section 4.4), and the
    /// answer to a HEAD may (section 4.3.5).
    fn heed(&self, response: &Response, hit: Option<&Hit>) {
        let Some((fields, _)) = response.head() else {
            return;
        };
        let (head, status) = (self.onward.head, response.status.as_u16());
        let url = Url {
            https: head.https,
            host: head.authority.as_bytes(),
            target: head.rooted_target().as_bytes(),
        };
        let keys = invalidate::targets(self.asked.request.method, status, url, &fields);
        if !keys.is_empty() {
            self.invalidate(&keys, url);
        }
        if let Some(hit) = hit.filter(|_| head.request.method == Method::HEAD) {
            let stored = hit.object.head();
            let mut index = FieldIndex::default();
            read_lines(stored, &mut index);
            let stored = Fields::new(stored, &index);
            if head_says(&stored, hit.object.len(), status, &fields) == HeadSays::Outdated {
                self.cache.store.mark_stale(&self.asked.key);
            }
        }
    }

    /// On all routes of the host: one may have the pages, another what changes them.
    fn invalidate(&self, keys: &[Vec<u8>], url: Url<'_>) {
        let (onward, store) = (self.onward, &self.cache.store);
        let table = onward.worker.table();
        let mut origin = Vec::new();
        Url { target: b"", ..url }.write(&mut origin);
        let routes = table.find_host(onward.head.host.as_str());
        let routes = routes.iter().flat_map(|entry| &entry.routes);
        for cache in routes.filter_map(|route| route.cache.as_deref()) {
            for key in keys {
                let target = key.strip_prefix(&*origin).unwrap_or_default();
                let Ok(target) = std::str::from_utf8(target) else {
                    continue;
                };
                let mut key = Vec::new();
                ask::write_key(&mut key, onward, cache, target);
                store.invalidate(&key);
            }
        }
    }
}

/// Brings an answer into the store, whoever reads it and however slowly.
struct Pump {
    worker: Rc<Worker>,
    filling: Filling,
    trailers: Trailers,
    /// The app has it to do for as long as this lasts.
    _busy: Option<Busy>,
}

impl Pump {
    async fn run(mut self, mut response: Response) {
        response.take_head();
        let mut room = self.worker.buffers.large();
        let whole = self.fill(&mut response, &mut room).await;
        self.worker.buffers.give(room);
        match whole {
            // Dropped otherwise: those who read it are cut off.
            Ok(true) => _ = self.filling.finish(Instant::now()),
            Ok(false) => {}
            Err(error) => {
                self.worker.metrics.count_error(error.kind());
                tracing::debug!(%error, "response cut while it was stored");
            }
        }
    }

    /// Whether it is there to its end; otherwise nobody wants it.
    async fn fill(
        &mut self,
        response: &mut Response,
        room: &mut Vec<u8>,
    ) -> Result<bool, crate::proxy::exchange::ExchangeError> {
        loop {
            room.clear();
            let space = room.capacity();
            let part = poll_fn(|cx| response.poll_body(cx, &mut Nobody, room, Chunks::None, space));
            match part.await? {
                ResponsePart::Data(_) => {
                    if self.filling.push(room).await.is_err() {
                        return Ok(false);
                    }
                    if response.is_done() {
                        return Ok(true);
                    }
                }
                ResponsePart::End => return Ok(true),
                ResponsePart::Trailers(trailers) => {
                    self.trailers.replace(Some(trailers));
                    return Ok(true);
                }
            }
        }
    }
}
