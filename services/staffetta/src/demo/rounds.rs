//! The three round trips.

use std::time::Instant;

use anyhow::{bail, ensure};
use reqwest::StatusCode;
use tokio::time::{Duration, timeout_at};

use super::{
    outside::{Event, Events, Outside, SEND_SUBJECT, text_command},
    sample::{KERRY, Sample},
    screen::{Arrow, Row, Screen, after, quote, span},
};

/// A round takes no longer, or something is missing.
const LIMIT: Duration = Duration::from_secs(30);

/// What a sent message goes through.
const STATES: [&str; 4] = ["accepted", "sent", "delivered", "read"];

/// Runs all three, also when one fails. Fails with what is missing.
pub(super) async fn run(outside: &Outside<'_>, events: &mut Events, screen: &Screen) -> anyhow::Result<()> {
    let mut rounds = Rounds { outside, events, screen, began: Instant::now() };
    screen.line("")?;
    screen.lanes()?;
    let mut missing = Vec::new();
    if let Err(failure) = rounds.inbound().await {
        missing.push(("the customer's message", failure));
    }
    if let Err(failure) = rounds.over_nats().await {
        missing.push(("the command over NATS", failure));
    }
    if let Err(failure) = rounds.over_http().await {
        missing.push(("the command over HTTP", failure));
    }
    for (what, failure) in &missing {
        screen.wrong(&format!("{what} did not make its round: {failure:#}"))?;
    }
    let names: Vec<&str> = missing.into_iter().map(|(what, _)| what).collect();
    ensure!(names.is_empty(), "missing: {}", names.join(", "));
    Ok(())
}

struct Rounds<'a> {
    outside: &'a Outside<'a>,
    events: &'a mut Events,
    screen: &'a Screen,
    began: Instant,
}

impl Rounds<'_> {
    /// A customer writes: Meta's webhook becomes Acme's event.
    async fn inbound(&mut self) -> anyhow::Result<()> {
        self.screen.title("1  A customer writes", "a signed webhook comes in, Acme hears of it on NATS")?;
        self.begin();
        let webhook = Arrow::Left("webhook");
        self.row(Row {
            whatsapp: webhook,
            erp: Arrow::Nothing,
            note: "POST /webhooks/meta/meta-main, signed",
        })?;
        let posted = timeout_at(self.deadline(), self.outside.post_webhook(Sample::webhook_body()));
        let Ok(status) = posted.await else { bail!("ingress did not answer") };
        let status = status?;
        let (label, took) = (status.as_u16().to_string(), span(self.began.elapsed()));
        let note = format!("in {took}: JetStream has it on disk");
        let answer = Arrow::Right(&label);
        self.row(Row {
            whatsapp: answer,
            erp: Arrow::Nothing,
            note: if status == StatusCode::OK { &note } else { "" },
        })?;
        ensure!(status == StatusCode::OK, "ingress answered {status}");
        loop {
            let event = self.next_event("staffetta.message.received").await?;
            if event.kind == "staffetta.message.received" && event.text("from") == KERRY {
                let text = event.data["text"]["body"].as_str().unwrap_or_default();
                let note = format!("{}: \"{}\"", quote(event.text("name")), quote(text));
                let received = Arrow::Left("received");
                self.row_at(event.at, Row { erp: received, whatsapp: Arrow::Nothing, note: &note })?;
                return self.note(&event.kind);
            }
        }
    }

    /// Acme publishes a command.
    async fn over_nats(&mut self) -> anyhow::Result<()> {
        self.screen.title("2  Acme sends over NATS", "a command goes out, its events come back")?;
        let (id, text) = ("inv-2026-0042", "Invoice 2026-0042 is ready.");
        self.begin();
        self.row(Row { erp: Arrow::Right("publish"), whatsapp: Arrow::Nothing, note: SEND_SUBJECT })?;
        self.note(&format!("to Kerry: \"{text}\""))?;
        let storing = async { self.outside.publish(id, &text_command(id, KERRY, text)).await?.await };
        let Ok(stored) = timeout_at(self.deadline(), storing).await else { bail!("NATS did not answer") };
        let note = format!("on disk: SEND holds it as number {}", stored?);
        self.row(Row { erp: Arrow::Left("stored"), whatsapp: Arrow::Nothing, note: &note })?;
        self.until_read(id).await
    }

    /// Acme posts a command, and asks for it afterwards.
    async fn over_http(&mut self) -> anyhow::Result<()> {
        self.screen.title("3  Acme sends over HTTP", "the same, by the API, which also tells the state")?;
        let (id, text) = ("inv-2026-0043", "Your parcel is on its way.");
        self.begin();
        self.row(Row {
            erp: Arrow::Right("POST"),
            whatsapp: Arrow::Nothing,
            note: "/v1/messages, with a bearer key",
        })?;
        self.note(&format!("to Kerry: \"{text}\""))?;
        let command = text_command(id, KERRY, text);
        let Ok(answer) = timeout_at(self.deadline(), self.outside.post_message(&command)).await else {
            bail!("the API did not answer");
        };
        let (status, message) = answer?;
        let (label, state) = (status.as_u16().to_string(), message["state"].as_str().unwrap_or_default());
        let note = format!("{} is {}", id, quote(state));
        self.row(Row { erp: Arrow::Left(&label), whatsapp: Arrow::Nothing, note: &note })?;
        ensure!(status == StatusCode::ACCEPTED, "the API answered {status}");
        self.until_read(id).await?;

        let path = format!("/v1/messages/{id}");
        self.row(Row { erp: Arrow::Right("GET"), whatsapp: Arrow::Nothing, note: &path })?;
        let Ok(state) = timeout_at(self.deadline(), self.outside.state(id)).await else {
            bail!("the API did not answer");
        };
        let state = state?;
        let note = format!("state: {}", quote(&state));
        self.row(Row { erp: Arrow::Left("200"), whatsapp: Arrow::Nothing, note: &note })?;
        ensure!(state == "read", "the API says {state}, not read");
        Ok(())
    }

    /// Shows each state of the command's message as its event comes.
    async fn until_read(&mut self, id: &str) -> anyhow::Result<()> {
        let mut waiting = STATES.to_vec();
        let mut early = Vec::new();
        let mut wamid = None;
        while let Some(next) = waiting.first() {
            let event = match wamid.is_some().then(|| early.pop()).flatten() {
                Some(event) => event,
                None => self.next_event(next).await?,
            };
            match event.kind.as_str() {
                "staffetta.command.accepted" if event.subject == id => {
                    wamid = Some(event.text("wamid").to_owned());
                    waiting.retain(|state| *state != "accepted");
                    let whatsapp = Arrow::Right("message");
                    self.row_at(event.at, Row { erp: Arrow::Left("accepted"), whatsapp, note: &event.kind })?;
                }
                // Which message it is about is known once that was accepted.
                "staffetta.message.status" if wamid.is_none() => early.push(event),
                "staffetta.message.status" if wamid.as_deref() == Some(&event.subject) => {
                    let status = event.text("status");
                    ensure!(status != "failed", "WhatsApp could not deliver it");
                    let known = waiting.len();
                    waiting.retain(|state| *state != status);
                    ensure!(waiting.len() < known, "{} was announced twice", quote(status));
                    let arrow = Arrow::Left(status);
                    self.row_at(event.at, Row { erp: arrow, whatsapp: arrow, note: &event.kind })?;
                }
                kind if kind.starts_with("staffetta.command.") && event.subject == id => {
                    bail!("{kind}: {}", quote(event.text("reason")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn next_event(&mut self, awaited: &str) -> anyhow::Result<Event> {
        match timeout_at(self.deadline(), self.events.next()).await {
            Ok(event) => event,
            Err(_) => bail!("{awaited} did not come within {} s", LIMIT.as_secs()),
        }
    }

    fn begin(&mut self) {
        self.began = Instant::now();
    }

    fn deadline(&self) -> tokio::time::Instant {
        (self.began + LIMIT).into()
    }

    fn row(&self, row: Row<'_>) -> anyhow::Result<()> {
        self.row_at(Instant::now(), row)
    }

    fn row_at(&self, at: Instant, row: Row<'_>) -> anyhow::Result<()> {
        Ok(self.screen.row(&after(at.saturating_duration_since(self.began)), row)?)
    }

    fn note(&self, note: &str) -> anyhow::Result<()> {
        Ok(self.screen.row("", Row { erp: Arrow::Nothing, whatsapp: Arrow::Nothing, note })?)
    }
}
