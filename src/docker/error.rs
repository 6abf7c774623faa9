//! What can go wrong with the engine, told with its remedy.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::client::innermost;
use super::engine::{Address, CALL_TIMEOUT};

/// Why the engine gave no answer. The text names the cause and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// `DOCKER_HOST` names a transport Wharf does not speak.
    #[error(
        "DOCKER_HOST {host}: not supported yet; use unix:///path/to/docker.sock or tcp://host:port"
    )]
    Unsupported { host: String },
    #[error(
        "no Docker socket at {}: is the engine running, and in a container, is the socket mounted \
         (-v /var/run/docker.sock:/var/run/docker.sock)?", path.display()
    )]
    SocketMissing { path: PathBuf },
    #[error(
        "no permission for the Docker socket {}: {}",
        path.display(), permission_remedy(*group)
    )]
    PermissionDenied {
        path: PathBuf,
        /// Group that owns the socket, where it could be read.
        group: Option<u32>,
    },
    #[error("{address} refuses connections: is the Docker engine running?")]
    Refused { address: Address },
    /// A refusal that outlasted [`STALE_SOCKET_AFTER`] although the socket file exists.
    ///
    /// [`STALE_SOCKET_AFTER`]: super::watcher::STALE_SOCKET_AFTER
    #[error(
        "{address} still refuses connections: if the engine was restarted, this mounted socket file \
         is a leftover of the old one; restart Wharf's container, or mount the socket's directory \
         instead of the file"
    )]
    StaleSocket { address: Address },
    /// 403: a socket proxy in front of the engine does not allow the call.
    #[error("{call} is forbidden: set {variable}=1 on the Docker socket proxy")]
    Forbidden {
        call: &'static str,
        variable: &'static str,
    },
    #[error("{call}: no answer from {address} within {seconds} s")]
    Timeout {
        call: &'static str,
        address: Address,
        seconds: u64,
    },
    /// The engine answered with an error status.
    #[error("{call}: the engine answered {status}: {message}")]
    Status {
        call: &'static str,
        status: u16,
        message: String,
    },
    #[error("{call}: the engine's answer could not be read: {message}")]
    Unreadable { call: &'static str, message: String },
    #[error("{call}: the engine answers with more than {mebibytes} MiB")]
    TooLarge {
        call: &'static str,
        mebibytes: usize,
    },
    #[error(
        "the engine wants API {wanted} or newer, this Wharf speaks up to {spoken}: update Wharf"
    )]
    TooNew { wanted: String, spoken: String },
    #[error("{host} ends the event stream as soon as it begins")]
    StreamEnded { host: String },
    #[error("{call}: connection to {address} failed: {message}")]
    Connection {
        call: &'static str,
        address: Address,
        message: String,
    },
}

impl EngineError {
    /// Sorts what kept an answer from coming by its cause.
    pub(super) fn from_client(
        call: &'static str,
        address: &Address,
        error: &bollard::errors::Error,
    ) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => Self::from_status(call, *status_code, message),
            Error::SocketNotFoundError(path) => Self::SocketMissing { path: path.into() },
            Error::UnsupportedURISchemeError { uri } => Self::Unsupported { host: uri.clone() },
            Error::RequestTimeoutError => Self::Timeout {
                call,
                address: address.clone(),
                seconds: CALL_TIMEOUT.as_secs(),
            },
            other => Self::from_transport(call, address, innermost(other)),
        }
    }

    fn from_transport(
        call: &'static str,
        address: &Address,
        (kind, message): (Option<io::ErrorKind>, String),
    ) -> Self {
        match (kind, address) {
            (Some(io::ErrorKind::NotFound), Address::Unix(path)) => {
                Self::SocketMissing { path: path.clone() }
            }
            (Some(io::ErrorKind::PermissionDenied), Address::Unix(path)) => {
                Self::PermissionDenied {
                    path: path.clone(),
                    group: group_of(path),
                }
            }
            (Some(io::ErrorKind::ConnectionRefused), _) => Self::Refused {
                address: address.clone(),
            },
            _ => Self::Connection {
                call,
                address: address.clone(),
                message,
            },
        }
    }

    /// An answer that is no success, with what its body says.
    pub(super) fn from_status(call: &'static str, status: u16, message: &str) -> Self {
        match status {
            403 => Self::Forbidden {
                call,
                variable: proxy_variable(call),
            },
            _ => Self::Status {
                call,
                status,
                message: shorten(message),
            },
        }
    }

    pub(super) fn unreadable(call: &'static str, error: &serde_json::Error) -> Self {
        Self::Unreadable {
            call,
            message: error.to_string(),
        }
    }

    /// A short word per cause: what counts as "the same error again" in the log.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported",
            Self::SocketMissing { .. } => "missing",
            Self::PermissionDenied { .. } => "permission",
            Self::Refused { .. } => "refused",
            Self::StaleSocket { .. } => "stale",
            Self::Forbidden { variable, .. } => variable,
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Unreadable { .. } => "unreadable",
            Self::TooLarge { .. } => "large",
            Self::TooNew { .. } => "version",
            Self::StreamEnded { .. } => "stream",
            Self::Connection { .. } => "connection",
        }
    }

    /// Whether it stays until somebody changes a setting or updates something.
    pub(super) fn is_settled(&self) -> bool {
        matches!(
            self,
            Self::Unsupported { .. }
                | Self::Forbidden { .. }
                | Self::TooNew { .. }
                | Self::StreamEnded { .. }
        )
    }
}

/// The variable by which docker-socket-proxy allows `call`.
fn proxy_variable(call: &str) -> &'static str {
    match call {
        "version" => "VERSION",
        "events" => "EVENTS",
        "list networks" => "NETWORKS",
        _ => "CONTAINERS",
    }
}

fn permission_remedy(group: Option<u32>) -> String {
    match group {
        Some(group) => {
            format!("it belongs to group {group}; run the container with --group-add {group}")
        }
        None => "run the container with --group-add <group id of the socket>".to_owned(),
    }
}

fn group_of(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.gid())
}

/// One line, bounded: socket proxies answer with HTML pages.
fn shorten(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

const LONGEST_MESSAGE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn unix() -> Address {
        Address::Unix("/run/none.sock".into())
    }

    #[test]
    fn a_403_names_the_variable_of_the_call() {
        for (call, expected) in [
            ("version", "VERSION=1"),
            ("events", "EVENTS=1"),
            ("list containers", "CONTAINERS=1"),
            ("inspect container", "CONTAINERS=1"),
            ("list networks", "NETWORKS=1"),
        ] {
            let error = EngineError::from_status(call, 403, "<html>");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn io_errors_are_told_by_cause_and_remedy() {
        let tell = |kind: io::ErrorKind| {
            let err = io::Error::from(kind);
            let error = bollard::errors::Error::IOError { err };
            EngineError::from_client("version", &unix(), &error).to_string()
        };
        assert!(tell(io::ErrorKind::NotFound).contains("no Docker socket at /run/none.sock"));
        assert!(tell(io::ErrorKind::PermissionDenied).contains("--group-add"));
        assert!(tell(io::ErrorKind::ConnectionRefused).contains("is the Docker engine running?"));
        assert!(tell(io::ErrorKind::ConnectionReset).contains("connection reset"));
    }

    #[test]
    fn long_pages_become_one_short_line() {
        let page = "<html>\n  <body>".repeat(100);
        let error = EngineError::from_status("version", 502, &page).to_string();
        assert!(error.len() < 300 && !error.contains('\n'), "{error}");
    }
}
