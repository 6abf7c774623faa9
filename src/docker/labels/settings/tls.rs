//! What clients' TLS has to do with, and `hsts`.

use crate::model::{Hsts, HttpsMode, Settings, TlsMode};

use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    /// Any of its fields alone is wish enough.
    pub(in crate::docker::labels) fn hsts(&self) -> Option<Hsts> {
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

    /// What is settled among the options of TLS, but deserves a look.
    pub(in crate::docker::labels) fn tls_warnings(
        &self,
        settings: &Settings,
    ) -> Vec<(&'a Given, &'static str)> {
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
}
