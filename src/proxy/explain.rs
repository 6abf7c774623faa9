//! What would become of a request, by the code that decides it when one comes. Changes nothing: no turn is
//! used up, nobody is dialled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::audience::{Client, may_see_details};
use super::breaker::refusal;
use super::error::ProxyError;
use super::fields::FieldIndex;
use super::fields::Known;
use super::forward::{choice, holder, nobody};
use super::head::RequestHead;
use super::queue::{full, no_place};
use super::{h1, hints, service};
use crate::config::TrustedProxies;
use crate::model::{ContainerNote, HttpsMode};
use crate::route::{ForwardAuth, HostEntry, Route, RouteTable};
use crate::upstream::Choice;

/// A request that nobody has sent.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) https: bool,
    /// Host and port, as in a URL.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    /// Where it comes from.
    pub(crate) from: IpAddr,
}

/// What would become of it.
#[derive(Debug)]
pub(crate) struct Decision<'t> {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) client: IpAddr,
    pub(crate) entry: Option<&'t Arc<HostEntry>>,
    pub(crate) route: Option<&'t Arc<Route>>,
    /// The services that share its place, with their shares, where nothing but their turn decides.
    pub(crate) shares: Vec<(&'t Arc<Route>, u16)>,
    /// It is sent to TLS first; what follows is decided for the request that comes back.
    pub(crate) redirect: Option<(StatusCode, String)>,
    /// What the app is asked for, where that is not what the client asks for.
    pub(crate) target: Option<String>,
    /// Who is asked first, and can say no.
    pub(crate) asks: Option<&'t ForwardAuth>,
    pub(crate) verdict: Verdict,
    /// Whether an error page would name containers to this client.
    pub(crate) detail: bool,
    /// As on the error page.
    pub(crate) hints: Vec<String>,
}

/// How it ends.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// One of these endpoints of the route's upstream gets it.
    Forward(Vec<u16>),
    /// The route's labels send it elsewhere.
    Redirect(StatusCode, String),
    /// With a file, or that there is none.
    File,
    /// Wharf answers it for the app: a browser's preflight.
    Preflight,
    Refuse(ProxyError),
}

/// Decides on a request. `Err` is why the question is none.
pub(crate) fn decide<'t>(
    question: &Question,
    table: &'t RouteTable,
    notes: &[ContainerNote],
    proxies: &TrustedProxies,
) -> Result<Decision<'t>, String> {
    let request = question.head()?;
    let client = Client::of(proxies, question.from, request.fields());
    let head = service::Head::read(question.https, &request, client);
    let mut decision = Decision {
        host: String::new(),
        path: String::new(),
        client: client.address,
        entry: None,
        route: None,
        shares: Vec::new(),
        redirect: None,
        target: None,
        asks: None,
        verdict: Verdict::Forward(Vec::new()),
        detail: may_see_details(table, &request, client),
        hints: Vec::new(),
    };
    let verdict = head.and_then(|head| {
        decision.host = head.host.as_str().to_owned();
        decision.path = head.path.to_owned();
        decision.steps(table, &head)
    });
    decision.verdict = verdict.unwrap_or_else(Verdict::Refuse);
    if let Verdict::Refuse(error) = &decision.verdict {
        decision.hints = hints::hints(error, table, notes, &request);
    }
    Ok(decision)
}

impl<'t> Decision<'t> {
    /// The steps of [`service::answer`], up to the choice of an endpoint.
    fn steps(
        &mut self,
        table: &'t RouteTable,
        head: &service::Head<'_>,
    ) -> Result<Verdict, ProxyError> {
        let request = head.request;
        let entry = service::find_host(table, head)?;
        self.entry = Some(entry);
        let mut route = service::find_route(entry, head)?;
        if let Some(split) = entry.split(route) {
            let fields = request.fields();
            let decided = split.decided(
                |matcher| head.meets_as_seen(matcher),
                |route| holder(route, fields).is_some(),
            );
            if decided.is_none() {
                self.shares = split.shares();
            }
            let first = self.shares.first().map(|(route, _)| *route);
            route = decided.or(first).unwrap_or(route);
        }
        self.route = Some(route);
        if service::preflight(head, route)?.is_some() {
            return Ok(Verdict::Preflight);
        }
        if let Some(to) = service::elsewhere(table, head, route) {
            return Ok(Verdict::Redirect(to.status, to.location));
        }
        if let Some(port) = service::wants_tls(table, head, route) {
            if route.https == HttpsMode::Only {
                return Err(ProxyError::HttpsOnly);
            }
            self.redirect = Some(service::redirect(head, port));
        }
        let admission = service::admit(entry, route, head)?;
        let limits = route.in_flight.as_ref();
        if let Some(full) = limits.and_then(|all| all.full(|key| service::whose(head, key))) {
            return Err(no_place(full));
        }
        self.asks = admission.forward;
        if let Some(basic) =
            (admission.basic).filter(|_| !request.fields().has(Known::Authorization))
        {
            let realm = basic.realm.clone();
            return Err(ProxyError::Login { realm });
        }
        if let Some(auth) = admission.forward {
            let upstream = &auth.route.upstream;
            if upstream.candidates(Choice::Turn, Instant::now()).is_empty() {
                return Err(ProxyError::Auth {
                    route: route.key.0.as_str().into(),
                    at: auth.at.clone(),
                    cause: Box::new(nobody(upstream)),
                });
            }
        }
        if route.files.is_some() {
            return Ok(Verdict::File);
        }
        self.target = service::changed_target(head, route)?;
        if let Some(error) = route.breaker.as_ref().and_then(|one| refusal(one)) {
            return Err(error);
        }
        let choice = choice(route, request, head.authority, head.client.address, || 0);
        let now = Instant::now();
        let held = holder(route, request.fields());
        let candidates = route.upstream.candidates(choice, now);
        if candidates.is_empty() {
            return Err(full(&route.upstream).unwrap_or_else(|| nobody(&route.upstream)));
        }
        // A sticky client stays where it was, if it can.
        Ok(Verdict::Forward(
            match held.filter(|index| candidates.contains(index)) {
                Some(index) => vec![index],
                None => candidates,
            },
        ))
    }
}

impl Question {
    /// Through the parser that reads requests from clients.
    fn head(&self) -> Result<RequestHead, String> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: ", self.method, self.target);
        text += &self.authority;
        for (name, value) in &self.fields {
            text += &format!("\r\n{name}: {value}");
        }
        let lines = 2 + self.fields.len();
        text += "\r\n\r\n";
        if text.split('\n').count() != lines + 2 || text.matches('\r').count() != lines + 1 {
            return Err("a header may not hold a line end".to_owned());
        }
        let parsed = h1::parse_request(text.as_bytes(), FieldIndex::default())
            .map_err(|error| error.to_string())?
            .ok_or("this is no request")?;
        Ok(parsed.into_head(text.into_bytes()))
    }
}
