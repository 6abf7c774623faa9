//! HTTP/2 (RFC 9113): towards clients, and towards apps that speak it.
//!
//! A connection is one task that reads frames and writes them ([`connection`]). Its streams are tasks of
//! their own, or parts of others, so that an upstream wakes only whom it concerns; they add their frames to
//! one buffer, which the connection writes once all that are due have had their turn. A client's stream that
//! is alone is driven by the connection itself, which spares both the way through the scheduler. What a
//! connection and its streams share is in [`shared`]; [`server`] and [`client`] are the two sides of it.

// One connection, whichever side.
mod connection;
mod flood;
mod frame;
mod head;
mod hpack;
mod shared;

// One question, for checks.
mod ask;

// The two sides.
mod client;
mod server;

pub(crate) use ask::{Question, ask};
pub(crate) use client::{Asked, Call, Stopped, Trunk};
pub(crate) use connection::SPEAKS_HTTP1;
pub(crate) use server::{Lanes, serve};
pub(crate) use shared::Came as Body;
