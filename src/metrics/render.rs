//! Prometheus text exposition, version 0.0.4.

use super::Metrics;

/// What `/metrics` tells besides the workers' counters; read at render time.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    pub uptime_seconds: u64,
    pub routes: u64,
    pub endpoints: u64,
    /// Labels that could not be used.
    pub problems: u64,
    pub certificates: Vec<CertificateGauge>,
    pub engine: EngineGauges,
}

/// One certificate.
#[derive(Debug, Clone)]
pub struct CertificateGauge {
    pub host: String,
    /// Unix time of its end.
    pub not_after: i64,
}

/// The Docker side.
#[derive(Debug, Clone, Default)]
pub struct EngineGauges {
    pub connected: bool,
    /// Container lists read since the start.
    pub lists: u64,
    pub reconnects: u64,
    /// Seconds since the last event; `None` before the first.
    pub last_event_seconds_ago: Option<u64>,
    /// Seconds since the last list; `None` before the first.
    pub last_list_seconds_ago: Option<u64>,
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn render(&self, gauges: &Gauges) -> String {
        let _ = gauges;
        String::new()
    }
}
