//! A request that is let through, on its way to the app.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Head;
use super::target::{rewritten, target};
use crate::access::RequestId;
use crate::model::Facts;
use crate::proxy::auths::Pass;
use crate::proxy::breaker::pass;
use crate::proxy::exchange::Client;
use crate::proxy::forward::{Answer, Forward, Refusal};
use crate::proxy::head::RequestHead;
use crate::proxy::headers::{self, Dress, Edited, Origin};
use crate::proxy::hold::Stop;
use crate::proxy::state::ConnState;
use crate::proxy::tail::Record;
use crate::proxy::worker::Worker;
use crate::route::Route;

/// What is known of it.
#[derive(Clone, Copy)]
pub(super) struct Onward<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) conn: &'a Rc<ConnState>,
    pub(super) head: &'a Head<'a>,
    pub(super) route: &'a Arc<Route>,
    pub(super) request_id: RequestId<'a>,
    pub(super) websocket: bool,
    /// Who has logged in, where the route asks for a name and a password.
    pub(super) user: Option<&'a str>,
    /// What the server has said that decides who gets in.
    pub(super) passed: Option<&'a Rc<Pass>>,
}

impl<'a> Onward<'a> {
    /// Sends it, as the client wrote it or as `request`, which is the same but for method and fields.
    pub(super) async fn send<C: Client>(
        &self,
        request: &RequestHead,
        side: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let (head, route, conn) = (self.head, &**self.route, self.conn);
        if let Some(breaker) = &route.breaker {
            pass(self.worker, breaker, record).map_err(Refusal::Final)?;
        }
        let (target, prefix) = target(head, route);
        let rewritten = rewritten(head, route, target).map_err(Refusal::Final)?;
        let target = rewritten.as_deref().map_or(target, |target| [target, ""]);
        let edited = route.request_edits.as_ref().map(|edits| {
            let mut lines = Vec::new();
            headers::write_edits(&mut lines, edits, request.fields(), &self.facts());
            Box::new(Edited { edits, lines })
        });
        let forward = Forward {
            worker: self.worker,
            route,
            head: request,
            target,
            origin: Origin {
                peer: conn.peer.ip(),
                client: head.client.address,
                trusted: head.client.trusted,
                request_id: self.request_id,
                scheme: if head.https { "https" } else { "http" },
                authority: head.authority,
                port: head.port(),
                lines: (!head.client.trusted).then(|| conn.lines()),
                certificate: route.client.as_ref().map(|_| conn.certificate()),
                prefix,
                forwarded: route.forwarded,
                edited: edited.as_deref(),
                reserved: (route.reserved.as_deref())
                    .map(|names| (names, self.passed.map_or(&[][..], |pass| &pass.app))),
                login: (route.filters.as_ref())
                    .and_then(|filters| filters.basic.as_ref())
                    .map(|basic| (basic, self.user)),
            },
            facts: self.facts(),
            websocket: self.websocket,
            cookies: self.cookies(),
        };
        forward.send(side, record).await
    }

    /// What becomes of a request that could not be sent.
    pub(super) fn stop(&self, refusal: Refusal, deadline: Option<Instant>) -> Stop {
        let route = self.route;
        match refusal {
            Refusal::Final(error) => error.into(),
            Refusal::ForNow(error) => Stop::held(error, route, None, deadline),
            Refusal::Full => Stop::Full(Arc::clone(&route.upstream)),
            Refusal::Cut(error, endpoint) => Stop::held(error, route, Some(endpoint), deadline),
        }
    }

    /// Of the request as the client sent it.
    fn facts(&self) -> Facts<'a> {
        self.head.facts(self.head.path, self.head.rooted_target())
    }

    /// Lines for the client beside the app's own.
    pub(super) fn cookies(&self) -> &'a [u8] {
        self.passed.map_or(&[], |pass| &pass.client)
    }

    /// What the route's labels make of an answer's fields.
    pub(super) fn dress(&self) -> Dress<'_> {
        let head = self.head;
        Dress {
            route: self.route,
            asked: head.request.fields(),
            https: head.https,
            authority: head.authority,
            facts: self.facts(),
            cookies: self.cookies(),
        }
    }
}
