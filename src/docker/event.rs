//! What the engine tells as it happens, in small types.

use std::time::Duration;

/// One event about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The engine's clock, nanoseconds; 0 where it tells none.
    pub at: i64,
    /// Its id; empty if the event is about something else.
    pub container: String,
    pub action: Action,
}

impl Event {
    /// One that says nothing but "look again".
    pub fn unknown() -> Self {
        Self {
            at: 0,
            container: String::new(),
            action: Action::Other,
        }
    }
}

/// What happened; whatever changes nothing by itself is [`Action::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A signal was sent; its number.
    Kill(u8),
    /// Its process has ended, or it is gone: `die`, `stop`, `destroy`, Podman's `remove`.
    Down,
    Start,
    Pause,
    Unpause,
    Healthy,
    Unhealthy,
    /// A HEALTHCHECK has run, and only an inspect tells with what result: Podman's.
    Checked,
    /// To the network with this id.
    Connect(String),
    Disconnect(String),
    Other,
}

impl Action {
    /// Whether a list begun [`LAG`](super::signs) later shows what it has done.
    pub(super) fn is_in_lists(&self) -> bool {
        match self {
            Self::Kill(_) => false,
            // They end what others began.
            Self::Start | Self::Unpause | Self::Connect(_) => false,
            Self::Down | Self::Pause | Self::Healthy | Self::Unhealthy => true,
            Self::Disconnect(_) | Self::Checked | Self::Other => true,
        }
    }
}

/// How a container is told to stop (`StopSignal`, `StopTimeout`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    pub signal: u8,
    /// Between that signal and SIGKILL, if `docker stop` names no other.
    pub timeout: Duration,
}

/// What only an inspect tells of a container. All but the complaint stays for its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Exposed TCP ports, sorted.
    pub exposed: Vec<u16>,
    /// As [`Container::network_mode`](super::Container::network_mode).
    pub network_mode: String,
    /// What its HEALTHCHECK says; [`Health::None`](super::Health::None) without one.
    pub health: super::Health,
    pub stop: Stop,
    /// What its HEALTHCHECK said last, if that failed; see [`complaint`](super::convert::complaint).
    pub complaint: Option<String>,
}

impl Facts {
    /// Fills in what a list has left out.
    pub(super) fn complete(&self, container: &mut super::Container) {
        if container.exposed.is_empty() {
            container.exposed.clone_from(&self.exposed);
        }
        if container.network_mode.is_empty() {
            // Podman's list has no health either.
            container.network_mode.clone_from(&self.network_mode);
            container.health = self.health;
        }
    }
}

impl Default for Stop {
    /// The engine's own: SIGTERM, 10 s.
    fn default() -> Self {
        Self {
            signal: 15,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Stop {
    /// From what an inspect says, where it says something.
    pub fn new(signal: Option<&str>, seconds: Option<i64>) -> Self {
        let default = Self::default();
        let timeout = seconds.map(|seconds| match u64::try_from(seconds) {
            Ok(seconds) => Duration::from_secs(seconds).min(LONGEST_STOP),
            Err(_) => LONGEST_STOP, // -1: for as long as it takes
        });
        Self {
            signal: signal.and_then(number).unwrap_or(default.signal),
            timeout: timeout.unwrap_or(default.timeout),
        }
    }
}

/// `SIGTERM`, `term`, `15`, `RTMIN+3` -> the number, as on Linux.
pub(super) fn number(signal: &str) -> Option<u8> {
    let signal = signal.trim().to_ascii_uppercase();
    if let Ok(number) = signal.parse::<u8>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = signal.strip_prefix("SIG").unwrap_or(&signal);
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok(),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let number = RTMIN.checked_add(offset(rest, '+')?)?;
        return (number <= RTMAX).then_some(number);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let number = RTMAX.checked_sub(offset(rest, '-')?)?;
        return (number >= RTMIN).then_some(number);
    }
    let at = NAMES.iter().position(|names| names.contains(&name))?;
    u8::try_from(at + 1).ok()
}

/// By number, from 1.
const NAMES: [&[&str]; 31] = [
    &["HUP"],
    &["INT"],
    &["QUIT"],
    &["ILL"],
    &["TRAP"],
    &["ABRT", "IOT"],
    &["BUS"],
    &["FPE"],
    &["KILL"],
    &["USR1"],
    &["SEGV"],
    &["USR2"],
    &["PIPE"],
    &["ALRM"],
    &["TERM"],
    &["STKFLT"],
    &["CHLD", "CLD"],
    &["CONT"],
    &["STOP"],
    &["TSTP"],
    &["TTIN"],
    &["TTOU"],
    &["URG"],
    &["XCPU"],
    &["XFSZ"],
    &["VTALRM"],
    &["PROF"],
    &["WINCH"],
    &["IO", "POLL"],
    &["PWR"],
    &["SYS"],
];
/// As Docker counts them: the C library keeps the first two for itself.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;
/// Beyond this, a container that was told to stop and still runs is taken for one that stays.
const LONGEST_STOP: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("TERM", Some(15)),
            ("sigint", Some(2)),
            ("15", Some(15)),
            ("SIGWINCH", Some(28)),
            ("SIGPOLL", Some(29)),
            ("SYS", Some(31)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-2", Some(62)),
            ("RTMIN+31", None),
            ("RTMAX-31", None),
            ("0", None),
            ("65", None),
            ("SIGWHAT", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn how_a_container_stops() {
        let stop = |signal, timeout| Stop {
            signal,
            timeout: Duration::from_secs(timeout),
        };
        assert_eq!(Stop::new(None, None), stop(15, 10));
        assert_eq!(Stop::new(Some("SIGINT"), Some(7)), stop(2, 7));
        assert_eq!(Stop::new(Some("?"), Some(0)), stop(15, 0));
        assert_eq!(Stop::new(None, Some(-1)), stop(15, 24 * 60 * 60));
        assert_eq!(Stop::new(None, Some(i64::MAX)), stop(15, 24 * 60 * 60));
    }
}
