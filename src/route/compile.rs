//! Plan + previous table -> table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Asking, Back, Breaker, Edits, ErrorPage, Errors, ForwardAuth, HostEntry, Hosts, Route,
    RouteCache, RouteTable, Share, Split, Sticky, Stripped,
};
use crate::filter::Filters;
use crate::filter::cors::Cors;
use crate::filter::inflight::InFlight;
use crate::filter::ratelimit::{Buckets, Limiter};
use crate::model::{
    self, AccessSpec, ClientAuth, CorsSpec, EditOp, FieldNames, FieldText, ForwardSpec, HeaderEdit,
    HostPattern, HttpsMode, Maintenance, Matcher, PathPattern, Plan, Rewrite, RouteKey, RouteSpec,
    SentHost, Settings, Timeouts, TlsMode, TlsPolicy, UpstreamKey, escape_path,
};
use crate::upstream::{Secret, Upstream};
use crate::webroot::WebRoot;

/// Compiles `plan`; live halves of upstreams and endpoints are carried over from `previous`, and what
/// is new began at `now`.
///
/// A plan whose route names an upstream that is not there loses that route: `docker::plan` never
/// makes one, and a missing route is safer than a panic.
pub fn compile(plan: &Plan, previous: &RouteTable, secret: &Secret, now: Instant) -> RouteTable {
    let old: HashMap<&UpstreamKey, &Arc<Upstream>> = previous
        .upstreams
        .iter()
        .map(|upstream| (&upstream.key, upstream))
        .collect();
    let counted = plan.routes.iter().filter(|r| r.settings.balance.counts());
    let counted: HashSet<&UpstreamKey> = counted.map(|route| &route.upstream).collect();
    let upstreams: BTreeMap<&UpstreamKey, Arc<Upstream>> = plan
        .upstreams
        .iter()
        .map(|spec| {
            let before = old.get(&spec.key).map(|upstream| &***upstream);
            let later = previous.generation > 0;
            let mut upstream = Upstream::compile(spec, before, secret, later, now);
            upstream.counted |= counted.contains(&spec.key);
            (&spec.key, Arc::new(upstream))
        })
        .collect();

    let old_routes = previous.hosts().flat_map(|entry| &entry.routes);
    let filters: HashMap<&RouteKey, &Filters> = old_routes
        .filter_map(|route| Some((&route.key, route.filters.as_deref()?)))
        .collect();
    let limited = |spec: &RouteSpec| !spec.settings.rate_limits.limits.is_empty();
    let buckets = match &previous.buckets {
        None if plan.routes.iter().any(limited) => Some(Arc::new(Buckets::new(now))),
        before => before.clone(),
    };
    let old_routes = previous.hosts().flat_map(|entry| &entry.routes);
    let caches: HashMap<&RouteKey, &RouteCache> = old_routes
        .filter_map(|route| Some((&route.key, route.cache.as_deref()?)))
        .collect();
    let mut breakers = HashMap::new();
    let mut hosts: BTreeMap<&HostPattern, Vec<(&RouteSpec, Arc<Route>)>> = BTreeMap::new();
    for spec in &plan.routes {
        let Some(upstream) = upstreams.get(&spec.upstream) else {
            continue;
        };
        let breaker = spec.settings.breaker.map(|breaker| {
            let before = previous.breakers.get(&spec.key);
            Breaker::carried(&spec.key, breaker, before, now)
        });
        if let Some(breaker) = &breaker {
            breakers.insert(spec.key.clone(), Arc::clone(breaker));
        }
        let filters = filters.get(&spec.key).copied();
        let limiter = (buckets.as_ref())
            .and_then(|all| Limiter::compile(&spec.settings.rate_limits, &spec.key, all));
        let mut route = route(spec, upstream, breaker, limiter, filters, secret);
        let limits = &spec.settings.in_flight;
        route.in_flight = InFlight::compile(limits, &spec.key, &previous.counts);
        if let Some(forward) = &spec.settings.access.forward {
            let auth = spec.auth.as_ref().and_then(|auth| upstreams.get(auth));
            match auth {
                Some(auth) => guard(&mut route, spec, forward, auth, secret),
                // `docker::plan` never makes one; nobody may get in past it.
                None => route.fault = Some("wharf.auth.forward: there is no such server".into()),
            }
        }
        route.errors = errors(spec, upstream, &upstreams, secret);
        if let Some(shelf) = previous.shelf.as_ref().filter(|_| spec.fault.is_none()) {
            let before = caches.get(&spec.key).copied();
            route.cache = RouteCache::compile(spec, shelf, before);
        }
        let route = Arc::new(route);
        for host in &spec.hosts {
            hosts
                .entry(host)
                .or_default()
                .push((spec, Arc::clone(&route)));
        }
    }

    let mut table = RouteTable {
        generation: previous.generation + 1,
        breakers,
        buckets,
        counts: Arc::clone(&previous.counts),
        shelf: previous.shelf.clone(),
        ..RouteTable::default()
    };
    for (pattern, routes) in hosts {
        let before = previous.entry(pattern).map(|entry| &entry.splits[..]);
        let entry = Arc::new(entry(
            pattern,
            routes,
            before.unwrap_or_default(),
            plan.resting.get(pattern).cloned(),
            secret,
        ));
        match pattern {
            HostPattern::Exact(host) => insert(&mut table.exact, host.as_str(), entry),
            HostPattern::Wildcard(suffix) => insert(&mut table.wildcard, suffix.as_str(), entry),
            HostPattern::Below(suffix) => insert(&mut table.below, suffix.as_str(), entry),
            // In order: `hosts` is sorted.
            HostPattern::Regex(regex) => table.regexes.push((regex.clone(), entry)),
            HostPattern::Default => table.default = Some(entry),
        }
    }
    // Stable: patterns of one priority stay in order.
    table
        .regexes
        .sort_by_key(|(_, entry)| std::cmp::Reverse(entry.priority));
    table.upstreams = upstreams.into_values().collect();
    table
}

fn route(
    spec: &RouteSpec,
    upstream: &Arc<Upstream>,
    breaker: Option<Arc<Breaker>>,
    limiter: Option<Limiter>,
    filters: Option<&Filters>,
    secret: &Secret,
) -> Route {
    let settings = &spec.settings;
    let sticky = settings.sticky.as_ref().map(|sticky| {
        let name = sticky.cookie.clone();
        let name = name.unwrap_or_else(|| format!("wharf_{}", secret.name(&spec.upstream)));
        Sticky::new(name, &spec.path)
    });
    let stripped = stripped(spec);
    Route {
        key: spec.key.clone(),
        path: spec.path.clone(),
        conditions: spec.conditions.clone(),
        upstream: Arc::clone(upstream),
        forwarded: settings.forwarded,
        grpc: settings.grpc,
        request_edits: Edits::of(&settings.request_edits),
        response_edits: Edits::of(&response_edits(settings)),
        cors: (settings.cors.as_ref())
            .filter(|_| spec.fault.is_none())
            .map(Cors::compile),
        redirects: settings.redirects.clone(),
        redirect_to: settings.redirect_to.clone(),
        back: back(settings, stripped.as_ref()),
        stripped,
        rules: match &settings.rewrite {
            Some(Rewrite::Rules(rules)) => rules.clone(),
            _ => Vec::new(),
        },
        sent_host: settings.sent_host.clone(),
        websocket: settings.websocket,
        filters: Filters::compile(&settings.access, filters),
        forward: None,
        errors: None,
        compress: settings.compress.clone().map(Arc::new),
        reserved: (settings.access.basic.as_ref())
            .and_then(|basic| basic.user_header.clone())
            .map(|header| {
                Arc::new(FieldNames {
                    whole: vec![header],
                    beginnings: Vec::new(),
                })
            }),
        not_in_trailers: not_in_trailers(settings),
        // Without TLS there is nothing to redirect to.
        https: if settings.tls == TlsMode::Off {
            HttpsMode::Off
        } else {
            settings.https
        },
        client: settings.client.clone(),
        hsts: settings
            .hsts
            .map(|hsts| format!("strict-transport-security: {hsts}\r\n").into()),
        timeouts: settings.timeouts,
        keepalive: settings.keepalive,
        breaker,
        limiter,
        in_flight: None,
        cache: None,
        max_body: match settings.max_body {
            0 => u64::MAX,
            most => most,
        },
        chunked: settings.chunked,
        // Both sides of a call speak at the same time.
        buffer: (!settings.buffer.is_off() && !settings.grpc).then(|| Box::new(settings.buffer)),
        balance: settings.balance.clone(),
        sticky,
        files: (settings.files.as_ref())
            .filter(|_| spec.fault.is_none())
            .map(|files| Box::new(WebRoot::compile(files, is_guarded(settings)))),
        log: settings.log,
        slow_start: settings.slow_start,
        hold: settings.hold,
        hold_max: settings.hold_max,
        retry: settings.retry,
        share: spec.share.as_ref().map(|share| Share {
            weight: share.weight,
            canary: share.canary.clone(),
        }),
        owner: spec.owner.as_str().into(),
        fault: spec.fault.as_deref().map(Into::into),
    }
}

/// Whether not everybody gets what the route has, whoever asks for it by whatever way.
fn is_guarded(settings: &Settings) -> bool {
    let access = &settings.access;
    access.allow.is_some()
        || access.deny.is_some()
        || access.basic.is_some()
        || access.forward.is_some()
        || settings.client.is_some()
}

/// Has `route` ask the server at `auth`.
fn guard(
    route: &mut Route,
    spec: &RouteSpec,
    forward: &ForwardSpec,
    auth: &Arc<Upstream>,
    secret: &Secret,
) {
    let default = Timeouts::default();
    let asking = RouteSpec {
        path: PathPattern::root(),
        conditions: Vec::new(),
        upstream: auth.key.clone(),
        auth: None,
        error_servers: Vec::new(),
        settings: Settings {
            sent_host: SentHost::Upstream,
            timeouts: Timeouts {
                connect: default.connect.min(forward.timeout),
                first: forward.timeout,
                read: forward.timeout,
                send: forward.timeout,
                body: default.body,
                min_rate: 0,
            },
            hold: spec.settings.hold,
            hold_max: spec.settings.hold_max,
            ..Settings::default()
        },
        share: None,
        fault: None,
        ..spec.clone()
    };
    let mut asked = self::route(&asking, auth, None, None, None, secret);
    // Its addresses are not the app's: nothing is changed in what it says.
    asked.back = None;
    let mut reserved = forward.copy.clone();
    if let Some(others) = &route.reserved {
        reserved.whole.extend_from_slice(&others.whole);
    }
    let mut not_in_trailers = forward.copy.clone();
    if let Some(others) = &route.not_in_trailers {
        not_in_trailers.whole.extend_from_slice(&others.whole);
    }
    route.not_in_trailers = Some(Arc::new(not_in_trailers));
    route.reserved = Some(Arc::new(reserved));
    route.forward = Some(Arc::new(ForwardAuth::new(forward, asked, &spec.key)));
}

/// See [`Route::not_in_trailers`].
fn not_in_trailers(settings: &Settings) -> Option<Arc<FieldNames>> {
    let edits = settings.request_edits.iter();
    let edits = edits.filter(|edit| matches!(edit.op, EditOp::Set | EditOp::Remove));
    let mut whole: Vec<String> = edits.map(|edit| edit.name.clone()).collect();
    let basic = settings.access.basic.as_ref();
    whole.extend(basic.and_then(|basic| basic.user_header.clone()));
    let beginnings = Vec::new();
    (!whole.is_empty()).then(|| Arc::new(FieldNames { whole, beginnings }))
}

/// Where a route's pages for errors come from.
fn errors(
    spec: &RouteSpec,
    app: &Arc<Upstream>,
    upstreams: &BTreeMap<&UpstreamKey, Arc<Upstream>>,
    secret: &Secret,
) -> Option<Arc<Errors>> {
    let errors = spec.settings.errors.as_ref()?;
    let ask = |upstream: &Arc<Upstream>, sent_host: &SentHost| {
        let limit = ForwardSpec::TIMEOUT;
        let asking = RouteSpec {
            path: PathPattern::root(),
            conditions: Vec::new(),
            upstream: upstream.key.clone(),
            auth: None,
            error_servers: Vec::new(),
            settings: Settings {
                sent_host: sent_host.clone(),
                timeouts: Timeouts {
                    first: limit,
                    read: limit,
                    send: limit,
                    ..Timeouts::default()
                },
                // Somebody waits for word that something is wrong.
                hold: Duration::ZERO,
                ..Settings::default()
            },
            share: None,
            fault: None,
            ..spec.clone()
        };
        let mut asked = route(&asking, upstream, None, None, None, secret);
        asked.back = None;
        Box::new(asked)
    };
    let mut servers = spec.error_servers.iter();
    let rules = errors.rules.iter().filter_map(|rule| {
        let page = match &rule.page {
            model::ErrorPage::File(name) => ErrorPage::File(name.as_str().into()),
            model::ErrorPage::App(target) => ErrorPage::Ask {
                route: ask(app, &spec.settings.sent_host),
                target: target.as_str().into(),
                at: target.as_str().into(),
                own: true,
            },
            model::ErrorPage::Server(at) => ErrorPage::Ask {
                route: ask(upstreams.get(servers.next()?)?, &SentHost::Upstream),
                target: at.target.as_str().into(),
                at: at.to_string().into(),
                own: false,
            },
        };
        Some((rule.statuses.clone(), page))
    });
    Some(Arc::new(Errors {
        rules: rules.collect(),
        intercept: errors.intercept,
        route: spec.key.0.as_str().into(),
    }))
}

/// What a server that decides who gets in serves itself on the hosts of those that ask it, before they are asked
/// for: the pages by which a visitor comes to be let in. Nothing where a label has a route for that path.
fn own_pages(routes: &[(&RouteSpec, Arc<Route>)], secret: &Secret) -> Vec<Arc<Route>> {
    let mut own: Vec<Arc<Route>> = Vec::new();
    for (spec, route) in routes {
        let forward = route.forward.as_ref().filter(|_| route.fault.is_none());
        let path = forward.and_then(|forward| forward.kind?.own_path());
        let (Some(forward), Some(Ok(path))) = (forward, path.map(PathPattern::parse)) else {
            continue;
        };
        let taken = |route: &Arc<Route>| route.path == path && route.conditions.is_empty();
        if routes.iter().any(|(_, route)| taken(route)) || own.iter().any(taken) {
            continue;
        }
        let settings = &spec.settings;
        let access = AccessSpec {
            forward: None,
            // A login was enough, and here is where that begins.
            allow: (settings.access.allow.clone()).filter(|_| !settings.access.satisfy_any),
            ..settings.access.clone()
        };
        let pages = RouteSpec {
            key: RouteKey(format!("{}#auth.forward", spec.key)),
            path,
            conditions: Vec::new(),
            upstream: forward.route.upstream.key.clone(),
            auth: None,
            error_servers: Vec::new(),
            settings: Settings {
                access,
                https: settings.https,
                tls: settings.tls,
                tls_file: settings.tls_file.clone(),
                client: settings.client.clone(),
                hsts: settings.hsts,
                hold: settings.hold,
                hold_max: settings.hold_max,
                ..Settings::default()
            },
            share: None,
            ..(*spec).clone()
        };
        let upstream = &forward.route.upstream;
        own.push(Arc::new(self::route(
            &pages, upstream, None, None, None, secret,
        )));
    }
    own
}

/// What becomes of addresses in answers: paths that were changed, and the host that an app was told.
fn back(settings: &Settings, stripped: Option<&Stripped>) -> Option<Back> {
    let renamed = settings.sent_host != SentHost::Keep;
    (renamed || stripped.is_some()).then(|| Back {
        prefix: stripped
            .and_then(|stripped| stripped.told.clone())
            .unwrap_or_default(),
        base: stripped
            .map(|stripped| stripped.base.clone())
            .unwrap_or_default(),
        cookies: settings.strip_cookies,
    })
}

/// The fields of `wharf.cors` are not the app's to write, nor an edit's.
fn response_edits(settings: &Settings) -> Vec<HeaderEdit> {
    let mut edits = settings.response_edits.clone();
    if settings.cors.is_some() {
        edits.retain(|edit| !CorsSpec::FIELDS.contains(&&*edit.name));
        edits.extend(CorsSpec::FIELDS.map(|name| HeaderEdit {
            op: EditOp::Remove,
            name: name.to_owned(),
            value: FieldText::default(),
        }));
    }
    edits
}

/// What a route takes off and puts on; nothing where that would be the same.
fn stripped(spec: &RouteSpec) -> Option<Stripped> {
    let prefix = spec.path.prefix();
    let told: Option<Box<str>> = prefix.map(|prefix| escape_path(prefix).into());
    let base = match &spec.settings.rewrite {
        Some(Rewrite::Base(base)) => base.clone(),
        _ if spec.settings.strip => Box::default(),
        _ => return None,
    };
    let same = told.as_deref().unwrap_or_default() == &*base;
    (!same).then(|| Stripped {
        prefix: prefix.unwrap_or_default().into(),
        told,
        base,
    })
}

/// One host's routes in the order they are looked at, and the certificate source most of all asked for: a host
/// has one certificate, whatever its paths say.
fn entry(
    pattern: &HostPattern,
    mut routes: Vec<(&RouteSpec, Arc<Route>)>,
    before: &[Split],
    rest: Option<Maintenance>,
    secret: &Secret,
) -> HostEntry {
    // Services that share a place stay together, whatever each says of its priority.
    let mut priorities: BTreeMap<(&PathPattern, &Vec<Matcher>), i32> = BTreeMap::new();
    for (spec, _) in &routes {
        let known = priorities.entry((&spec.path, &spec.conditions));
        let known = known.or_insert(i32::MIN);
        *known = spec.settings.priority.max(*known);
    }
    routes.sort_by(|(a, _), (b, _)| {
        let of = |spec: &RouteSpec| priorities.get(&(&spec.path, &spec.conditions)).copied();
        let order = of(b).cmp(&of(a));
        order
            .then_with(|| a.path.cmp(&b.path))
            .then_with(|| b.conditions.len().cmp(&a.conditions.len()))
            .then_with(|| a.conditions.cmp(&b.conditions))
            .then_with(|| a.key.cmp(&b.key))
    });
    let priority = priorities.into_values().max().unwrap_or_default();
    let tls = routes
        .iter()
        .filter(|(_, route)| route.https != HttpsMode::Off)
        .map(|(spec, _)| &spec.settings)
        .max_by_key(|settings| match settings.tls {
            TlsMode::Off => 0,
            TlsMode::Auto => 1,
            TlsMode::Eager => 2,
            // A name meant for the built-in CA is never told to a public one.
            TlsMode::Internal => 3,
            TlsMode::File => 4,
        });
    let file = tls.and_then(|settings| settings.tls_file.as_deref().map(Into::into));
    let tls = tls.map_or(TlsMode::Off, |settings| settings.tls);
    let policy = policy(&routes);
    let ask = ask(pattern, tls, &routes);
    let own = own_pages(&routes, secret);
    let routes = routes.into_iter().map(|(_, route)| route);
    let routes: Vec<Arc<Route>> = own.into_iter().chain(routes).collect();
    let certificate = match pattern {
        HostPattern::Below(suffix) if tls != TlsMode::File && ask.is_none() => {
            HostPattern::Wildcard(suffix.clone())
        }
        pattern => pattern.clone(),
    };
    HostEntry {
        pattern: pattern.clone(),
        certificate,
        priority,
        tls,
        file,
        policy,
        ask,
        rest,
        splits: splits(&routes, before),
        routes,
    }
}

/// Names that are listed need no asking. Of several routes the one that is looked at last decides.
fn ask(pattern: &HostPattern, tls: TlsMode, routes: &[(&RouteSpec, Arc<Route>)]) -> Option<Asking> {
    if pattern.exact().is_some() || !matches!(tls, TlsMode::Auto | TlsMode::Eager) {
        return None;
    }
    let mut routes = routes.iter().rev();
    routes.find_map(|(spec, route)| {
        let at = spec.settings.ask.clone()?;
        let upstream = Arc::clone(&route.upstream);
        (route.https != HttpsMode::Off).then_some(Asking { at, upstream })
    })
}

/// The rules of a host's connections, which are made before a path is known. Clients may come without a
/// certificate where any route lets them in so; each route looks for itself. There is one authority
/// for all of them: routes that name another answer 503.
fn policy(routes: &[(&RouteSpec, Arc<Route>)]) -> Option<Arc<TlsPolicy>> {
    let settings = || {
        let routes = routes.iter();
        routes
            .filter(|(_, route)| route.https != HttpsMode::Off)
            .map(|(spec, _)| &spec.settings)
    };
    let mut clients = settings().filter_map(|settings| settings.client.as_ref());
    let all = settings().all(|settings| settings.client.as_ref().is_some_and(|one| !one.optional));
    let policy = TlsPolicy {
        min: settings()
            .map(|settings| settings.tls_min)
            .max()
            .unwrap_or_default(),
        client: clients.next().map(|client| ClientAuth {
            ca: client.ca.clone(),
            optional: !all,
        }),
    };
    (policy != TlsPolicy::default()).then(|| Arc::new(policy))
}

/// The places that several of `routes`, which are sorted by them, share. Turns go on where `before`
/// has left off.
fn splits(routes: &[Arc<Route>], before: &[Split]) -> Vec<Split> {
    let groups = routes.chunk_by(|a, b| a.has_place_of(b));
    let groups = groups.filter(|group| group.len() > 1);
    groups
        .map(|group| {
            let same = |split: &&Split| {
                let mut routes = split.routes.iter();
                routes.any(|one| one.has_place_of(&group[0]))
            };
            let cursor = before.iter().find(same).map(|split| &split.cursor);
            Split::new(group.to_vec(), cursor.map(Arc::clone).unwrap_or_default())
        })
        .collect()
}

fn insert(hosts: &mut Hosts, name: &str, entry: Arc<HostEntry>) {
    hosts.insert(name.into(), entry);
}
