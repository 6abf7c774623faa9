//! The command line: arguments in, one line per error and an exit code out.
//!
//! Exit codes: 0 clean, 1 for what fails at run time (a port in use, nobody to ask), 2 for flags
//! and settings that cannot be used. `wharf explain` has 1 for "no", and so 2 for nobody to ask;
//! `wharf check` likewise for mistakes, and for files that cannot be read.

mod cli;

use std::env;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use cli::ask::Whom;
use wharf::config::{self, Config, Fault, Raw, RawSocketProxy, SocketProxyConfig};
use wharf::docker::labels::{self, DefaultFault, Defaults};
use wharf::values::Source;

fn main() -> ExitCode {
    let failure = match Cli::parse().command {
        Command::Run(raw) => run(&raw),
        Command::Status { admin, json } => cli::ask::status(admin.admin, json),
        Command::Routes { admin, json } => cli::ask::routes(admin.admin, json),
        Command::Explain {
            admin,
            url,
            method,
            header,
            from,
            json,
        } => {
            let question = cli::explain::Question {
                url,
                method,
                header,
                from,
            };
            cli::explain::explain(admin.admin, &question, json)
        }
        Command::Ca(ca) => cli::ca::ca(ca),
        Command::Certs(certs) => cli::certs::certs(*certs),
        Command::Maintenance(args) => cli::maintenance::maintenance(args),
        Command::Cache(args) => cli::cache::cache(args),
        Command::Check(check) => cli::check::check(&check),
        Command::Labels { markdown, schema } => cli::print(&label_help(markdown, schema)),
        Command::Healthcheck(admin) => cli::ask::healthcheck(admin.admin),
        Command::SocketProxy(raw) => socket_proxy(&raw),
    }
    .err();
    match failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            if !matches!(failure, Failure::Unserved) {
                eprintln!("{failure}");
            }
            failure.code()
        }
    }
}

/// A Docker-aware reverse proxy: label a container, get HTTPS.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what the containers' labels ask for. Each flag can be set by its variable instead.
    Run(Box<Raw>),
    /// Show what a running Wharf serves, problems first
    Status {
        #[command(flatten)]
        admin: Whom,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the routes of a running Wharf in the order in which requests are compared with them
    Routes {
        #[command(flatten)]
        admin: Whom,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what would become of a request: which route, which container, or why none.
    /// Exits with 0 if a container would get it, with 1 if not
    Explain {
        #[command(flatten)]
        admin: Whom,
        /// As a client asks: https://shop.example.com/cart
        url: String,
        /// Method of the request
        #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
        method: String,
        /// A header of the request, for routes that look at them; may be given several times
        #[arg(short = 'H', long, value_name = "NAME: VALUE")]
        header: Vec<String>,
        /// Address of the client [default: 127.0.0.1]
        #[arg(long, value_name = "ADDRESS")]
        from: Option<std::net::IpAddr>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The root of the built-in CA: print it, or how to make a system trust it
    Ca(cli::ca::Ca),
    /// List certificates, or renew, revoke, export and import them
    Certs(Box<cli::certs::Certs>),
    /// Put a host into maintenance and back, without touching its container
    Maintenance(cli::maintenance::MaintenanceArgs),
    /// Show what is kept of apps' answers (wharf.cache), and forget it
    Cache(cli::cache::CacheArgs),
    /// Look for mistakes in the labels of compose files; nothing has to run.
    /// Exits with 0 if there is no error, with 1 if there is, with 2 if a file cannot be read
    Check(cli::check::Check),
    /// List the labels Wharf knows
    Labels {
        /// As a Markdown table
        #[arg(long)]
        markdown: bool,
        /// As a JSON schema of compose files, for editors
        #[arg(long, conflicts_with = "markdown")]
        schema: bool,
    },
    /// Exit with 0 when a running Wharf answers, for a container's HEALTHCHECK
    Healthcheck(Whom),
    /// Stand between Wharf and the engine's socket, and let through only what Wharf reads. Each flag can
    /// be set by its variable instead.
    SocketProxy(Box<RawSocketProxy>),
}

/// Why a command ends with an error. Displays as one line per error.
#[derive(Debug)]
enum Failure {
    Settings(Vec<Fault>),
    Run(anyhow::Error),
    /// A question that cannot be asked, or nobody to ask it.
    Ask(anyhow::Error),
    /// The answer, already printed, is no.
    Unserved,
}

fn run(raw: &Raw) -> Result<(), Failure> {
    let raw = &raw.with_credentials(env::vars_os());
    let (config, defaults) = settings(raw)?;
    cli::logs::start(&config.log, config.log_format)?;
    warn(&config.warnings);
    wharf::app::run(config, defaults).map_err(anyhow::Error::from)?;
    Ok(())
}

/// All settings, or all that is wrong with them.
fn settings(raw: &Raw) -> Result<(Config, Defaults), Vec<Fault>> {
    let config = Config::resolve(raw);
    let given = raw.defaults.iter();
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let values = config.as_ref().map_or_else(
        |_| Arc::default(),
        |config| {
            let mut source = config_values(config);
            let named = given
                .clone()
                .flat_map(|(_, value)| labels::references(value));
            source.look(&named.collect());
            source.values()
        },
    );
    let defaults = Defaults::read(given, &values);
    let defaults = defaults.map_err(|faults| {
        let fault = |fault: DefaultFault| Fault {
            flag: "",
            variable: fault.variable.into(),
            value: fault.value,
            reason: fault.reason,
        };
        faults.into_iter().map(fault).collect::<Vec<_>>()
    });
    match (config, defaults) {
        (Ok(mut config), Ok((defaults, warnings))) => {
            config.warnings.extend(warnings);
            Ok((config, defaults))
        }
        (config, defaults) => {
            let faults = [config.err(), defaults.err()];
            Err(faults.into_iter().flatten().flatten().collect())
        }
    }
}

/// Where secrets in labels are read from.
fn config_values(config: &Config) -> Source {
    let (secrets, kept) = (config.secrets.clone(), config.kept.clone());
    Source::new(secrets, kept, config.values.clone())
}

fn socket_proxy(raw: &RawSocketProxy) -> Result<(), Failure> {
    let config = SocketProxyConfig::resolve(raw)?;
    cli::logs::start(&config.log, config.log_format)?;
    warn(&[]);
    wharf::socket_proxy::run(config).map_err(anyhow::Error::from)?;
    Ok(())
}

/// Logs `warnings`, and one for each variable nobody reads.
fn warn(warnings: &[String]) {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in warnings.iter().chain(&config::unknown_variables(names)) {
        tracing::warn!("{warning}");
    }
}

fn label_help(markdown: bool, schema: bool) -> String {
    match (markdown, schema) {
        (_, true) => labels::render_schema(),
        (true, false) => labels::render_markdown(),
        (false, false) => labels::render_help(),
    }
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::Ask(_) => ExitCode::from(2),
            Self::Run(_) | Self::Unserved => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(faults) => {
                for (index, fault) in faults.iter().enumerate() {
                    let end = if index + 1 < faults.len() { "\n" } else { "" };
                    write!(f, "error: {fault}{end}")?;
                }
                Ok(())
            }
            Self::Run(fault) | Self::Ask(fault) => write!(f, "error: {fault:#}"),
            Self::Unserved => Ok(()),
        }
    }
}

impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Settings(faults)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(fault: anyhow::Error) -> Self {
        Self::Run(fault)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn failures_are_one_line_each() {
        let fault = |value: &str| Fault {
            flag: "--http",
            variable: "WHARF_HTTP".into(),
            value: value.to_owned(),
            reason: "no".to_owned(),
        };
        let failure = Failure::from(vec![fault("a"), fault("b")]);
        assert_eq!(
            failure.to_string(),
            "error: --http (WHARF_HTTP): `a`: no\nerror: --http (WHARF_HTTP): `b`: no"
        );
        let failure = Failure::from(anyhow::anyhow!("inner").context("outer"));
        assert_eq!(failure.to_string(), "error: outer: inner");
    }
}
