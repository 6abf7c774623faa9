//! A cache made of nothing but the rules and a map: what a proxy has to do with them, in short.

use std::collections::HashMap;

use crate::cache::rules::conditional::{Answer, answer};
use crate::cache::rules::fields::{self, Kept};
use crate::cache::rules::invalidate;
use crate::cache::rules::key::Url;
use crate::cache::rules::lookup::{Around, Failure, Forward, Lookup, Why, lookup, stale_after};
use crate::cache::rules::policy::{Bypass, Policy};
use crate::cache::rules::store::{Times, store};
use crate::cache::rules::validate::{HeadSays, Merged, conditions, confirms, freshen, head_says};
use crate::cache::rules::vary::{self, Place, Variant};
use crate::cache::rules::{Request, Response, Source, Stored, Time, date};

pub(super) type Head = Vec<(String, String)>;

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) status: u16,
    pub(super) head: Head,
    pub(super) body: String,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) head: Head,
}

/// The app: answers at once, later, or not at all.
pub(super) trait Origin {
    fn ask(&mut self, ask: &Ask, now: &mut Time) -> Option<Message>;
}

#[derive(Debug)]
struct Entry {
    names: Vec<u8>,
    values: Vec<u8>,
    stored: Stored,
    head: Head,
    body: String,
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) policy: Policy,
    pub(super) now: Time,
    entries: HashMap<Vec<u8>, Vec<Entry>>,
}

impl Cache {
    pub(super) fn new(policy: Policy, now: Time) -> Self {
        Self {
            policy,
            now,
            entries: HashMap::new(),
        }
    }

    pub(super) fn get(&mut self, ask: &Ask, origin: &mut impl Origin) -> Message {
        let request = Request::read(ask.method.as_bytes(), &ask.head);
        let key = key(&ask.target);
        let entries = self.entries.get(&key).map_or([].as_slice(), Vec::as_slice);
        let found = vary::select(
            entries.iter().map(Entry::variant),
            &request,
            &ask.head,
            &mut Vec::new(),
        );
        let around = Around {
            variants: !entries.is_empty(),
            ..Around::default()
        };
        let entry = found.map(|at| &entries[at]);
        let stored = entry.map(|entry| &entry.stored);
        match lookup(&self.policy, &request, stored, around, self.now) {
            Lookup::Hit { age } => serve(&request, ask, entry.expect("a hit"), age),
            Lookup::Stale { age, why } => {
                let message = serve(&request, ask, entry.expect("a hit"), age);
                if why == Why::Refresh {
                    let forward = Forward::refresh(&entry.expect("a hit").stored);
                    self.forward(&request, ask, &key, found, forward, origin);
                }
                message
            }
            Lookup::OnlyIfCached => error(504),
            Lookup::Forward(forward) => self.forward(&request, ask, &key, found, forward, origin),
        }
    }

    fn forward(
        &mut self,
        request: &Request,
        ask: &Ask,
        key: &[u8],
        found: Option<usize>,
        forward: Forward,
        origin: &mut impl Origin,
    ) -> Message {
        let entry = found.map(|at| &self.entries[key][at]);
        let onward = onward(ask, forward, entry);
        let sent = self.now;
        let came = origin.ask(&onward, &mut self.now);
        let times = Times {
            sent,
            received: self.now,
        };
        let failure = match &came {
            None => Some(Failure::Error),
            Some(message) => Some(Failure::Status(message.status)),
        };
        if let (Some(entry), Some(failure)) = (entry, failure)
            && let Some(age) = stale_after(
                &self.policy,
                request,
                Bypass::default(),
                &entry.stored,
                failure,
                self.now,
            )
        {
            return serve(request, ask, entry, age);
        }
        let Some(message) = came else {
            return error(502);
        };
        if let (304, true, Some(at)) = (message.status, forward.validate, found) {
            if !confirms(&self.entries[key][at].head, &message.head) {
                self.entries.get_mut(key).expect("it was there").remove(at);
                let forward = Forward {
                    validate: false,
                    ..forward
                };
                return self.forward(request, ask, key, None, forward, origin);
            }
            return self.confirmed(request, ask, key, at, &message, times);
        }
        for key in invalidate::targets(
            request.method,
            message.status,
            url(&ask.target),
            &message.head,
        ) {
            self.entries.remove(&key);
        }
        if onward.method == "HEAD" {
            self.learn(request, ask, key, found, &message, times);
            return message;
        }
        let request = if forward.as_get {
            request.as_get()
        } else {
            *request
        };
        self.keep(&request, ask, key, found, &message, times);
        if forward.whole {
            let of = arrived(&message, self.now);
            return part(&request, ask, of, message);
        }
        message
    }

    fn confirmed(
        &mut self,
        request: &Request,
        ask: &Ask,
        key: &[u8],
        at: usize,
        message: &Message,
        times: Times,
    ) -> Message {
        let entries = self.entries.get_mut(key).expect("it was there");
        let entry = &entries[at];
        let merged = Merged::new(&entry.head, &message.head);
        let known = freshen(
            &self.policy,
            Bypass::default(),
            &request.as_get(),
            ask.target.as_bytes(),
            &entry.stored,
            &merged,
            times,
        );
        let response = Response::read(entry.stored.status, &merged);
        let head = kept(&self.policy, &response, &merged);
        entries[at].head = head;
        let Ok(stored) = known else {
            let gone = entries.remove(at);
            return serve(request, ask, &gone, 0);
        };
        entries[at].stored = stored;
        serve(request, ask, &entries[at], stored.age(self.now))
    }

    fn keep(
        &mut self,
        request: &Request,
        ask: &Ask,
        key: &[u8],
        found: Option<usize>,
        message: &Message,
        times: Times,
    ) {
        let response = Response::read(message.status, &message.head);
        let path = ask.target.as_bytes();
        let known = store(
            &self.policy,
            Bypass::default(),
            request,
            path,
            &response,
            times,
        );
        let entries = self.entries.entry(key.to_vec()).or_default();
        let stored = match known {
            Ok(stored) => stored,
            Err(why) => {
                if let Some(at) = found.filter(|_| why.supersedes(message.status)) {
                    entries.remove(at);
                }
                return;
            }
        };
        let mut values = Vec::new();
        let names = vary::names(request, &message.head);
        vary::values(&names, &ask.head, &mut values);
        let place = vary::place(entries.iter().map(Entry::variant), &names, &values);
        let entry = Entry {
            names,
            values,
            stored,
            head: kept(&self.policy, &response, &message.head),
            body: message.body.clone(),
        };
        match place {
            Place::New => entries.push(entry),
            Place::Instead(at) => entries[at] = entry,
        }
    }

    fn learn(
        &mut self,
        request: &Request,
        ask: &Ask,
        key: &[u8],
        found: Option<usize>,
        message: &Message,
        times: Times,
    ) {
        let Some(at) = found else {
            return;
        };
        let entry = &mut self.entries.get_mut(key).expect("it was there")[at];
        let length = entry.body.len() as u64;
        match head_says(&entry.head, length, message.status, &message.head) {
            HeadSays::Nothing => {}
            HeadSays::Outdated => entry.stored = entry.stored.outdated(),
            HeadSays::Good => {
                let merged = Merged::new(&entry.head, &message.head);
                let path = ask.target.as_bytes();
                let request = request.as_get();
                let policy = &self.policy;
                let stored = &entry.stored;
                let known = freshen(
                    policy,
                    Bypass::default(),
                    &request,
                    path,
                    stored,
                    &merged,
                    times,
                );
                entry.stored = known.unwrap_or_else(|_| entry.stored.outdated());
            }
        }
    }
}

impl Entry {
    fn variant(&self) -> Variant<'_> {
        Variant {
            names: &self.names,
            values: &self.values,
            stored: &self.stored,
        }
    }
}

/// Status and date of what has just come.
fn arrived(message: &Message, now: Time) -> (u16, Time) {
    let date = message.head.first(b"date").and_then(date::parse);
    (message.status, date.unwrap_or(now))
}

fn url(target: &str) -> Url<'_> {
    Url {
        https: false,
        host: b"app.test",
        target: target.as_bytes(),
    }
}

fn key(target: &str) -> Vec<u8> {
    let mut key = Vec::new();
    url(target).write(&mut key);
    key
}

fn error(status: u16) -> Message {
    Message {
        status,
        head: Vec::new(),
        body: String::new(),
    }
}

fn onward(ask: &Ask, forward: Forward, entry: Option<&Entry>) -> Ask {
    let mut onward = ask.clone();
    if forward.whole {
        onward
            .head
            .retain(|(name, _)| fields::forwarded(name.as_bytes()));
    }
    if forward.as_get {
        onward.method = "GET".into();
    }
    if let Some(entry) = entry.filter(|_| forward.validate) {
        let ask = conditions(&entry.head);
        let mut add = |name: &str, value: Option<&[u8]>| {
            let text = value.map(|value| String::from_utf8_lossy(value).into_owned());
            onward.head.extend(text.map(|text| (name.to_owned(), text)));
        };
        add("If-None-Match", ask.if_none_match);
        add("If-Modified-Since", ask.if_modified_since);
    }
    onward
}

fn kept(policy: &Policy, response: &Response, head: &impl Source) -> Head {
    let kept = Kept::new(policy, response, head);
    let fields = head.fields().filter(|(name, _)| kept.keeps(name));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn serve(request: &Request, ask: &Ask, entry: &Entry, age: u32) -> Message {
    let mut head = entry.head.clone();
    head.retain(|(name, _)| fields::served(name.as_bytes()));
    head.push(("Age".into(), age.to_string()));
    let message = Message {
        status: entry.stored.status,
        head,
        body: entry.body.clone(),
    };
    part(
        request,
        ask,
        (entry.stored.status, entry.stored.date),
        message,
    )
}

fn part(request: &Request, ask: &Ask, of: (u16, Time), mut message: Message) -> Message {
    let length = message.body.len() as u64;
    match answer(request, &ask.head, of, &message.head, Some(length)) {
        Answer::Whole => {}
        Answer::NotModified => {
            message.status = 304;
            message
                .head
                .retain(|(name, _)| fields::in_304(name.as_bytes()));
            message.body.clear();
        }
        Answer::Part(part) => {
            message.status = 206;
            message
                .head
                .retain(|(name, _)| fields::in_206(name.as_bytes()));
            message.body = message.body[part.first as usize..=part.last as usize].to_owned();
        }
        Answer::Parts(_) => message.status = 206,
        Answer::Unsatisfiable => message.status = 416,
    }
    message
}
