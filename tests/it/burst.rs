//! Hundreds of containers at once: what that costs the engine, and those who are served meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::engine::FakeContainer;
use crate::support::http;
use crate::support::origin::Served;
use crate::support::site::{Site, app};

const COUNT: usize = 500;

fn labelled(index: usize, port: u16) -> FakeContainer {
    app(
        &format!("app{index}"),
        port,
        &format!("wharf.host: h{index}.test\nwharf.tls: off"),
    )
}

#[test]
fn five_hundred_containers_at_once_cost_few_lists_and_no_request() {
    let served = Served::text("ok");
    let steady = app(
        "steady",
        served.port(),
        "wharf.host: a.test\nwharf.tls: off",
    );
    let site = Site::start([steady]);
    // What a list of so many takes a real engine.
    site.engine.delay_lists(Duration::from_millis(50));
    let lists = site.engine.served("/containers/json");
    let (end, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = Instant::now();
    let (told, routed) = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let answer = http::get(site.wharf.http, "a.test", "/").unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for index in 0..COUNT {
            site.engine.run(labelled(index, served.port()));
        }
        let told = start.elapsed();
        let last = format!("h{}.test", COUNT - 1);
        site.wharf
            .wait_answer(&last, "/", |answer| answer.status == 200);
        let routed = start.elapsed();
        end.store(true, Ordering::Relaxed);
        (told, routed)
    });
    let lists = site.engine.served("/containers/json") - lists;
    println!(
        "{COUNT} containers started within {told:?}: the last one served {:?} later, {lists} lists, {} requests meanwhile, all answered",
        routed - told,
        asked.load(Ordering::Relaxed)
    );
    site.wharf.wait_status("all of them", |status| {
        status["routes"].as_array().unwrap().len() == COUNT + 1
    });
    // One at once, then at most one in so much time as it takes ten of them, and those that follow the end.
    let most = 8 + routed.as_millis() / 100;
    assert!(u128::from(lists) <= most, "{lists} lists in {routed:?}");
}
