//! Channels as the provider sees them: token, number, rate, and whether their account's webhooks are sent at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use staffetta_bus::{Channel, Provider};
use staffetta_providers::graph::{CallError, Graph, MANAGEMENT, MESSAGING, NumberHealth, TokenHealth};
use tokio::time::{Instant, timeout};

use super::finding::{Area, Finding, Level, Notes};
use super::patient::{CHECK, Patient};
use super::print::span;
use super::reach;

/// Most channels that are asked about unless all are wanted: the provider counts each question.
const MOST: usize = 50;
/// Channels that are asked about at a time.
const TOGETHER: usize = 8;
/// Longest time for the first 50; all of them may take as long as they take.
const LIMIT: Duration = Duration::from_secs(8);
/// How long before its end a token is worth a note, a warning, and is an error.
const NOTED: SignedDuration = SignedDuration::from_hours(30 * 24);
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
const NOW: SignedDuration = SignedDuration::from_hours(24);

/// What was found; `None` once the time was over.
type Looked = Option<Vec<Finding>>;

/// What a channel shows, and where.
struct Asked {
    name: String,
    token: SecretString,
    number: String,
    rate: u32,
}

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Channels);
    let registry = match &patient.registry {
        Ok(registry) => registry,
        Err(why) => {
            let todo = "See the area registry: the channels and their tokens stand there.";
            notes.error("channels.asked", None, format!("none: the registry can't be read: {why}"), todo);
            return notes.end();
        }
    };
    let mut channels: Vec<&Arc<Channel>> = registry
        .channels()
        .filter(|channel| channel.provider == Provider::CloudApi && !channel.number_lost)
        .collect();
    channels.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let all = channels.len();
    if all == 0 {
        notes.ok("channels.asked", None, "there is none to ask about");
        return notes.end();
    }
    let graph = match Graph::new(&patient.config.graph.base_url, &patient.config.graph.version) {
        Ok(graph) => graph,
        Err(error) => {
            notes.error("channels.asked", None, error.to_string(), "Correct graph.base_url.");
            return notes.end();
        }
    };
    if let Err(why) = reach::reach(&patient.http, &patient.config.graph.base_url).await {
        let todo = "See the area provider.";
        notes.error(
            "channels.asked",
            None,
            format!("none of {all}: the provider can't be reached: {why}"),
            todo,
        );
        return notes.end();
    }
    if !patient.all_channels {
        channels.truncate(MOST);
    }
    let accounts = accounts(&channels);
    let asked: Vec<Asked> = channels.iter().filter_map(|channel| Asked::of(channel)).collect();
    let deadline = if patient.all_channels { None } else { Some(Instant::now() + LIMIT) };
    let graph = &graph;
    let looks = asked.iter().map(|asked| ask_about(graph, asked, deadline));
    let subscriptions = accounts.iter().map(|(account, token)| subscription(graph, account, token, deadline));
    let (found, subscribed): (Vec<Looked>, Vec<Looked>) = tokio::join!(
        stream::iter(looks).buffered(TOGETHER).collect(),
        stream::iter(subscriptions).buffered(TOGETHER).collect(),
    );
    let done = found.iter().flatten().count();
    let seen = format!("{done} of {all}");
    if done < asked.len() || asked.len() < channels.len() || channels.len() < all {
        let todo = "Those without a token, and those past the first 50 or the first 8 seconds, were not asked about: \
                    `staffetta doctor --only channels --all-channels` asks about all.";
        notes.note("channels.asked", None, seen, todo);
    } else {
        notes.ok("channels.asked", None, seen);
    }
    let mut findings = notes.end();
    findings.extend(found.into_iter().chain(subscribed).flatten().flatten());
    findings
}

impl Asked {
    fn of(channel: &Channel) -> Option<Self> {
        Some(Self {
            name: channel.id.to_string(),
            token: channel.access_token.clone()?,
            number: channel.phone_number_id.clone()?,
            rate: channel.rate,
        })
    }
}

/// Each account once, with the token of one of its channels.
fn accounts(channels: &[&Arc<Channel>]) -> BTreeMap<String, SecretString> {
    let pairs =
        channels.iter().filter_map(|channel| Some((channel.waba_id.clone()?, channel.access_token.clone()?)));
    pairs.collect()
}

async fn ask_about(graph: &Graph, channel: &Asked, deadline: Option<Instant>) -> Looked {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return None;
    }
    let mut notes = Notes::of(Area::Channels);
    let (token, number) = tokio::join!(
        limited(graph.token_health(&channel.token)),
        limited(graph.number_health(&channel.token, &channel.number)),
    );
    let is_dead = matches!(token, Err(CallError::Token)) || matches!(number, Err(CallError::Token));
    if is_dead {
        refused_token(&channel.name, &mut notes);
        return Some(notes.end());
    }
    match token {
        Ok(health) => judge_token(&channel.name, &health, &mut notes),
        Err(CallError::Refused(refusal)) => {
            let seen = format!("taken; the provider does not say until when (code {})", refusal.code);
            let todo = "The app does not let its tokens ask about themselves: see in Business settings, System users, when \
                        it ends.";
            notes.note("channels.token", Some(&channel.name), seen, todo);
        }
        Err(error) => unanswered("channels.token", &channel.name, &error, &mut notes),
    }
    match number {
        Ok(health) => judge_number(channel, &health, &mut notes),
        Err(CallError::Refused(refusal)) if refusal.is_not_there() => notes.error(
            "channels.number",
            Some(&channel.name),
            "there is no such number, or none that this token reaches (code 100)",
            "Compare phone_number_id with WhatsApp Manager, and give the system user the account as an asset.",
        ),
        Err(CallError::Refused(refusal)) => notes.error(
            "channels.number",
            Some(&channel.name),
            format!("the provider refuses to tell of it (code {})", refusal.code),
            "10 or 200 to 299: the token lacks whatsapp_business_management, or the account is not among its assets. 4 or \
             80007: too many questions, ask again later.",
        ),
        Err(error) => unanswered("channels.number", &channel.name, &error, &mut notes),
    }
    Some(notes.end())
}

async fn limited<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let late = Err(CallError::NoAnswer("the provider did not answer in time"));
    timeout(CHECK, call).await.unwrap_or(late)
}

fn refused_token(channel: &str, notes: &mut Notes) {
    notes.error(
        "channels.token",
        Some(channel),
        "the provider does not take the access token (code 190): it has ended, or was taken back",
        format!(
            "Make a new one (Business settings, System users), put it where the registry finds it, `staffetta apply`, then \
             `staffetta hold lift {channel}`. Its commands wait and are not lost."
        ),
    );
}

fn unanswered(check: &'static str, channel: &str, error: &CallError, notes: &mut Notes) {
    notes.error(
        check,
        Some(channel),
        error.to_string(),
        "Ask again in a minute; then see the area provider.",
    );
}

fn judge_token(channel: &str, health: &TokenHealth, notes: &mut Notes) {
    if !health.valid {
        refused_token(channel, notes);
        return;
    }
    for (scope, level, without) in [
        (MESSAGING, Level::Error, "nothing can be sent"),
        (MANAGEMENT, Level::Warning, "templates, numbers and subscriptions can't be read"),
    ] {
        if health.lacks(scope) {
            let todo =
                "Make a token that has it (Business settings, System users, Generate token), and apply it.";
            notes.at(level, "channels.token", Some(channel), format!("it lacks {scope}: {without}"), todo);
        }
    }
    let Some(end) = health.ends() else {
        notes.ok("channels.token", Some(channel), "taken, and never ends");
        return;
    };
    let left = end.duration_since(Timestamp::now());
    let level = match left {
        left if left < NOW => Level::Error,
        left if left < SOON => Level::Warning,
        left if left < NOTED => Level::Note,
        _ => Level::Ok,
    };
    let seen = format!("taken, and ends in {}, on {}", span(left), end.strftime("%Y-%m-%d"));
    let todo = "Make a new one, best a system user's that never ends, and apply it before this one ends: from then on the \
                channel is on hold.";
    notes.at(level, "channels.token", Some(channel), seen, todo);
}

fn judge_number(channel: &Asked, health: &NumberHealth, notes: &mut Notes) {
    let name = Some(channel.name.as_str());
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let (status, quality) = (or_unknown(&health.status), or_unknown(&health.quality));
    let seen = format!("{status}, quality {quality}");
    let sending = health.can_send.as_deref();
    let (level, todo) = match (status.as_str(), sending, quality.as_str()) {
        (_, Some("BLOCKED"), _) => (
            Level::Error,
            "Nothing can be sent from it: WhatsApp Manager says why and what solves it (payment, policy, verification, \
             registration).",
        ),
        ("CONNECTED" | "unknown", _, "RED") => (
            Level::Warning,
            "Users block or report it: send less marketing, and only to who asked for it. Its limits fall next.",
        ),
        ("CONNECTED" | "unknown", Some("LIMITED"), _) => {
            (Level::Warning, "WhatsApp Manager says what limits it: a limit of new users a day, most often.")
        }
        ("CONNECTED" | "unknown", ..) => (Level::Ok, ""),
        _ => (
            Level::Error,
            "It can't send: register it (`POST /<number>/register` with its PIN), or see in WhatsApp Manager what became of \
             it.",
        ),
    };
    let codes: Vec<String> = health.error_codes.iter().map(i64::to_string).collect();
    let seen = match (sending, codes.is_empty()) {
        (Some(sending), false) => format!("{seen}, sending {sending} (code {})", codes.join(", ")),
        (Some(sending), true) => format!("{seen}, sending {sending}"),
        (None, _) => seen,
    };
    notes.at(level, "channels.number", name, seen, todo);
    let Some(granted) = health.rate() else { return };
    let seen = format!("rate is {}, and the provider grants {granted} a second", channel.rate);
    if channel.rate > granted {
        let todo = format!(
            "Set the channel's rate to {granted}, unless Meta has agreed to more: beyond it the provider answers 130429, and \
             the dispatcher slows down by itself."
        );
        notes.warning("channels.rate", name, seen, todo);
    } else if channel.rate < granted {
        let todo = "The channel could send faster. Leave it if tenants share what is granted.";
        notes.note("channels.rate", name, seen, todo);
    } else {
        notes.ok("channels.rate", name, seen);
    }
}

/// Whether the account's webhooks are sent to any app.
async fn subscription(
    graph: &Graph,
    account: &str,
    token: &SecretString,
    deadline: Option<Instant>,
) -> Looked {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return None;
    }
    let mut notes = Notes::of(Area::Channels);
    let check = "channels.subscription";
    match limited(graph.subscribed_apps(token, account)).await {
        Ok(apps) if apps.is_empty() => notes.error(
            check,
            Some(account),
            "no app is subscribed to the account: no webhook of it arrives, neither messages nor statuses",
            "Subscribe the app: `POST /<account>/subscribed_apps` with the channel's token (docs/registry.md).",
        ),
        Ok(apps) if apps.iter().any(|app| app.overridden) => notes.note(
            check,
            Some(account),
            format!("{} apps are subscribed; the account sends messages to an address of its own", apps.len()),
            "Make sure that the override is this installation's address.",
        ),
        Ok(apps) => {
            let ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).take(5).collect();
            notes.ok(check, Some(account), format!("subscribed: app {}", ids.join(", ")));
        }
        // Said of its channels already.
        Err(CallError::Token) => {}
        Err(CallError::Refused(refusal)) => notes.warning(
            check,
            Some(account),
            format!("the provider refuses to tell (code {})", refusal.code),
            "Compare waba_id with WhatsApp Manager; the token needs whatsapp_business_management on this account.",
        ),
        Err(error) => unanswered(check, account, &error, &mut notes),
    }
    Some(notes.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(health: &NumberHealth) -> Level {
        let asked = Asked { name: "orders".into(), token: "t".into(), number: "1".into(), rate: 80 };
        let mut notes = Notes::of(Area::Channels);
        judge_number(&asked, health, &mut notes);
        notes.end().into_iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn a_number_is_well_while_it_is_connected_and_sends() {
        let word = |text: &str| Some(text.to_owned());
        let well = NumberHealth {
            status: word("CONNECTED"),
            quality: word("GREEN"),
            throughput: word("STANDARD"),
            can_send: word("AVAILABLE"),
            ..NumberHealth::default()
        };
        assert_eq!(worst(&well), Level::Ok);
        assert_eq!(worst(&NumberHealth { status: word("BANNED"), ..well.clone() }), Level::Error);
        assert_eq!(worst(&NumberHealth { can_send: word("BLOCKED"), ..well.clone() }), Level::Error);
        assert_eq!(worst(&NumberHealth { can_send: word("LIMITED"), ..well.clone() }), Level::Warning);
        assert_eq!(worst(&NumberHealth { quality: word("RED"), ..well.clone() }), Level::Warning);
        assert_eq!(worst(&NumberHealth { throughput: word("HIGH"), ..well }), Level::Note);
        assert_eq!(worst(&NumberHealth::default()), Level::Ok, "nothing is told");
    }

    #[test]
    fn a_token_is_told_of_before_it_ends() {
        let level = |hours: i64| {
            let expires = Timestamp::now().checked_add(SignedDuration::from_hours(hours)).unwrap();
            let health = TokenHealth {
                valid: true,
                expires: Some(expires),
                data_access_expires: None,
                scopes: vec![],
            };
            let mut notes = Notes::of(Area::Channels);
            judge_token("orders", &health, &mut notes);
            notes.end()[0].level
        };
        assert_eq!(
            [level(60 * 24), level(20 * 24), level(48), level(12)],
            [Level::Ok, Level::Note, Level::Warning, Level::Error]
        );
    }
}
