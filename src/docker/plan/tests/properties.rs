//! What holds for any labels on any containers.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{KEPT, PlanOptions, plan};
use super::arbitrary;
use crate::docker::{Position, Snapshot};
use crate::model::{Plan, RouteSpec, Severity};

proptest! {
    #[test]
    fn the_order_of_containers_does_not_matter(
        snapshot in arbitrary::snapshot(),
        swaps in prop::collection::vec((0..8_usize, 0..8_usize), 0..8),
    ) {
        let mut shuffled = snapshot.clone();
        let count = shuffled.containers.len();
        for (a, b) in swaps {
            shuffled.containers.swap(a % count, b % count);
        }
        shuffled.networks.reverse();
        let now = Instant::now();
        let options = PlanOptions::default();
        let first = plan(&snapshot, &options, &Plan::default(), now);
        prop_assert_eq!(&first, &plan(&shuffled, &options, &Plan::default(), now));
        prop_assert_eq!(plan(&snapshot, &options, &first.0, now), plan(&shuffled, &options, &first.0, now));
    }

    #[test]
    fn a_plan_is_well_formed(before in arbitrary::snapshot(), after in arbitrary::snapshot()) {
        let now = Instant::now();
        let options = PlanOptions { network: Some("front".to_owned()), ..PlanOptions::default() };
        let (previous, _) = plan(&before, &options, &Plan::default(), now);
        let (plan, problems) = plan(&after, &options, &previous, now);
        prop_assert!(plan.routes.windows(2).all(|pair| pair[0].key < pair[1].key));
        prop_assert!(plan.upstreams.windows(2).all(|pair| pair[0].key < pair[1].key));
        prop_assert!(problems.windows(2).all(|pair| pair[0] < pair[1]));
        let mut places = std::collections::BTreeMap::new();
        for route in &plan.routes {
            prop_assert!(!route.hosts.is_empty());
            prop_assert!(plan.upstreams.iter().any(|up| up.key == route.upstream));
            for host in &route.hosts {
                let others: &mut Vec<&RouteSpec> = places
                    .entry((host, &route.path, &route.conditions))
                    .or_default();
                for other in others.iter() {
                    prop_assert!(route.share.is_some() && other.share.is_some(), "{} twice", host);
                    prop_assert!(route.owner != other.owner && other.fault.is_none());
                    prop_assert!(route.fault.is_none());
                }
                others.push(route);
            }
            if route.fault.is_some() {
                let blamed = |p: &crate::model::Problem| {
                    p.severity == Severity::Error && p.container == route.container
                };
                prop_assert!(problems.iter().any(blamed));
            }
        }
        for upstream in &plan.upstreams {
            let ids: Vec<&str> = upstream.endpoints.iter().map(|e| &*e.container_id).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn planning_again_changes_nothing(snapshot in arbitrary::snapshot()) {
        let now = Instant::now();
        let options = PlanOptions::default();
        let (first, problems) = plan(&snapshot, &options, &Plan::default(), now);
        prop_assert_eq!((first.clone(), problems), plan(&snapshot, &options, &first, now));
    }

    /// Whatever happens to containers, a host that was served stays known until somebody live says
    /// otherwise; and not for ever.
    #[test]
    fn what_only_goes_away_is_kept_for_a_time(snapshot in arbitrary::snapshot()) {
        let now = Instant::now();
        let options = PlanOptions::default();
        let (before, _) = plan(&snapshot, &options, &Plan::default(), now);
        let empty = Snapshot { containers: Vec::new(), position: Position::Host, ..snapshot };
        let (kept, problems) = plan(&empty, &options, &before, now);
        let served = before.routes.iter().filter(|route| route.fault.is_none());
        prop_assert!(served.eq(&kept.routes));
        prop_assert!(problems.is_empty());
        prop_assert!(kept.upstreams.iter().all(|up| up.endpoints.is_empty() && up.awaited));
        let last = now + KEPT - Duration::from_millis(1);
        prop_assert_eq!(&plan(&empty, &options, &kept, last).0, &kept);
        prop_assert_eq!(plan(&empty, &options, &kept, now + KEPT).0, Plan::default());
    }
}
