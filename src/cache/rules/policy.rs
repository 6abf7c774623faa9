//! What labels say of a route's cache, as plain values.

/// How a route's responses are kept. A route without a policy has no cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Lifetimes where the app names none (`wharf.cache.valid`, nginx `proxy_cache_valid`). Default: none; then such
    /// a response is not stored.
    pub valid: Valid,
    pub stale: Stale,
    /// What a Set-Cookie in a response means. Default: it is not stored.
    pub cookies: Cookies,
    /// Whether responses without a lifetime get one by the age of their content (RFC 9111 section 4.2.2). Default:
    /// no.
    pub heuristic: bool,
    /// Whether clients may ask for newer responses than the app asks for (Cache-Control and Pragma in requests, RFC
    /// 9111 section 5.2.1). Default: yes.
    pub wishes: bool,
    /// Whether a HEAD that is not answered from the cache fetches the whole (nginx `proxy_cache_convert_head`).
    /// Default: yes.
    pub convert_head: bool,
    /// Seconds without use after which a response is forgotten, fresh or not. Default: 600, as in nginx.
    pub inactive: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            valid: Valid::default(),
            stale: Stale::default(),
            cookies: Cookies::Refuse,
            heuristic: false,
            wishes: true,
            convert_head: true,
            inactive: 600,
        }
    }
}

/// Lifetimes in seconds by status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Valid {
    /// The first that names a status counts. A time alone in a label stands for [`Self::BARE`].
    pub by_status: Vec<(u16, u32)>,
    /// For all others.
    pub any: Option<u32>,
}

impl Valid {
    /// The statuses that a time without any stands for.
    pub const BARE: [u16; 3] = [200, 301, 302];

    /// The lifetime of responses with that status; 0: they are not stored.
    pub fn of(&self, status: u16) -> Option<u32> {
        let named = self.by_status.iter().find(|(one, _)| *one == status);
        named.map(|(_, seconds)| *seconds).or(self.any)
    }
}

/// When a response past its lifetime is better than none (`wharf.cache.stale`, nginx `proxy_cache_use_stale`). The
/// app's stale-while-revalidate and stale-if-error hold besides, and what it forbids (must-revalidate) stays
/// forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The app cannot be reached or breaks off.
    pub error: bool,
    pub timeout: bool,
    /// What the app sends is no response.
    pub invalid: bool,
    /// There is no app to ask: its container is being replaced.
    pub deploy: bool,
    /// It is being fetched: by another request, or in the background from now on.
    pub updating: bool,
    /// Statuses in place of which the stale one is sent.
    pub statuses: Vec<u16>,
    /// Seconds past the lifetime for which all of the above hold. Default: no limit but [`Policy::inactive`], as in
    /// nginx.
    pub limit: u32,
    /// Seconds past the lifetime in which anybody gets it at once while it is fetched in the background, where the
    /// app does not say (RFC 5861 section 3). 0: the first who asks waits for it (nginx
    /// `proxy_cache_background_update off`, and the default here). `None`: as long as `updating` holds, if it has been
    /// fresh at all, which is what a label without a word of it means.
    pub background: Option<u32>,
}

impl Default for Stale {
    /// nginx's common `error timeout updating http_500 http_502 http_503`, and while a container is being replaced.
    fn default() -> Self {
        Self {
            error: true,
            timeout: true,
            invalid: false,
            deploy: true,
            updating: true,
            statuses: vec![500, 502, 503],
            limit: u32::MAX,
            background: Some(0),
        }
    }
}

impl Stale {
    /// Only what the app allows itself.
    pub fn never() -> Self {
        Self {
            error: false,
            timeout: false,
            invalid: false,
            deploy: false,
            updating: false,
            statuses: Vec::new(),
            limit: 0,
            background: None,
        }
    }
}

/// What is done with a response that sets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// It is not stored: most likely it is for one client (nginx, too).
    #[default]
    Refuse,
    /// It is stored without the cookie.
    Strip,
    /// It is stored with the cookie, which all get.
    Keep,
}

/// What labels such as `wharf.cache.bypass` say of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bypass {
    /// It is not answered from the cache (nginx `proxy_cache_bypass`).
    pub read: bool,
    /// Its response is not stored (nginx `proxy_no_cache`).
    pub store: bool,
}
