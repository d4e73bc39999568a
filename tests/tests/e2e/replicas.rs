//! Three dispatchers that share ten channels, while each of them goes in a way of its own.

use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use staffetta_simulator::{Behaviour, Detail, InboundRate, SendSeen, Spread, StatusKind};
use staffetta_testkit::{Company, Signal, until};
use staffetta_tests::{
    ANSWER, Installation, LIMIT, Number, RegistryText, Service, Setup, Storage, Streams, free_port, text,
};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{
    all, apply_lines, assert_each_sent_once_in_order, assert_rate_held, at_provider, channel_lines, only,
};

const CHANNELS: [Number; 10] = [
    number("relay-0", "200000", "390281457000"),
    number("relay-1", "200001", "390281457001"),
    number("relay-2", "200002", "390281457002"),
    number("relay-3", "200003", "390281457003"),
    number("relay-4", "200004", "390281457004"),
    number("relay-5", "200005", "390281457005"),
    number("relay-6", "200006", "390281457006"),
    number("relay-7", "200007", "390281457007"),
    number("relay-8", "200008", "390281457008"),
    number("relay-9", "200009", "390281457009"),
];
const RATE: u32 = 12;
/// Of which users' messages take so many.
const INBOUND: f64 = 3.0;
/// Commands that wait in each channel at least, to how many users, and how often it is looked for how many there are.
const WAITING: usize = 60;
const USERS: usize = 16;
const LOOK: Duration = Duration::from_millis(500);
/// Parts of SEND, and the least that each of three may own.
const PARTS: usize = 32;

const fn number(channel: &'static str, phone_number_id: &'static str, display: &'static str) -> Number {
    Number { channel, tenant: "acme", phone_number_id, display }
}

/// Moments at the provider, in microseconds.
type Span = RangeInclusive<u64>;

/// A dispatcher, and where it shows its figures.
struct Replica {
    service: Service,
    admin: String,
    http: reqwest::Client,
}

impl Replica {
    async fn start(staffetta: &Installation) -> Self {
        let admin = format!("127.0.0.1:{}", free_port().unwrap());
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().unwrap();
        let mut replica = Self { service: staffetta.service("dispatcher").unwrap(), admin, http };
        replica.start_again().await;
        replica
    }

    async fn start_again(&mut self) {
        self.service.launch(&[("STAFFETTA__ADMIN__LISTEN", &self.admin)]).unwrap();
        let ready = async || self.show("readyz").await;
        until("a dispatcher to be ready", LIMIT, ready).await.unwrap();
    }

    async fn show(&self, what: &str) -> Option<String> {
        let answer = self.http.get(format!("http://{}/{what}", self.admin)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    /// What it has sent since it started.
    async fn accepted(&self) -> f64 {
        let figures = self.show("metrics").await.unwrap();
        let sends = figures.lines().filter(|line| {
            line.starts_with("staffetta_dispatcher_sends") && line.contains("outcome=\"accepted\"")
        });
        sends.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How many parts of SEND it owns, as its log says.
    fn parts(&self) -> usize {
        let log = fs::read_to_string(self.service.process().folder().join("log")).unwrap_or_default();
        let held = |line: &str| {
            let (_, held) = line.split_once("held")?;
            let digits = held.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let changes =
            log.lines().filter(|line| line.contains("parts changed hands") && line.contains("\"channels\""));
        changes.filter_map(held).next_back().unwrap_or_default()
    }
}

#[tokio::test]
async fn three_dispatchers_share_the_channels_whatever_happens_to_one() {
    // What is late here shall not be late because of others.
    let _alone = Company::nobody().await;
    // What never reached the provider is sent again after this wait.
    let settings = vec![("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "30".to_owned())];
    let behaviour = Behaviour { statuses: vec![StatusKind::Sent], pair: None, ..Behaviour::default() };
    let setup = Setup { storage: Storage::Postgres, behaviour, settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    apply_lines(&staffetta, &CHANNELS.map(|number| channel_lines(number, RATE)).concat()).await;
    for number in CHANNELS {
        staffetta.provider.put_channel(at_provider(number, 1_000)).unwrap();
    }
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _recorder = staffetta.start("recorder").await.unwrap();
    let mut replicas = join_all((0..3).map(|_| Replica::start(&staffetta))).await;
    let spread = async || {
        let parts = replicas.iter().map(Replica::parts);
        let even = parts.clone().all(|parts| parts >= PARTS / 3);
        (even && parts.sum::<usize>() == PARTS).then_some(())
    };
    until("an even share for each", LIMIT, spread).await.unwrap();

    let streams = staffetta.streams().await.unwrap();
    write(&staffetta, INBOUND);
    let enough = CancellationToken::new();
    let feeding = join_all(CHANNELS.map(|number| feed(&staffetta, &streams, number, &enough)));
    let ((calm, stop), commands) = tokio::join!(
        async {
            let seen = disturb(&staffetta, &mut replicas).await;
            enough.cancel();
            seen
        },
        feeding
    );

    for commands in &commands {
        staffetta.told(&streams, &all("command.accepted", commands)).await.unwrap();
    }
    write(&staffetta, 0.0);
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    let report = staffetta.provider.report(Detail::Figures);
    let sends: Vec<Vec<SendSeen>> = CHANNELS.iter().map(|number| staffetta.sends(*number)).collect();
    // What the machine does to everybody, without anything else.
    let stall = sends.iter().map(|sends| longest_gap(sends, &calm)).max().unwrap();
    // And meanwhile: what no channel was spared, as long as it is not the stop itself.
    let meanwhile = sends.iter().map(|sends| longest_gap(sends, &stop)).min().unwrap().min(2_000_000);
    let stall = stall.max(meanwhile);
    let late = u32::try_from(staffetta.lateness().longest().as_millis().div_ceil(1_000)).unwrap();
    for ((number, commands), sends) in CHANNELS.into_iter().zip(&commands).zip(&sends) {
        for (kind, id) in all("command.accepted", commands) {
            only(&events, kind, &id);
        }
        assert_each_sent_once_in_order(sends, commands);
        let seen = &report.channels[number.phone_number_id];
        assert_eq!((seen.duplicates, seen.same_message), (0, 0), "{}", number.channel);
        assert_rate_held(&staffetta, sends, RATE);
        // As there, of a full second: a fifth of another one may have been late, and as many of them as the provider
        // was late itself. And one that has just begun to listen does not know yet what a second brings.
        let worst = seen.worst_second.sends_and_inbound;
        let most = RATE + RATE.div_ceil(5) + late * RATE + INBOUND as u32;
        assert!(worst <= u64::from(most), "{}: {worst} in a second", number.channel);
        let gap = longest_gap(sends, &stop);
        // A kill takes three seconds.
        assert!(
            gap < 2_000_000 + stall,
            "{}: a stop in good order left {gap} µs without a send, and none {stall} µs",
            number.channel
        );
    }
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// Lets each of the three go in a way of its own, and come back. Gives back when nothing happened to any of them, and
/// when one stopped in good order.
async fn disturb(staffetta: &Installation, replicas: &mut [Replica]) -> (Span, Span) {
    // Each channel goes on after each of these.
    more(staffetta, 5).await;
    let before = latest(staffetta);
    more(staffetta, 20).await;
    let calm = before..=latest(staffetta);
    let mut at_work = 0;
    for replica in &*replicas {
        at_work += usize::from(replica.accepted().await > 0.0);
    }
    assert!(at_work >= 2, "one sends for all");
    replicas[0].service.kill().await.unwrap();
    more(staffetta, 3).await;
    replicas[0].start_again().await;
    more(staffetta, 5).await;

    replicas[1].service.process().signal(Signal::STOP).unwrap();
    more(staffetta, 20).await;
    replicas[1].service.process().signal(Signal::CONT).unwrap();
    more(staffetta, 10).await;

    let before = latest(staffetta);
    replicas[2].service.stop().await.unwrap();
    more(staffetta, 5).await;
    let stop = before..=latest(staffetta);
    replicas[2].start_again().await;
    (calm, stop)
}

/// Users write to each channel at this rate.
fn write(staffetta: &Installation, per_second: f64) {
    for number in CHANNELS {
        let rate = InboundRate { per_second, users: 20, spread: Spread::Even };
        staffetta.provider.set_inbound_rate(number.phone_number_id, rate).unwrap();
    }
}

/// Keeps commands waiting in the channel, however long the rest takes. Gives back all of them.
async fn feed(
    staffetta: &Installation,
    streams: &Streams,
    number: Number,
    enough: &CancellationToken,
) -> Vec<Value> {
    let tenant = staffetta.tenant(number, streams);
    let to = |n: usize| format!("3934813{:05}", n % USERS);
    let (mut look, mut commands) = (interval(LOOK), Vec::new());
    while !enough.is_cancelled() {
        look.tick().await;
        let report = staffetta.provider.report(Detail::Figures);
        let accepted = usize::try_from(report.channels[number.phone_number_id].accepted).unwrap();
        if commands.len() < accepted + WAITING {
            let from = commands.len();
            let more = (from..from + WAITING).map(|n| text(&format!("{}-{n}", number.channel), &to(n)));
            commands.extend(more);
            tenant.send_at_once(&commands[from..]).await.unwrap();
        }
    }
    commands
}

/// Waits until each channel has sent so many more.
async fn more(staffetta: &Installation, count: u64) {
    let before = accepted(staffetta);
    let more = until("each channel to go on", LIMIT, async || {
        let now = accepted(staffetta);
        now.iter().zip(&before).all(|(now, before)| *now >= before + count).then_some(())
    });
    more.await.unwrap();
}

/// How many the provider has accepted from each channel.
fn accepted(staffetta: &Installation) -> Vec<u64> {
    let report = staffetta.provider.report(Detail::Figures);
    CHANNELS.iter().map(|number| report.channels[number.phone_number_id].accepted).collect()
}

/// When the last send of all arrived.
fn latest(staffetta: &Installation) -> u64 {
    CHANNELS.iter().map(|number| staffetta.sends(*number).last().unwrap().at_us).max().unwrap()
}

/// The longest time without a send that ended in this span.
fn longest_gap(sends: &[SendSeen], span: &Span) -> u64 {
    let ends = sends.windows(2).filter(|pair| span.contains(&pair[1].at_us));
    ends.map(|pair| pair[1].at_us - pair[0].at_us).max().unwrap_or_default()
}
