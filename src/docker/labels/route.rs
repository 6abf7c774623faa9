//! Drafts -> routes: inheritance, defaults, and what an error costs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    AccessSpec, AuthKind, BasicSpec, BreakerSpec, CorsSpec, ErrorsSpec, FilesSpec, ForwardAt,
    ForwardSpec, HeaderEdit, HostPattern, Hsts, HttpsMode, Keepalive, Maintenance, Matcher,
    Origins, PathPattern, Problem, Proto, RateLimits, Retry, Rewrite, Settings, Severity,
    StickySpec, Timeouts, TlsMode, Verify,
};

use super::presets::{self, Preset};
use super::read::{Draft, Given};
use super::text::excerpt;
use super::value::Value;
use super::value::ratelimit::of_fields;
use super::value::upstream::UpstreamAt;
use super::{Dial, NetworkLabel, RouteLabels, Terms, UpstreamLabel};

/// A route's own labels over all that it inherits: its presets, the labels of the default route and its presets,
/// defaults. The default route has no base.
pub(super) struct Layers<'a> {
    pub(super) own: &'a Draft,
    base: Option<&'a Draft>,
    /// Named routes, where these are the labels of the default route.
    pub(super) heirs: &'a BTreeMap<String, Draft>,
    /// Nearest first; the first is `own`.
    all: Vec<Layer<'a>>,
    /// How many of them are the route's own: its labels and its presets.
    near: usize,
    /// What is wrong with the presets it uses.
    unusable: Vec<String>,
}

/// One of them.
#[derive(Clone, Copy)]
struct Layer<'a> {
    draft: &'a Draft,
    /// Labels, of this route or the default route. Of anything else a label takes no field of an option whose
    /// value it gives as a whole.
    labels: bool,
}

macro_rules! pick {
    ($layers:expr, $option:literal, $kind:path) => {
        match $layers.get($option).map(|given| &given.value) {
            Some($kind(value)) => Some(value.clone()),
            _ => None,
        }
    };
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        own: &'a Draft,
        base: Option<&'a Draft>,
        heirs: &'a BTreeMap<String, Draft>,
        terms: Terms<'a>,
    ) -> Self {
        let mut unusable = Vec::new();
        let mut presets = |draft: &'a Draft| {
            let names = draft.value("use").map_or(&[][..], presets::named);
            let found = names.iter().rev().map(|name| terms.presets.find(name));
            let mut found: Vec<Layer<'a>> = found
                .filter_map(|found| match found {
                    Ok(Preset { draft, .. }) => Some(Layer {
                        draft,
                        labels: false,
                    }),
                    Err(reason) => {
                        unusable.push(reason);
                        None
                    }
                })
                .collect();
            unusable.reverse();
            found.shrink_to_fit();
            found
        };
        let says = |draft: &Draft| {
            draft.values.contains_key("use") || draft.errors.iter().any(|f| f.option == Some("use"))
        };
        let labels = |draft| Layer {
            draft,
            labels: true,
        };
        let defaults = &terms.defaults.draft;
        let mut all = vec![labels(own)];
        if says(own) {
            all.extend(presets(own));
        }
        let near = all.len();
        if let Some(base) = base {
            all.push(labels(base));
            if says(base) && !says(own) {
                all.extend(presets(base));
            }
        }
        if !says(own) && !base.is_some_and(says) {
            all.extend(presets(defaults));
        }
        all.push(Layer {
            draft: defaults,
            labels: false,
        });
        Self {
            own,
            base,
            heirs,
            all,
            near,
            unusable,
        }
    }

    /// What the layers say of an option, nearest first.
    pub(super) fn each<'s>(
        &'s self,
        option: &str,
    ) -> impl Iterator<Item = &'a Draft> + use<'a, 's> {
        let top = option.split('.').next().unwrap_or(option).to_owned();
        let mut whole = false;
        self.all.iter().filter_map(move |layer| {
            let hidden = whole && !layer.labels;
            whole |= layer.draft.whole.contains(top.as_str());
            (!hidden).then_some(layer.draft)
        })
    }

    pub(super) fn get(&self, option: &str) -> Option<&'a Given> {
        self.each(option).find_map(|draft| draft.values.get(option))
    }

    pub(super) fn value(&self, option: &str) -> Option<&'a Value> {
        self.get(option).map(|given| &given.value)
    }

    /// Whether the route's own labels or presets say anything of an option.
    pub(super) fn says(&self, is: impl Fn(&str) -> bool) -> bool {
        let near = self.all.iter().take(self.near);
        near.flat_map(|layer| layer.draft.values.keys())
            .any(|option| is(option))
    }

    /// The first error that costs this route: its own, or one of an option it inherits. An unknown
    /// word on the default route is the default route's alone.
    fn fault(&self) -> Option<String> {
        if let Some(fault) = self.own.errors.first() {
            return Some(fault.note.clone());
        }
        if let Some(reason) = self.unusable.first() {
            let label = self.get("use").map(|given| excerpt(&given.label));
            return Some(format!("{}: {reason}", label.unwrap_or_default()));
        }
        self.inherited_faults().map(|(_, note)| note.clone()).next()
    }

    /// Errors of options that it inherits, each with whether it is a preset's.
    fn inherited_faults(&self) -> impl Iterator<Item = (bool, &'a String)> {
        let layers = self.all.iter().enumerate().skip(1);
        layers.flat_map(move |(index, layer)| {
            let nearer = &self.all[..index];
            let mut errors = layer.draft.errors.iter();
            let fault = errors.find(|fault| {
                fault.option.is_some_and(|option| {
                    let top = option.split('.').next().unwrap_or(option);
                    let said = |near: &Layer<'_>| {
                        let edits = option.starts_with("headers.") && !layer.labels;
                        let whole = near.draft.whole.contains(top) && !layer.labels;
                        near.draft.values.contains_key(option) && !edits || whole
                    };
                    !nearer.iter().any(said)
                })
            });
            fault.map(|fault| (!layer.labels, &fault.note))
        })
    }

    /// Whether the value of an option is unknown because its label is broken.
    pub(super) fn broken(&self, option: &str) -> bool {
        for draft in self.each(option) {
            if draft.errors.iter().any(|f| f.option == Some(option)) {
                return true;
            }
            if draft.values.contains_key(option) {
                return false;
            }
        }
        false
    }

    /// What is wrong with presets, told where the route uses them: its own labels, or, of the default route, a
    /// default.
    fn tell_presets(&self, mut tell: impl FnMut(&Given, String)) {
        let given = self
            .get("use")
            .filter(|_| self.base.is_none() || self.own.values.contains_key("use"));
        let Some(given) = given else {
            return;
        };
        for reason in &self.unusable {
            tell(given, reason.clone());
        }
        for (_, note) in self.inherited_faults().filter(|(preset, _)| *preset) {
            tell(given, format!("a preset cannot be used: {note}"));
        }
    }

    /// How the app is dialled.
    pub(super) fn dial(&self) -> Dial {
        let network = self.get("network").and_then(|given| match &given.value {
            Value::Name(name) => Some(NetworkLabel {
                name: name.clone(),
                label: excerpt(&given.label),
                value: excerpt(&given.text),
            }),
            _ => None,
        });
        Dial {
            port: pick!(self, "port", Value::Port),
            port_broken: self.broken("port"),
            network,
            upstream: self.get("upstream").and_then(|given| match &given.value {
                Value::Upstream(at) => Some(UpstreamLabel {
                    at: at.clone(),
                    label: excerpt(&given.label),
                    value: excerpt(&given.text),
                }),
                _ => None,
            }),
            upstream_broken: self.broken("upstream"),
            proto: pick!(self, "proto", Value::Proto).unwrap_or_default(),
            verify: pick!(self, "upstream.verify", Value::Verify).unwrap_or_default(),
            sni: pick!(self, "upstream.sni", Value::ServerName),
            tls_broken: OF_TLS.iter().any(|option| self.broken(option)),
            health: self.health(),
            health_broken: self.health_broken(),
        }
    }

    fn settings(&self) -> Settings {
        let default = Settings::default();
        let tls_file = pick!(self, "tls", Value::TlsFile);
        let tls = match &tls_file {
            Some(_) => TlsMode::File,
            None => pick!(self, "tls", Value::Tls).unwrap_or(default.tls),
        };
        let https: HttpsMode = pick!(self, "https", Value::Https).unwrap_or(default.https);
        let grpc = self.dial().protos().into_iter().any(Proto::is_grpc);
        Settings {
            grpc,
            hidden: self.hidden(),
            priority: pick!(self, "priority", Value::Priority).unwrap_or(default.priority),
            strip: pick!(self, "strip", Value::Switch).unwrap_or(default.strip),
            strip_cookies: pick!(self, "strip.cookies", Value::Switch)
                .unwrap_or(default.strip_cookies),
            rewrite: pick!(self, "rewrite", Value::Rewrite),
            forwarded: pick!(self, "forwarded", Value::Switch).unwrap_or(default.forwarded),
            request_edits: self.edits("headers.request"),
            response_edits: {
                let security = pick!(self, "security", Value::Edits).unwrap_or_default();
                HeaderEdit::merged(security, self.edits("headers.response"))
            },
            cors: self.cors(),
            redirects: pick!(self, "redirect", Value::Redirects).unwrap_or_default(),
            redirect_to: None,
            sent_host: pick!(self, "upstream.host", Value::SentHost).unwrap_or_default(),
            websocket: pick!(self, "websocket", Value::Switch).unwrap_or(default.websocket),
            https: if tls == TlsMode::Off {
                HttpsMode::Off
            } else {
                https
            },
            tls,
            tls_file,
            ask: pick!(self, "tls.ask", Value::Ask),
            tls_min: pick!(self, "tls.min", Value::TlsVersion).unwrap_or(default.tls_min),
            client: pick!(self, "tls.client_ca", Value::ClientCa),
            hsts: self.hsts(),
            files: self.files(),
            log: pick!(self, "log", Value::Log).unwrap_or(default.log),
            access: self.access(),
            max_body: pick!(self, "max_body", Value::Size).unwrap_or(default.max_body),
            rate_limits: self.rate_limits(),
            errors: pick!(self, "errors", Value::ErrorRules).map(|rules| ErrorsSpec {
                rules,
                intercept: pick!(self, "errors.intercept", Value::Switch).unwrap_or(false),
            }),
            timeouts: self.timeouts(default.timeouts, grpc),
            keepalive: self.keepalive(default.keepalive),
            breaker: self.breaker(),
            balance: pick!(self, "lb", Value::Balance).unwrap_or(default.balance),
            sticky: self.sticky(),
            slow_start: pick!(self, "slow_start", Value::Duration).unwrap_or(default.slow_start),
            hold: pick!(self, "hold", Value::Duration).unwrap_or(default.hold),
            hold_max: pick!(self, "hold.max", Value::HoldMax).unwrap_or(default.hold_max),
            retry: Retry {
                tries: pick!(self, "retry", Value::Retries),
                on: pick!(self, "retry.on", Value::RetryOn).unwrap_or(default.retry.on),
                budget: pick!(self, "retry.budget", Value::Budget).unwrap_or(default.retry.budget),
            },
        }
    }

    /// Options whose values are secrets, and what holds these.
    fn hidden(&self) -> Vec<String> {
        let all = self.all.iter().flat_map(|layer| &layer.draft.values);
        let hidden = all.filter(|(_, given)| given.secret);
        let mut hidden: Vec<String> = hidden
            .map(|(option, given)| format!("{option}: {}", excerpt(&given.text)))
            .collect();
        hidden.sort();
        hidden.dedup();
        hidden
    }

    /// Files that are the answers on the whole route, with what is to be logged of them.
    fn files(&self) -> Option<FilesSpec> {
        match self.files_below() {
            None => self.files_of_all(),
            Some(_) => None,
        }
    }

    fn files_of_all(&self) -> Option<FilesSpec> {
        // What says where its own app is.
        let app = ["port", "upstream", "network", "proto"];
        let root = match self.near("static.root") {
            Some(root) => root,
            None if app.iter().any(|option| self.near(option).is_some()) => return None,
            None if self.far("static.path").is_some() => return None,
            None => self.far("static.root")?,
        };
        let Value::Name(root) = &root.value else {
            return None;
        };
        // The path of the route that has the files, whichever route inherits them.
        let path = self.near("static.root").and_then(|_| self.near("path"));
        let path = path.or_else(|| self.far("path"));
        let base = match path.map(|given| &given.value) {
            Some(Value::Path(PathPattern::Prefix(prefix))) if &**prefix != "/" => {
                prefix.to_string()
            }
            _ => String::new(),
        };
        Some(self.files_at(root.clone(), base))
    }

    /// What the route's own labels and presets say.
    fn near(&self, option: &str) -> Option<&'a Given> {
        let mut layers = self.all[..self.near].iter();
        layers.find_map(|layer| layer.draft.values.get(option))
    }

    /// What it may inherit.
    fn far(&self, option: &str) -> Option<&'a Given> {
        let mut layers = self.all[self.near..].iter();
        layers.find_map(|layer| layer.draft.values.get(option))
    }

    fn files_at(&self, root: String, base: String) -> FilesSpec {
        let immutable = self.get("static.immutable").map(|given| &given.value);
        FilesSpec {
            root,
            base,
            spa: pick!(self, "static.spa", Value::Switch).unwrap_or(false),
            // `off` is zero, which says nothing.
            expires: pick!(self, "static.expires", Value::Duration).filter(|time| !time.is_zero()),
            immutable: matches!(immutable, Some(Value::Switch(true))),
            forever: match immutable {
                Some(Value::Globs(globs)) => globs.clone(),
                _ => Vec::new(),
            },
            ..FilesSpec::default()
        }
    }

    /// The path below which its own labels put files, where that is a part of the route.
    fn files_below(&self) -> Option<&'a PathPattern> {
        match self.near("static.path").map(|given| &given.value) {
            Some(Value::Path(path)) if !path.is_root() => Some(path),
            _ => None,
        }
    }

    /// The route of the files below a path of `route`, whose app has the rest.
    pub(super) fn static_path(&self, route: &RouteLabels) -> Option<RouteLabels> {
        let path = self.files_below()?;
        let Some(Value::Name(root)) = self.near("static.root").map(|given| &given.value) else {
            return None;
        };
        let base = path.to_string();
        let log = pick!(self, "static.log", Value::Log).unwrap_or(route.settings.log);
        Some(RouteLabels {
            name: Some(match &route.name {
                None => STATIC_PATH.to_owned(),
                Some(name) => format!("{name}.{STATIC_PATH}"),
            }),
            path: path.clone(),
            settings: Settings {
                files: Some(self.files_at(root.clone(), base)),
                log,
                strip: false,
                rewrite: None,
                sticky: None,
                breaker: None,
                ..route.settings.clone()
            },
            ..route.clone()
        })
    }

    /// Fields of `static` that change nothing.
    fn files_warnings(&self) -> Vec<(&'a Given, &'static str)> {
        let fields = ["path", "expires", "immutable", "spa", "log"];
        let mut given = fields
            .into_iter()
            .filter_map(|field| self.own.values.get(format!("static.{field}").as_str()));
        let given = given.next().filter(|_| self.get("static.root").is_none());
        let given = given.filter(|_| !self.broken("static.root") && !self.broken("static"));
        // A preset may say it to all.
        let given = given.filter(|given| !given.label.ends_with(".use"));
        let why = "without effect: wharf.static names no directory";
        given.map(|given| (given, why)).into_iter().collect()
    }

    /// How long a call of gRPC may take is its client's to say; it may rest for hours, either way.
    fn timeouts(&self, mut default: Timeouts, grpc: bool) -> Timeouts {
        if grpc {
            default.read = Duration::ZERO;
            default.body = Duration::ZERO;
        }
        let read = pick!(self, "timeout.read", Value::Duration).unwrap_or(default.read);
        Timeouts {
            connect: pick!(self, "timeout.connect", Value::Duration).unwrap_or(default.connect),
            first: pick!(self, "timeout.first", Value::Duration).unwrap_or(read),
            read,
            send: pick!(self, "timeout.send", Value::Duration).unwrap_or(default.send),
            body: pick!(self, "timeout.body", Value::Duration).unwrap_or(default.body),
        }
    }

    fn keepalive(&self, default: Keepalive) -> Keepalive {
        Keepalive {
            idle: pick!(self, "keepalive", Value::Count).unwrap_or(default.idle),
            timeout: pick!(self, "keepalive.timeout", Value::Duration).unwrap_or(default.timeout),
            requests: pick!(self, "keepalive.requests", Value::Count).unwrap_or(default.requests),
            time: pick!(self, "keepalive.time", Value::Duration).unwrap_or(default.time),
        }
    }

    /// Any of its fields alone is wish enough.
    fn hsts(&self) -> Option<Hsts> {
        let age = pick!(self, "hsts.max_age", Value::Duration);
        let flag = |set: Option<bool>| set.unwrap_or(false);
        let hsts = Hsts {
            max_age: age.map_or(Hsts::YEAR, |age| age.as_secs()),
            subdomains: flag(pick!(self, "hsts.subdomains", Value::Switch)),
            preload: flag(pick!(self, "hsts.preload", Value::Switch)),
        };
        let any = age.is_some() || hsts.subdomains || hsts.preload;
        let on = pick!(self, "hsts", Value::Switch).unwrap_or(any);
        on.then_some(hsts)
    }

    fn cors(&self) -> Option<CorsSpec> {
        let origins = pick!(self, "cors", Value::Origins)?;
        if origins == Origins::These(Vec::new()) {
            return None;
        }
        let credentials = pick!(self, "cors.credentials", Value::Switch).unwrap_or(false);
        Some(CorsSpec {
            methods: pick!(self, "cors.methods", Value::Names).unwrap_or_default(),
            headers: pick!(self, "cors.headers", Value::Names).unwrap_or_default(),
            credentials: credentials && origins != Origins::Any,
            max_age: pick!(self, "cors.max_age", Value::Duration).unwrap_or(CorsSpec::MAX_AGE),
            origins,
        })
    }

    /// What is settled among the options of `cors`, but deserves a look.
    fn cors_warnings(&self, settings: &Settings) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let mut warnings = Vec::new();
        let fields = [
            "cors.methods",
            "cors.headers",
            "cors.credentials",
            "cors.max_age",
        ];
        let Some(cors) = &settings.cors else {
            let given = fields.into_iter().find_map(own);
            if let Some(given) = given.filter(|_| self.get("cors").is_none()) {
                warnings.push((given, "without effect: wharf.cors names no origins"));
            }
            return warnings;
        };
        if let Some(given) = own("cors.credentials")
            && given.value == Value::Switch(true)
            && cors.origins == Origins::Any
        {
            warnings.push((
                given,
                "no credentials with `*`: any page could act as its visitor; name the origins",
            ));
        }
        if let Some(given) = own("headers.response")
            && let Value::Edits(edits) = &given.value
            && edits
                .iter()
                .any(|edit| CorsSpec::FIELDS.contains(&&*edit.name))
        {
            warnings.push((
                given,
                "without effect on the fields of wharf.cors, which has them to itself",
            ));
        }
        warnings
    }

    /// What is settled among the options of TLS, but deserves a look.
    fn tls_warnings(&self, settings: &Settings) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let mut warnings = Vec::new();
        let hsts = ["hsts", "hsts.max_age", "hsts.subdomains", "hsts.preload"];
        let hsts = hsts.into_iter().find_map(own);
        if let (Some(given), Some(hsts)) = (hsts, &settings.hsts) {
            if settings.https == HttpsMode::Off {
                warnings.push((given, "without effect: this route has no HTTPS"));
            }
            if hsts.preload && hsts.max_age < Hsts::YEAR {
                warnings.push((
                    given,
                    "the preload list takes a max-age of one year or more",
                ));
            }
            if hsts.preload && !hsts.subdomains {
                warnings.push((given, "the preload list takes hosts with `subdomains` only"));
            }
        }
        if let Some(given) = own("tls.client_ca") {
            match settings.https {
                HttpsMode::Off => warnings.push((
                    given,
                    "nobody can show a certificate: this route has no HTTPS, and refuses plain HTTP",
                )),
                HttpsMode::Both => {
                    warnings.push((given, "plain HTTP is refused in spite of `https: both`"));
                }
                HttpsMode::Redirect | HttpsMode::Only => {}
            }
        }
        if let Some(given) = own("tls.ask") {
            let hosts = pick!(self, "host", Value::Hosts).unwrap_or_default();
            if settings.https == HttpsMode::Off {
                warnings.push((given, "without effect: this route has no HTTPS"));
            } else if matches!(settings.tls, TlsMode::Internal | TlsMode::File) {
                warnings.push((
                    given,
                    "without effect: `tls` says where the certificate comes from",
                ));
            } else if !hosts.is_empty() && hosts.iter().all(|host| host.exact().is_some()) {
                warnings.push((
                    given,
                    "without effect: names that wharf.host lists get a certificate unasked; it is for `default` and `*.`",
                ));
            }
        }
        if let Some(given) = own("tls.min").filter(|_| settings.https == HttpsMode::Off) {
            warnings.push((given, "without effect: this route has no HTTPS"));
        }
        warnings
    }

    fn access(&self) -> AccessSpec {
        let on = pick!(self, "maintenance", Value::Switch).unwrap_or(false);
        let retry = pick!(self, "maintenance.retry", Value::Duration);
        AccessSpec {
            allow: pick!(self, "allow", Value::Networks),
            basic: pick!(self, "auth.basic", Value::Basic).map(|basic| BasicSpec {
                user_header: pick!(self, "auth.user_header", Value::Name),
                ..basic
            }),
            forward: self.forward_auth(),
            satisfy_any: pick!(self, "satisfy", Value::Switch).unwrap_or(false),
            deny: pick!(self, "deny", Value::Networks),
            block: pick!(self, "block", Value::Block).unwrap_or_default(),
            maintenance: on.then(|| Maintenance {
                allow: pick!(self, "maintenance.allow", Value::Networks),
                message: pick!(self, "maintenance.message", Value::Name),
                retry: retry.unwrap_or(Maintenance::RETRY),
            }),
        }
    }

    fn forward_auth(&self) -> Option<ForwardSpec> {
        let at: ForwardAt = pick!(self, "auth.forward", Value::Forward)?;
        let known = || at.kind.map(AuthKind::copy);
        Some(ForwardSpec {
            copy: pick!(self, "auth.forward.copy", Value::Copy)
                .or_else(known)
                .unwrap_or_default(),
            timeout: pick!(self, "auth.forward.timeout", Value::Duration)
                .unwrap_or(ForwardSpec::TIMEOUT),
            cache: pick!(self, "auth.forward.cache", Value::Duration).unwrap_or_default(),
            session: pick!(self, "auth.forward.session", Value::Switch).unwrap_or(false),
            at,
        })
    }

    /// Fields of `auth.forward` and `errors` that change nothing.
    fn idle_fields(&self, settings: &Settings) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let given = own("errors.intercept").filter(|_| self.get("errors").is_none());
        if let Some(given) = given {
            return vec![(given, "without effect: wharf.errors names no pages")];
        }
        let Some(forward) = &settings.access.forward else {
            let fields = ["copy", "timeout", "cache", "session"];
            let given = fields
                .into_iter()
                .find_map(|field| own(&format!("auth.forward.{field}")));
            let given = given.filter(|_| self.get("auth.forward").is_none());
            let why = "without effect: wharf.auth.forward names no server";
            return given.map(|given| (given, why)).into_iter().collect();
        };
        let given = own("auth.forward.session");
        let idle = given.filter(|_| forward.session && forward.cache.is_zero());
        let why = "without effect: wharf.auth.forward.cache says for how long";
        idle.map(|given| (given, why)).into_iter().collect()
    }

    /// A named route's own replace those it inherits as a whole: it would be another limit that has the burst of one
    /// and the rate of the other.
    fn rate_limits(&self) -> RateLimits {
        let has = |draft: &Draft| LIMIT.iter().any(|name| draft.values.contains_key(*name));
        let (draft, shared) = match self.base {
            Some(base) if !has(self.own) => (base, true),
            _ => (self.own, false),
        };
        let given = |name: &&'static str| Some((*name, draft.values.get(*name)?.value.clone()));
        let fields: Vec<_> = LIMIT.iter().filter_map(given).collect();
        let limits = match draft.values.get("ratelimit").map(|given| &given.value) {
            Some(Value::RateLimits(limits)) => limits.clone(),
            Some(Value::Switch(false)) => Vec::new(),
            _ if !draft.values.contains_key("ratelimit.rate") => Vec::new(),
            _ => vec![of_fields(&fields)],
        };
        RateLimits { limits, shared }
    }

    /// Any of its numbers is wish enough.
    fn breaker(&self) -> Option<BreakerSpec> {
        let errors = pick!(self, "breaker.errors", Value::Percent);
        let over = pick!(self, "breaker.over", Value::Duration);
        let min = pick!(self, "breaker.min", Value::Count);
        let open = pick!(self, "breaker.open", Value::Duration);
        let wished = errors.is_some() || over.is_some() || min.is_some() || open.is_some();
        let on = pick!(self, "breaker", Value::Switch).unwrap_or(wished);
        let default = BreakerSpec::default();
        on.then(|| BreakerSpec {
            errors: errors.unwrap_or(default.errors),
            over: over.unwrap_or(default.over),
            min: min.unwrap_or(default.min),
            open: open.unwrap_or(default.open),
        })
    }

    /// Those of all layers, its own last.
    fn edits(&self, option: &str) -> Vec<HeaderEdit> {
        let of = |draft: &Draft| match draft.value(option) {
            Some(Value::Edits(edits)) => edits.clone(),
            _ => Vec::new(),
        };
        let layers = self.all.iter().rev();
        layers.fold(Vec::new(), |edits, layer| {
            HeaderEdit::merged(edits, of(layer.draft))
        })
    }

    fn conditions(&self) -> Vec<Matcher> {
        let mut conditions: Vec<Matcher> =
            pick!(self, "match", Value::Matchers).unwrap_or_default();
        conditions.sort();
        conditions.dedup();
        conditions
    }

    /// A cookie's name alone is wish enough.
    fn sticky(&self) -> Option<StickySpec> {
        let cookie = pick!(self, "sticky.cookie", Value::Name);
        let on = pick!(self, "sticky", Value::Switch).unwrap_or_else(|| cookie.is_some());
        on.then_some(StickySpec { cookie })
    }

    /// The route as asked for, with problems that only show once all options are known.
    pub(super) fn route(
        &self,
        container: &str,
        name: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> RouteLabels {
        let hosts: Vec<HostPattern> = pick!(self, "host", Value::Hosts).unwrap_or_default();
        let path: PathPattern = pick!(self, "path", Value::Path).unwrap_or_else(PathPattern::root);
        let mut settings = self.settings();
        if settings.files.is_some()
            && let Some(log) = pick!(self, "static.log", Value::Log)
        {
            settings.log = log;
        }
        let mut problem = |severity, label: &str, value: &str, reason: String| {
            problems.push(Problem {
                severity,
                container: container.to_owned(),
                label: excerpt(label),
                value: excerpt(value),
                reason,
            });
        };
        let own = |option: &str| self.own.values.get(option);
        if let Some(given) = own("strip").filter(|_| settings.strip && path.prefix().is_none()) {
            let reason =
                format!("there is nothing to strip from the path `{path}`: set wharf.path");
            problem(Severity::Warning, &given.label, &given.text, reason);
        }
        if let Some(given) = own("https").filter(|given| {
            settings.tls == TlsMode::Off && given.value != Value::Https(HttpsMode::Off)
        }) {
            let reason = "without effect, because `tls` is off".to_owned();
            problem(Severity::Warning, &given.label, &given.text, reason);
        }
        for (given, why) in self.tls_warnings(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_fields(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.files_warnings() {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.cors_warnings(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        self.tell_presets(|given, reason| {
            problem(Severity::Error, &given.label, &given.text, reason);
        });
        let dial = self.dial();
        let (useless, why) = match dial.upstream.as_ref().map(|label| &label.at) {
            Some(UpstreamAt::Origins(_)) => (
                &["port", "network", "proto"][..],
                "without effect: `upstream` says where the app is",
            ),
            Some(UpstreamAt::Socket(_)) => (
                &["port", "network", "health.port"][..],
                "without effect: `upstream` is a Unix socket",
            ),
            Some(UpstreamAt::Published) => (
                &["network"][..],
                "without effect: `upstream` is the published port",
            ),
            Some(UpstreamAt::Container) | None => (&[][..], ""),
        };
        for given in useless.iter().filter_map(|option| own(option)) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_tls(&dial) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_health(&dial.health) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        let mut fault = self.fault();
        if let (Some(given), PathPattern::Regex(_)) = (self.get("rewrite"), &path)
            && matches!(settings.rewrite, Some(Rewrite::Base(_)))
        {
            let reason = "a regex has no prefix that could become another one: write a rule, as in ^/v1/(.*)$ -> /{1}";
            problem(
                Severity::Error,
                &given.label,
                &given.text,
                reason.to_owned(),
            );
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(&given.label)));
        }
        if let Some((given, reason)) = self.torn() {
            problem(Severity::Error, &given.label, &given.text, reason.clone());
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(&given.label)));
        }
        if let (Some(given), Some(UpstreamAt::Socket(_)), true) = (
            self.get("proto"),
            dial.upstream.as_ref().map(|label| &label.at),
            dial.proto.is_tls(),
        ) {
            let reason = "an app behind a Unix socket is spoken to in clear: nobody can listen in between; leave `proto` out";
            let (label, text) = (&given.label, &given.text);
            problem(Severity::Error, label, text, reason.to_owned());
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(label)));
        }
        if let Some(name) = name.filter(|_| hosts.is_empty() && fault.is_none()) {
            let reason = format!("route `{name}` has no host: set wharf.host or wharf.{name}.host");
            let (label, value) = self.own.first.clone().unwrap_or_default();
            problem(Severity::Error, &label, &value, reason.clone());
            fault = Some(format!("{}: {reason}", excerpt(&label)));
        }
        let host = self.get("host");
        RouteLabels {
            name: name.map(str::to_owned),
            hosts,
            host_label: host.map_or_else(String::new, |given| excerpt(&given.label)),
            host_value: host.map_or_else(String::new, |given| excerpt(&given.text)),
            path,
            path_broken: self.broken("path"),
            conditions: self.conditions(),
            conditions_broken: self.broken("match"),
            settings,
            canary: pick!(self, "canary", Value::Matchers).unwrap_or_default(),
            dial,
            own_upstream: self.base.is_some() && self.is_dialled_apart(),
            fault,
        }
    }

    /// Whether a named route has an upstream of its own: it says something of that.
    fn is_dialled_apart(&self) -> bool {
        let of_dial = |option: &str| {
            matches!(option, "port" | "network" | "upstream" | "health")
                || option.starts_with("health.")
                || OF_TLS.contains(&option)
        };
        self.says(of_dial)
    }

    /// Own labels about TLS to the app that change nothing, and why.
    fn idle_tls(&self, dial: &Dial) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let https = dial.protos().into_iter().any(Proto::is_tls);
        // They may be meant for those that say `https`.
        if !https && self.heirs.is_empty() {
            let why = "without effect: the app is spoken to in clear (wharf.proto is not https, h2 or grpcs)";
            let idle = ["upstream.verify", "upstream.sni"].into_iter();
            return idle.filter_map(own).map(|given| (given, why)).collect();
        }
        let unverified = dial.verify == Verify::Off && dial.sni.is_none();
        let why = "anybody who gets at the network between can pass for the app; `file:` with its certificate keeps them out";
        let given = own("upstream.verify").filter(|_| https && unverified && dial.is_outside());
        given.map(|given| (given, why)).into_iter().collect()
    }

    /// The route of hosts that are sent to `route`, if its own labels name any.
    pub(super) fn redirect_from(
        &self,
        container: &str,
        route: &RouteLabels,
        problems: &mut Vec<Problem>,
    ) -> Option<RouteLabels> {
        let given = self.own.values.get("redirect.from")?;
        let Value::Hosts(hosts) = &given.value else {
            return None;
        };
        let (label, value) = (excerpt(&given.label), excerpt(&given.text));
        let Some(to) = route.hosts.iter().find_map(HostPattern::exact) else {
            problems.push(Problem {
                severity: Severity::Error,
                container: container.to_owned(),
                label,
                value,
                reason: "there is nowhere to send them: wharf.host names no host but patterns"
                    .to_owned(),
            });
            return None;
        };
        let tls = match route.settings.tls {
            // It is of the route's own hosts.
            TlsMode::File => TlsMode::Auto,
            mode => mode,
        };
        Some(RouteLabels {
            name: Some(match &route.name {
                None => REDIRECT_FROM.to_owned(),
                Some(name) => format!("{name}.{REDIRECT_FROM}"),
            }),
            hosts: hosts.clone(),
            host_label: label,
            host_value: value,
            path: PathPattern::root(),
            path_broken: false,
            conditions: Vec::new(),
            conditions_broken: false,
            settings: Settings {
                tls,
                tls_file: None,
                redirect_to: Some(to.clone()),
                strip: false,
                rewrite: None,
                redirects: Vec::new(),
                sticky: None,
                breaker: None,
                ..route.settings.clone()
            },
            ..route.clone()
        })
    }
}

/// `ratelimit` and its fields.
const LIMIT: [&str; 6] = [
    "ratelimit",
    "ratelimit.rate",
    "ratelimit.burst",
    "ratelimit.delay",
    "ratelimit.key",
    "ratelimit.dryrun",
];
/// Names the route of files below a path of another route; no route of a label can be called that.
const STATIC_PATH: &str = "static.path";
/// How the app is spoken to.
const OF_TLS: [&str; 3] = ["proto", "upstream.verify", "upstream.sni"];

/// Names the route of hosts that are sent to another; no route of a label can be called that.
pub(super) const REDIRECT_FROM: &str = "redirect.from";
