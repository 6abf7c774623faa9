//! Binding the listeners: one socket per worker and address, shared by `SO_REUSEPORT`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::AppError;
use crate::config::Config;
use crate::proxy::{self, Listeners};

/// Everything bound.
pub(super) struct Bound {
    pub(super) workers: Vec<Listeners>,
    pub(super) https: Option<SocketAddr>,
    pub(super) admin: Option<TcpListener>,
    /// Name and address of each listener, for status.
    pub(super) names: Vec<(&'static str, SocketAddr)>,
}

/// Binds all listeners and logs where they ended up.
pub(super) fn bind(config: &Config) -> Result<Bound, AppError> {
    let mut workers: Vec<Listeners> = (0..config.workers).map(|_| Listeners::default()).collect();
    let mut names = Vec::new();
    if let Some(address) = config.http {
        let (sockets, address) = per_worker("http", address, config.workers)?;
        for (worker, socket) in workers.iter_mut().zip(sockets) {
            worker.http = Some(socket);
        }
        names.push(("http", address));
    }
    let mut https = None;
    if let Some(address) = config.https {
        let (sockets, address) = per_worker("https", address, config.workers)?;
        for (worker, socket) in workers.iter_mut().zip(sockets) {
            worker.https = Some(socket);
        }
        names.push(("https", address));
        https = Some(address);
    }
    let mut admin = None;
    if let Some(address) = config.admin {
        let (listener, address) = one("admin", address, Use::Alone)?;
        names.push(("admin", address));
        admin = Some(listener);
    }
    for (listener, address) in &names {
        tracing::info!(listener, %address, "listening");
    }
    Ok(Bound {
        workers,
        https,
        admin,
        names,
    })
}

/// What a socket is bound for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To see whether the address is free; never listens, so no client is ever turned away.
    Probe,
    /// One of several on the same address.
    Shared,
    Alone,
}

/// One socket for each worker on the same address; port 0 is chosen once.
fn per_worker(
    listener: &'static str,
    address: SocketAddr,
    workers: usize,
) -> Result<(Vec<TcpListener>, SocketAddr), AppError> {
    // Without SO_REUSEPORT first: a second Wharf, or anything else on the port, is then told
    // instead of silently sharing it.
    let (_, address) = one(listener, address, Use::Probe)?;
    let sockets: Result<Vec<_>, _> = (0..workers)
        .map(|_| one(listener, address, Use::Shared).map(|(socket, _)| socket))
        .collect();
    Ok((sockets?, address))
}

fn one(
    listener: &'static str,
    address: SocketAddr,
    purpose: Use,
) -> Result<(TcpListener, SocketAddr), AppError> {
    let mut bound = open(address, purpose);
    if bound.as_ref().is_err_and(no_ipv6) && address.ip().is_unspecified() {
        bound = open(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()),
            purpose,
        );
    }
    let socket = bound.map_err(|source| AppError::Listen {
        listener,
        address,
        source,
    })?;
    let address = socket.local_addr().map_err(|source| AppError::Listen {
        listener,
        address,
        source,
    })?;
    Ok((socket, address))
}

fn open(address: SocketAddr, purpose: Use) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // Dual stack where the address is `[::]`.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if purpose == Use::Shared {
        socket.set_reuse_port(true)?;
    }
    // Both are inherited by accepted sockets, so they cost nothing per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&proxy::keepalive())?;
    socket.bind(&address.into())?;
    if purpose != Use::Probe {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// This kernel or container has no IPv6.
fn no_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    const EADDRNOTAVAIL: i32 = 99;
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

/// Connections the kernel holds for us; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
