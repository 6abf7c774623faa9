//! Told by workers: an endpoint could not be dialled, so what is known of addresses may be old.
//!
//! A level, not a queue: any number of failures before somebody listens are one. Only requests that
//! have failed to connect pay for it.

use tokio::sync::Notify;

/// Where workers tell of failed dials, and the control thread listens.
#[derive(Debug, Default)]
pub struct Alarm {
    /// For who looks at the engine.
    engine: Notify,
    /// For who looks names up.
    names: Notify,
}

impl Alarm {
    /// An endpoint could not be dialled.
    pub fn raise(&self) {
        self.engine.notify_one();
        self.names.notify_one();
    }

    /// Waits until the engine should be looked at. For one listener; cancel safe.
    pub async fn for_engine(&self) {
        self.engine.notified().await;
    }

    /// Waits until names should be looked up. For one listener; cancel safe.
    pub async fn for_names(&self) {
        self.names.notified().await;
    }
}
