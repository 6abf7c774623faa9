//! A clock that is wrong: named, and nothing is ordered. That of the CA is set here, which is the same to
//! Wharf.

use std::time::Duration;

use wharf::model::TlsMode;
use wharf::tls::{CertState, ObtainError};

use crate::support::pebble::Pebble;
use crate::support::responder::{Ports, Responder};
use crate::support::shim::Shim;
use crate::tls::{Running, authority, config};

#[tokio::test]
async fn nothing_is_ordered_by_a_clock_that_is_wrong() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let shim = Shim::start(&ca).await;
    for ahead in [40 * 86_400, -40 * 86_400] {
        shim.set_clock(ahead);
        let orders = ca.orders();
        let mut config = config(&ca, None);
        config.cas = vec![authority(shim.directory(), &shim.listener_root())];
        let running = Running::open_with(config);
        let _server = Responder::start(ports.clone(), &running.certs);
        assert_eq!(running.certs.clock_fault(), None);
        running.declare(&["a.example.com"], TlsMode::Auto);
        let refused = running.obtain("a.example.com").await;
        let Err(ObtainError::Failed { cause, .. }) = refused else {
            panic!("{refused:?}");
        };
        let way = if ahead > 0 { "behind" } else { "ahead of" };
        let told = format!("days {way} the clock of the CA");
        assert!(
            cause.contains("nothing is ordered") && cause.contains(&told),
            "{cause}"
        );
        assert!(running.certs.clock_fault().unwrap().contains(&told));
        assert_eq!(ca.orders(), orders);
        // It is looked at again with each attempt.
        shim.set_clock(0);
        let valid = |line: &wharf::tls::CertReport| line.state == CertState::Valid;
        running
            .until("a.example.com", Duration::from_secs(30), valid)
            .await;
        assert_eq!(running.certs.clock_fault(), None);
        assert_eq!(ca.orders(), orders + 1);
    }
}
