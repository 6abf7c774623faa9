//! What the workers read: certificates and pending challenges by name. Replaced whole, never edited.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

use crate::model::{Host, HostPattern, TlsPolicy, Verify};

use super::CertSource;
use super::policy::{Compiled, Policies, Policy};
use super::served::Served;
use super::trust::{Trusted, Trusts};

/// Certificates and pending challenges of one moment. The maps are replaced apart from each
/// other inside one swap, so that a challenge does not copy thousands of certificates.
#[derive(Clone, Default)]
pub struct CertIndex {
    certificates: Arc<Certificates>,
    /// The operator's own, by the names in them.
    own: Arc<HashMap<Box<str>, Arc<Served>>>,
    /// By the rules themselves.
    policies: Arc<Policies>,
    trusts: Arc<Trusts>,
    /// By token.
    http: Arc<HashMap<Box<str>, HttpAnswer>>,
    /// By SNI.
    alpn: Arc<HashMap<Box<str>, Arc<ServerConfig>>>,
}

/// Apart, because names are searched by the text of a handshake.
#[derive(Clone, Default)]
struct Certificates {
    exact: HashMap<Host, Arc<Served>, foldhash::fast::RandomState>,
    patterns: HashMap<HostPattern, Arc<Served>, foldhash::fast::RandomState>,
}

#[derive(Clone)]
struct HttpAnswer {
    host: Box<str>,
    body: Box<str>,
}

impl CertIndex {
    pub(super) fn new(
        found: impl Iterator<Item = (HostPattern, Arc<Served>)>,
        own: HashMap<Box<str>, Arc<Served>>,
    ) -> Self {
        let mut certificates = Certificates::default();
        found.for_each(|(pattern, served)| certificates.set(&pattern, Some(served)));
        Self {
            certificates: Arc::new(certificates),
            own: Arc::new(own),
            ..Self::default()
        }
    }

    /// The certificate of exactly this pattern; expired ones too. Does not allocate.
    pub fn find(&self, pattern: &HostPattern) -> Option<&Arc<Served>> {
        match pattern {
            HostPattern::Exact(host) => self.certificates.exact.get(host),
            pattern => self.certificates.patterns.get(pattern),
        }
    }

    /// A CA's certificate for exactly this name (lower case), whether or not a label lists it: for hosts
    /// of a pattern whose names get one each (`wharf.tls.ask`). Does not allocate.
    pub fn named(&self, name: &str) -> Option<&Arc<Served>> {
        let served = self.certificates.exact.get(name);
        served.filter(|served| served.source == CertSource::Acme)
    }

    /// The rules a label asks for, compiled.
    ///
    /// # Errors
    /// Why they cannot be kept: such a host lets nobody in who must show a certificate.
    pub fn policy(&self, spec: &TlsPolicy) -> Result<&Arc<Policy>, Arc<str>> {
        let compiled = self.policies.get(spec);
        match compiled {
            Some(Compiled {
                policy: Some(policy),
                ..
            }) => Ok(policy),
            Some(Compiled { fault, .. }) => Err(fault.clone().unwrap_or_default()),
            None => Err("it has just been declared".into()),
        }
    }

    /// How apps are spoken to over TLS that are believed in this way.
    ///
    /// # Errors
    /// Why nobody can be believed.
    pub fn trust(&self, verify: &Verify) -> Result<&Arc<ClientConfig>, Arc<str>> {
        match self.trusts.get(verify) {
            Some(Trusted {
                config: Some(config),
                ..
            }) => Ok(config),
            Some(Trusted { fault, .. }) => Err(fault.clone().unwrap_or_default()),
            None => Err("it has just been declared".into()),
        }
    }

    pub(super) fn trusts(&self) -> &Arc<Trusts> {
        &self.trusts
    }

    pub(super) fn with_trusts(&self, trusts: Arc<Trusts>) -> Self {
        Self {
            trusts,
            ..self.clone()
        }
    }

    pub(super) fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    pub(super) fn with_policies(&self, policies: Arc<Policies>) -> Self {
        Self {
            policies,
            ..self.clone()
        }
    }

    /// The operator's own certificate for a name (lower case), its own or a wildcard: for hosts of the
    /// pattern `default`, which stands for no name. Does not allocate.
    pub fn own(&self, name: &str) -> Option<&Arc<Served>> {
        if self.own.is_empty() {
            return None;
        }
        self.own.get(name).or_else(|| {
            // On the stack: a name has at most 253 bytes.
            let (_, parent) = name.split_once('.')?;
            let mut wildcard = [0; 255];
            let wildcard = wildcard.get_mut(..parent.len() + 2)?;
            wildcard[..2].copy_from_slice(b"*.");
            wildcard[2..].copy_from_slice(parent.as_bytes());
            self.own.get(std::str::from_utf8(wildcard).ok()?)
        })
    }

    /// The body to answer `/.well-known/acme-challenge/<token>` with (RFC 8555 section 8.3), if that
    /// token is pending right now for that host. `host` is the request's host without port, in any
    /// case; a host that is not the challenge's gets nothing (DNS rebinding).
    pub fn challenge_answer(&self, host: &str, token: &str) -> Option<&str> {
        let answer = self.http.get(token)?;
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case(&answer.host)
            .then_some(&*answer.body)
    }

    /// The config to answer a ClientHello whose only ALPN protocol is `acme-tls/1` (RFC 8737), if a
    /// challenge is pending right now for that SNI (lower case). Close after the handshake.
    pub fn alpn_challenge(&self, sni: &str) -> Option<&Arc<ServerConfig>> {
        self.alpn.get(sni)
    }

    pub(super) fn with_certificate(&self, pattern: &HostPattern, served: Arc<Served>) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.certificates).set(pattern, Some(served));
        next
    }

    /// Takes over changes, and all names of the own certificates.
    pub(super) fn with_changes(
        &self,
        changes: &[(HostPattern, Option<Arc<Served>>)],
        own: Option<&Arc<HashMap<Box<str>, Arc<Served>>>>,
    ) -> Self {
        let mut next = self.clone();
        if let Some(own) = own {
            next.own = Arc::clone(own);
        }
        if changes.is_empty() {
            return next;
        }
        let certificates = Arc::make_mut(&mut next.certificates);
        for (pattern, served) in changes {
            certificates.set(pattern, served.clone());
        }
        next
    }

    pub(super) fn without_certificates(&self, patterns: &[HostPattern]) -> Self {
        let mut next = self.clone();
        let certificates = Arc::make_mut(&mut next.certificates);
        for pattern in patterns {
            certificates.set(pattern, None);
        }
        next
    }

    pub(super) fn with_answer(&self, host: &str, token: &str, body: &str) -> Self {
        let mut next = self.clone();
        let answer = HttpAnswer {
            host: host.into(),
            body: body.into(),
        };
        Arc::make_mut(&mut next.http).insert(token.into(), answer);
        next
    }

    pub(super) fn with_alpn(&self, sni: &str, config: Arc<ServerConfig>) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.alpn).insert(sni.into(), config);
        next
    }

    /// Removes a pending challenge: a token, or an SNI.
    pub(super) fn without_challenge(&self, name: &str) -> Self {
        let mut next = self.clone();
        Arc::make_mut(&mut next.http).remove(name);
        Arc::make_mut(&mut next.alpn).remove(name);
        next
    }
}

impl Certificates {
    fn set(&mut self, pattern: &HostPattern, served: Option<Arc<Served>>) {
        match (pattern, served) {
            (HostPattern::Exact(host), Some(served)) => {
                self.exact.insert(host.clone(), served);
            }
            (HostPattern::Exact(host), None) => drop(self.exact.remove(host)),
            (pattern, Some(served)) => {
                self.patterns.insert(pattern.clone(), served);
            }
            (pattern, None) => drop(self.patterns.remove(pattern)),
        }
    }

    fn len(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }
}

impl fmt::Debug for CertIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertIndex")
            .field("certificates", &self.certificates.len())
            .field("http", &self.http.len())
            .field("alpn", &self.alpn.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_for_its_own_host_only() {
        let index = CertIndex::default().with_answer("a.test", "token", "token.thumb");
        assert_eq!(
            index.challenge_answer("A.test.", "token"),
            Some("token.thumb")
        );
        assert_eq!(index.challenge_answer("b.test", "token"), None);
        assert_eq!(index.challenge_answer("a.test", "other"), None);
        let index = index.without_challenge("token");
        assert_eq!(index.challenge_answer("a.test", "token"), None);
    }
}
