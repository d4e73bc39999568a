//! What must hold once the versions have been exchanged twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use staffetta_simulator::{Detail, SendSeen};
use staffetta_tests::{HookPost, Number, SeenEvent, rate_held};

use crate::webhooks::Answered;
use crate::world::{Asked, CHANNELS, RATE, World};

/// The promise is a second, and the report shows what it was. This is what even a machine that does other things
/// beside must keep.
const ACKNOWLEDGED: Duration = Duration::from_secs(5);

/// Requests that may meet the end of their connection: HTTP/1.1 can't rule it out when a replica closes one that is
/// idle, and whoever asked asks again. More than a few of them are no coincidence.
const MET_THE_END: u64 = 4;

/// What was checked.
#[derive(Debug)]
pub(crate) struct Figures {
    webhooks: usize,
    slowest: Duration,
    median: Duration,
    commands: usize,
    events: usize,
    fullest: u64,
    met_the_end: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} webhooks acknowledged, the slowest after {} ms, half of them within {} ms",
            self.webhooks,
            self.slowest.as_millis(),
            self.median.as_millis()
        )?;
        writeln!(f, "{} commands sent once each, in order", self.commands)?;
        writeln!(f, "{} events told once each", self.events)?;
        writeln!(f, "{} requests met the end of their connection, and were made again", self.met_the_end)?;
        write!(f, "the fullest second of a channel held {} of {RATE} sends", self.fullest)
    }
}

/// Waits until nothing is on its way any more, then looks at all that there is.
pub(crate) async fn all_is_well(world: &World, asked: &Asked) -> anyhow::Result<Figures> {
    let (slowest, median) = acknowledged(&asked.webhooks.answers)?;
    let refused = world.ingress.refused() + world.api.refused();
    ensure!(refused == 0, "{refused} connections were refused");

    world.silence()?;
    let mut wanted = Vec::new();
    for command in asked.commands.commands.iter().flatten() {
        wanted.push(("command.accepted", text(&command["id"])));
    }
    wanted.extend(asked.webhooks.messages.iter().map(|wamid| ("message.received", wamid.clone())));
    wanted.extend(asked.webhooks.statuses.iter().map(|(wamid, _)| ("message.status", wamid.clone())));
    // In pieces: a backlog takes its time, and each wait has a limit.
    for piece in wanted.chunks(1_000) {
        world.staffetta.told(&world.streams, piece).await?;
    }
    world.staffetta.settled(&world.streams).await?;
    let events = world.streams.events().await?;
    let met_the_end = met_the_end(world, asked)?;
    let fullest = sent_once(world, asked)?;
    told_once(world, asked, &events)?;
    let dead = world.streams.dead().await?;
    ensure!(dead.is_empty(), "{} dead letters, the first for {:?}", dead.len(), dead[0].reason);
    delivered(world, &events[asked.told_before..]).await?;
    Ok(Figures {
        webhooks: asked.webhooks.answers.len(),
        slowest,
        median,
        commands: asked.commands.commands.iter().map(Vec::len).sum(),
        events: events.len(),
        fullest,
        met_the_end,
    })
}

/// Every webhook that was answered was answered with 200.
fn acknowledged(answers: &[Answered]) -> anyhow::Result<(Duration, Duration)> {
    let refused = answers.iter().find_map(|answer| answer.status.filter(|status| *status != 200));
    ensure!(refused.is_none(), "a webhook was answered with {refused:?}");
    let mut took: Vec<Duration> = answers.iter().map(|answer| answer.after).collect();
    took.sort_unstable();
    let slowest = *took.last().context("there was no webhook")?;
    ensure!(slowest < ACKNOWLEDGED, "a webhook was acknowledged after {slowest:?}");
    Ok((slowest, took[took.len() / 2]))
}

/// How many requests had no answer: webhooks of ours and of the provider's, and commands.
fn met_the_end(world: &World, asked: &Asked) -> anyhow::Result<u64> {
    let ours = asked.webhooks.answers.iter().filter(|answer| answer.status.is_none()).count();
    let report = world.staffetta.provider.report(Detail::Figures);
    let providers: u64 = report.channels.values().map(|channel| channel.webhooks.retried).sum();
    let all = u64::try_from(ours + asked.commands.refused)? + providers;
    ensure!(all <= MET_THE_END, "{all} requests had no answer, or not the right one");
    Ok(all)
}

/// The provider got each command once, each recipient's in their order, and never more in a second than it may.
fn sent_once(world: &World, asked: &Asked) -> anyhow::Result<u64> {
    let report = world.staffetta.provider.report(Detail::Figures);
    let mut fullest = 0;
    for (number, commands) in CHANNELS.into_iter().zip(&asked.commands.commands) {
        let channel = number.channel;
        let seen = &report.channels[number.phone_number_id];
        ensure!(seen.not_logged == 0, "{channel}: {} sends are not in the log", seen.not_logged);
        ensure!(
            (seen.duplicates, seen.same_message) == (0, 0),
            "{channel}: {} commands and {} messages were sent twice",
            seen.duplicates,
            seen.same_message
        );
        ensure!(seen.webhooks.lost == 0, "{channel}: {} updates were given up", seen.webhooks.lost);
        let mut wanted = BTreeMap::<String, Vec<String>>::new();
        for command in commands {
            wanted.entry(text(&command["to"])).or_default().push(text(&command["id"]));
        }
        let mut got = BTreeMap::<String, Vec<String>>::new();
        for send in world.staffetta.sends(number) {
            got.entry(send.to).or_default().push(send.text.unwrap_or_default());
        }
        ensure!(got == wanted, "{channel}: what was sent is not what was to be sent, in its order");
        let arrivals: Vec<u64> = world.staffetta.sends(number).iter().map(|send| send.at_us).collect();
        rate_held(&arrivals, RATE, world.staffetta.lateness()).context(channel)?;
        fullest = fullest.max(seen.worst_second.sends);
    }
    Ok(fullest)
}

/// Everything that happened is one event.
fn told_once(world: &World, asked: &Asked, events: &[SeenEvent]) -> anyhow::Result<()> {
    let mut told = BTreeMap::<(String, String, String), usize>::new();
    let mut ids = BTreeSet::new();
    for event in events {
        ensure!(ids.insert(&event.id), "an event was told twice: {} about {}", event.kind, event.subject);
        ensure!(event.kind != "command.in_doubt", "{} was in doubt", event.subject);
        let status = event.data["status"].as_str().unwrap_or_default().to_owned();
        *told.entry((event.kind.clone(), event.subject.clone(), status)).or_default() += 1;
    }
    let once = |kind: &str, subject: &str, status: &str| {
        let count = told.get(&(kind.into(), subject.into(), status.into())).copied().unwrap_or_default();
        ensure!(count == 1, "{kind} {status} about {subject} was told {count} times");
        Ok(())
    };
    for wamid in &asked.webhooks.messages {
        once("message.received", wamid, "")?;
    }
    for (wamid, status) in &asked.webhooks.statuses {
        once("message.status", wamid, status)?;
    }
    let mut accepted = BTreeMap::<&str, usize>::new();
    for event in events.iter().filter(|event| event.kind == "command.accepted") {
        *accepted.entry(&event.subject).or_default() += 1;
    }
    for command in asked.commands.commands.iter().flatten() {
        let id = text(&command["id"]);
        let count = accepted.get(id.as_str()).copied().unwrap_or_default();
        ensure!(count == 1, "command.accepted about {id} was told {count} times");
    }
    let report = world.staffetta.provider.report(Detail::Figures);
    for number in CHANNELS {
        for SendSeen { wamid, .. } in world.staffetta.sends(number) {
            for status in ["sent", "delivered", "read"] {
                once("message.status", &wamid, status)?;
            }
        }
        let source = format!("/tenants/{}/channels/{}", number.tenant, number.channel);
        let written = events.iter().filter(|event| {
            event.kind == "message.received" && event.source == source && !is_ours(&event.subject)
        });
        let (told, wrote) = (written.count() as u64, report.channels[number.phone_number_id].inbound);
        ensure!(told == wrote, "{}: users wrote {wrote} messages, {told} were told", number.channel);
    }
    Ok(())
}

/// Whether the message is one that the tests wrote, not the provider's own users.
fn is_ours(wamid: &str) -> bool {
    wamid.starts_with("wamid.in-") || wamid.starts_with("wamid.first-")
}

/// Everything of the tenant came to its endpoint, what belongs to one conversation in its order.
async fn delivered(world: &World, told: &[SeenEvent]) -> anyhow::Result<()> {
    let Number { tenant, .. } = CHANNELS[0];
    let source = format!("/tenants/{tenant}/");
    let told: Vec<&SeenEvent> = told.iter().filter(|event| event.source.starts_with(&source)).collect();
    let wanted: BTreeSet<&str> = told.iter().map(|event| event.id.as_str()).collect();
    let posts = world.hook.until(|posts| wanted.is_subset(&posts.iter().filter_map(id).collect())).await;
    let mut came = BTreeMap::<String, Vec<String>>::new();
    let mut seen = BTreeSet::new();
    for post in posts.context("events are missing at the endpoint")? {
        let event = post.json();
        let id = text(&event["id"]);
        if wanted.contains(id.as_str()) && seen.insert(id.clone()) {
            came.entry(conversation(&event["data"], &id)).or_default().push(id);
        }
    }
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for event in told {
        expected.entry(conversation(&event.data, &event.id)).or_default().push(event.id.clone());
    }
    ensure!(came == expected, "a conversation's events came to the endpoint in another order");
    Ok(())
}

/// What belongs to no conversation stands alone.
fn conversation(data: &Value, id: &str) -> String {
    data["conversation_id"].as_str().unwrap_or(id).to_owned()
}

fn id(post: &HookPost) -> Option<&str> {
    post.headers.get("webhook-id")?.to_str().ok()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
