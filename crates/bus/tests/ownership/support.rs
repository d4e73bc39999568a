//! Owners that only keep book, and a judge who watches them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use staffetta_bus::{Bus, Group, Lease, Ownership, OwnershipChange, PARTS, Retention, Returned, boot_time};
use staffetta_testkit::{NatsServer, until};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::calm::Calm;

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for what a process that stopped has asked for.
const ASKED: Duration = Duration::from_secs(10);
/// A stop takes less, unless an answer of NATS is late.
const STOP: Duration = Duration::from_millis(200);
/// What the bus waits for before it takes over from one who is silent, and when that one's own right ends.
pub(crate) const SILENCE: Duration = Duration::from_millis(2_810);
pub(crate) const WINDOW: Duration = Duration::from_millis(1_000);

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) judge: Arc<Judge>,
    pub(crate) calm: Calm,
}

impl World {
    pub(crate) async fn new() -> Self {
        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let world = Self { nats, bus, judge: Arc::default(), calm: Calm::listen() };
        world.set_up().await;
        world
    }

    pub(crate) async fn set_up(&self) {
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 10 };
        self.bus.set_up_streams(&retention).await.unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.nats.url().strip_prefix("nats://").unwrap().parse().unwrap()
    }

    /// A replica with a connection of its own.
    pub(crate) async fn replica(&self, name: &str) -> Replica {
        self.replica_by(name, self.nats.url()).await
    }

    pub(crate) async fn replica_by(&self, name: &str, url: &str) -> Replica {
        let bus = Bus::connect(url, name).await.unwrap();
        Replica::start(bus, name, Arc::clone(&self.judge)).await
    }

    /// Stops one of them, and waits until it has.
    pub(crate) async fn stop(&self, replica: Replica) {
        let asked_at = boot_time();
        replica.stop().await;
        if boot_time() - asked_at > STOP {
            self.calm.ends();
        }
    }

    /// Whoever stopped has taken its own entry away, if it still could.
    pub(crate) async fn nobody_is_left(&self) {
        let gone =
            until("their entries to go", ASKED, async || self.members().await.is_empty().then_some(()));
        if let Err(error) = gone.await {
            assert!(!self.calm.holds(), "{error:#}: {:?}", self.members().await);
        }
    }

    /// The ids of the members in the bucket, with their states.
    pub(crate) async fn members(&self) -> BTreeMap<String, String> {
        let bucket = self.bus.jetstream().get_key_value("LEASES").await.unwrap();
        let keys = bucket.keys().await.unwrap();
        let keys: Vec<String> = futures_util::TryStreamExt::try_collect(keys).await.unwrap();
        let mut members = BTreeMap::new();
        for key in keys {
            if let Some(id) = key.strip_prefix("member.")
                && let Some(json) = bucket.get(&key).await.unwrap()
            {
                members.insert(id.to_owned(), String::from_utf8(json.to_vec()).unwrap());
            }
        }
        members
    }
}

/// Keeps every lease that was ever given, and checks them against each other.
#[derive(Default)]
pub(crate) struct Judge {
    given: Mutex<BTreeMap<u16, Vec<Given>>>,
}

struct Given {
    replica: String,
    lease: Lease,
    last_valid: Duration,
}

impl Judge {
    fn gained(&self, replica: &str, part: u16, lease: &Lease, handover: Option<&Bytes>) {
        let now = boot_time();
        let mut given = self.given.lock().unwrap();
        let given = given.entry(part).or_default();
        for before in given.iter() {
            assert!(before.lease.epoch() < lease.epoch(), "part {part}: the epoch did not grow");
            assert!(!both_valid(&before.lease, lease), "part {part}: {} and {replica}", before.replica);
            if handover.is_none() {
                let quiet = now.saturating_sub(before.last_valid);
                assert!(quiet >= WINDOW, "part {part}: {replica} {quiet:?} after {}", before.replica);
            }
        }
        given.push(Given { replica: replica.into(), lease: lease.clone(), last_valid: Duration::ZERO });
    }

    /// No part has two valid leases.
    pub(crate) fn look(&self) {
        for (part, given) in self.given.lock().unwrap().iter_mut() {
            for one in 0..given.len() {
                for other in 0..one {
                    let (one, other) = (&given[one], &given[other]);
                    let both = both_valid(&one.lease, &other.lease);
                    assert!(!both, "part {part}: {} and {}", one.replica, other.replica);
                }
            }
            for given in given {
                // Looked at first, or a thread that is held up in between would make it later than it was.
                let now = boot_time();
                if given.lease.is_valid() {
                    given.last_valid = now;
                }
            }
        }
    }

    /// Looks all the time until stopped, and says how often.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) -> u64 {
        let mut looks = 0;
        while !stop.is_cancelled() {
            self.look();
            looks += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        looks
    }

    /// Who has which parts now, by name of the replica.
    pub(crate) fn owners(&self) -> BTreeMap<u16, String> {
        let given = self.given.lock().unwrap();
        let valid = given.iter().flat_map(|(part, given)| {
            given.iter().filter(|given| given.lease.is_valid()).map(|given| (*part, given.replica.clone()))
        });
        valid.collect()
    }

    pub(crate) fn latest_epochs(&self) -> BTreeMap<u16, i64> {
        let given = self.given.lock().unwrap();
        given.iter().filter_map(|(part, given)| Some((*part, given.last()?.lease.epoch()))).collect()
    }

    /// Waits until every part has an owner and exactly these replicas have a share, even to one part. Gives back who
    /// had which then.
    pub(crate) async fn even(&self, names: &[&str]) -> BTreeMap<u16, String> {
        let what = format!("even shares of {names:?}");
        let even = until(&what, LIMIT, async || {
            let owners = self.owners();
            let counts = counts(&owners);
            let names_match = counts.keys().copied().eq(names.iter().copied());
            let whole = owners.len() == usize::from(PARTS);
            let spread = counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0);
            (names_match && whole && spread <= 1).then_some(owners)
        });
        match even.await {
            Ok(owners) => owners,
            Err(error) => panic!("{error:#}: {:?}", counts(&self.owners())),
        }
    }
}

fn counts(owners: &BTreeMap<u16, String>) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for owner in owners.values() {
        *counts.entry(owner.as_str()).or_default() += 1;
    }
    counts
}

/// A lease that is not valid never is again, so a first that is valid before and after the second was valid with it.
fn both_valid(first: &Lease, second: &Lease) -> bool {
    first.is_valid() && second.is_valid() && first.is_valid()
}

/// What a replica was told.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) leases: BTreeMap<u16, Lease>,
    pub(crate) handovers: BTreeMap<u16, Option<Bytes>>,
    pub(crate) gained: usize,
    pub(crate) first_gain: Option<Duration>,
    pub(crate) asked_back: usize,
}

pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Replica {
    pub(crate) async fn start(bus: Bus, name: &str, judge: Arc<Judge>) -> Self {
        let ownership = Ownership::open(&bus, Group::Send, name).await.unwrap();
        let (book, stop) = (Arc::<Mutex<Book>>::default(), CancellationToken::new());
        let (changes, seen) = mpsc::channel(4);
        let (giving, returned) = mpsc::channel(4);
        let keeping = keep_book(name.to_owned(), seen, giving, Arc::clone(&book), judge);
        let owning = ownership.run(changes, returned, stop.clone());
        // Both end when one is aborted, as in a process that is killed.
        let running = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(keeping);
            owning.await;
            tasks.join_all().await;
        });
        Self { name: name.into(), book, stop, running }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.running).await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
    }
}

/// Gives back at once what is asked back, with its own name and the part's number as handover.
async fn keep_book(
    name: String,
    mut changes: mpsc::Receiver<OwnershipChange>,
    giving: mpsc::Sender<Returned>,
    book: Arc<Mutex<Book>>,
    judge: Arc<Judge>,
) {
    while let Some(change) = changes.recv().await {
        match change {
            OwnershipChange::Gained { part, lease, handover } => {
                judge.gained(&name, part, &lease, handover.as_ref());
                let mut book = book.lock().unwrap();
                book.gained += 1;
                book.first_gain.get_or_insert(boot_time());
                book.handovers.insert(part, handover);
                book.leases.insert(part, lease);
            }
            OwnershipChange::GiveBack { part } => {
                let lease = {
                    let mut book = book.lock().unwrap();
                    book.asked_back += 1;
                    book.leases.remove(&part)
                };
                let Some(lease) = lease else { continue };
                judge.look();
                lease.end();
                let handover = Some(Bytes::from(format!("{name}:{part}")));
                if giving.send(Returned { part, handover }).await.is_err() {
                    return;
                }
            }
        }
    }
}
