//! When a replica gets requests.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::duration;

/// `wharf.health` (product.md B23, B24).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheck {
    /// While the image's HEALTHCHECK passes, if it has one, and once something listens.
    #[default]
    Docker,
    /// While its container runs.
    Off,
    /// While Wharf's own checks pass.
    Active(ActiveCheck),
}

/// What Wharf asks a replica, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActiveCheck {
    pub asks: HealthAsk,
    /// Where, at the replica's address. Default: the port requests go to.
    pub port: Option<u16>,
    /// From the beginning of one check to that of the next. Default 10 s; see [`ActiveCheck::SHORTEST`].
    #[serde(serialize_with = "duration")]
    pub interval: Duration,
    /// For a check as a whole. Default 3 s; see [`ActiveCheck::SHORTEST`].
    #[serde(serialize_with = "duration")]
    pub timeout: Duration,
    /// Failures in a row after which a replica is out. 1..=[`ActiveCheck::MOST`], default 3.
    pub fails: u16,
    /// Successes in a row after which it is back; the very first one is enough. 1..=[`ActiveCheck::MOST`],
    /// default 2.
    pub passes: u16,
}

/// A kind of check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthAsk {
    /// Whether it takes a connection.
    Tcp,
    /// How it answers a GET.
    Http(HttpAsk),
    /// Whether it is SERVING by gRPC's health checking protocol: the service of this name, or, without a name, as
    /// a whole (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).
    Grpc(String),
}

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpAsk {
    /// Path and query: begins with `/`, visible ASCII, no `#`; at most [`HttpAsk::LONGEST`].
    pub target: String,
    /// Value of the Host field. Default: address and port.
    pub host: Option<String>,
    pub status: StatusSet,
}

/// Statuses that are a success. Default 200 to 399.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl HealthCheck {
    /// Whether a HEALTHCHECK of the image keeps requests away. `tcp` and `off` are said instead of it.
    pub fn heeds_docker(&self) -> bool {
        match self {
            Self::Docker => true,
            Self::Off => false,
            Self::Active(check) => !matches!(check.asks, HealthAsk::Tcp),
        }
    }

    /// What Wharf asks again and again.
    pub fn active(&self) -> Option<&ActiveCheck> {
        match self {
            Self::Active(check) => Some(check),
            Self::Docker | Self::Off => None,
        }
    }
}

impl ActiveCheck {
    /// Least interval and timeout.
    pub const SHORTEST: Duration = Duration::from_millis(100);
    pub const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
    /// A check takes a place from others for so long.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
    /// Greatest number of failures and successes.
    pub const MOST: u16 = 100;

    /// With everything but the question as it is by default.
    pub fn new(asks: HealthAsk) -> Self {
        Self {
            asks,
            port: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            fails: 3,
            passes: 2,
        }
    }
}

/// `GET /healthz`, `GET /healthz on port 9000`, `TCP connect`.
impl fmt::Display for ActiveCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asks {
            HealthAsk::Tcp => f.write_str("TCP connect")?,
            HealthAsk::Http(http) => write!(f, "GET {}", http.target)?,
            HealthAsk::Grpc(service) if service.is_empty() => f.write_str("gRPC Check")?,
            HealthAsk::Grpc(service) => write!(f, "gRPC Check of {service}")?,
        }
        match self.port {
            Some(port) => write!(f, " on port {port}"),
            None => Ok(()),
        }
    }
}

impl HttpAsk {
    /// Bytes of a target.
    pub const LONGEST: usize = 1024;
}

impl StatusSet {
    /// Ranges, both ends included, in any order.
    pub fn new(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        Self(ranges)
    }

    pub fn contains(&self, status: u16) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

/// As the label is written: `200-399,404`.
impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sets() {
        let usual = StatusSet::default();
        assert!(usual.contains(200) && usual.contains(399));
        assert!(!usual.contains(199) && !usual.contains(400));
        let set = StatusSet::new(vec![(404, 404), (200, 204)]);
        assert_eq!(set.to_string(), "200-204,404");
        assert!(set.contains(203) && set.contains(404) && !set.contains(205));
    }

    #[test]
    fn a_check_is_named_by_what_it_asks() {
        let mut check = ActiveCheck::new(HealthAsk::Tcp);
        assert_eq!(check.to_string(), "TCP connect");
        check.asks = HealthAsk::Http(HttpAsk {
            target: "/up".into(),
            host: None,
            status: StatusSet::default(),
        });
        check.port = Some(9000);
        assert_eq!(check.to_string(), "GET /up on port 9000");
    }
}
