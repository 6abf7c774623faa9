//! The stop signal and its stages.
//!
//! A small value handed to everything that runs; it remembers what it has seen, so waiting for a
//! stage that is past returns at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Run,
    /// No new connections; what is in flight finishes.
    Drain,
    /// The grace is over.
    Now,
}

/// Moves everyone to a later stage.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Stage>);

/// Waits for a stage.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Stage>);

/// A linked pair.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Stage::Run);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Goes to `stage`; never back.
    pub fn go(&self, stage: Stage) {
        self.0.send_if_modified(|current| {
            let later = stage > *current;
            *current = stage.max(*current);
            later
        });
    }
}

impl Stop {
    /// Returns once `stage` is reached; cancel safe. A stopper that is gone counts as the last one.
    pub async fn reached(&mut self, stage: Stage) {
        // An error means the stopper was dropped, which only happens at the very end.
        let _ = self.0.wait_for(|current| *current >= stage).await;
    }
}

/// SIGTERM and SIGINT. Listened to from first to last: a signal between two listeners would be lost.
#[derive(Debug)]
pub struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Without handlers the default action ends the process, which is what is asked for.
    pub fn listen() -> Self {
        let term = signal(SignalKind::terminate());
        Self(
            term.and_then(|term| Ok((term, signal(SignalKind::interrupt())?)))
                .ok(),
        )
    }

    /// Waits for the next one; cancel safe.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some((term, int)) => tokio::select! { _ = term.recv() => {} _ = int.recv() => {} },
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_are_remembered_and_never_go_back() {
        let (stopper, mut stop) = stop();
        stopper.go(Stage::Now);
        stopper.go(Stage::Drain);
        stop.reached(Stage::Drain).await;
        stop.reached(Stage::Now).await;
    }
}
