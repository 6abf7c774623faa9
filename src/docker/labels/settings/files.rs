//! `static` and its fields.

use crate::model::{FilesSpec, PathPattern, Settings};

use super::super::RouteLabels;
use super::super::layers::{Layers, pick};
use super::super::read::Given;
use super::super::value::Value;

impl<'a> Layers<'a> {
    /// Files that are the answers on the whole route, with what is to be logged of them.
    pub(in crate::docker::labels) fn files(&self) -> Option<FilesSpec> {
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
    pub(in crate::docker::labels) fn static_path(
        &self,
        route: &RouteLabels,
    ) -> Option<RouteLabels> {
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
                cache: None,
                ..route.settings.clone()
            },
            ..route.clone()
        })
    }

    /// Fields of `static` that change nothing.
    pub(in crate::docker::labels) fn files_warnings(&self) -> Vec<(&'a Given, &'static str)> {
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
}

/// Names the route of files below a path of another route; no route of a label can be called that.
const STATIC_PATH: &str = "static.path";
