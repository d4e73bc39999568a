//! Live events over HTTP: whoever reads them misses nothing and gets nothing twice, whatever becomes of the API.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use staffetta_testkit::until;
use staffetta_tests::{
    CARE, Installation, LIMIT, ORDERS, RegistryText, SeenEvent, Setup, Storage, Streams, User, text,
};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::arrivals::{event, writes};
use crate::{all, apply_lines};

/// Between two messages, and between two tries to connect.
const PACE: Duration = Duration::from_millis(40);
/// A stream that says nothing for so long is dead.
const SILENT: Duration = Duration::from_secs(40);
/// The last that anybody writes.
const LAST: &str = "wamid.last";

/// What stands between two empty lines.
#[derive(Debug, Default)]
struct Block {
    id: Option<String>,
    data: Option<Value>,
}

/// A connection that is being read.
struct Connection {
    response: reqwest::Response,
    text: Vec<u8>,
}

impl Connection {
    /// The next block; `None` when the connection has ended.
    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let mut found = Block::default();
                for line in std::str::from_utf8(&block).unwrap().lines() {
                    if let Some(id) = line.strip_prefix("id: ") {
                        found.id = Some(id.into());
                    } else if let Some(data) = line.strip_prefix("data: ") {
                        found.data = Some(serde_json::from_str(data).unwrap());
                    }
                }
                return Some(found);
            }
            let chunk = timeout(SILENT, self.response.chunk()).await.ok()?;
            self.text.extend(chunk.ok().flatten()?);
        }
    }
}

/// Somebody who reads live events, as a library for them does.
struct Reader {
    url: String,
    key: &'static str,
    http: reqwest::Client,
    last: Option<String>,
    seen: Vec<SeenEvent>,
    connections: Arc<AtomicUsize>,
}

impl Reader {
    fn new(staffetta: &Installation, key: &'static str, query: &str) -> Self {
        // No time limit for the whole of an answer.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1/events{query}", staffetta.api_url());
        Self { url, key, http, last: None, seen: Vec::new(), connections: Arc::default() }
    }

    async fn connect(&mut self) -> Option<Connection> {
        let mut request = self.http.get(&self.url).bearer_auth(self.key);
        if let Some(last) = &self.last {
            request = request.header("Last-Event-ID", last);
        }
        let response = timeout(SILENT, request.send()).await.ok()?.ok()?;
        if response.status() == 503 {
            return None;
        }
        assert_eq!(response.status(), 200);
        self.connections.fetch_add(1, Relaxed);
        Some(Connection { response, text: Vec::new() })
    }

    /// Reads, through however many connections, until the last event.
    async fn read(mut self, began: CancellationToken) -> Self {
        loop {
            let Some(mut connection) = self.connect().await else {
                sleep(PACE).await;
                continue;
            };
            while let Some(block) = connection.block().await {
                began.cancel();
                if let Some(data) = block.data {
                    self.seen.push(event(&data));
                }
                // The place is where the next connection goes on: behind what was dealt with.
                self.last = block.id.or(self.last);
                if self.seen.last().is_some_and(|event| event.subject == LAST) {
                    return self;
                }
            }
        }
    }
}

#[tokio::test]
async fn events_are_read_without_gap_or_repeat_while_the_api_comes_and_goes() {
    let staffetta =
        Installation::prepare(Setup { storage: Storage::Postgres, ..Setup::default() }).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _others =
        try_join_all(["ingress", "recorder", "dispatcher"].map(|role| staffetta.start(role))).await.unwrap();
    let mut api = staffetta.start("api").await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    let queries = ["", "?type=message.received,command.*", "?channel=acme-orders"];
    let began = [(); 3].map(|()| CancellationToken::new());
    let readers = queries.map(|query| Reader::new(&staffetta, "the-key-of-acme", query));
    let connections = readers.each_ref().map(|reader| reader.connections.clone());
    let readers = readers.into_iter().zip(&began).map(|(reader, began)| reader.read(began.clone()));
    let enough = CancellationToken::new();
    let deaths = async {
        join_all(began.iter().map(CancellationToken::cancelled)).await;
        for round in 0..4 {
            more(&streams, 60).await;
            if round % 2 == 0 {
                api.kill().await.unwrap();
                more(&streams, 30).await;
            } else {
                api.stop().await.unwrap();
            }
            api.start().await.unwrap();
            let back = async || connections.iter().all(|count| count.load(Relaxed) > round + 1).then_some(());
            until("the readers to be back", LIMIT, back).await.unwrap();
        }
        more(&streams, 60).await;
        enough.cancel();
    };
    let flow = async {
        join_all(began.iter().map(CancellationToken::cancelled)).await;
        let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(CARE, &streams));
        let (mut pace, mut commands) = (interval(PACE), Vec::new());
        for n in 0.. {
            pace.tick().await;
            if enough.is_cancelled() {
                break;
            }
            let user = User::of_phone("Anna", &format!("3934815{:05}", n % 20));
            writes(&staffetta, &user, &format!("wamid.flow-{n}")).await;
            let command = text(&format!("flow-{n}"), user.phone.as_deref().unwrap());
            acme.send(&command).await.unwrap();
            // Others' events lie between.
            globex.send(&command).await.unwrap();
            commands.push(command);
        }
        staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
        writes(&staffetta, &User::of_phone("Anna", "393481500000"), LAST).await;
    };
    let reading = timeout(LIMIT * 2, join_all(readers));
    let ((), (), readers) = tokio::join!(deaths, flow, reading);

    let told: Vec<SeenEvent> = streams.events().await.unwrap();
    let own: Vec<&SeenEvent> =
        told.iter().filter(|event| event.source == "/tenants/acme/channels/acme-orders").collect();
    assert!(own.len() > 150, "{}", own.len());
    for (reader, query) in readers.expect("the last event to be read").into_iter().zip(queries) {
        let wanted = own.iter().filter(|event| {
            !query.contains("type") || event.kind == "message.received" || event.kind.starts_with("command.")
        });
        let names = |event: &SeenEvent| (event.id.clone(), event.kind.clone(), event.subject.clone());
        let wanted: Vec<_> = wanted.map(|event| names(event)).collect();
        let seen: Vec<_> = reader.seen.iter().map(names).collect();
        assert_eq!(seen.len(), wanted.len(), "{query}");
        assert_eq!(seen, wanted, "{query}");
    }
    api.stop().await.unwrap();
}

/// Waits until so many more events are told.
async fn more(streams: &Streams, count: u64) {
    let before = streams.waiting("EVENTS").await.unwrap();
    let more = async || (streams.waiting("EVENTS").await.ok()? >= before + count).then_some(());
    until("more events", LIMIT, more).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_taken_away_reads_no_further() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let tenant = |keys: &str| {
        format!("[[tenant]]\nid = \"acme\"\nname = \"acme\"\nencoding = \"json\"\napi_keys = [{keys}]\n")
    };
    apply_lines(&staffetta, &tenant("\"the-key-of-acme\", \"for-a-while\"")).await;
    let mut reader = Reader::new(&staffetta, "for-a-while", "");
    let known = until("the key to be known", LIMIT, async || {
        let ask = reader.http.get(format!("{}/v1/channels", staffetta.api_url())).bearer_auth("for-a-while");
        (ask.send().await.ok()?.status() == 200).then_some(())
    });
    known.await.unwrap();
    let mut connection = reader.connect().await.unwrap();
    let anna = User::of_phone("Anna", "393481500000");
    writes(&staffetta, &anna, "wamid.heard").await;
    loop {
        let block = connection.block().await.unwrap();
        if block.data.is_some_and(|data| data["subject"] == "wamid.heard") {
            break;
        }
    }
    apply_lines(&staffetta, &tenant("\"the-key-of-acme\"")).await;
    let ended = async { while connection.block().await.is_some() {} };
    timeout(LIMIT, ended).await.expect("the stream to end");
    let answer = reader.http.get(&reader.url).bearer_auth("for-a-while").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    writes(&staffetta, &anna, "wamid.unheard").await;
    staffetta.told(&streams, &[("message.received", "wamid.unheard".into())]).await.unwrap();
}
