//! `staffetta doctor`: looks at a running installation from outside and says what is wrong and what to do about it.
//!
//! It changes nothing. Each area is looked at by itself and each question has its own time limit, so that what is down
//! hides nothing but itself.

mod channels;
mod clocks;
mod configuration;
mod database;
mod endpoints;
mod finding;
mod holds;
mod leases;
mod nats;
mod patient;
mod print;
mod provider;
mod reach;
mod recorder;
mod registry;
mod services;
mod streams;
mod webhooks;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use jiff::Timestamp;
use staffetta_runtime::Config;
use staffetta_runtime::config::ConfigError;

use self::finding::{Area, Finding, Level, Notes};
use self::patient::Patient;
use self::print::Report;
use crate::terminal::is_broken_pipe;

/// What to look at, and how to say it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Look at this area alone. May be given several times.
    #[arg(long, value_enum, value_name = "AREA")]
    only: Vec<Area>,
    /// End with 1 if there is a warning and no error; without it warnings end with 0.
    #[arg(long)]
    strict: bool,
    /// Ask the provider about every channel, not about the first 50 alone.
    #[arg(long)]
    all_channels: bool,
    /// A process's admin address, as http://10.0.0.7:9090, to be asked whether it is ready. May be given several times.
    #[arg(long, value_name = "URL", env = "STAFFETTA_DOCTOR_ADMIN", value_delimiter = ',')]
    admin: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// There is a warning, and it was asked for strictly.
const WARNINGS: u8 = 1;
/// There is an error.
const ERRORS: u8 = 2;

/// Looks at everything that was asked for and prints what was found.
///
/// # Errors
/// If it can't be written.
pub(crate) async fn run(
    arguments: Arguments,
    config: &Config,
    file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let areas: Vec<Area> = Area::ALL.into_iter().filter(|area| arguments.looks_at(*area)).collect();
    let patient = Patient::meet(config, &areas, &arguments.admin, arguments.all_channels).await;
    let looks = areas.iter().map(|area| examine(*area, &patient, file));
    let findings = join_all(looks).await.concat();
    patient.leave().await;
    let report = Report { at: Timestamp::now(), took: started.elapsed(), findings };
    arguments.end(&report)
}

/// As [`run`], where the configuration itself can't be used: that is all there is to say.
pub(crate) fn without_configuration(arguments: &Arguments, error: &ConfigError) -> ExitCode {
    let mut notes = Notes::of(Area::Configuration);
    notes.error(
        "configuration.read",
        None,
        error.to_string(),
        "Correct the key that is named, in the file or in its STAFFETTA__SECTION__KEY variable. No process starts with \
         this configuration, and nothing else was looked at.",
    );
    let report = Report { at: Timestamp::now(), took: std::time::Duration::ZERO, findings: notes.end() };
    arguments.end(&report).unwrap_or(ExitCode::FAILURE)
}

async fn examine(area: Area, patient: &Patient<'_>, file: Option<&Path>) -> Vec<Finding> {
    match area {
        Area::Configuration => configuration::examine(patient, file),
        Area::Nats => Box::pin(nats::examine(patient)).await,
        Area::Clocks => Box::pin(clocks::examine(patient)).await,
        Area::Database => Box::pin(database::examine(patient)).await,
        Area::Registry => registry::examine(patient),
        Area::Provider => Box::pin(provider::examine(patient)).await,
        Area::Channels => Box::pin(channels::examine(patient)).await,
        Area::Webhooks => Box::pin(webhooks::examine(patient)).await,
        Area::Endpoints => Box::pin(endpoints::examine(patient)).await,
        Area::Holds => Box::pin(holds::examine(patient)).await,
        Area::Services => Box::pin(services::examine(patient)).await,
    }
}

impl Arguments {
    fn looks_at(&self, area: Area) -> bool {
        self.only.is_empty() || self.only.contains(&area)
    }

    fn end(&self, report: &Report) -> anyhow::Result<ExitCode> {
        let text = match self.format {
            Format::Text => report.text(),
            Format::Json => report.json(),
        };
        match io::stdout().lock().write_all(text.as_bytes()).map_err(Into::into) {
            Err(error) if !is_broken_pipe(&error) => return Err(error),
            _ => {}
        }
        Ok(match report.worst() {
            Level::Error => ExitCode::from(ERRORS),
            Level::Warning if self.strict => ExitCode::from(WARNINGS),
            _ => ExitCode::SUCCESS,
        })
    }
}
