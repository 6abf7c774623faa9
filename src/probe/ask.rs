//! One check: a connection, and a request on it.

use std::io;

use tokio::time::timeout;

use super::http::{self, Io};
use super::http2;
use crate::dial::{self, Dialed};
use crate::model::{ActiveCheck, Address, AppTls, HealthAsk, Proto};
use crate::tls::Certs;
use crate::upstream::{Failure, Outcome};

/// What came of a check.
pub(super) struct Answer {
    /// `None`: it failed for want of something on this side, and tells nothing.
    pub(super) outcome: Option<Outcome>,
    /// The connection, on which the rest of an answer may come.
    pub(super) rest: Option<Box<dyn Io>>,
}

/// Asks once, within the limit of `check`; over TLS where requests are sent so, too.
pub(super) async fn ask(
    addr: &Address,
    (proto, tls): (Proto, Option<&AppTls>),
    check: &ActiveCheck,
    certs: &Certs,
) -> Answer {
    let asked = async {
        let stream = match connect(addr).await {
            Ok(stream) => stream,
            Err(failure) => return (failure.map(Outcome::Failed), None),
        };
        match &check.asks {
            HealthAsk::Tcp => (Some(Outcome::Connected), None),
            asks @ (HealthAsk::Http(_) | HealthAsk::Grpc(_)) => {
                // Nothing else speaks gRPC.
                let http2 = proto.is_http2() || matches!(asks, HealthAsk::Grpc(_));
                let mut stream: Box<dyn Io> = match (tls, stream) {
                    (_, Dialed::Unix(stream)) => Box::new(stream),
                    (None, Dialed::Tcp(stream)) => Box::new(stream),
                    (Some(tls), Dialed::Tcp(stream)) => match certs.greet(tls, http2, stream).await
                    {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return (Some(Outcome::Failed(Failure::Tls)), None),
                    },
                };
                let at = (addr, tls.is_some());
                let status = match asks {
                    HealthAsk::Grpc(service) => http2::serving(&mut *stream, service, at).await,
                    HealthAsk::Http(ask) if http2 => http2::status(&mut *stream, ask, at).await,
                    HealthAsk::Http(ask) => http::status(&mut *stream, ask, at).await,
                    HealthAsk::Tcp => return (Some(Outcome::Connected), None),
                };
                match status {
                    // On HTTP/2 an application is told that nothing more is wanted of it.
                    Ok(status) if http2 => (Some(Outcome::Status(status)), None),
                    Ok(status) => (Some(Outcome::Status(status)), Some(stream)),
                    Err(failure) => (Some(Outcome::Failed(failure)), None),
                }
            }
        }
    };
    let timed_out = (Some(Outcome::Failed(Failure::Timeout)), None);
    let (outcome, rest) = timeout(check.timeout, asked).await.unwrap_or(timed_out);
    Answer { outcome, rest }
}

/// `Err(None)`: it failed for want of something on this side.
pub(super) async fn connect(addr: &Address) -> Result<Dialed, Option<Failure>> {
    let connected = dial::connect(addr).await;
    connected.map_err(|error| (!is_ours(&error)).then(|| Failure::of_connect(&error)))
}

/// Whether Wharf itself lacks descriptors, memory or ports: no endpoint may be taken out for that.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    let code = error.raw_os_error();
    ours.iter().any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wharf_lacks_is_no_fault_of_an_endpoint() {
        use rustix::io::Errno;
        for (errno, ours) in [
            (Errno::MFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(is_ours(&errno.into()), ours, "{errno}");
        }
        assert!(!is_ours(&io::ErrorKind::TimedOut.into()));
    }
}
