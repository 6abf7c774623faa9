//! What a route asks of a request before the app hears of it. Pure: who asks and for what is passed in.

mod block;

use std::net::IpAddr;
use std::time::Duration;

use crate::model::{AccessSpec, Maintenance, Networks};

/// A route's filters; [`Filters::admit`] has their order.
#[derive(Debug)]
pub struct Filters {
    access: AccessSpec,
}

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("wharf.deny: {by} keeps {client} out")]
    Denied { client: IpAddr, by: Box<str> },
    #[error("wharf.allow: {client} is not in {list}")]
    NotAllowed { client: IpAddr, list: Box<str> },
    #[error("wharf.block: {by} keeps this path from everybody")]
    Blocked { by: Box<str> },
    #[error("{}", .message.as_deref().unwrap_or(MAINTENANCE))]
    Maintenance {
        message: Option<Box<str>>,
        retry: Duration,
    },
}

impl Filters {
    /// `None` where there is nothing to ask, which is the usual case.
    pub fn compile(access: &AccessSpec) -> Option<Box<Self>> {
        (*access != AccessSpec::default()).then(|| {
            Box::new(Self {
                access: access.clone(),
            })
        })
    }

    /// Whether a request for `path` by `client` may go on. Who is kept out learns nothing more; what is
    /// blocked is so in times of maintenance, too.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, client: IpAddr, path: &str) -> Result<(), Refusal> {
        let access = &self.access;
        let within = |networks: &Option<Networks>| {
            let networks = networks.as_ref()?;
            Some(networks.contains(client))
        };
        if within(&access.deny) == Some(true) {
            let by = listed(&access.deny);
            return Err(Refusal::Denied { client, by });
        }
        if within(&access.allow) == Some(false) {
            let list = listed(&access.allow);
            return Err(Refusal::NotAllowed { client, list });
        }
        if let Some(by) = block::find(&access.block, path) {
            let by = by.to_string().into();
            return Err(Refusal::Blocked { by });
        }
        match &access.maintenance {
            Some(rest) if within(&rest.allow) != Some(true) => Err(refused_for_now(rest)),
            _ => Ok(()),
        }
    }
}

fn listed(networks: &Option<Networks>) -> Box<str> {
    networks
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
        .into()
}

fn refused_for_now(rest: &Maintenance) -> Refusal {
    Refusal::Maintenance {
        message: rest.message.as_deref().map(Into::into),
        retry: rest.retry,
    }
}

/// What visitors read where no label says otherwise.
const MAINTENANCE: &str = "this site is down for maintenance";

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &str) -> Option<Networks> {
        let all: Vec<_> = list.split(", ").map(|net| net.parse().unwrap()).collect();
        Some(Networks::new(list, all))
    }

    fn verdict(access: &AccessSpec, client: &str) -> Result<(), Refusal> {
        let filters = Filters::compile(access).unwrap();
        filters.admit(client.parse().unwrap(), "/")
    }

    #[test]
    fn deny_comes_before_allow_and_allow_denies_the_rest() {
        let lists = |allow, deny| AccessSpec {
            allow,
            deny,
            ..AccessSpec::default()
        };
        let both = lists(
            networks("10.0.0.0/8, 2001:db8::/32"),
            networks("10.1.0.0/16"),
        );
        for (client, admitted) in [
            ("10.2.0.1", true),
            ("::ffff:10.2.0.1", true),
            ("2001:db8::1", true),
            ("10.1.0.1", false),
            ("::ffff:10.1.0.1", false),
            ("11.0.0.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(verdict(&both, client).is_ok(), admitted, "{client}");
        }
        let denied = lists(None, networks("10.1.0.0/16"));
        assert!(verdict(&denied, "10.2.0.1").is_ok());
        let error = verdict(&denied, "10.1.0.1").unwrap_err().to_string();
        assert_eq!(error, "wharf.deny: 10.1.0.0/16 keeps 10.1.0.1 out");
    }

    #[test]
    fn maintenance_lets_those_through_that_it_names() {
        let access = AccessSpec {
            maintenance: Some(Maintenance {
                allow: networks("10.0.0.0/8"),
                message: None,
                retry: Maintenance::RETRY,
            }),
            ..AccessSpec::default()
        };
        assert!(verdict(&access, "10.0.0.1").is_ok());
        assert!(matches!(
            verdict(&access, "192.0.2.1"),
            Err(Refusal::Maintenance { .. })
        ));
    }

    #[test]
    fn a_route_without_filters_has_none() {
        assert!(Filters::compile(&AccessSpec::default()).is_none());
    }
}
