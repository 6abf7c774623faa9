//! The engine's event sequences, as measured on 20.10 and read in the source of 23.0, and chaos.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::docker::Attachment;

const APP: &str = "app";
const NET: &str = "net";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(action: Action) -> Event {
    Event {
        at: 0,
        container: APP.into(),
        action,
    }
}

fn container(id: &str, state: State) -> Container {
    let network = Attachment {
        name: "web".into(),
        network_id: NET.into(),
        ipv4: Some([172, 18, 0, 2].into()),
        ipv6: None,
        gateway: None,
    };
    Container {
        id: id.into(),
        name: id.into(),
        labels: BTreeMap::new(),
        created: 0,
        image: String::new(),
        ended: 0,
        state,
        health: Health::None,
        networks: vec![network],
        exposed: vec![80],
        published: Vec::new(),
        network_mode: "web".into(),
        complaint: None,
    }
}

/// One container with its signs; times are milliseconds since the first event.
struct Scene {
    start: Instant,
    signs: Signs,
    facts: FactsById,
    list: Vec<Container>,
}

impl Scene {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            signs: Signs::default(),
            facts: FactsById::new(),
            list: vec![container(APP, State::Running)],
        }
    }

    fn stop(signal: u8, seconds: u64) -> Self {
        let stop = Stop {
            signal,
            timeout: Duration::from_secs(seconds),
        };
        let exposed = Vec::new();
        let mut scene = Self::new();
        scene.facts.insert(
            APP.into(),
            Facts {
                exposed,
                stop,
                ..Facts::default()
            },
        );
        scene
    }

    fn event(&mut self, at: u64, action: Action) -> State {
        self.signs.note(&event(action), self.start + ms(at));
        self.state()
    }

    /// A list begun at `at`.
    fn list(&mut self, at: u64, state: State) -> State {
        self.list[0].state = state;
        self.settle(at)
    }

    fn settle(&mut self, at: u64) -> State {
        let begun = self.start + ms(at);
        self.signs.settle(&self.list, begun, &self.facts);
        self.state()
    }

    fn seen(&self) -> Container {
        let mut list = self.list.clone();
        self.signs.apply(&mut list, &self.facts);
        list.remove(0)
    }

    fn state(&self) -> State {
        self.seen().state
    }

    fn due(&self) -> Option<u128> {
        let due = self.signs.due(&self.facts);
        due.map(|due| (due - self.start).as_millis())
    }

    fn off(&self) -> bool {
        self.seen().networks.is_empty()
    }
}

#[test]
fn a_restart_between_two_looks_leaves_a_trace() {
    let mut scene = Scene::new();
    let mut tell = |at: i64, action| {
        let event = Event {
            at,
            ..event(action)
        };
        scene.signs.note(&event, scene.start + ms(at as u64));
    };
    tell(5, Action::Down);
    tell(6, Action::Down);
    tell(7, Action::Start);
    assert_eq!(scene.list(8, State::Running), State::Running);
    assert_eq!(scene.seen().ended, 6);
    // For as long as there is such a container.
    scene.list.clear();
    scene
        .signs
        .settle(&scene.list, scene.start + ms(9), &scene.facts);
    scene.list.push(container(APP, State::Running));
    assert_eq!(scene.seen().ended, 0);
}

#[test]
fn stopped_with_sigterm_ignored() {
    let mut scene = Scene::stop(15, 3);
    assert_eq!(scene.event(0, Action::Kill(15)), State::Stopping);
    for look in [0, 20, 60, 120, 400, 2900] {
        assert_eq!(scene.list(look, State::Running), State::Stopping, "{look}");
    }
    assert_eq!(scene.event(3029, Action::Kill(9)), State::Exited);
    assert_eq!(scene.event(3054, Action::Down), State::Exited);
    // The list is late.
    assert_eq!(scene.list(3054, State::Running), State::Exited);
    assert_eq!(scene.list(3120, State::Running), State::Exited);
    assert_eq!(
        scene.event(3135, Action::Disconnect(NET.into())),
        State::Exited
    );
    assert_eq!(scene.event(3161, Action::Down), State::Exited);
    assert_eq!(scene.list(3181, State::Exited), State::Exited);
    scene.list[0].networks.clear();
    scene.settle(3200);
    assert!(scene.signs.of.is_empty());
    assert_eq!(scene.due(), None);
}

#[test]
fn a_later_engine_disconnects_first() {
    let mut scene = Scene::new();
    scene.event(0, Action::Disconnect(NET.into()));
    assert!(scene.off() && scene.state() == State::Running);
    assert_eq!(scene.event(5, Action::Down), State::Exited);
    assert!(scene.off());
}

#[test]
fn other_signals_are_no_stop() {
    let mut scene = Scene::new();
    for signal in [1, 10, 12, 28] {
        assert_eq!(scene.event(0, Action::Kill(signal)), State::Running);
    }
    let mut scene = Scene::stop(2, 10);
    assert_eq!(scene.event(0, Action::Kill(15)), State::Running);
    assert_eq!(scene.event(0, Action::Kill(2)), State::Stopping);
    assert_eq!(scene.event(0, Action::Kill(1)), State::Stopping);
    // One that survives nothing.
    let mut scene = Scene::stop(2, 10);
    assert_eq!(scene.event(0, Action::Kill(9)), State::Exited);
}

#[test]
fn the_stop_signal_may_be_learnt_after_the_kill() {
    let mut scene = Scene::new();
    assert_eq!(scene.event(0, Action::Kill(3)), State::Running);
    scene.facts = Scene::stop(3, 1).facts;
    assert_eq!(scene.state(), State::Stopping);
}

#[test]
fn who_ignores_a_stop_is_back_after_its_timeout() {
    let mut scene = Scene::stop(15, 1);
    scene.event(0, Action::Kill(15));
    assert_eq!(scene.due(), Some(3000));
    assert_eq!(scene.list(2999, State::Running), State::Stopping);
    assert_eq!(scene.list(3000, State::Running), State::Running);
    assert_eq!(scene.due(), None);
    assert!(scene.signs.of.is_empty());
}

#[test]
fn restarted() {
    let mut scene = Scene::stop(15, 2);
    let left = Action::Disconnect(NET.into());
    for (at, action) in [
        (0, Action::Kill(15)),
        (2023, Action::Kill(9)),
        (2057, Action::Down),
        (2118, left),
        (2124, Action::Down),
        (2156, Action::Connect(NET.into())),
    ] {
        assert_ne!(
            scene.event(at, action.clone()),
            State::Running,
            "{action:?}"
        );
    }
    // Until the next list, the address may be somebody else's by now.
    assert_eq!(scene.event(2300, Action::Start), State::Exited);
    assert!(scene.off());
    assert_eq!(scene.list(2299, State::Running), State::Exited);
    assert_eq!(scene.list(2300, State::Running), State::Running);
    assert!(!scene.off() && scene.signs.of.is_empty());
}

#[test]
fn paused_and_not() {
    let mut scene = Scene::new();
    assert_eq!(scene.event(0, Action::Pause), State::Paused);
    assert_eq!(scene.list(1, State::Running), State::Paused);
    assert_eq!(scene.list(5, State::Paused), State::Paused);
    assert!(scene.signs.of.is_empty());
    scene.event(1000, Action::Unpause);
    assert_eq!(scene.list(1000, State::Running), State::Running);
}

#[test]
fn health_counts_at_once() {
    let mut scene = Scene::new();
    scene.list[0].health = Health::Starting;
    scene.event(0, Action::Healthy);
    assert_eq!(scene.seen().health, Health::Healthy);
    scene.event(10, Action::Unhealthy);
    assert_eq!(scene.seen().health, Health::Unhealthy);
    scene.list[0].health = Health::Healthy;
    scene.settle(200);
    assert_eq!(scene.seen().health, Health::Unhealthy);
    // The list has the last word.
    scene.settle(2010);
    assert_eq!(scene.seen().health, Health::Healthy);
}

#[test]
fn only_the_network_it_left_is_gone() {
    let mut scene = Scene::new();
    scene.event(0, Action::Disconnect("other".into()));
    assert!(!scene.off());
    scene.event(0, Action::Disconnect(NET.into()));
    scene.event(4, Action::Disconnect(NET.into()));
    assert!(scene.off());
    scene.event(50, Action::Connect(NET.into()));
    assert!(scene.off());
    scene.settle(50);
    assert!(!scene.off());
}

#[test]
fn a_lie_lasts_until_the_lists_that_follow() {
    let mut scene = Scene::new();
    assert_eq!(scene.event(0, Action::Down), State::Exited);
    assert_eq!(scene.list(400, State::Running), State::Exited);
    assert_eq!(scene.due(), Some(2000));
    assert_eq!(scene.list(2000, State::Running), State::Running);
    // An end told before its beginning.
    scene.event(3000, Action::Start);
    scene.event(3001, Action::Down);
    assert_eq!(scene.list(5001, State::Running), State::Running);
    assert!(scene.signs.of.is_empty());
}

#[test]
fn an_old_list_settles_nothing() {
    let mut scene = Scene::new();
    scene.list(0, State::Exited);
    scene.event(10, Action::Start);
    scene.event(20, Action::Down);
    // Begun before it started: that it agrees says nothing of the end.
    scene.list(5, State::Exited);
    assert_eq!(scene.list(30, State::Running), State::Exited);
}

#[test]
fn repetitions_after_a_new_subscription_are_no_news() {
    let mut scene = Scene::new();
    let told = |at, action| Event {
        at,
        ..event(action)
    };
    let now = scene.start;
    assert!(scene.signs.note(&told(7, Action::Down), now));
    scene.signs.subscribe(8, now + ms(500));
    assert!(!scene.signs.note(&told(7, Action::Down), now + ms(510)));
    assert!(scene.signs.note(&told(8, Action::Down), now + ms(510)));
    // A clock that was set back is believed again soon.
    assert!(scene.signs.note(&told(3, Action::Down), now + ms(2500)));
}

/// A subscription `at`, our clock being ahead of the engine's by `ahead` seconds; the engine's time at
/// the start is 1,000,000 s.
fn subscribe(scene: &mut Scene, at: u64, ahead: i64) -> u64 {
    let clock = (1_000_000 + ahead) * 1_000_000_000 + nanos(ms(at));
    scene.signs.subscribe(clock, scene.start + ms(at))
}

fn told(scene: &mut Scene, happened: u64, heard: u64, action: Action) -> bool {
    let event = Event {
        at: 1_000_000 * 1_000_000_000 + nanos(ms(happened)),
        ..event(action)
    };
    scene.signs.note(&event, scene.start + ms(heard))
}

#[test]
fn what_happened_while_nobody_listened_counts_from_when_it_happened() {
    for ahead in [0, 3600, -3600] {
        let mut scene = Scene::stop(15, 60);
        subscribe(&mut scene, 0, ahead);
        // Tells how far the clocks are apart.
        told(&mut scene, 3000, 3001, Action::Other);
        // Nobody listens from here on.
        assert_eq!(subscribe(&mut scene, 33_000, ahead), 1_000_003);
        assert!(!told(&mut scene, 3000, 33_001, Action::Kill(15)), "again");
        // Not before the list that follows.
        assert!(!told(&mut scene, 20_000, 33_001, Action::Kill(15)));
        assert!(!told(&mut scene, 21_000, 33_001, Action::Down));
        assert!(!told(
            &mut scene,
            22_000,
            33_001,
            Action::Disconnect(NET.into())
        ));
        assert!(told(&mut scene, 32_500, 33_001, Action::Unhealthy));
        // The list knows all but one of them.
        assert_eq!(scene.list(33_002, State::Running), State::Stopping);
        assert!(!scene.off());
        let due = scene.signs.of[APP].killed[&15].at + ms(62_000);
        let expected = scene.start + ms(20_000 + 62_000);
        assert!((due.max(expected) - due.min(expected)) < ms(5));
        assert_eq!(scene.list(81_000, State::Running), State::Stopping);
        assert_eq!(scene.list(83_000, State::Running), State::Running);
    }
}

/// Some compose commands take a new container off its network and put it on again before they start it; Wharf in it
/// is told afterwards, when it has looked already.
#[test]
fn a_network_left_and_entered_again_before_the_list_is_no_news() {
    let mut scene = Scene::new();
    subscribe(&mut scene, 1000, 0);
    scene.list(1010, State::Running);
    told(&mut scene, 500, 1020, Action::Disconnect(NET.into()));
    let changed = told(&mut scene, 600, 1021, Action::Connect(NET.into()));
    assert!(changed && !scene.off());
    assert!(scene.signs.of[APP].is_empty());
    // One that the list may not know yet hides the old address until the next.
    told(&mut scene, 1000, 1030, Action::Disconnect(NET.into()));
    assert!(!told(&mut scene, 1005, 1031, Action::Connect(NET.into())));
    assert!(scene.off());
    scene.list(1032, State::Running);
    assert!(!scene.off());
}

#[test]
fn a_stop_that_is_long_over_is_no_news() {
    let mut scene = Scene::stop(15, 10);
    assert_eq!(
        subscribe(&mut scene, 500_000, 0),
        999_900,
        "ten minutes back"
    );
    told(&mut scene, 400_000, 500_001, Action::Kill(15));
    assert_eq!(scene.list(500_002, State::Running), State::Running);
    // Stopped and started again.
    told(&mut scene, 495_000, 500_003, Action::Kill(15));
    told(&mut scene, 496_000, 500_003, Action::Down);
    told(&mut scene, 497_000, 500_003, Action::Start);
    assert_eq!(scene.list(500_004, State::Running), State::Running);
}

#[test]
fn marks_of_strangers_do_not_stay() {
    let mut scene = Scene::new();
    for number in 0..20_000 {
        let stranger = Event {
            at: 0,
            container: number.to_string(),
            action: Action::Down,
        };
        scene.signs.note(&stranger, scene.start + ms(10));
    }
    assert_eq!(scene.signs.of.len(), MOST_SIGNS);
    // A list begun before may not know them yet.
    scene.settle(9);
    assert_eq!(scene.signs.of.len(), MOST_SIGNS);
    scene.settle(10);
    assert!(scene.signs.of.is_empty());
}

fn action() -> impl Strategy<Value = Action> {
    select(vec![
        Action::Kill(15),
        Action::Kill(9),
        Action::Kill(1),
        Action::Down,
        Action::Start,
        Action::Pause,
        Action::Unpause,
        Action::Healthy,
        Action::Unhealthy,
        Action::Connect(NET.into()),
        Action::Disconnect(NET.into()),
        Action::Connect("other".into()),
        Action::Disconnect("other".into()),
        Action::Other,
    ])
}

fn state() -> impl Strategy<Value = State> {
    use State::{Created, Exited, Other, Paused, Restarting, Running};
    select(vec![
        Running, Running, Running, Paused, Exited, Created, Restarting, Other,
    ])
}

proptest! {
    /// Whatever was lost, doubled or out of order: lists decide, and nothing is kept.
    #[test]
    fn the_lists_to_come_decide(
        events in prop::collection::vec((0..5000_u64, action(), any::<bool>()), 0..40),
        lists in prop::collection::vec((0..5000_u64, state()), 0..40),
        truth in state(),
    ) {
        let mut scene = Scene::stop(15, 1);
        let mut steps: Vec<(u64, Option<Action>, State)> = Vec::new();
        steps.extend(events.into_iter().map(|(at, action, _)| (at, Some(action), truth)));
        steps.extend(lists.into_iter().map(|(at, state)| (at, None, state)));
        steps.sort_by_key(|(at, ..)| *at);
        for (at, action, state) in steps {
            match action {
                Some(action) => scene.event(at, action),
                None => scene.list(at, state),
            };
        }
        scene.list(7000, truth);
        // Only being told to stop may take longer.
        let seen = scene.seen();
        prop_assert!(seen.state == truth || seen.state == State::Stopping && truth == State::Running);
        prop_assert_eq!(&seen.networks, &scene.list[0].networks);
        prop_assert_eq!(seen.health, Health::None);
        scene.list(8000, truth);
        prop_assert_eq!(scene.state(), truth);
        prop_assert!(scene.signs.of.is_empty());
    }

    /// Told in order, with lists that are up to 80 ms late: from the event of its end to that of its
    /// next start, the container is never taken for running; nor while it is paused.
    #[test]
    fn what_has_ended_is_never_taken_for_running(
        acts in prop::collection::vec((select(vec!["stop", "die", "start", "pause", "unpause"]), 1..200_u64), 1..30),
        lags in prop::collection::vec(0..80_u64, 1..10),
    ) {
        let mut scene = Scene::stop(15, 1);
        // What the engine knows, by time, and when it told.
        let mut truth = vec![(0, State::Running)];
        let mut events: Vec<(u64, Action)> = Vec::new();
        let mut at = 100;
        for (act, pause) in acts {
            at += pause;
            let now = truth.last().unwrap().1;
            match (act, now) {
                ("stop", State::Running) => events.push((at, Action::Kill(15))),
                ("die", State::Running) => {
                    truth.push((at, State::Exited));
                    events.push((at, Action::Down));
                }
                ("start", State::Exited) => {
                    truth.push((at, State::Running));
                    events.push((at, Action::Start));
                }
                ("pause", State::Running) => {
                    truth.push((at, State::Paused));
                    events.push((at, Action::Pause));
                }
                ("unpause", State::Paused) => {
                    truth.push((at, State::Running));
                    events.push((at, Action::Unpause));
                }
                _ => {}
            }
        }
        let is = |at: u64| truth.iter().rfind(|(since, _)| *since <= at).unwrap().1;
        let mut view = 0;
        for (turn, now) in (0..at + 1000).step_by(10).enumerate() {
            while events.first().is_some_and(|(told, _)| *told <= now) {
                let (_, action) = events.remove(0);
                scene.event(now, action);
            }
            // The list shows some past, later and later, but knows of a start at once.
            let runs = |(since, state): &&(u64, State)| *since <= now && *state == State::Running;
            let started = truth.iter().rfind(runs).unwrap().0;
            let lag = lags[turn % lags.len()];
            view = view.max(now.saturating_sub(lag)).max(started);
            let shown = is(view);
            let seen = scene.list(now, shown);
            if is(now) != State::Running {
                prop_assert!(seen != State::Running && seen != State::Stopping, "at {}: {:?}", now, seen);
            }
        }
    }
}
