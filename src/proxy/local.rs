//! An answer that no upstream gives: a head, and bytes that are read as the client takes them.

use http::StatusCode;

use super::page::Page;
use crate::webroot::Body;

/// Both protocols send it: `http1::local`, `http2::server::local`.
pub(crate) struct Local {
    /// Its head, without a length and without a body.
    pub(crate) head: Page,
    /// Of the whole body. `None` where its status has none.
    pub(crate) length: Option<u64>,
    pub(crate) body: Body,
}

impl Local {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status()
    }
}
