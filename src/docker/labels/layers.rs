//! What holds of a route: its own labels, over presets, over the default route's, over defaults.

use std::collections::BTreeMap;

use super::Terms;
use super::presets::{self, Preset};
use super::read::{Draft, Given};
use super::text::excerpt;
use super::value::Value;

/// A route's own labels over all that it inherits: its presets, the labels of the default route and its presets,
/// defaults. The default route has no base.
pub(super) struct Layers<'a> {
    pub(super) own: &'a Draft,
    pub(super) base: Option<&'a Draft>,
    /// Named routes, where these are the labels of the default route.
    pub(super) heirs: &'a BTreeMap<String, Draft>,
    /// Nearest first; the first is `own`.
    pub(super) all: Vec<Layer<'a>>,
    /// How many of them are the route's own: its labels and its presets.
    near: usize,
    /// What is wrong with the presets it uses.
    unusable: Vec<String>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) draft: &'a Draft,
    /// Labels, of this route or the default route. Of anything else a label takes no field of an option whose
    /// value it gives as a whole.
    labels: bool,
}

/// The value of an option, where it is of a kind.
macro_rules! pick {
    ($layers:expr, $option:literal, $kind:path) => {
        match $layers.get($option).map(|given| &given.value) {
            Some($kind(value)) => Some(value.clone()),
            _ => None,
        }
    };
}
pub(super) use pick;

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

    /// The nearest layer that says anything of options which count together, and whether the default route has it,
    /// too: a named route's own replace those it inherits as a whole, or it would have the number of one and the
    /// key of the other.
    pub(super) fn together(&self, options: &[&str]) -> Option<(&'a Draft, bool)> {
        let says = |layer: &Layer<'_>| {
            let values = &layer.draft.values;
            options.iter().any(|option| values.contains_key(*option))
        };
        let found = self.all.iter().position(says)?;
        let draft = self.all.get(found)?.draft;
        Some((draft, self.base.is_some() && found >= self.near))
    }

    /// What the route's own labels and presets say.
    pub(super) fn near(&self, option: &str) -> Option<&'a Given> {
        let mut layers = self.all[..self.near].iter();
        layers.find_map(|layer| layer.draft.values.get(option))
    }

    /// What it may inherit.
    pub(super) fn far(&self, option: &str) -> Option<&'a Given> {
        let mut layers = self.all[self.near..].iter();
        layers.find_map(|layer| layer.draft.values.get(option))
    }

    /// Whether the route's own labels or presets say anything of an option.
    pub(super) fn says(&self, is: impl Fn(&str) -> bool) -> bool {
        let near = self.all.iter().take(self.near);
        near.flat_map(|layer| layer.draft.values.keys())
            .any(|option| is(option))
    }

    /// The first error that costs this route: its own, or one of an option it inherits. An unknown
    /// word on the default route is the default route's alone.
    pub(super) fn fault(&self) -> Option<String> {
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
    pub(super) fn tell_presets(&self, mut tell: impl FnMut(&Given, String)) {
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

    /// Options whose values are secrets, and what holds these.
    pub(super) fn hidden(&self) -> Vec<String> {
        let all = self.all.iter().flat_map(|layer| &layer.draft.values);
        let hidden = all.filter(|(_, given)| given.secret);
        let mut hidden: Vec<String> = hidden
            .map(|(option, given)| format!("{option}: {}", excerpt(&given.text)))
            .collect();
        hidden.sort();
        hidden.dedup();
        hidden
    }
}
