//! What a route asks of a request before the app hears of it. Pure: who asks and for what is passed in.

pub mod auth;
mod block;
pub(crate) mod compress;
pub mod cors;
pub mod inflight;
pub mod ratelimit;

use std::net::IpAddr;
use std::time::Duration;

use self::auth::Basic;
use self::ratelimit::Exceeded;
use crate::model::{AccessSpec, Maintenance, Networks};

/// A route's filters; [`Filters::admit`] has their order.
#[derive(Debug)]
pub struct Filters {
    access: AccessSpec,
    /// Whom it asks for name and password.
    pub basic: Option<Basic>,
}

/// A request that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Once it has shown who it is.
    pub login: bool,
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
    #[error("wharf.cors: {origin} is none of the origins whose pages may call")]
    Origin { origin: Box<str> },
    #[error("{0}")]
    RateLimit(Box<Exceeded>),
    #[error("{}", .message.as_deref().unwrap_or(MAINTENANCE))]
    Maintenance {
        message: Option<Box<str>>,
        retry: Duration,
    },
}

impl Filters {
    /// `None` where there is nothing to ask, which is the usual case.
    /// What `before` knows of clients is carried over. May read a file: not for workers.
    pub fn compile(access: &AccessSpec, before: Option<&Self>) -> Option<Box<Self>> {
        (*access != AccessSpec::default()).then(|| {
            let before = before.and_then(|before| before.basic.as_ref());
            let basic = access.basic.as_ref();
            Box::new(Self {
                access: access.clone(),
                basic: basic.map(|basic| Basic::compile(basic, before)),
            })
        })
    }

    /// Whether a request for `path` by `client` may go on. Who is kept out learns nothing more; what is
    /// blocked is so in times of maintenance, too.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, client: IpAddr, path: &str) -> Result<Admitted, Refusal> {
        let access = &self.access;
        let within = |networks: &Option<Networks>| {
            let networks = networks.as_ref()?;
            Some(networks.contains(client))
        };
        if within(&access.deny) == Some(true) {
            let by = listed(&access.deny);
            return Err(Refusal::Denied { client, by });
        }
        let listed_in = within(&access.allow);
        let asks = self.basic.is_some() || access.forward.is_some();
        let either = access.satisfy_any && asks;
        if listed_in == Some(false) && !either {
            let list = listed(&access.allow);
            return Err(Refusal::NotAllowed { client, list });
        }
        if let Some(by) = block::find(&access.block, path) {
            let by = by.to_string().into();
            return Err(Refusal::Blocked { by });
        }
        if let Some(rest) = &access.maintenance {
            resting(rest, client)?;
        }
        Ok(Admitted {
            login: asks && !(either && listed_in == Some(true)),
        })
    }
}

/// An address, or the network of 64 bits that it is in: who has one IPv6 address has all of these.
pub fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

fn listed(networks: &Option<Networks>) -> Box<str> {
    networks
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
        .into()
}

/// Whether `client` is let through in times of maintenance.
///
/// # Errors
/// What it is told if not.
pub fn resting(rest: &Maintenance, client: IpAddr) -> Result<(), Refusal> {
    match &rest.allow {
        Some(allow) if allow.contains(client) => Ok(()),
        _ => Err(Refusal::Maintenance {
            message: rest.message.as_deref().map(Into::into),
            retry: rest.retry,
        }),
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

    fn verdict(access: &AccessSpec, client: &str) -> Result<Admitted, Refusal> {
        let filters = Filters::compile(access, None).unwrap();
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
    fn a_place_in_the_list_or_a_login() {
        use crate::model::{BasicSpec, User, UserSource};
        let user = User::parse("joe:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=").unwrap();
        let access = |satisfy_any| AccessSpec {
            allow: networks("10.0.0.0/8"),
            deny: networks("10.1.0.0/16"),
            satisfy_any,
            basic: Some(BasicSpec {
                users: UserSource::Inline(vec![user.clone()]),
                realm: BasicSpec::REALM.to_owned(),
                strip: false,
                user_header: None,
            }),
            ..AccessSpec::default()
        };
        let login = |any, client| verdict(&access(any), client).map(|admitted| admitted.login);
        assert_eq!(login(true, "10.0.0.1"), Ok(false));
        assert_eq!(login(true, "192.0.2.1"), Ok(true));
        assert!(login(true, "10.1.0.1").is_err());
        assert_eq!(login(false, "10.0.0.1"), Ok(true));
        assert!(login(false, "192.0.2.1").is_err());
    }

    #[test]
    fn a_route_without_filters_has_none() {
        assert!(Filters::compile(&AccessSpec::default(), None).is_none());
    }
}
