//! Findings for people and editors: `file:line:column: error: …`, the line, and a caret under the word.

use std::fmt::Write;

use crate::docker::labels::excerpt;
use crate::model::Severity;

use super::{Checked, Finding};

/// The text of `wharf check`.
pub fn render(checked: &Checked, colour: bool) -> String {
    let mut out = String::new();
    for finding in &checked.findings {
        one(&mut out, finding, colour);
    }
    let (errors, warnings) = (checked.errors(), checked.count(Severity::Warning));
    let services = counted(checked.services, "service");
    let files = counted(checked.files, "file");
    let _ = match (errors, warnings) {
        (0, 0) => writeln!(
            out,
            "{services} with labels in {files}: nothing to find fault with"
        ),
        _ => writeln!(
            out,
            "{services} with labels in {files}: {}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        ),
    };
    out
}

fn one(out: &mut String, finding: &Finding, colour: bool) {
    let (word, code) = match finding.severity {
        Severity::Error => ("error", "31"),
        Severity::Warning => ("warning", "33"),
    };
    let painted = |text: &str| match colour {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let (file, line, column) = (excerpt(&finding.file), finding.line, finding.column);
    let _ = write!(out, "{file}:{line}:{column}: {}", painted(word));
    for part in [&finding.service, &finding.label] {
        if !part.is_empty() {
            let _ = write!(out, ": {}", excerpt(part));
        }
    }
    let _ = writeln!(out, ": {}", printable(finding.reason.chars()));
    // A long line is cut so that the word stays in sight.
    let from = (finding.column + finding.width.min(ROOM)).saturating_sub(ROOM + 1);
    let shown = finding.source.chars().skip(from).take(ROOM);
    let shown = printable(shown);
    let left = shown
        .chars()
        .count()
        .saturating_sub(finding.column - 1 - from)
        .max(1);
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let before = " ".repeat(finding.column - 1 - from);
    let carets = painted(&"^".repeat(finding.width.clamp(1, left)));
    let _ = writeln!(out, "  {number} | {}", shown.trim_end());
    let _ = writeln!(out, "  {margin} | {before}{carets}\n");
}

/// Without what moves a terminal's cursor; one character for each.
fn printable(chars: impl Iterator<Item = char>) -> String {
    chars
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Characters of a line that are shown.
const ROOM: usize = 160;
