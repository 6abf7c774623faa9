//! `wharf check`: mistakes in compose files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use wharf::check::{self, Files, Question, Variables};
use wharf::model::LabelPrefix;

use super::ask::colour;
use crate::{Failure, cli};

/// `wharf check` and what follows.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Compose files, each a project of its own, or directories that have one; `-` is standard input
    /// [default: the project of this directory]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A file of one project, as docker-compose takes it: may be given several times, later ones override
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Values of variables, instead of `.env` beside the first file of each project
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// What labels begin with [default: wharf]
    #[arg(
        long,
        env = "WHARF_LABEL_PREFIX",
        hide_env_values = true,
        value_name = "WORD"
    )]
    label_prefix: Option<String>,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints what was found; [`Failure::Unserved`] if that has errors.
pub(crate) fn check(check: &Check) -> Result<(), Failure> {
    let question = question(check).map_err(Failure::Ask)?;
    let checked = check::check(&question).map_err(|error| Failure::Ask(error.into()))?;
    let text = match check.json {
        true => serde_json::to_string_pretty(&checked).map_err(|e| Failure::Ask(e.into()))? + "\n",
        false => check::render(&checked, colour()),
    };
    cli::print(&text)?;
    let counted = match check.strict {
        true => checked.findings.len(),
        false => checked.errors(),
    };
    match counted {
        0 => Ok(()),
        _ => Err(Failure::Unserved),
    }
}

fn question(check: &Check) -> anyhow::Result<Question> {
    let prefix = match check
        .label_prefix
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        None => LabelPrefix::default(),
        Some(text) => { text.parse() }
            .map_err(|why| anyhow!("--label-prefix (WHARF_LABEL_PREFIX): `{text}`: {why}"))?,
    };
    let mut projects = Vec::new();
    for file in &check.files {
        match file.is_dir() {
            true => projects.push(project(file)?),
            false => projects.push(vec![file.clone()]),
        }
    }
    if !check.file.is_empty() {
        projects.push(check.file.clone());
    }
    if projects.is_empty() {
        projects.push(project(Path::new(""))?);
    }
    let with_variables = |paths: Vec<PathBuf>| {
        let variables = variables(check, &paths)?;
        Ok(Files { paths, variables })
    };
    let projects: anyhow::Result<Vec<_>> = projects.into_iter().map(with_variables).collect();
    Ok(Question {
        projects: projects?,
        prefix,
    })
}

/// The files that compose takes in a directory.
fn project(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = env::var("COMPOSE_FILE").unwrap_or_default();
    if folder.as_os_str().is_empty() && !listed.is_empty() {
        return Ok(listed.split(':').map(PathBuf::from).collect());
    }
    let first = |names: [String; 4]| {
        let mut paths = names.into_iter().map(|name| folder.join(name));
        paths.find(|path| path.exists())
    };
    let names = |part: &str| {
        ["compose", "docker-compose"]
            .map(|stem| ["yaml", "yml"].map(|end| format!("{stem}{part}.{end}")))
    };
    let flat = |part| {
        let [[a, b], [c, d]] = names(part);
        first([a, b, c, d])
    };
    let Some(file) = flat("") else {
        let place = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        return Err(anyhow!("no compose file in {}", place.display()));
    };
    Ok([file].into_iter().chain(flat(".override")).collect())
}

/// Those of this process over those of the project's file.
fn variables(check: &Check, paths: &[PathBuf]) -> anyhow::Result<Variables> {
    let text = match &check.env_file {
        Some(path) => fs::read_to_string(path)
            .map_err(|error| anyhow!("reading {}: {error}", path.display()))?,
        None => {
            let folder = paths.first().and_then(|path| path.parent());
            let beside = folder.unwrap_or_else(|| Path::new("")).join(".env");
            fs::read_to_string(beside).unwrap_or_default()
        }
    };
    let mut found = check::variables(&text);
    let own = env::vars_os();
    found.extend(
        own.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    Ok(found)
}
