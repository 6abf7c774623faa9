//! Labels in compose files: lists and mappings, their variables, and what compose makes of them.

use crate::docker::labels::excerpt;
use crate::model::Severity;

use super::compose::{Reader, Remark};
use super::fill;
use super::service::Label;
use crate::files::yaml::{Node, Span};

impl Reader<'_> {
    /// `environment`, quietly.
    pub(super) fn pairs(&mut self, node: &Node) -> Vec<Label> {
        let before = self.remarks.len();
        let pairs = self.labels("", node);
        self.remarks.truncate(before);
        pairs
    }

    /// Labels in a list or a mapping. Compose puts variables into values, and into all of a list's items.
    pub(super) fn labels(&mut self, service: &str, node: &Node) -> Vec<Label> {
        let mut labels = Vec::new();
        for (key, value) in node.entries() {
            let name = key.string().unwrap_or_default();
            let label = Label {
                value: String::new(),
                key_at: key.at,
                value_at: if value.is_null() { key.at } else { value.at },
                key: name,
            };
            if label.key.contains('$') {
                let reason = "compose puts no variables into keys: write it in a list, as in - wharf.host=app.example.com";
                self.of_label(service, &label, label.key_at, Some("$"), reason.to_owned());
            }
            let Some(text) = value.string() else {
                let reason = "the value of a label is a text: compose refuses the file";
                self.of_label(service, &label, label.key_at, None, reason.to_owned());
                continue;
            };
            let value = self.filled(service, &label, &text);
            labels.extend(value.map(|value| Label { value, ..label }));
        }
        for item in node.items() {
            if let [(key, _)] = item.entries() {
                let label = Label {
                    key: key.string().unwrap_or_default(),
                    value: String::new(),
                    key_at: key.at,
                    value_at: key.at,
                };
                let name = excerpt(&label.key);
                let reason = format!(
                    "labels are a list here: write - {name}=value, or all of them without dashes"
                );
                self.of_label(service, &label, label.key_at, None, reason);
                continue;
            }
            let text = item.string().unwrap_or_default();
            let (key_at, value_at) = self.halves(item.at);
            let raw = Label {
                key: text.split('=').next().unwrap_or_default().to_owned(),
                value: String::new(),
                key_at,
                value_at,
            };
            let Some(text) = self.filled(service, &raw, &text) else {
                continue;
            };
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            let (key, value) = (key.to_owned(), value.to_owned());
            labels.push(Label { key, value, ..raw });
        }
        labels
    }

    /// Puts variables in, and says what is wrong with that where the label is Wharf's.
    fn filled(&mut self, service: &str, label: &Label, text: &str) -> Option<String> {
        if let Some(begin) = fill::hash(text) {
            let reason = format!(
                "compose takes `{begin}` of the hash for a variable: write each `$` of it as `$$`, or keep it in a file (file:/run/secrets/…)"
            );
            self.of_label(service, label, label.value_at, Some(begin), reason);
            return Some(text.to_owned());
        }
        match fill::fill(text, &self.variables) {
            Ok(filled) => {
                for name in &filled.unset {
                    let reason = format!(
                        "the variable `{name}` is not set here: compose puts nothing in its place"
                    );
                    let before = self.remarks.len();
                    self.of_label(service, label, label.value_at, Some(name), reason);
                    for remark in &mut self.remarks[before..] {
                        remark.severity = Severity::Warning;
                    }
                }
                Some(filled.text)
            }
            Err(refused) => {
                let (at, word) = (label.value_at, refused.word);
                self.of_label(service, label, at, Some(&word), refused.reason);
                // What was meant is looked at, too, where that is known.
                (!word.starts_with("${")).then(|| text.to_owned())
            }
        }
    }

    /// The places of key and value of an item such as `wharf.host=app`.
    fn halves(&self, at: Span) -> (Span, Span) {
        let chars = self.files.get(at.file).map_or(&[][..], |file| &file.chars);
        let (mut start, mut end) = (at.start.min(chars.len()), at.end.min(chars.len()));
        let is_quote = |at: usize| matches!(chars.get(at), Some('"' | '\''));
        if is_quote(start) && end > start + 1 && is_quote(end - 1) {
            start += 1;
            end -= 1;
        }
        let equals = chars[start..end].iter().position(|c| *c == '=');
        match equals.map(|equals| start + equals) {
            None => (Span { start, end, ..at }, Span { start, end, ..at }),
            Some(equals) => {
                let key = Span {
                    start,
                    end: equals,
                    ..at
                };
                let value = match equals + 1 < end {
                    true => Span {
                        start: equals + 1,
                        end,
                        ..at
                    },
                    false => key,
                };
                (key, value)
            }
        }
    }

    /// Remarks on a label, if it may be Wharf's.
    fn of_label(
        &mut self,
        service: &str,
        label: &Label,
        at: Span,
        word: Option<&str>,
        reason: String,
    ) {
        if self.prefix.resembles(&label.key.to_ascii_lowercase()) {
            self.remark(service, &label.key, at, word, reason);
        }
    }

    pub(super) fn remark(
        &mut self,
        service: &str,
        label: &str,
        at: Span,
        word: Option<&str>,
        reason: String,
    ) {
        self.remarks.push(Remark {
            severity: Severity::Error,
            at,
            word: word.map(str::to_owned),
            service: service.to_owned(),
            label: label.to_owned(),
            reason,
        });
    }
}
