//! Runs `tests/fixtures/labels/*.txt`: labels, a line of dashes, the plan and the problems.
//!
//! A line `====` starts the next look at the engine, planned with the plan before it as the previous
//! one. Lines above the dashes:
//!
//! ```text
//! # a comment
//! position host | position <container>         default host
//! option network=<name>                        WHARF_NETWORK
//! option filter=<key>[=<value>]                WHARF_FILTER
//! option default=WHARF_DEFAULT_<OPTION>=<value>
//! option dns=<zone>                            of WHARF_DNS
//! name <name> [<address>]... [failed]           looked up before
//! network <name> [internal] [ingress]          only needed for these flags, or to exist unused
//! after <minutes>                              since the look before; default 0
//! container <name> [created=1] [of=project/service] [swarm=service] [oneoff]
//!           [state=exited] [health=starting] [exposed=80,443] [mode=host] [net=name:address[/address6]]...
//!           [published=[address:]80->3000]...
//! <label>: <value>                             of the container above; `\n` is a line end
//! ```
//!
//! The network of an address is created by its first mention, with a gateway for IPv4 that ends in
//! `.1`. `WHARF_BLESS=1` writes what the planner says into the files.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{PlanOptions, plan};
use crate::docker::labels::{Defaults, Values};
use crate::docker::{Attachment, Container, Health, Network, Position, Published, Snapshot, State};
use crate::model::{
    ActiveCheck, BufferSpec, CacheSpec, FailLimit, HealthAsk, HealthCheck, Host, Lookup, MaxConns,
    Plan, Problem, Retry, RouteSpec, Settings, Severity, Sockets, StatusSet, UpstreamSpec, Via,
};

#[test]
fn fixtures_plan_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/labels");
    let mut count = 0;
    let mut failed = String::new();
    for entry in std::fs::read_dir(dir).expect("the fixtures are in the repository") {
        let path = entry.expect("a readable directory").path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).expect("a readable fixture");
        let actual = run(&text);
        if std::env::var_os("WHARF_BLESS").is_some() {
            std::fs::write(&path, actual).expect("a writable fixture");
        } else if actual != text {
            let _ = writeln!(
                failed,
                "{}:\n{}\n",
                path.display(),
                difference(&text, &actual)
            );
        }
    }
    assert!(count > 0);
    assert!(failed.is_empty(), "{failed}(WHARF_BLESS=1 accepts)");
}

/// The fixture as it should be.
fn run(text: &str) -> String {
    let mut out = String::new();
    let mut previous = Plan::default();
    let mut now = Instant::now();
    for (step, look) in text.split("====\n").enumerate() {
        if step > 0 {
            out.push_str("====\n");
        }
        let (given, _) = look.split_once("----\n").unwrap_or((look, ""));
        let (snapshot, options, passed) = parse(given);
        now += passed;
        let (plan, problems) = plan(&snapshot, &options, &previous, now);
        let _ = write!(out, "{given}----\n{}", render(&plan, &problems));
        previous = plan;
    }
    out
}

pub(super) fn parse(text: &str) -> (Snapshot, PlanOptions, Duration) {
    let mut snapshot = Snapshot {
        containers: Vec::new(),
        networks: Vec::new(),
        position: Position::Host,
        own: None,
    };
    let mut options = PlanOptions::default();
    let mut defaults = Vec::new();
    let mut passed = Duration::ZERO;
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "position" if rest != "host" => {
                let id = super::container(rest, 0).id;
                snapshot.own = Some(id.clone());
                snapshot.position = Position::Container { id };
            }
            "position" => {}
            "after" => passed = Duration::from_secs(60 * rest.parse::<u64>().expect("minutes")),
            "option" => match rest.split_once('=').expect("name=value") {
                ("network", name) => options.network = Some(name.to_owned()),
                ("filter", label) => {
                    let (key, value) = match label.split_once('=') {
                        Some((key, value)) => (key, Some(value.to_owned())),
                        None => (label, None),
                    };
                    options.filter.push((key.to_owned(), value));
                }
                ("default", written) => {
                    defaults.push(written.split_once('=').expect("name=value"));
                }
                ("dns", zone) => options.dns.push(Some(Host::parse(zone).unwrap())),
                ("sockets", directory) => {
                    options.sockets = Some(Arc::new(Sockets {
                        directory: directory.into(),
                        engine: None,
                    }));
                }
                ("statics", directory) => options.statics = Some(directory.into()),
                (other, _) => panic!("unknown option {other}"),
            },
            "name" => {
                let mut words = rest.split(' ');
                let name = words.next().expect("a name").to_owned();
                let (failed, found): (Vec<_>, Vec<_>) = words.partition(|word| *word == "failed");
                let found = found
                    .iter()
                    .map(|ip| ip.parse().expect("an address"))
                    .collect();
                let lookup = match failed.is_empty() {
                    true => Lookup::Found(found),
                    false => Lookup::Failed {
                        why: "no such name".to_owned(),
                        before: found,
                    },
                };
                let names = Arc::make_mut(&mut options.names);
                names.0.insert(name, lookup);
            }
            "network" => {
                let mut words = rest.split(' ');
                let name = words.next().expect("a network has a name");
                let network = network(&mut snapshot.networks, name);
                for flag in words {
                    network.internal |= flag == "internal";
                    network.ingress |= flag == "ingress";
                }
            }
            "container" => {
                let container = container(rest, &mut snapshot.networks);
                snapshot.containers.push(container);
            }
            _ => {
                let (label, value) = line
                    .split_once(": ")
                    .unwrap_or_else(|| (line.trim_end_matches(':'), ""));
                let container = snapshot.containers.last_mut().expect("a container above");
                let value = value.replace("\\n", "\n");
                container.labels.insert(label.to_owned(), value);
            }
        }
    }
    snapshot.containers.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.networks.sort_by(|a, b| a.id.cmp(&b.id));
    let (defaults, _) = Defaults::read(defaults, &Values::Unread).expect("these can be used");
    options.defaults = Arc::new(defaults);
    (snapshot, options, passed)
}

fn container(text: &str, networks: &mut Vec<Network>) -> Container {
    let mut words = text.split_whitespace();
    let mut container = super::container(words.next().expect("a container has a name"), 1);
    let mut label = |key: &str, value: &str| {
        container.labels.insert(key.to_owned(), value.to_owned());
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "created" => container.created = value.parse().expect("seconds"),
            "of" => {
                let (project, service) = value.split_once('/').expect("project/service");
                label("com.docker.compose.project", project);
                label("com.docker.compose.service", service);
            }
            "swarm" => label("com.docker.swarm.service.name", value),
            "oneoff" => label("com.docker.compose.oneoff", "True"),
            "state" => container.state = state(value),
            "health" => container.health = health(value),
            "exposed" => {
                let ports = value.split(',').filter(|port| !port.is_empty());
                container.exposed = ports.map(|port| port.parse().expect("a port")).collect();
            }
            "published" => {
                let (public, private) = value.split_once("->").expect("public->private");
                let (ip, public) = public.rsplit_once(':').unwrap_or(("", public));
                container.published.push(Published {
                    private: private.parse().expect("a port"),
                    public: public.parse().expect("a port"),
                    ip: ip.parse().ok(),
                });
            }
            "mode" => container.network_mode = mode(value),
            "net" => container.networks.push(attachment(value, networks)),
            _ => panic!("unknown word {key}"),
        }
    }
    container
}

fn state(word: &str) -> State {
    match word {
        "created" => State::Created,
        "stopping" => State::Stopping,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "exited" => State::Exited,
        _ => panic!("unknown state {word}"),
    }
}

fn health(word: &str) -> Health {
    match word {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => panic!("unknown health {word}"),
    }
}

/// `container:<name>` with the id in place of the name.
fn mode(value: &str) -> String {
    match value.strip_prefix("container:") {
        Some(name) => format!("container:{}", super::container(name, 0).id),
        None => value.to_owned(),
    }
}

fn attachment(text: &str, networks: &mut Vec<Network>) -> Attachment {
    let (name, addresses) = text.split_once(':').expect("name:address");
    let mut attachment = Attachment {
        name: name.to_owned(),
        network_id: network(networks, name).id.clone(),
        ipv4: None,
        ipv6: None,
        gateway: None,
    };
    for address in addresses.split('/').filter(|address| !address.is_empty()) {
        if let Ok(v4) = address.parse::<std::net::Ipv4Addr>() {
            let [a, b, c, _] = v4.octets();
            attachment.ipv4 = Some(v4);
            attachment.gateway = Some([a, b, c, 1].into());
        } else {
            attachment.ipv6 = Some(address.parse().expect("an address"));
        }
    }
    attachment
}

fn network<'a>(networks: &'a mut Vec<Network>, name: &str) -> &'a mut Network {
    let at = networks.iter().position(|network| network.name == name);
    let at = at.unwrap_or_else(|| {
        networks.push(Network {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            internal: false,
            ingress: false,
        });
        networks.len() - 1
    });
    &mut networks[at]
}

fn render(plan: &Plan, problems: &[Problem]) -> String {
    let mut out = String::new();
    for route in &plan.routes {
        render_route(route, &mut out);
    }
    for upstream in &plan.upstreams {
        render_upstream(upstream, &mut out);
    }
    for owner in plan.gone.keys() {
        let _ = writeln!(out, "gone: {owner}");
    }
    for problem in problems {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(out, "{severity}: {problem}");
    }
    out
}

fn render_route(route: &RouteSpec, out: &mut String) {
    let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
    let (hosts, path) = (hosts.join(", "), route.place());
    let _ = write!(
        out,
        "route {}: {hosts} {path} -> {}",
        route.key, route.upstream
    );
    let (now, default) = (&route.settings, Settings::default());
    if now.priority != 0 {
        let _ = write!(out, " priority={}", now.priority);
    }
    if now.strip {
        out.push_str(" strip");
    }
    if !now.strip_cookies {
        out.push_str(" strip.cookies=off");
    }
    if let Some(rewrite) = &now.rewrite {
        let _ = write!(out, " rewrite=({rewrite})");
    }
    if now.forwarded {
        out.push_str(" forwarded");
    }
    for (side, edits) in [
        ("request", &now.request_edits),
        ("response", &now.response_edits),
    ] {
        for edit in edits {
            let _ = write!(out, " {side}=({edit})");
        }
    }
    if now.buffer != Settings::default().buffer {
        let BufferSpec {
            response,
            request,
            memory,
            disk,
        } = now.buffer;
        let _ = write!(
            out,
            " buffer=({response:?} request={request} mem={memory} disk={disk})"
        );
    }
    if let Some(cache) = &now.cache {
        render_cache(cache, out);
    }
    if let Some(cors) = &now.cors {
        let _ = write!(out, " cors=({cors})");
    }
    if let Some(files) = &now.files {
        let root = files.directory.join(&files.root);
        let _ = write!(out, " files=({} at {}", root.display(), files.base);
        if files.spa {
            out.push_str(" spa");
        }
        if let Some(expires) = files.expires {
            let _ = write!(out, " expires={expires:?}");
        }
        if files.immutable {
            out.push_str(" immutable");
        }
        let _ = write!(out, " forever={})", files.forever.len());
    }
    if now.log != default.log {
        let _ = write!(out, " log={}", now.log);
    }
    if let Some(forward) = &now.access.forward {
        let _ = write!(
            out,
            " auth=({} copy={} timeout={:?}",
            forward.at, forward.copy, forward.timeout
        );
        if !forward.cache.is_zero() {
            let _ = write!(
                out,
                " cache={:?} session={}",
                forward.cache, forward.session
            );
        }
        let at = route.auth.as_ref().map(ToString::to_string);
        let _ = write!(out, " -> {})", at.unwrap_or_default());
    }
    for redirect in &now.redirects {
        let _ = write!(out, " redirect=({redirect})");
    }
    if let Some(host) = &now.redirect_to {
        let _ = write!(out, " to={host}");
    }
    if !now.websocket {
        out.push_str(" websocket=off");
    }
    if now.https != default.https {
        let _ = write!(out, " https={:?}", now.https);
    }
    if now.tls != default.tls {
        let _ = write!(out, " tls={:?}", now.tls);
    }
    let (t, d) = (now.timeouts, default.timeouts);
    for (name, now, default) in [
        ("connect", t.connect, d.connect),
        ("first", t.first, t.read),
        ("read", t.read, d.read),
        ("send", t.send, d.send),
        ("body", t.body, d.body),
    ] {
        if now != default {
            let _ = write!(out, " {name}={now:?}");
        }
    }
    if now.keepalive != default.keepalive {
        let k = now.keepalive;
        let (timeout, time) = (k.timeout, k.time);
        let _ = write!(
            out,
            " keepalive={}/{timeout:?}/{}/{time:?}",
            k.idle, k.requests
        );
    }
    if let Some(b) = now.breaker {
        let (over, open) = (b.over, b.open);
        let _ = write!(out, " breaker={}%/{over:?}/{}/{open:?}", b.errors, b.min);
    }
    if now.balance != default.balance {
        let _ = write!(out, " lb={}", now.balance);
    }
    if let Some(sticky) = &now.sticky {
        let _ = write!(out, " sticky={}", sticky.cookie.as_deref().unwrap_or("on"));
    }
    if now.slow_start != default.slow_start {
        let _ = write!(out, " slow_start={:?}", now.slow_start);
    }
    if now.hold != default.hold {
        let _ = write!(out, " hold={:?}", now.hold);
    }
    if now.hold_max != default.hold_max {
        let _ = write!(out, " hold.max={}", now.hold_max);
    }
    if now.retry != default.retry {
        let Retry { tries, on, budget } = now.retry;
        let _ = write!(out, " retry={tries:?} on={on} budget={budget:?}");
    }
    if let Some(share) = &route.share {
        let canary: Vec<String> = share.canary.iter().map(ToString::to_string).collect();
        let _ = write!(out, " share={}", share.weight);
        if !canary.is_empty() {
            let _ = write!(out, " canary={}", canary.join(","));
        }
    }
    let _ = writeln!(out, " (by {})", route.container);
    if let Some(fault) = &route.fault {
        let _ = writeln!(out, "  fault: {fault}");
    }
}

fn render_cache(cache: &CacheSpec, out: &mut String) {
    let default = CacheSpec::default();
    let _ = write!(out, " cache=(valid=[{}]", cache.valid);
    if cache.stale != default.stale {
        let _ = write!(out, " stale=[{}]", cache.stale);
    }
    for (name, matchers) in [("read", &cache.bypass_read), ("store", &cache.bypass_store)] {
        if !matchers.is_empty() {
            let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
            let _ = write!(out, " bypass.{name}=[{}]", matchers.join(", "));
        }
    }
    if let Some(key) = &cache.key {
        let _ = write!(out, " key={key}");
    }
    if cache.max_size != default.max_size {
        let _ = write!(out, " max_size={}", cache.max_size);
    }
    if cache.inactive != default.inactive {
        let _ = write!(out, " inactive={:?}", cache.inactive);
    }
    for (name, now, default) in [
        ("header", cache.header, default.header),
        ("heuristic", cache.heuristic, default.heuristic),
        (
            "purge_on_deploy",
            cache.purge_on_deploy,
            default.purge_on_deploy,
        ),
    ] {
        if now != default {
            let _ = write!(out, " {name}={now}");
        }
    }
    out.push(')');
}

fn render_upstream(upstream: &UpstreamSpec, out: &mut String) {
    let _ = write!(out, "upstream {}:", upstream.key);
    for endpoint in &upstream.endpoints {
        let _ = write!(out, " {}={}", endpoint.container, endpoint.addr);
        if let Some(tls) = &endpoint.tls {
            let _ = write!(out, " ({tls}; {})", endpoint.authority);
        }
        if !matches!(&endpoint.via, Via::Network { others, .. } if others.is_empty()) {
            let _ = write!(out, " <{}>", endpoint.via);
        }
        if endpoint.weight != 1 {
            let _ = write!(out, "*{}", endpoint.weight);
        }
        if endpoint.backup {
            out.push_str(" (backup)");
        }
        if endpoint.fail != FailLimit::default() {
            let FailLimit { count, within } = endpoint.fail;
            let _ = write!(out, " (fail {count}/{within:?})");
        }
        if endpoint.max_conns != MaxConns::default() {
            let MaxConns { count, queue, wait } = endpoint.max_conns;
            let _ = write!(out, " (max_conns {count} queue={queue} wait={wait:?})");
        }
        match &endpoint.health {
            HealthCheck::Docker => {}
            HealthCheck::Off => out.push_str(" (health off)"),
            HealthCheck::Active(check) => render_check(check, out),
        }
    }
    out.push('\n');
    if upstream.awaited {
        out.push_str("  awaited\n");
    }
    for sentence in &upstream.unreachable {
        let _ = writeln!(out, "  unreachable: {sentence}");
    }
}

fn render_check(check: &ActiveCheck, out: &mut String) {
    let default = ActiveCheck::new(check.asks.clone());
    let _ = write!(out, " (health {check}");
    if let HealthAsk::Http(http) = &check.asks {
        if let Some(host) = &http.host {
            let _ = write!(out, " host={host}");
        }
        if http.status != StatusSet::default() {
            let _ = write!(out, " status={}", http.status);
        }
    }
    for (name, now, default) in [
        ("interval", check.interval, default.interval),
        ("timeout", check.timeout, default.timeout),
    ] {
        if now != default {
            let _ = write!(out, " {name}={now:?}");
        }
    }
    for (name, now, default) in [
        ("fails", check.fails, default.fails),
        ("passes", check.passes, default.passes),
    ] {
        if now != default {
            let _ = write!(out, " {name}={now}");
        }
    }
    out.push(')');
}

/// The lines that differ.
fn difference(expected: &str, actual: &str) -> String {
    let gone = expected.lines().filter(|line| !actual.contains(line));
    let new = actual.lines().filter(|line| !expected.contains(line));
    let gone = gone.map(|line| format!("- {line}\n"));
    gone.chain(new.map(|line| format!("+ {line}\n"))).collect()
}
