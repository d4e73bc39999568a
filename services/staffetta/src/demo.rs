//! `staffetta demo`: everything on this machine, shown working from outside.
//!
//! It runs `staffetta up` and `staffetta apply` as anybody would, plays a tenant and Meta, and uses nothing of
//! Staffetta's but its contract.

mod gateway;
mod interrupts;
mod sample;
mod screen;

mod outside;
mod rounds;
mod traffic;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;

use self::{
    gateway::{Folder, Gateway, apply, own_program},
    interrupts::Interrupts,
    outside::{Outside, http_client},
    sample::{CHANNEL, KERRY, PHONE_NUMBER_ID, Sample, TENANT},
    screen::{Screen, span},
    traffic::Totals,
};

/// What a shell shows for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// What follows the round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop,
    GoOn,
}

/// How it ended, if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Interrupted,
}

/// Shows the round trips; unless `once`, light traffic follows until Ctrl-C. Afterwards nothing runs any more, and the
/// folder is gone unless something failed.
///
/// The code is 0 when every round trip was made and `staffetta up` stopped cleanly.
pub(crate) async fn run(once: bool) -> anyhow::Result<ExitCode> {
    let then = if once { Then::Stop } else { Then::GoOn };
    let mut interrupts = Interrupts::listen()?;
    let screen = Screen::new();
    let program = own_program()?;
    let nats_server = staffetta_locate::nats_server(&program)
        .context("no nats-server of 2.15 or newer: put one on PATH, or let STAFFETTA_NATS_SERVER name one")?;
    let http = http_client()?;
    let sample = Sample::new()?;
    let folder = Folder::new()?;
    sample.write(folder.path(), &nats_server)?;
    let mut demo = Demo { screen, sample, folder, began: Instant::now(), totals: None };
    demo.greet()?;

    let mut gateway = Gateway::start(&mut demo.folder, http.clone(), &demo.sample)?;
    let shown = demo.show(&mut gateway, &mut interrupts, http, then).await;
    let stopping = Instant::now();
    // Staffetta is stopped also when nobody looks any more.
    let told = demo.screen.passing("  stopping …");
    let stopped = gateway.stop(&mut interrupts).await;
    let end = match (shown, stopped) {
        (Ok(end), Ok(())) => told.map(|()| end).map_err(Into::into),
        // What came first says more.
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
    };
    demo.finish(end, stopping.elapsed())
}

/// One run.
struct Demo {
    screen: Screen,
    sample: Sample,
    folder: Folder,
    began: Instant,
    /// There once the round trips are made.
    totals: Option<Totals>,
}

impl Demo {
    fn greet(&self) -> anyhow::Result<()> {
        self.screen.line(
            "Staffetta: every service in one process, with NATS, SQLite and a stand-in for WhatsApp.",
        )?;
        self.screen.aside("Nothing leaves this machine.")?;
        self.screen.line("")?;
        Ok(self.screen.passing("  starting staffetta up …")?)
    }

    /// Runs until it is all told, somebody interrupts it, or Staffetta ends beneath it.
    async fn show(
        &mut self,
        gateway: &mut Gateway,
        interrupts: &mut Interrupts,
        http: reqwest::Client,
        then: Then,
    ) -> anyhow::Result<End> {
        let checks = tokio::select! {
            checks = gateway.ready() => checks?,
            () = interrupts.next() => return Ok(End::Interrupted),
        };
        self.screen.done("staffetta up is ready", self.began.elapsed(), &checks.join(", "))?;
        let told = tokio::select! {
            told = self.tell(http, then) => told.map(|()| End::Complete),
            failure = gateway.ended() => Err(failure),
            () = interrupts.next() => Ok(End::Interrupted),
        }?;
        // The traffic is meant to be interrupted.
        Ok(if self.totals.is_some() { End::Complete } else { told })
    }

    async fn tell(&mut self, http: reqwest::Client, then: Then) -> anyhow::Result<()> {
        let Self { screen, sample, folder, totals, .. } = self;
        let start = Instant::now();
        apply(folder.path()).await?;
        let (outside, mut events) = Outside::connect(sample, http).await?;
        outside.until_known().await?;
        screen.done(
            "registry.toml is applied",
            start.elapsed(),
            &format!("tenant {TENANT}, channel {CHANNEL}"),
        )?;
        outside.prepare_simulator().await?;

        rounds::run(&outside, &mut events, screen).await?;
        screen.line("")?;
        screen.good("All three made their round.")?;
        let totals = totals.insert(Totals::new());
        if then == Then::GoOn {
            point(screen, sample, folder)?;
            traffic::run(&outside, &mut events, screen, totals).await?;
        }
        Ok(())
    }

    /// The last words. Fails like the run did.
    fn finish(self, end: anyhow::Result<End>, stopping: Duration) -> anyhow::Result<ExitCode> {
        let Self { screen, folder, began, totals, .. } = self;
        let (ran, stopping) = (span(began.elapsed()), span(stopping));
        let end = match end {
            Ok(end) => end,
            Err(failure) => {
                let log_end = folder.log_end();
                let kept = folder.keep();
                // Standard output may be what failed.
                eprintln!("\nerror: {failure:#}");
                if !log_end.is_empty() {
                    eprintln!("\nthe log ends with:\n{log_end}");
                }
                eprintln!("\nconfiguration, log and data are kept in {}", kept.display());
                return Ok(ExitCode::FAILURE);
            }
        };
        folder.remove()?;
        if end == End::Interrupted {
            screen.line("Interrupted before the round trips were made. Everything is stopped.")?;
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if let Some(farewell) = totals.as_ref().and_then(Totals::farewell) {
            screen.line(&farewell)?;
        }
        screen.line(&format!("Stopped cleanly in {stopping}; {ran} in all. Nothing is left behind."))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where to look, and how to take part.
fn point(screen: &Screen, sample: &Sample, folder: &Folder) -> anyhow::Result<()> {
    screen.title("Where to look", "until Ctrl-C")?;
    screen.address("API", &format!("{}/v1/messages", sample.api()))?;
    screen.address("webhooks", &sample.webhook())?;
    screen.address("readiness", &format!("{}/readyz", sample.admin()))?;
    screen.address("metrics", &format!("{}/metrics", sample.admin()))?;
    screen.address("simulator", &format!("{}/_sim/report", sample.simulator()))?;
    screen.address("NATS", &format!("{}  events on staffetta.v1.event.{TENANT}.>", sample.nats()))?;
    screen.address("files, log", &folder.path().display().to_string())?;
    screen.title("Send a message", "it shows below")?;
    screen.line(&format!(
        "  curl {}/v1/messages -H 'Authorization: Bearer {}' \\",
        sample.api(),
        sample.api_key
    ))?;
    screen.line("    -H 'Content-Type: application/json' \\")?;
    let text = r#""type":"text","text":{"body":"Ciao!"}"#;
    screen.line(&format!(r#"    -d '{{"channel":"{CHANNEL}","to":"{KERRY}",{text}}}'"#))?;
    screen.title("Let Kerry write", "")?;
    let number = format!(r#""phone_number_id":"{PHONE_NUMBER_ID}","from":"{KERRY}""#);
    screen.line(&format!("  curl {}/_sim/inbound \\", sample.simulator()))?;
    screen.line(&format!(r#"    -d '{{{number},"text":"Thanks!"}}'"#))?;
    screen.title("Light traffic", "2 commands and 1 customer a second")?;
    screen.lanes()?;
    Ok(())
}
