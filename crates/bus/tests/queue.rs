//! SEND on a real NATS: batches, single commands, deletions, wake-ups; and a replica that is behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::{Stream, StreamExt};
use staffetta_bus::{
    Batch, Bus, PublishError, QueueError, QueuedMessage, Retention, SendQueue, SendSubject, Wake,
};
use staffetta_testkit::{FaultProxy, NatsServer, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    nats: NatsServer,
    bus: Bus,
    queue: SendQueue,
}

impl World {
    async fn new() -> Self {
        let world = Self::without_streams().await;
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 1_000 };
        world.bus.set_up_streams(&retention).await.unwrap();
        world
    }

    async fn without_streams() -> Self {
        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        Self { queue: SendQueue::new(bus.clone()), nats, bus }
    }

    async fn publish(&self, lane: &SendSubject, payload: &str) -> u64 {
        let stored = self.bus.jetstream().publish(lane.subject(), payload.to_owned().into()).await;
        stored.unwrap().await.unwrap().sequence
    }

    async fn fill(&self, lane: &SendSubject, times: u64) {
        for n in 1..=times {
            assert_eq!(self.publish(lane, &n.to_string()).await, n);
        }
    }

    /// From now on this answers Direct Gets, with what is next in line and then with the last of it for ever.
    async fn replica(&self, answers: Vec<Answer>) -> Arc<Mutex<VecDeque<Answer>>> {
        let mut connection = RawConnection::open(self.nats.url()).await;
        connection.say("SUB $JS.API.DIRECT.GET.SEND 1\r\n").await;
        connection.flush().await;
        let left = Arc::new(Mutex::new(VecDeque::from(answers)));
        let line = Arc::clone(&left);
        tokio::spawn(async move {
            loop {
                // MSG <subject> <sid> <reply> <size>, then the request.
                let head = connection.hear("MSG ").await;
                let inbox = head.split_whitespace().nth(3).unwrap();
                let answer = {
                    let mut line = line.lock().unwrap();
                    if line.len() > 1 { line.pop_front().unwrap() } else { line[0] }
                };
                answer.say(&mut connection, inbox).await;
            }
        });
        left
    }
}

/// A connection on which anything can be said, status lines too.
struct RawConnection(BufReader<TcpStream>);

impl RawConnection {
    async fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).await.unwrap();
        let mut this = Self(BufReader::new(stream));
        this.hear("INFO ").await;
        this.say("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n").await;
        this
    }

    async fn say(&mut self, what: &str) {
        self.0.get_mut().write_all(what.as_bytes()).await.unwrap();
    }

    async fn publish(&mut self, subject: &str, headers: &str, payload: &str) {
        let (head, total) = (headers.len(), headers.len() + payload.len());
        self.say(&format!("HPUB {subject} {head} {total}\r\n{headers}{payload}\r\n")).await;
    }

    /// The next line that begins so.
    async fn hear(&mut self, what: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(what) {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the connection ended before {what}");
            if line.starts_with("PING") {
                self.say("PONG\r\n").await;
            }
        }
        line
    }

    async fn flush(&mut self) {
        self.say("PING\r\n").await;
        self.hear("PONG").await;
    }
}

/// What a replica answers.
#[derive(Clone, Copy)]
enum Answer {
    NotFound,
    /// The command with this number, and that it is all.
    Only(u64),
}

impl Answer {
    async fn say(self, connection: &mut RawConnection, inbox: &str) {
        let Self::Only(sequence) = self else {
            return connection.publish(inbox, "NATS/1.0 404 Message Not Found\r\n\r\n", "").await;
        };
        let headers = format!(
            "NATS/1.0\r\nNats-Sequence: {sequence}\r\nNats-Time-Stamp: 2026-11-21T09:30:00Z\r\n\
             Nats-Num-Pending: 0\r\n\r\n"
        );
        connection.publish(inbox, &headers, "x").await;
        connection.publish(inbox, "NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n", "").await;
    }
}

fn lane(lane: &str) -> SendSubject {
    SendSubject::parse(&format!("staffetta.v1.send.acme.acme-orders.{lane}")).unwrap()
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.messages.iter().map(|message| message.sequence).collect()
}

fn found(read: &Result<Option<QueuedMessage>, QueueError>) -> Option<&[u8]> {
    read.as_ref().unwrap().as_ref().map(|message| &message.payload[..])
}

async fn next(wakes: &mut (impl Stream<Item = Wake> + Unpin)) -> Wake {
    timeout(LIMIT, wakes.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_batch_ends_where_the_lane_does() {
    let world = World::new().await;
    let (normal, bulk) = (lane("normal"), lane("bulk"));
    world.fill(&normal, 5).await;
    world.publish(&bulk, "6").await;
    let batch = world.queue.read(&normal, 1, 3, 0).await.unwrap();
    assert_eq!((numbers(&batch), batch.more), (vec![1, 2, 3], true));
    let batch = world.queue.read(&normal, 4, 3, 5).await.unwrap();
    assert_eq!((numbers(&batch), batch.more), (vec![4, 5], false));
    for known in [0, 5, 9] {
        let batch = world.queue.read(&normal, 6, 3, known).await.unwrap();
        assert_eq!((numbers(&batch), batch.more), (vec![], false), "{known}");
    }
}

#[tokio::test]
async fn single_commands_are_read_in_the_order_asked_for() {
    let world = World::new().await;
    let (normal, bulk) = (lane("normal"), lane("bulk"));
    world.fill(&normal, 40).await;
    world.publish(&bulk, "another lane's").await;
    assert_eq!(world.queue.delete(&[7]).await.unwrap(), [7]);
    world.queue.purge_below(&normal, 3).await.unwrap();

    let one = world.queue.read_one(&normal, 5).await.unwrap().unwrap();
    assert_eq!((one.sequence, &one.payload[..]), (5, &b"5"[..]));
    let batch = world.queue.read(&normal, 5, 1, 0).await.unwrap();
    assert_eq!((one.stored, one.headers), (batch.messages[0].stored, batch.messages[0].headers.clone()));

    let asked: Vec<u64> = [40, 7, 41, 2, 99].into_iter().chain(3..=39).collect();
    let read = world.queue.read_each(&normal, &asked).await;
    assert!(read.iter().map(|(sequence, _)| sequence).eq(&asked));
    for (sequence, read) in &read {
        let expected = (![7, 41, 2, 99].contains(sequence)).then(|| sequence.to_string());
        assert_eq!(found(read), expected.as_deref().map(str::as_bytes), "{sequence}");
    }
    assert_eq!(found(&world.queue.read_one(&bulk, 41).await), Some(&b"another lane's"[..]));
}

#[tokio::test]
async fn a_command_may_look_like_an_answer() {
    let world = World::new().await;
    let mut wakes = world.queue.wakes().await.unwrap();
    // An answer on the same connection: the server knows of the subscription.
    until("an answer", LIMIT, async || world.queue.backlog().await.ok()).await.unwrap();
    let normal = lane("normal");
    let mut connection = RawConnection::open(world.nats.url()).await;
    for status in ["404 Not Found", "503", "204 EOB"] {
        let headers = format!("NATS/1.0 {status}\r\nNats-Sequence: 77\r\nNats-Num-Pending: 0\r\n\r\n");
        connection.publish(&normal.subject(), &headers, status).await;
    }
    for (sequence, payload) in [(1, "404 Not Found"), (2, "503"), (3, "204 EOB")] {
        assert_eq!(next(&mut wakes).await, Wake { lane: normal.clone(), sequence });
        let one = world.queue.read_one(&normal, sequence).await;
        assert_eq!(found(&one), Some(payload.as_bytes()));
    }
    assert_eq!(numbers(&world.queue.read(&normal, 1, 10, 3).await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn what_is_deleted_is_gone_whoever_did_it() {
    let world = World::new().await;
    let (normal, bulk) = (lane("normal"), lane("bulk"));
    world.fill(&normal, 100).await;
    world.publish(&bulk, "101").await;
    assert_eq!(world.queue.delete(&[]).await.unwrap(), [0; 0]);
    let some: Vec<u64> = (2..=90).collect();
    assert_eq!(world.queue.delete(&some).await.unwrap(), some);
    assert_eq!(world.queue.delete(&[1, 5, 500]).await.unwrap(), [1, 5, 500]);
    let left: Vec<u64> = (91..=100).collect();
    assert_eq!(numbers(&world.queue.read(&normal, 1, 200, 0).await.unwrap()), left);
    assert_eq!(numbers(&world.queue.read(&bulk, 1, 200, 0).await.unwrap()), [101]);
    assert_eq!(world.queue.backlog().await.unwrap().iter().map(|lane| lane.messages).sum::<u64>(), 11);
}

#[tokio::test]
async fn nothing_is_gone_because_nobody_answers() {
    let mut world = World::new().await;
    world.fill(&lane("normal"), 2).await;
    world.nats.kill().await.unwrap();
    // The connection keeps what it could not say, so the first may be gone once NATS is back, and the second not.
    assert!(world.queue.delete(&[1]).await.is_err());
    assert!(world.queue.read_one(&lane("normal"), 2).await.is_err());
    world.nats.restart().await.unwrap();
    until("NATS to be back", LIMIT, async || world.queue.read_one(&lane("normal"), 2).await.ok().flatten())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lane_that_is_full_at_the_repeat_does_not_say_that_nothing_was_stored() {
    let world = World::without_streams().await;
    let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 1 };
    world.bus.set_up_streams(&retention).await.unwrap();
    let normal = lane("normal");
    let address = world.nats.url().trim_start_matches("nats://").parse().unwrap();
    let proxy = FaultProxy::before(address).await.unwrap();
    let bus = Bus::connect(&format!("nats://{}", proxy.address()), "behind the proxy").await.unwrap();
    let publish = async |id: &'static str| {
        let deadline = tokio::time::Instant::now() + LIMIT;
        bus.publish(normal.subject(), id, HeaderMap::new(), "x".into(), deadline).await
    };

    proxy.stall().await.unwrap();
    let said = bus.client().statistics().out_messages.load(Ordering::Relaxed);
    let others = async {
        world.publish(&normal, "another's").await;
        // Neither the first try nor its repeat has come through.
        until("the repeat", LIMIT, async || {
            (bus.client().statistics().out_messages.load(Ordering::Relaxed) >= said + 2).then_some(())
        })
        .await
        .unwrap();
        proxy.heal().await.unwrap();
    };
    let (published, ()) = tokio::join!(publish("a"), others);
    assert!(matches!(published, Err(PublishError::TimedOut)), "{published:?}");
    // A try that is not answered in time leaves a doubt of its own.
    until("a refusal without a doubt", LIMIT, async || {
        matches!(publish("b").await, Err(PublishError::Full)).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_wake_up_tells_the_number_of_what_is_stored() {
    let world = World::new().await;
    let mut wakes = world.queue.wakes().await.unwrap();
    world.bus.client().flush().await.unwrap();
    let (normal, bulk) = (lane("normal"), lane("bulk"));
    world.publish(&normal, "1").await;
    world.publish(&bulk, "2").await;
    assert_eq!(next(&mut wakes).await, Wake { lane: normal, sequence: 1 });
    assert_eq!(next(&mut wakes).await, Wake { lane: bulk, sequence: 2 });
}

#[tokio::test]
async fn a_replica_that_is_behind_is_asked_again_for_what_is_known() {
    let world = World::without_streams().await;
    let normal = lane("normal");
    let left =
        world.replica(vec![Answer::NotFound, Answer::NotFound, Answer::Only(3), Answer::NotFound]).await;
    let batch = world.queue.read(&normal, 3, 10, 4).await.unwrap();
    assert_eq!((numbers(&batch), batch.more), (vec![3], true), "the fourth is still to come");
    assert_eq!(left.lock().unwrap().len(), 1);

    let world = World::without_streams().await;
    let left = world.replica(vec![Answer::NotFound, Answer::Only(3), Answer::Only(3)]).await;
    assert!(world.queue.read(&normal, 3, 10, 2).await.unwrap().messages.is_empty());
    assert_eq!(left.lock().unwrap().len(), 2, "nothing is known: asked once");
}

#[tokio::test]
async fn what_replicas_do_not_have_is_gone_only_if_the_leader_says_so() {
    let world = World::new().await;
    let normal = lane("normal");
    world.fill(&normal, 3).await;
    world.queue.delete(&[2]).await.unwrap();
    let at_first = world.queue.read_one(&normal, 3).await.unwrap().unwrap();
    let mut stream = world.bus.jetstream().get_stream("SEND").await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.allow_direct = false;
    world.bus.jetstream().update_stream(config).await.unwrap();
    world.replica(vec![Answer::NotFound]).await;

    let of_leader = world.queue.read_one(&normal, 3).await.unwrap().unwrap();
    assert_eq!((of_leader.sequence, of_leader.stored), (3, at_first.stored));
    assert_eq!((&of_leader.payload[..], of_leader.message_id()), (&b"3"[..], None));
    assert!(world.queue.read_one(&normal, 2).await.unwrap().is_none());
    assert!(world.queue.read_one(&lane("bulk"), 3).await.unwrap().is_none());
}
