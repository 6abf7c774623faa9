//! The engine: client connections in, upstream connections out. Knows nothing of Docker.
//!
//! The life of a request. A [`worker`] is one thread with a runtime, its own listeners
//! (`SO_REUSEPORT`) and its own upstream connections. It accepts a connection and gives it to
//! [`conn`], which does the TLS handshake with the certificate for the name. [`http1`] and
//! [`http2`] read requests, turn them into a [`head`] and ask [`service`]: the steps from checks to
//! route. [`forward`] picks an endpoint, takes a connection from the [`pool`] and runs
//! an [`exchange`] on it, in the same task, with the small HTTP/1 codec of [`h1`]; [`headers`] says
//! which [`fields`] travel. The response goes back the way the request came; its [`tail`] counts and
//! logs the request when it ends. What goes wrong becomes an answer in [`error`] and [`page`].

mod addresses;
mod attempts;
mod audience;
mod auths;
mod breaker;
mod buffers;
mod cache;
mod certificate;
mod clock;
mod conn;
mod counted;
mod encoder;
mod error;
mod error_files;
mod exchange;
mod explain;
mod fields;
mod forward;
mod grpc;
mod h1;
mod head;
mod headers;
mod hints;
mod hold;
mod http1;
mod http2;
mod linger;
mod local;
mod pace;
mod page;
mod pipe;
mod pool;
mod proxied;
mod queue;
mod service;
mod spare;
mod start;
mod state;
mod stream;
mod tail;
mod tries;
mod tunnel;
mod websocket;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::alarm::Alarm;
use crate::config::TrustedProxies;
use crate::model::LabelPrefix;
use crate::route::SharedTable;
use crate::spool::Room;
use crate::tls::Certs;

pub use addresses::Addresses;
pub(crate) use error::ProxyError;
pub(crate) use explain::{Decision, Question, Verdict, decide};
pub(crate) use hints::claimants;
pub(crate) use http2::{Question as Http2Question, ask};
pub(crate) use pool::keepalive;
pub use worker::{Listeners, run};

/// What all workers share.
pub struct Engine {
    pub table: Arc<SharedTable>,
    pub certs: Certs,
    /// Peers whose forwarding headers are believed.
    pub trusted: TrustedProxies,
    /// Peers that may say in front of a connection whose it is.
    pub proxied_by: TrustedProxies,
    /// What labels are called in texts.
    pub prefix: LabelPrefix,
    /// Where files of error pages are.
    pub errors: PathBuf,
    /// Told of every failed dial.
    pub alarm: Arc<Alarm>,
    /// Connections one worker serves at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Of those that have a limit.
    pub addresses: Option<Addresses>,
    /// How long a request head may take from its first byte (nginx `client_header_timeout`).
    pub header_timeout: Duration,
    /// How long a handshake may wait for a first certificate.
    pub hold: Duration,
    /// For bodies that are held.
    pub room: Arc<Room>,
}
