//! What a route holds back: requests beyond a number, and bodies.

use super::story::Story;
use crate::route::Route;

impl Story<'_> {
    pub(super) fn places(&mut self, route: &Route) {
        let limits = route.in_flight.iter().flat_map(|all| all.told());
        for (limit, under_way) in limits {
            let mut told = format!("{limit} at a time (wharf.inflight)");
            if let Some(count) = under_way {
                told = format!("{told}, {count} under way");
            }
            self.step("in flight", "note", told);
        }
    }

    pub(super) fn buffers(&mut self, route: &Route) {
        let Some(buffer) = &route.buffer else {
            return;
        };
        let response = buffer.response.map(|on| match on {
            true => "answers are read as fast as the app gives them",
            false => "answers are held where the app says so",
        });
        let request = buffer
            .request
            .then_some("the app is asked when the whole body is here");
        let told: Vec<_> = response.into_iter().chain(request).collect();
        let told = format!(
            "{}; up to {} KiB of each in memory and {} KiB on disk (wharf.buffer)",
            told.join(", "),
            buffer.memory >> 10,
            buffer.disk >> 10
        );
        self.step("buffer", "note", told);
    }
}
