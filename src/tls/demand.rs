//! Names nobody lists (`wharf.tls.ask`): who is asked about them, how often, and what was answered.
//!
//! Pure bookkeeping under one lock that is held for microseconds; `ask` puts the questions. Everything here
//! is bounded, because names come from handshakes, and whoever likes invents them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::model::{Host, HostPattern};

use super::ObtainError;

/// A name about which the app, or whoever the label names, is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub name: Host,
    /// What its route has as its host.
    pub pattern: HostPattern,
}

/// What was said of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It may have a certificate.
    Yes,
    No,
    /// Nobody answered, or not so that it could be understood: neither yes nor no.
    Unknown,
}

/// What there was to ask since the start, for metrics and status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskTotals {
    pub yes: u64,
    pub no: u64,
    pub unknown: u64,
    /// Names that were not asked about, or not ordered, because there were too many new ones.
    pub held_back: u64,
    /// Questions that wait for an answer now.
    pub open: u64,
}

/// All questions of the process.
pub(super) struct Demand {
    state: Mutex<State>,
    /// A question waits to be put.
    asked: Notify,
    hasher: RandomState,
    started: Instant,
}

struct State {
    /// At most [`ANSWERS`].
    answers: HashMap<Host, Known>,
    /// Queued or put; at most [`OPEN`].
    open: HashMap<Host, Open>,
    queue: VecDeque<Question>,
    /// By a hash of the client's network. Those that share a place share their questions, too: so many
    /// places take no more room than that, whoever comes.
    clients: Box<[Meter; CLIENTS]>,
    questions: Meter,
    names: Meter,
    totals: AskTotals,
    /// Why the last question had no answer, until one has.
    trouble: Option<Arc<str>>,
    told: Option<Instant>,
}

struct Known {
    answer: Answer,
    until: Instant,
}

struct Open {
    /// Ends with `Some`.
    flight: watch::Sender<Option<Answer>>,
}

/// What a handshake is told about a name.
pub(super) enum Opinion {
    Answered(Answer),
    /// Ends with `Some`.
    Open(watch::Receiver<Option<Answer>>),
}

impl Demand {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                answers: HashMap::new(),
                open: HashMap::new(),
                queue: VecDeque::new(),
                clients: Box::new([Meter::default(); CLIENTS]),
                questions: Meter::default(),
                names: Meter::default(),
                totals: AskTotals::default(),
                trouble: None,
                told: None,
            }),
            asked: Notify::new(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// What is known of a name; if nothing is, it is asked now. `client`: whose questions these are; `None`
    /// where it cannot be told, or nobody is to blame.
    pub(super) fn opinion(
        &self,
        question: &Question,
        client: Option<IpAddr>,
        now: Instant,
    ) -> Result<Opinion, ObtainError> {
        let at = self.millis(now);
        let place = client.map(|ip| self.hasher.hash_one(network(ip)) as usize % CLIENTS);
        let mut state = self.state();
        if let Some(answer) = state.known(&question.name, now) {
            return Ok(Opinion::Answered(answer));
        }
        if let Some(open) = state.open.get(&question.name) {
            let flight = &open.flight;
            return match flight.receiver_count() < WAITERS {
                true => Ok(Opinion::Open(flight.subscribe())),
                false => Err(ObtainError::Busy),
            };
        }
        let full = state.open.len() >= OPEN;
        if full
            || place.is_some_and(|place| !state.clients[place].has_room(PER_CLIENT, at))
            || !state.questions.has_room(QUESTIONS, at)
        {
            state.hold_back(now);
            return Err(ObtainError::HeldBack);
        }
        if let Some(place) = place {
            state.clients[place].take(PER_CLIENT, at);
        }
        state.questions.take(QUESTIONS, at);
        let flight = state.put(question);
        drop(state);
        self.asked.notify_one();
        Ok(Opinion::Open(flight))
    }

    /// Asks about a name that has a certificate which is to be renewed, or an order that failed. `false`:
    /// there is no room now.
    pub(super) fn again(&self, question: &Question) -> bool {
        let mut state = self.state();
        if state.open.contains_key(&question.name) {
            return true;
        }
        if state.open.len() >= OPEN / 2 {
            return false;
        }
        drop(state.put(question));
        drop(state);
        self.asked.notify_one();
        true
    }

    /// Whether one more name may be ordered that has had no certificate before.
    pub(super) fn admit(&self, now: Instant) -> Result<(), ObtainError> {
        let at = self.millis(now);
        let mut state = self.state();
        if state.names.has_room(NEW_NAMES, at) {
            state.names.take(NEW_NAMES, at);
            return Ok(());
        }
        state.hold_back(now);
        Err(ObtainError::HeldBack)
    }

    /// The next question to be put; waits for one. Cancel safe; for one caller.
    pub(super) async fn next(&self) -> Question {
        loop {
            if let Some(question) = self.state().queue.pop_front() {
                return question;
            }
            self.asked.notified().await;
        }
    }

    /// Notes an answer, or why there is none, and tells those who wait for it.
    pub(super) fn note(&self, name: &Host, answer: Answer, why: Option<Arc<str>>, now: Instant) {
        let mut state = self.state();
        state.trouble = why;
        let (count, keep) = match answer {
            Answer::Yes => (&mut state.totals.yes, KEEP_YES),
            Answer::No => (&mut state.totals.no, KEEP_NO),
            Answer::Unknown => (&mut state.totals.unknown, KEEP_UNKNOWN),
        };
        *count += 1;
        state.remember(name, answer, now + keep, now);
        if let Some(open) = state.open.remove(name) {
            open.flight.send_replace(Some(answer));
        }
    }

    /// Somebody else is asked from now on.
    pub(super) fn forget(&self) {
        self.state().answers.clear();
    }

    /// The answer that counts now, and for how long.
    pub(super) fn known(&self, name: &Host, now: Instant) -> Option<(Answer, Duration)> {
        let state = self.state();
        let known = state.answers.get(name).filter(|known| known.until > now)?;
        Some((known.answer, known.until - now))
    }

    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        self.state().trouble.clone()
    }

    pub(super) fn totals(&self) -> AskTotals {
        let state = self.state();
        AskTotals {
            open: state.open.len() as u64,
            ..state.totals
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// A panic while it is held leaves at worst a question without its answer.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self, name: &Host, now: Instant) -> Option<Answer> {
        let known = self.answers.get(name).filter(|known| known.until > now)?;
        Some(known.answer)
    }

    fn put(&mut self, question: &Question) -> watch::Receiver<Option<Answer>> {
        let (flight, waiting) = watch::channel(None);
        self.open.insert(question.name.clone(), Open { flight });
        self.queue.push_back(question.clone());
        waiting
    }

    fn remember(&mut self, name: &Host, answer: Answer, until: Instant, now: Instant) {
        if self.answers.len() >= ANSWERS && !self.answers.contains_key(name) {
            self.answers.retain(|_, known| known.until > now);
        }
        if self.answers.len() >= ANSWERS && !self.answers.contains_key(name) {
            // What would end soonest is asked again if it is needed.
            let soonest = self.answers.iter().min_by_key(|(_, known)| known.until);
            if let Some(name) = soonest.map(|(name, _)| name.clone()) {
                self.answers.remove(&name);
            }
        }
        self.answers.insert(name.clone(), Known { answer, until });
    }

    fn hold_back(&mut self, now: Instant) {
        self.totals.held_back += 1;
        let due = self.told.is_none_or(|told| now >= told + TELL_AGAIN);
        if due {
            self.told = Some(now);
            tracing::warn!(
                so_far = self.totals.held_back,
                "wharf.tls.ask: more new names than are asked about or ordered at a time; some are held back"
            );
        }
    }
}

/// So many at once, and then one in each interval.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    burst: u64,
    /// Milliseconds.
    interval: u64,
}

/// How much of an allowance is used up: the time, in milliseconds, at which all of it is there again.
#[derive(Debug, Clone, Copy, Default)]
struct Meter(u64);

impl Meter {
    fn has_room(self, of: Allowance, now: u64) -> bool {
        self.0 <= now + of.interval * (of.burst - 1)
    }

    fn take(&mut self, of: Allowance, now: u64) {
        self.0 = self.0.max(now) + of.interval;
    }
}

/// Whose questions count together: an address, or a network of IPv6 as one customer has it.
fn network(ip: IpAddr) -> [u8; 8] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            [a, b, c, d, e, f, g, h]
        }
    }
}

/// New names ordered, over all clients: 10 a minute. Let's Encrypt gives 300 in three hours.
const NEW_NAMES: Allowance = Allowance {
    burst: 10,
    interval: 6_000,
};
/// Questions a client causes: 10 a minute.
const PER_CLIENT: Allowance = Allowance {
    burst: 10,
    interval: 6_000,
};
/// Questions in all: 10 a second.
const QUESTIONS: Allowance = Allowance {
    burst: 50,
    interval: 100,
};
/// Questions without an answer yet.
const OPEN: usize = 64;
/// Connections that wait for one answer.
const WAITERS: usize = 256;
const ANSWERS: usize = 4096;
const CLIENTS: usize = 4096;
const KEEP_YES: Duration = Duration::from_secs(60 * 60);
const KEEP_NO: Duration = Duration::from_secs(60);
/// Who could not be asked may be back in a moment.
const KEEP_UNKNOWN: Duration = Duration::from_secs(5);
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn question(name: &str) -> Question {
        Question {
            name: Host::parse(name).unwrap(),
            pattern: HostPattern::Default,
        }
    }

    fn client(n: u32) -> Option<IpAddr> {
        Some(IpAddr::V4((0x0a00_0000 + n).into()))
    }

    fn opinion(demand: &Demand, name: &str, n: u32, now: Instant) -> Result<Opinion, ObtainError> {
        demand.opinion(&question(name), client(n), now)
    }

    fn is_held_back(opinion: Result<Opinion, ObtainError>) -> bool {
        matches!(opinion, Err(ObtainError::HeldBack))
    }

    /// Answers what is queued.
    fn answer(demand: &Demand, answer: Answer, now: Instant) -> usize {
        let queued: Vec<_> = demand.state().queue.drain(..).collect();
        for question in &queued {
            demand.note(&question.name, answer, None, now);
        }
        queued.len()
    }

    #[test]
    fn one_question_is_put_for_all_who_wait_and_its_answer_is_kept() {
        let (demand, now) = (Demand::new(), Instant::now());
        for n in 0..WAITERS as u32 {
            let opinion = opinion(&demand, "a.test", n, now);
            assert!(matches!(opinion, Ok(Opinion::Open(_))));
            // Held by the flight's count.
            std::mem::forget(opinion);
        }
        let surplus = opinion(&demand, "a.test", 1, now);
        assert!(matches!(surplus, Err(ObtainError::Busy)));
        for (said, keep) in [
            (Answer::No, KEEP_NO),
            (Answer::Unknown, KEEP_UNKNOWN),
            (Answer::Yes, KEEP_YES),
        ] {
            demand.again(&question("a.test"));
            assert_eq!(answer(&demand, said, now), 1);
            let known = |at| demand.known(&question("a.test").name, at).map(|one| one.0);
            assert_eq!(known(now + keep - SECOND), Some(said));
            assert_eq!(known(now + keep), None);
        }
    }

    #[test]
    fn a_client_has_its_own_allowance() {
        let (demand, now) = (Demand::new(), Instant::now());
        for n in 0..10 {
            let name = format!("{n}.test");
            assert!(!is_held_back(opinion(&demand, &name, 1, now)));
            answer(&demand, Answer::No, now);
        }
        assert!(is_held_back(opinion(&demand, "x.test", 1, now)));
        assert!(!is_held_back(opinion(&demand, "x.test", 2, now)));
        assert!(!is_held_back(opinion(&demand, "3.test", 1, now)), "known");
        let nobody = demand.opinion(&question("y.test"), None, now);
        assert!(!is_held_back(nobody));
        assert!(!is_held_back(opinion(
            &demand,
            "z.test",
            1,
            now + 6 * SECOND
        )));
        assert!(is_held_back(opinion(
            &demand,
            "w.test",
            1,
            now + 6 * SECOND
        )));
        assert_eq!(demand.totals().held_back, 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8:1:2:3::4"), ip("2001:db8:1:2::9"));
        assert_ne!(ip("2001:db8:1:2::"), ip("2001:db8:1:3::"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_ne!(ip("10.0.0.1"), ip("10.0.0.2"));
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded() {
        let (demand, start) = (Demand::new(), Instant::now());
        let mut asked = 0;
        for n in 0..100_000_u32 {
            // 1,000 clients a second for 100 s.
            let now = start + Duration::from_millis(u64::from(n));
            drop(opinion(&demand, &format!("n{n}.test"), n, now));
            asked += answer(&demand, Answer::No, now);
        }
        assert!((1_000..1_100).contains(&asked), "{asked}");
        let state = demand.state();
        assert!(state.answers.len() <= ANSWERS && state.open.is_empty());
    }

    #[test]
    fn who_hangs_gets_no_more_questions_than_there_is_room_for() {
        let (demand, start) = (Demand::new(), Instant::now());
        for n in 0..1_000 {
            let now = start + Duration::from_millis(100) * n;
            drop(opinion(&demand, &format!("n{n}.test"), n, now));
        }
        assert_eq!(demand.totals().open, OPEN as u64);
        assert!(!demand.again(&question("renewed.test")));
    }

    #[test]
    fn more_answers_than_there_is_room_for_push_out_those_that_end_soonest() {
        let (demand, now) = (Demand::new(), Instant::now());
        demand.note(&question("yes.test").name, Answer::Yes, None, now);
        for n in 0..ANSWERS + 10 {
            let at = now + Duration::from_millis(n as u64);
            demand.note(&question(&format!("n{n}.test")).name, Answer::No, None, at);
        }
        assert_eq!(demand.state().answers.len(), ANSWERS);
        let known = |name: &str| demand.known(&question(name).name, now + SECOND);
        assert!(known("yes.test").is_some() && known("n0.test").is_none());
    }

    #[test]
    fn ten_new_names_are_ordered_a_minute() {
        let (demand, now) = (Demand::new(), Instant::now());
        let admitted = (0..600).filter(|second| demand.admit(now + SECOND * *second).is_ok());
        assert_eq!(admitted.count(), 10 + 99);
    }
}
