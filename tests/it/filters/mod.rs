//! What a route asks of a request before the app hears of it. A topic a file; in each the same rules behind nginx,
//! where it has them, and for clients of real containers.

use std::net::SocketAddr;

use crate::support::curl::{Answer, curl};

mod addresses;
mod block;
mod cors;
mod forward_auth;
mod in_flight;
mod login;
mod maintenance;
mod rates;

/// What `client`, an address of this machine, is answered at `address`.
fn ask(address: SocketAddr, client: &str, url: &str, arg: &[&str]) -> Answer {
    let asked = curl(url, address).arg(&["--interface", client, "--path-as-is"]);
    asked.arg(arg).run().unwrap()
}
