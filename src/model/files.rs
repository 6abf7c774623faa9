//! Files that a route serves itself.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::PathGlob;

/// `wharf.static`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FilesSpec {
    /// All files are below it: `WHARF_STATIC_DIR`. Empty until the plan knows it.
    pub directory: PathBuf,
    /// Where they are: as the label says, and below `directory` once the plan has looked.
    pub root: String,
    /// What is taken off a path, as `seen`: the prefix of the route whose label it is.
    pub base: String,
    /// Unknown paths are answered with the index page.
    pub spa: bool,
    /// How long clients may keep a file.
    #[serde(skip)]
    pub expires: Option<Duration>,
    /// No file ever changes.
    pub immutable: bool,
    /// Nor do these, which are kept for a year.
    #[serde(skip)]
    pub forever: Vec<PathGlob>,
}

impl FilesSpec {
    /// Places `root` below `directory`.
    ///
    /// # Errors
    /// That it names a directory elsewhere.
    pub fn placed(&self, directory: &Path) -> Result<Self, String> {
        let root = Path::new(&self.root);
        let below = match root.is_absolute() {
            true => root.strip_prefix(directory).ok(),
            false => Some(root),
        };
        let plain = |path: &&Path| {
            let mut parts = path.components();
            parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        let below = below.filter(plain).and_then(Path::to_str);
        let below = below.ok_or_else(|| {
            format!(
                "only files in {} can be served (WHARF_STATIC_DIR)",
                directory.display()
            )
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            root: below.to_owned(),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S70: jailed under `WHARF_STATIC_DIR`.
    #[test]
    fn roots_are_below_the_directory() {
        for (root, expected) in [
            ("/srv/www", Some("www")),
            ("/srv/www/", Some("www")),
            ("/srv", Some("")),
            ("www/site", Some("www/site")),
            ("/srv/../etc", None),
            ("../etc", None),
            ("/etc", None),
            ("/srvx", None),
        ] {
            let spec = FilesSpec {
                root: root.into(),
                ..FilesSpec::default()
            };
            let placed = spec.placed(Path::new("/srv"));
            assert_eq!(
                placed.as_ref().ok().map(|spec| &*spec.root),
                expected,
                "{root}"
            );
        }
    }
}
