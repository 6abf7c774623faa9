use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::{Per, Rate};

fn limit(requests: u32, burst: u32, delay: Delay) -> RateLimit {
    RateLimit {
        burst,
        delay,
        ..RateLimit::new(Rate {
            requests,
            per: Per::Second,
        })
    }
}

struct Scene {
    start: Instant,
    limiter: Limiter,
}

impl Scene {
    fn new(limits: Vec<RateLimit>) -> Self {
        let start = Instant::now();
        let buckets = Arc::new(Buckets::new(start));
        let limits = RateLimits {
            limits,
            shared: false,
        };
        let limiter = Limiter::compile(&limits, &RouteKey("app".into()), &buckets);
        Self {
            start,
            limiter: limiter.unwrap(),
        }
    }

    /// The wait in milliseconds of a request at `at`, or after how many it would be within the limit.
    fn ask(&self, at: u64, client: u64) -> Result<u128, u128> {
        let at = self.start + Duration::from_millis(at);
        let passed = self.limiter.admit(at, |key| match key {
            LimitKey::Client => Whose::Client(client),
            _ => Whose::All,
        });
        let passed = passed.map_err(|exceeded| exceeded.retry.as_millis())?;
        Ok(passed.wait.as_millis())
    }
}

#[test]
fn without_a_burst_one_request_in_each_interval() {
    let scene = Scene::new(vec![limit(10, 0, Delay::All)]);
    assert_eq!(scene.ask(0, 1), Ok(0));
    assert_eq!(scene.ask(0, 1), Err(100));
    assert_eq!(scene.ask(60, 1), Err(40));
    assert_eq!(scene.ask(0, 2), Ok(0), "somebody else");
    assert_eq!(scene.ask(100, 1), Ok(0));
    assert_eq!(scene.ask(199, 1), Err(1));
    // What was saved does not add up.
    assert_eq!(scene.ask(10_000, 1), Ok(0));
    assert_eq!(scene.ask(10_000, 1), Err(100));
}

#[test]
fn a_burst_waits_its_turn_or_not_or_its_end_does() {
    let all = Scene::new(vec![limit(10, 3, Delay::All)]);
    let answers: Vec<_> = (0..5).map(|_| all.ask(0, 1)).collect();
    assert_eq!(answers, [Ok(0), Ok(100), Ok(200), Ok(300), Err(100)]);
    assert_eq!(all.ask(100, 1), Ok(300));
    let none = Scene::new(vec![limit(10, 3, Delay::None)]);
    let answers: Vec<_> = (0..5).map(|_| none.ask(0, 1)).collect();
    assert_eq!(answers, [Ok(0), Ok(0), Ok(0), Ok(0), Err(100)]);
    let some = Scene::new(vec![limit(10, 3, Delay::Beyond(2))]);
    let answers: Vec<_> = (0..5).map(|_| some.ask(0, 1)).collect();
    assert_eq!(answers, [Ok(0), Ok(0), Ok(0), Ok(100), Err(100)]);
}

#[test]
fn of_several_limits_none_counts_what_another_refuses() {
    let wide = RateLimit {
        key: LimitKey::Global,
        ..limit(1, 4, Delay::None)
    };
    let scene = Scene::new(vec![wide, limit(10, 0, Delay::None)]);
    assert_eq!(scene.ask(0, 1), Ok(0));
    for _ in 0..20 {
        assert_eq!(scene.ask(1, 1), Err(99));
    }
    for client in 2..6 {
        assert_eq!(scene.ask(1, client), Ok(0));
    }
    assert_eq!(scene.ask(1, 6), Err(999), "everybody together");
}

#[test]
fn what_is_only_counted_goes_on_at_once() {
    let dry = RateLimit {
        dry_run: true,
        ..limit(10, 1, Delay::All)
    };
    let scene = Scene::new(vec![dry]);
    let ask = |at: u64| {
        let at = scene.start + Duration::from_millis(at);
        scene.limiter.admit(at, |_| Whose::Client(1)).unwrap()
    };
    let counted: Vec<bool> = (0..4).map(|_| ask(0).counted).collect();
    assert_eq!(counted, [false, false, true, true]);
    assert_eq!(ask(100), Passed::default());
    assert!(scene.limiter.tells(scene.start));
    assert!(!scene.limiter.tells(scene.start));
}

#[test]
fn named_routes_share_what_they_inherit_and_nothing_else() {
    let start = Instant::now();
    let buckets = Arc::new(Buckets::new(start));
    let limiter = |key: &str, shared| {
        let limits = vec![limit(1, 0, Delay::None)];
        let limits = RateLimits { limits, shared };
        Limiter::compile(&limits, &RouteKey(key.into()), &buckets).unwrap()
    };
    let ask = |limiter: &Limiter| limiter.admit(start, |_| Whose::Client(1)).is_ok();
    let (base, own) = (limiter("app", false), limiter("app#login", false));
    assert!(ask(&base) && ask(&own));
    assert!(!ask(&limiter("app#api", true)));
    assert!(ask(&limiter("other", false)));
    // The same ones after another table was made.
    assert!(!ask(&limiter("app#login", false)));
}

#[test]
fn a_million_clients_have_a_bucket_each_and_more_take_the_place_of_the_emptiest() {
    let start = Instant::now();
    let buckets = Buckets::new(start);
    let now = buckets.since(start);
    // The later one asks, the longer its bucket is full.
    let fill = |client: u64| {
        let key = buckets.hash(&client);
        buckets
            .fill(key, now, |level| Ok::<_, ()>((now + client, level)))
            .unwrap()
    };
    for client in 1..=2_000_000 {
        fill(client);
    }
    let known = |clients: std::ops::RangeInclusive<u64>| {
        let known = clients.filter(|client| buckets.level(buckets.hash(client)) > 0);
        known.count()
    };
    assert_eq!(Buckets::SLOTS, 1 << 20);
    let all = known(1..=2_000_000);
    assert!(
        all <= Buckets::SLOTS && all > Buckets::SLOTS * 99 / 100,
        "{all}"
    );
    assert_eq!(buckets.pushed_out() as usize, 2_000_000 - all);
    // Those who are far beyond their rate are kept.
    let (first, last) = (known(1..=500_000), known(1_500_001..=2_000_000));
    assert!(last > 490_000 && first < 100_000, "{first} and {last}");
}

#[test]
fn workers_together_let_no_request_more_through() {
    let scene = Scene::new(vec![limit(1, 999, Delay::None)]);
    let admitted: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..1000).filter(|_| scene.ask(0, 7).is_ok()).count()))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 1000);
}

/// nginx's own arithmetic (ngx_http_limit_req_lookup): thousandths of requests, milliseconds.
#[derive(Default)]
struct Nginx {
    seen: bool,
    excess: i64,
    last: u64,
}

impl Nginx {
    /// The wait of a request, or `None` for a refusal.
    fn ask(&mut self, at: u64, rate: i64, burst: i64, delay: i64) -> Option<i64> {
        if !std::mem::replace(&mut self.seen, true) {
            self.last = at;
            return Some(0);
        }
        let passed = (at - self.last) as i64;
        let excess = (self.excess - rate * 1000 * passed / 1000 + 1000).max(0);
        if excess > burst * 1000 {
            return None;
        }
        self.excess = excess;
        self.last = at;
        Some(((excess - delay * 1000) / rate).max(0))
    }
}

proptest! {
    /// With rates that divide a second, where neither rounds, the answers are nginx's to the millisecond.
    #[test]
    fn as_nginx_does(
        rate in prop::sample::select(vec![1_u32, 2, 5, 10, 100, 1000]),
        burst in 0_u32..20,
        delay in 0_u32..25,
        gaps in prop::collection::vec(0_u64..300, 1..200),
    ) {
        let scene = Scene::new(vec![limit(rate, burst, Delay::Beyond(delay))]);
        let mut nginx = Nginx::default();
        let mut at = 0;
        for gap in gaps {
            at += gap;
            let theirs = nginx.ask(at, rate.into(), burst.into(), delay.into());
            let ours = scene.ask(at, 1).ok();
            prop_assert_eq!(ours, theirs.map(|wait| wait as u128), "at {}", at);
        }
    }
}
