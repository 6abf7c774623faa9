//! The access log's output, and what is done about it while Wharf runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::AppError;
use crate::access::{AccessLog, Losses, Output, Reopener, Teller};
use crate::config::{AccessLogConfig, AccessLogTo};

/// Opens the output and starts its thread.
pub(super) fn start(config: &AccessLogConfig) -> Result<AccessLog, AppError> {
    let failed = |to: String| {
        move |source| AppError::AccessLog {
            to: to.into(),
            source,
        }
    };
    let out = match &config.to {
        AccessLogTo::Stdout => Output::stdout().map_err(failed("standard output".into()))?,
        AccessLogTo::File { path, rotation } => {
            let to = path.display().to_string();
            Output::file(path, *rotation).map_err(failed(to))?
        }
    };
    let (format, hidden) = (config.format.clone(), config.hidden.clone());
    Ok(AccessLog::start(format, hidden, out))
}

/// Opens the file again at each SIGUSR1, as nginx does. Listened to also where there is no log: the signal would end
/// the process.
pub(super) async fn follow(reopener: Option<Reopener>) {
    let Ok(mut signals) = signal(SignalKind::user_defined1()) else {
        return;
    };
    while signals.recv().await.is_some() {
        match &reopener {
            Some(reopener) => reopener.reopen(),
            None => tracing::info!("SIGUSR1: there is no access log to reopen"),
        }
    }
}

/// Tells of lines that were lost.
pub(super) async fn tell(losses: Arc<Losses>) {
    let mut teller = Teller::new(losses);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(news) = teller.news(Instant::now()) {
            tracing::warn!("{news}");
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
