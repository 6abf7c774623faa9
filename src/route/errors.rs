//! A route's own pages for errors, compiled.

use super::Route;
use crate::model::StatusSet;

/// Which page replaces which error.
#[derive(Debug)]
pub struct Errors {
    /// The first that has a status counts.
    pub(super) rules: Vec<(StatusSet, ErrorPage)>,
    /// The app's own answers are replaced, too.
    pub(super) intercept: bool,
    /// Whose they are, for the log.
    pub route: Box<str>,
}

/// Where a page comes from; `{status}` in it is the status.
#[derive(Debug)]
pub enum ErrorPage {
    /// A file in the directory of error pages.
    File(Box<str>),
    /// An answer to a path.
    Ask {
        /// How it is asked.
        route: Box<Route>,
        /// Path and query.
        target: Box<str>,
        /// For people.
        at: Box<str>,
        /// It is the app, which knows its visitors.
        own: bool,
    },
}

impl Errors {
    /// Whether an app's answer of a status is replaced.
    pub fn intercepts(&self, status: u16) -> bool {
        self.intercept && self.page(status).is_some()
    }

    /// The page for a status.
    pub fn page(&self, status: u16) -> Option<&ErrorPage> {
        let mut rules = self.rules.iter();
        let found = rules.find(|(statuses, _)| statuses.contains(status));
        found.map(|(_, page)| page)
    }
}
