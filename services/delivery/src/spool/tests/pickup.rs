//! With a NATS server and a database.

use std::sync::Arc;

use staffetta_bus::{
    Bus, Encoding, RegistryFile, RegistryStore, RegistryView, Retention, SendQueue, SendSubject, Unnamed,
    command_fields,
};
use staffetta_domain::{CommandState, Lane};
use staffetta_store::{CommandRecord, Store, StoreOptions};
use staffetta_testkit::{NatsServer, until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::spool::Pickup;

/// How many commands a lane holds here.
const LANE: i64 = 3;

struct Erp {
    _nats: NatsServer,
    bus: Bus,
    store: Store,
    registry: RegistryView,
    following: JoinHandle<()>,
    root: TempDir,
    stop: CancellationToken,
}

impl Erp {
    async fn start() -> Self {
        let root = TempDir::new().unwrap();
        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "spool test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: LANE };
        bus.set_up_streams(&retention).await.unwrap();
        let spool = root.path().join("acme");
        let registry = format!(
            "[[tenant]]\nid = \"acme\"\n[[tenant]]\nid = \"other\"\n\
             [[channel]]\nid = \"acme-orders\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\nphone_number_id = \"1\"\n\
             [[channel]]\nid = \"other-orders\"\ntenant = \"other\"\nprovider = \"cloud_api\"\nphone_number_id = \"2\"\n\
             [[endpoint]]\nid = \"acme-erp\"\ntenant = \"acme\"\nkind = \"spool\"\npath = {spool:?}\n\
             check_interval = 100\nchannel = \"acme-orders\"\n"
        );
        let store = RegistryStore::open(&bus, None).await.unwrap();
        let plan = store.plan(vec![RegistryFile::parse(&registry).unwrap()], Unnamed::Keep).await.unwrap();
        store.apply(plan).await.unwrap();
        let stop = CancellationToken::new();
        let (registry, following) = RegistryView::follow(&bus, None, stop.clone()).await.unwrap();
        let following = tokio::spawn(following);
        let file = format!("sqlite:{}", root.path().join("spool.db").display());
        let store = Store::connect(&file, &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        Self { _nats: nats, bus, store, registry, following, root, stop }
    }

    /// Somebody picks up until the stop.
    fn picks_up(&self, stop: &CancellationToken) -> JoinHandle<()> {
        let registry = self.registry.load();
        let endpoint = registry.endpoint(&"acme-erp".parse().unwrap()).map(Arc::clone).unwrap();
        let (bus, store) = (self.bus.clone(), self.store.clone());
        let root = self.root.path().to_owned();
        let pickup = Pickup::new(endpoint, root, bus, self.registry.clone(), store).unwrap();
        tokio::spawn(pickup.run(stop.clone()))
    }

    /// Puts a command file there as a careful program would.
    fn puts(&self, name: &str, content: &str) {
        let commands = self.root.path().join("acme/commands");
        fs::create_dir_all(&commands).unwrap();
        let aside = commands.join(format!(".{name}.tmp"));
        fs::write(&aside, content).unwrap();
        File::options().write(true).open(&aside).unwrap().set_modified(SystemTime::now() - OLD).unwrap();
        fs::rename(aside, commands.join(name)).unwrap();
    }

    /// The result of a command file, once it is there.
    async fn result(&self, name: &str) -> Value {
        let path = self.root.path().join("acme/results").join(name);
        until("a result file", Duration::from_secs(120), async || {
            fs::read(&path).ok().map(|text| serde_json::from_slice(&text).unwrap())
        })
        .await
        .unwrap()
    }

    /// Waits until the command of this file is known. A database that is slow to take it makes no file wait: then it is
    /// known once the file is there again.
    async fn known(&self, name: &str, id: &str) -> CommandRecord {
        let (tenant, id) = ("acme".parse().unwrap(), id.parse().unwrap());
        let acme = self.root.path().join("acme");
        until("the command to be known", Duration::from_secs(120), async || {
            let record = self.store.command(&tenant, &id).await.unwrap();
            if record.is_none() {
                // It is there still, unless it is done with.
                let _ = fs::rename(acme.join("done").join(name), acme.join("commands").join(name));
            }
            record
        })
        .await
        .unwrap()
    }

    /// What stands on a lane: the commands' ids and texts.
    async fn queued(&self, lane: Lane) -> Vec<(String, String)> {
        let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
        let subject = SendSubject { tenant, channel, lane };
        let batch = SendQueue::new(self.bus.clone()).read(&subject, 1, 100, 0).await.unwrap();
        let read = |message: staffetta_bus::QueuedMessage| {
            let fields = command_fields(Encoding::of(Some(&message.headers)), &message.payload).unwrap();
            let text = fields.rest["text"]["body"].as_str().unwrap().to_owned();
            (fields.id.unwrap(), text)
        };
        batch.messages.into_iter().map(read).collect()
    }

    async fn ends(self, pickup: JoinHandle<()>) {
        self.stop.cancel();
        pickup.await.unwrap();
        self.following.await.unwrap();
    }
}

fn text(id: &str, body: &str) -> String {
    let mut command = json!({"to": "393481213456", "type": "text", "text": {"body": body}});
    if !id.is_empty() {
        command["id"] = id.into();
    }
    command.to_string()
}

#[tokio::test]
async fn a_command_file_is_queued_and_answered() {
    let erp = Erp::start().await;
    erp.puts("1.json", &text("inv-1", "uno"));
    erp.puts("2.json", &text("", "due"));
    let pickup = erp.picks_up(&erp.stop);
    let result = erp.result("1.json").await;
    assert_eq!((&result["id"], &result["state"]), (&json!("inv-1"), &json!("queued")));
    assert_eq!(result["channel"], "acme-orders");
    let second = erp.result("2.json").await;
    let queued = erp.queued(Lane::Normal).await;
    let id = second["id"].as_str().unwrap().to_owned();
    assert_eq!(queued, [("inv-1".into(), "uno".into()), (id.clone(), "due".into())]);
    let record = erp.known("1.json", "inv-1").await;
    assert_eq!((record.state, record.user.as_deref()), (CommandState::Queued, Some("393481213456")));
    erp.known("2.json", &id).await;
    let done = erp.root.path().join("acme/done");
    until("the files are out of the way", Duration::from_secs(120), async || {
        (names(&done) == ["1.json", "2.json"]).then_some(())
    })
    .await
    .unwrap();
    // The same file once more, as after a crash before it was moved: known, and not sent again.
    let sent = erp.queued(Lane::Normal).await.len();
    fs::remove_file(erp.root.path().join("acme/results/2.json")).unwrap();
    fs::rename(done.join("2.json"), erp.root.path().join("acme/commands/2.json")).unwrap();
    assert_eq!(erp.result("2.json").await["id"], second["id"]);
    assert_eq!(erp.queued(Lane::Normal).await.len(), sent);
    erp.ends(pickup).await;
}

#[tokio::test]
async fn a_bad_file_is_moved_aside_with_the_reason_and_others_go_on() {
    let erp = Erp::start().await;
    for (name, content, field) in [
        ("1.json", "[1, 2]".to_owned(), "payload"),
        ("2.json", r#"{"to":"x","type":"text","text":{"body":"a"}}"#.into(), "to"),
        (
            "3.json",
            r#"{"to":"393481213456","type":"text","text":{"body":"a"},"channel":"other-orders"}"#.into(),
            "channel",
        ),
        (
            "4.json",
            r#"{"to":"393481213456","type":"text","text":{"body":"a"},"channel":"no-such"}"#.into(),
            "channel",
        ),
        ("5.json", "x".repeat((1 << 20) + 1), "file"),
        ("6.json", text("inv-6", "sei"), ""),
    ] {
        erp.puts(name, &content);
        if field.is_empty() {
            continue;
        }
        let path = erp.root.path().join("acme/expected");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(name), field).unwrap();
    }
    let pickup = erp.picks_up(&erp.stop);
    assert_eq!(erp.result("6.json").await["state"], "queued");
    for name in names(&erp.root.path().join("acme/expected")) {
        let expected = fs::read_to_string(erp.root.path().join("acme/expected").join(&name)).unwrap();
        let result = erp.result(&name).await;
        assert_eq!((&result["state"], &result["field"]), (&json!("refused"), &json!(expected)), "{name}");
        let stem = name.strip_suffix(".json").unwrap();
        let reason = fs::read(erp.root.path().join(format!("acme/bad/{stem}.reason.json"))).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&reason).unwrap(), result);
        assert!(erp.root.path().join("acme/bad").join(&name).exists());
    }
    assert_eq!(erp.queued(Lane::Normal).await.len(), 1);
    erp.ends(pickup).await;
}

#[tokio::test]
async fn files_wait_in_order_while_their_lane_is_full_and_other_lanes_go_on() {
    let erp = Erp::start().await;
    for n in 1..=5 {
        erp.puts(&format!("{n}.json"), &text(&format!("inv-{n}"), &n.to_string()));
    }
    let urgent =
        json!({"id": "inv-6", "to": "393481213456", "type": "text", "text": {"body": "6"}, "lane": "urgent"});
    erp.puts("6.json", &urgent.to_string());
    let pickup = erp.picks_up(&erp.stop);
    erp.result("6.json").await;
    let ids = |queued: Vec<(String, String)>| queued.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    until("the lane to be full", Duration::from_secs(120), async || {
        (ids(erp.queued(Lane::Normal).await) == ["inv-1", "inv-2", "inv-3"]).then_some(())
    })
    .await
    .unwrap();
    // A file is moved once its result is there.
    let commands = erp.root.path().join("acme/commands");
    until("the others to be moved", Duration::from_secs(120), async || {
        (names(&commands) == ["4.json", "5.json"]).then_some(())
    })
    .await
    .unwrap();
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    let lane = SendSubject { tenant, channel, lane: Lane::Normal };
    let queue = SendQueue::new(erp.bus.clone());
    let first = queue.read(&lane, 1, 3, 0).await.unwrap().messages;
    let last = first.last().unwrap().sequence;
    queue.purge_below(&lane, last + 1).await.unwrap();
    erp.result("5.json").await;
    until("the others to be queued", Duration::from_secs(120), async || {
        (ids(erp.queued(Lane::Normal).await) == ["inv-4", "inv-5"]).then_some(())
    })
    .await
    .unwrap();
    erp.ends(pickup).await;
}

#[tokio::test]
async fn two_that_pick_up_at_a_time_send_once() {
    let erp = Erp::start().await;
    erp.puts("1.json", &text("", "uno"));
    let stop = CancellationToken::new();
    let (one, other) = (erp.picks_up(&stop), erp.picks_up(&erp.stop));
    erp.result("1.json").await;
    stop.cancel();
    one.await.unwrap();
    // Twice under one id is sent once; a slow machine may take longer over it than SEND knows an id.
    let queued = erp.queued(Lane::Normal).await;
    assert!(!queued.is_empty() && queued.iter().all(|entry| *entry == queued[0]), "{queued:?}");
    erp.ends(other).await;
}
