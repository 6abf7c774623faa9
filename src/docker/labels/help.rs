//! The option table as text for people.

use std::fmt::Write as _;

use super::presets;
use super::schema::{Entry, Kind, Status};
use super::table::OPTIONS;

/// `wharf labels`: the supported options, one block each, then the reserved words.
pub fn render_help() -> String {
    let mut out = String::from(
        "Labels expose a container: wharf.host is all that is needed.\n\
         \n  wharf.<option>          the container's default route\
         \n  wharf.<route>.<option>  a named route; it inherits the default route's options\n\n",
    );
    for entry in supported() {
        let _ = writeln!(out, "wharf.{}", entry.name);
        let _ = writeln!(out, "    {}", plain(entry.help));
        let _ = writeln!(out, "    value:   {}", plain(entry.kind.describe()));
        let _ = writeln!(out, "    on:      {}", entry.place.describe());
        let _ = writeln!(out, "    default: {}", entry.default);
        let _ = writeln!(out, "    example: {}\n", example(entry));
    }
    out.push_str("Reserved, not supported yet:\n");
    let mut line = String::from("   ");
    for entry in reserved() {
        if line.len() + entry.name.len() > 78 {
            let _ = writeln!(out, "{line}");
            line = String::from("   ");
        }
        let _ = write!(line, " {}", entry.name);
    }
    let _ = writeln!(out, "{line}");
    out
}

/// `docs/labels.md`: the grammar in short, the supported options, the reserved ones.
pub fn render_markdown() -> String {
    let mut out = String::from(GRAMMAR);
    out.push_str(
        "\n## Presets\n\n`wharf.use: hardened, internal` is short for the options of both. Others, and how they are \
         defined: [configuration.md](configuration.md).\n\n",
    );
    presets::render(&mut out);
    out.push_str("\n## Options\n\n");
    out.push_str("| Label | What it does | Value | Default | Where | Example |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for entry in supported() {
        let _ = writeln!(
            out,
            "| `wharf.{}` | {} | {} | {} | {} | `{}` |",
            entry.name,
            cell(entry.help),
            cell(entry.kind.describe()),
            cell(entry.default),
            entry.place.describe(),
            cell(&example(entry)),
        );
    }
    out.push_str(
        "\n## Reserved\n\n\
         These words are known, so that no route can be given their names by accident, but this\n\
         version cannot do what they say. Writing one is an error that costs the route it stands\n\
         on: it may have been an access rule.\n\n\
         | Label | What it will do | Where |\n|---|---|---|\n",
    );
    for entry in reserved() {
        let (name, help) = (entry.name, cell(entry.help));
        let _ = writeln!(
            out,
            "| `wharf.{name}` | {help} | {} |",
            entry.place.describe()
        );
    }
    out
}

fn supported() -> impl Iterator<Item = &'static Entry> {
    OPTIONS.iter().filter(|e| e.status == Status::Supported)
}

fn reserved() -> impl Iterator<Item = &'static Entry> {
    OPTIONS.iter().filter(|e| e.status == Status::NotYet)
}

fn example(entry: &Entry) -> String {
    match entry.kind {
        Kind::Routes | Kind::Preset => entry.example.to_owned(),
        _ => format!("wharf.{}: {}", entry.name, entry.example),
    }
}

/// A terminal shows backquotes as they are, and they help nobody there.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A bar would end the cell, inside code too.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const GRAMMAR: &str = include_str!("grammar.md");
