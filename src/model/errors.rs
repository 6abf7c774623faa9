//! Pages of a route's own for errors (product.md B55).

use std::fmt;

use serde::{Serialize, Serializer};

use super::{ForwardAt, StatusSet};

/// `wharf.errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorsSpec {
    /// In label order: the first that has a status counts.
    pub rules: Vec<ErrorRule>,
    /// The app's own answers of these statuses are replaced, too (nginx `proxy_intercept_errors`). Default off.
    pub intercept: bool,
}

/// A page for some statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRule {
    /// Of 400 to 599.
    pub statuses: StatusSet,
    pub page: ErrorPage,
}

/// Where a page comes from; `{status}` in it is the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorPage {
    /// A file in `WHARF_ERRORS`, by its name there or its whole path.
    File(String),
    /// A path of the app's.
    App(String),
    /// Another server.
    Server(ForwardAt),
}

/// `502,503 = {status}.html`
impl fmt::Display for ErrorRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = ", self.statuses)?;
        match &self.page {
            ErrorPage::File(name) => f.write_str(name),
            ErrorPage::App(path) => write!(f, "app:{path}"),
            ErrorPage::Server(at) => at.fmt(f),
        }
    }
}

impl Serialize for ErrorRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
