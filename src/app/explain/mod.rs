//! The answer to `wharf explain`: the decision of [`proxy::decide`], with what the plan, the certificates
//! and a connect to each endpoint add to it.

// What is asked.
mod limits;
mod question;
// The answer, as it grows.
mod story;
// Facts in words.
mod words;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use self::question::question;
use self::story::Story;
use super::report::Report;
use crate::admin::Explanation;
use crate::dial::{self, Dialed};
use crate::proxy::{self, Verdict};
use crate::upstream::{Endpoint, Failure};

/// Reads the question in `query` and answers it.
pub(super) async fn explain(report: &Report, query: &str) -> Result<Explanation, String> {
    let (question, url) = question(report, query)?;
    let published = Arc::clone(&report.published.borrow());
    let table = Arc::clone(&published.table);
    let decision = proxy::decide(&question, &table, &published.notes, &report.trusted)?;
    let route = decision.route.map(|route| &**route);
    let dials = match (route, &decision.verdict) {
        (Some(route), Verdict::Forward(_)) => dial(report, &route.upstream.endpoints).await,
        _ => Vec::new(),
    };
    let mut story = Story {
        report,
        published: &published,
        question: &question,
        decision: &decision,
        told: Explanation {
            method: question.method.clone(),
            url,
            from: decision.client.to_string(),
            ..Explanation::default()
        },
        ended: false,
    };
    story.tell(&dials);
    Ok(story.told)
}

/// Connects to each endpoint, over TLS where requests are sent so, and says nothing; `None` where one took
/// it.
async fn dial(report: &Report, endpoints: &[Endpoint]) -> Vec<Option<Failure>> {
    let dials = endpoints.iter().take(MAX_DIALS).map(async |endpoint| {
        let dialled = async {
            let stream = dial::connect(&endpoint.addr).await;
            let stream = stream.map_err(|error| Failure::of_connect(&error))?;
            if let (Some(tls), Dialed::Tcp(stream)) = (&endpoint.tls, stream) {
                let greeting = report.certs.greet(tls, endpoint.proto.is_http2(), stream);
                greeting.await.map_err(|_| Failure::Tls)?;
            }
            Ok(())
        };
        let dialled = timeout(DIAL_LIMIT, dialled).await;
        dialled.unwrap_or(Err(Failure::ConnectTimeout)).err()
    });
    join_all(dials).await
}

/// Endpoints that are asked for a connection.
const MAX_DIALS: usize = 32;
/// A local connect takes far less.
const DIAL_LIMIT: Duration = Duration::from_secs(1);
