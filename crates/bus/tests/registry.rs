//! Writing and following the registry, against a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use staffetta_bus::{
    Bus, Entry, MasterKey, NumberClaim, Plan, Registry, RegistryError, RegistryFile, RegistryStore,
    RegistryView, Retention, Unnamed,
};
use staffetta_testkit::{NatsServer, until};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(30);

fn master(text: &str) -> Option<Arc<MasterKey>> {
    Some(Arc::new(MasterKey::new(&text.to_owned().into())))
}

const OLD: &str = "the master key of last year";
const NEW: &str = "the master key of this year";

struct World {
    _server: NatsServer,
    bus: Bus,
    store: RegistryStore,
}

/// A registry that is followed for as long as this lives.
struct Followed {
    view: RegistryView,
    _stop: DropGuard,
}

impl World {
    async fn new() -> Self {
        let server = NatsServer::start().await.unwrap();
        let bus = Bus::connect(server.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 100 };
        bus.set_up_streams(&retention).await.unwrap();
        let store = RegistryStore::open(&bus, master(OLD)).await.unwrap();
        Self { _server: server, bus, store }
    }

    async fn bucket(&self) -> kv::Store {
        self.bus.jetstream().get_key_value("REGISTRY").await.unwrap()
    }

    async fn follow(&self, master: Option<Arc<MasterKey>>) -> Followed {
        let stop = CancellationToken::new();
        let (view, following) = RegistryView::follow(&self.bus, master, stop.clone()).await.unwrap();
        tokio::spawn(following);
        Followed { view, _stop: stop.drop_guard() }
    }

    async fn plan(&self, text: &str) -> Plan {
        self.store.plan(vec![RegistryFile::parse(text).unwrap()], Unnamed::Keep).await.unwrap()
    }

    /// Applies a file, and gives back what changed.
    async fn apply(&self, text: &str) -> Vec<String> {
        let plan = self.plan(text).await;
        let changes = plan.changes().map(ToString::to_string).collect();
        self.store.apply(plan).await.unwrap();
        changes
    }

    async fn keys(&self) -> Vec<String> {
        self.store.entries().await.unwrap().iter().map(|(_, entry)| entry.key()).collect()
    }
}

impl Followed {
    async fn until(&self, what: &str, mut probe: impl FnMut(&Registry) -> bool) -> Arc<Registry> {
        let probe = async || {
            let registry = self.view.load();
            probe(&registry).then_some(registry)
        };
        until(what, LIMIT, probe).await.unwrap()
    }
}

fn tenant(id: &str, more: &str) -> String {
    format!("[[tenant]]\nid = \"{id}\"\n{more}\n")
}

fn channel(id: &str, tenant: &str, more: &str) -> String {
    format!("[[channel]]\nid = \"{id}\"\ntenant = \"{tenant}\"\nprovider = \"cloud_api\"\n{more}\n")
}

#[tokio::test]
async fn what_is_applied_is_followed_and_applied_again_changes_nothing() {
    let world = World::new().await;
    let followed = world.follow(master(OLD)).await;
    let text = tenant("acme", "api_keys = [\"a key of ours\"]")
        + &channel("orders", "acme", "phone_number_id = \"1\"\naccess_token = \"s3cret\"");
    assert_eq!(world.apply(&text).await, ["+ tenant.acme", "+ channel.orders"]);
    let registry = followed.until("the channel", |now| now.channels().count() == 1).await;
    assert!(registry.key("a key of ours").is_some());
    assert!(registry.channel_of_number("1").unwrap().access_token.is_some());
    assert_eq!(world.apply(&text).await, [""; 0]);
    let changed = text.replace("s3cret", "s3cret2") + "rate = 80\n";
    assert_eq!(world.apply(&changed).await, ["~ channel.orders (access_token, rate)"]);
    followed.until("the rate", |now| now.channels().all(|channel| channel.rate == 80)).await;
    let plan = world.store.plan(vec![RegistryFile::default()], Unnamed::Delete).await.unwrap();
    let changes: Vec<String> = plan.changes().map(ToString::to_string).collect();
    assert_eq!(changes, ["- channel.orders", "- tenant.acme"]);
    world.store.apply(plan).await.unwrap();
    followed.until("nothing any more", |now| now.tenants().count() == 0).await;
    // What was deleted can come back.
    assert_eq!(world.apply(&text).await, ["+ tenant.acme", "+ channel.orders"]);
}

#[tokio::test]
async fn of_two_writers_one_writes_all_and_the_other_nothing() {
    let world = World::new().await;
    world.apply(&(tenant("acme", "") + &channel("orders", "acme", ""))).await;
    let one = world.plan(&channel("orders", "acme", "rate = 80")).await;
    let other = world
        .plan(
            &(tenant("other", "") + &channel("sales", "other", "") + &channel("orders", "acme", "rate = 20")),
        )
        .await;
    world.store.apply(one).await.unwrap();
    let error = world.store.apply(other).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Conflict(key) if key == "channel.orders"), "{error}");
    assert_eq!(world.keys().await, ["channel.orders", "tenant.acme"]);
    // Two that make the same entry at once.
    let (one, other) =
        (world.plan(&tenant("new", "")).await, world.plan(&tenant("new", "name = \"N\"")).await);
    let (one, other) = tokio::join!(world.store.apply(one), world.store.apply(other));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    // And one that deletes what the other changes.
    let delete = world.store.plan(vec![RegistryFile::default()], Unnamed::Delete).await.unwrap();
    world.apply(&tenant("acme", "name = \"A\"")).await;
    assert!(
        matches!(world.store.apply(delete).await, Err(RegistryError::Conflict(key)) if key == "tenant.acme")
    );
    assert_eq!(world.keys().await, ["channel.orders", "tenant.acme", "tenant.new"]);
}

#[tokio::test]
async fn errors_name_files_lines_and_keys() {
    let world = World::new().await;
    let file = |name: &str, text: &str| RegistryFile::parse_named(name, text).unwrap();
    for (files, expected) in [
        (
            vec![
                file("a.toml", &tenant("acme", "")),
                file("b.toml", &("\n".to_owned() + &tenant("acme", ""))),
            ],
            "b.toml: line 3: tenant.acme: stands there twice, with one id: also a.toml: line 2",
        ),
        (
            vec![file("a.toml", &(channel("orders", "acme", "")))],
            "a.toml: line 3: channel.orders: its tenant acme is not registered",
        ),
        (
            vec![
                file("t.toml", &tenant("acme", "")),
                file("a.toml", &channel("a", "acme", "phone_number_id = \"1\"")),
                file("b.toml", &channel("b", "acme", "rate = 20\nphone_number_id = \"1\"")),
            ],
            "b.toml: line 6: channel.b: channel.a has the same phone_number_id (a.toml: line 5)",
        ),
        (
            vec![file("t.toml", &tenant("acme", "\napi_keys = [{ sha256 = \"ab\" }]"))],
            "t.toml: line 4: tenant.acme/api_keys: sha256 must be 64 hexadecimal digits",
        ),
    ] {
        let error = world.store.plan(files, Unnamed::Keep).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn the_last_claim_of_a_number_wins_and_a_new_token_is_no_claim() {
    let world = World::new().await;
    let followed = world.follow(master(OLD)).await;
    let one = channel("one", "acme", "phone_number_id = \"1\"\naccess_token = \"t\"");
    let two = channel("two", "other", "phone_number_id = \"1\"");
    world.apply(&(tenant("acme", "") + &tenant("other", "") + &one)).await;
    let plan = world.plan(&two).await;
    let takes = NumberClaim::Takes { channel: "channel.two".into(), from: "channel.one".into() };
    assert_eq!(plan.claims(), std::slice::from_ref(&takes));
    assert_eq!(takes.to_string(), "! channel.two takes the number of channel.one");
    world.store.apply(plan).await.unwrap();
    let owner = |now: &Registry| now.channel_of_number("1").map(|channel| channel.id.to_string());
    let lost = |now: &Registry| -> Vec<String> {
        now.channels().filter(|channel| channel.number_lost).map(|channel| channel.id.to_string()).collect()
    };
    let registry = followed.until("the new owner", |now| owner(now).as_deref() == Some("two")).await;
    assert_eq!(lost(&registry), ["one"]);
    // The loser's entry changes in another key.
    let plan = world.plan(&one.replace("\"t\"", "\"u\"")).await;
    assert_eq!(plan.changes().map(ToString::to_string).collect::<Vec<_>>(), ["~ channel.one (access_token)"]);
    let kept = NumberClaim::Lost { channel: "channel.one".into(), to: "channel.two".into() };
    assert_eq!(plan.claims(), [kept]);
    world.store.apply(plan).await.unwrap();
    world.apply(&tenant("seen", "")).await;
    let registry = followed.until("the token", |now| now.tenants().count() == 3).await;
    assert_eq!((owner(&registry).as_deref(), lost(&registry)), (Some("two"), vec!["one".to_owned()]));
    // Who gives it up gives it back.
    let plan = world.plan(&channel("two", "other", "")).await;
    assert_eq!(plan.claims()[0].to_string(), "! channel.one takes the number of channel.two");
    world.store.apply(plan).await.unwrap();
    let registry = followed.until("the old owner", |now| owner(now).as_deref() == Some("one")).await;
    assert!(lost(&registry).is_empty());
    // And who names it again claims it again.
    world.apply(&two).await;
    followed.until("the new owner", |now| owner(now).as_deref() == Some("two")).await;
}

#[tokio::test]
async fn everything_is_sealed_anew_and_no_number_moves() {
    let world = World::new().await;
    // The loser's token is sealed and its entry will be written, the owner's is not.
    let one = channel("one", "acme", "phone_number_id = \"1\"\naccess_token = \"t0\"");
    let app =
        "[[app]]\nid = \"a\"\napp_secret = [\"s\", { env = \"NOT_SET_ANYWHERE\" }]\nverify_token = \"v\"\n";
    world.apply(&(tenant("acme", "api_keys = [\"k\"]") + &one + app)).await;
    world.apply(&one.replace("t0", "t")).await;
    world.apply(&channel("two", "acme", "phone_number_id = \"1\"")).await;

    let alone = RegistryStore::open(&world.bus, master(NEW)).await.unwrap();
    let unopened = alone.rotate().await.unwrap().unopened;
    assert_eq!(unopened.len(), 3, "{unopened:?}");
    let ring = MasterKey::new(&NEW.to_owned().into()).with_previous(&OLD.to_owned().into());
    let ring = Some(Arc::new(ring));
    let store = RegistryStore::open(&world.bus, ring.clone()).await.unwrap();
    let before = world.follow(ring).await;
    let revision = |registry: &Registry, id: &str| registry.channel(&id.parse().unwrap()).unwrap().revision;
    let claims = (revision(&before.view.load(), "one"), revision(&before.view.load(), "two"));

    let rotation = store.rotate().await.unwrap();
    assert_eq!(rotation.sealed_anew, ["app.a/app_secret", "app.a/verify_token", "channel.one/access_token"]);
    assert!(rotation.unopened.is_empty(), "{rotation:?}");
    let again = store.rotate().await.unwrap();
    assert_eq!((again.sealed_anew.len(), again.current), (0, 3));

    let registry = world.follow(master(NEW)).await.view.load();
    assert_eq!(registry.problems().len(), 1, "{:?}", registry.problems());
    assert!(registry.channel(&"one".parse().unwrap()).unwrap().access_token.is_some());
    assert_eq!((revision(&registry, "one"), revision(&registry, "two")), claims);
    assert_eq!(registry.channel_of_number("1").unwrap().id.as_str(), "two");
    // Nothing that the old key opens is left.
    let history = world.bucket().await.history("channel.one").await.unwrap();
    let history: Vec<_> = futures_util::TryStreamExt::try_collect(history).await.unwrap();
    assert_eq!(history.len(), 1);
    let text = app.to_owned() + &one.replace("t0", "t");
    let plan = store.plan(vec![RegistryFile::parse(&text).unwrap()], Unnamed::Keep).await.unwrap();
    assert_eq!(plan.changes().count(), 0);
}

#[tokio::test]
async fn an_export_changes_nothing_here_and_makes_the_same_elsewhere() {
    let world = World::new().await;
    let text = tenant("acme", "api_keys = [\"k\", { env = \"NOT_SET_ANYWHERE\", scopes = [\"read\"] }]")
        + &channel("one", "acme", "access_token = \"t\"");
    world.apply(&text).await;
    let export = world.store.export().await.unwrap();
    assert!(export.contains("{ sealed = ") && export.contains("{ sha256 = "), "{export}");
    assert_eq!(world.apply(&export).await, [""; 0]);
    let elsewhere = World::new().await;
    assert_eq!(elsewhere.apply(&export).await, ["+ tenant.acme", "+ channel.one"]);
    assert_eq!(elsewhere.store.export().await.unwrap(), export);
    assert_eq!(elsewhere.apply(&text).await, [""; 0]);
    // With another master key it can't be used, and is not taken.
    let stranger = RegistryStore::open(&elsewhere.bus, master(NEW)).await.unwrap();
    let file = RegistryFile::parse_named("export.toml", &export).unwrap();
    let error = stranger.plan(vec![file], Unnamed::Keep).await.unwrap_err().to_string();
    assert!(
        error.starts_with("export.toml: line ") && error.contains("channel.one/access_token was sealed"),
        "{error}"
    );
}

#[tokio::test]
async fn single_entries_are_shown_changed_and_deleted() {
    let world = World::new().await;
    world.apply(&tenant("acme", "api_keys = [\"k\"]")).await;
    let (revision, entry) = world.store.entry("tenant.acme").await.unwrap().unwrap();
    let mut shown = entry.shown();
    shown["name"] = "Acme".into();
    let changed = Entry::from_json("tenant", shown).unwrap();
    let new = world.store.put(changed.clone(), Some(revision)).await.unwrap();
    assert!(new > revision);
    let stored = world.store.entry("tenant.acme").await.unwrap().unwrap();
    assert_eq!((stored.0, stored.1.shown()["name"].as_str()), (new, Some("Acme")));
    assert_eq!(
        world.apply(&tenant("acme", "name = \"Acme\"\napi_keys = [\"k\"]")).await,
        [""; 0],
        "its key is the same"
    );
    for stale in [Some(revision), None] {
        let refused = world.store.put(changed.clone(), stale).await;
        assert!(matches!(refused, Err(RegistryError::Conflict(_))), "{refused:?}");
    }
    let orders = serde_json::json!({"id": "orders", "tenant": "acme", "provider": "cloud_api"});
    let orders = Entry::from_json("channel", orders).unwrap();
    assert!(matches!(world.store.put(orders.clone(), Some(9)).await, Err(RegistryError::Conflict(_))));
    let channel = world.store.put(orders, None).await.unwrap();
    let stray = serde_json::json!({"id": "stray", "tenant": "nobody", "provider": "cloud_api"});
    let refused = world.store.put(Entry::from_json("channel", stray).unwrap(), None).await;
    assert!(matches!(refused, Err(RegistryError::Wrong { key: Some(key), .. }) if key == "tenant"));

    let refused = world.store.delete("tenant.acme", new).await.unwrap_err().to_string();
    assert_eq!(refused, "tenant.acme: channel.orders still refer to it");
    assert!(matches!(world.store.delete("channel.orders", 1).await, Err(RegistryError::Conflict(_))));
    world.store.delete("channel.orders", channel).await.unwrap();
    assert!(world.store.entry("channel.orders").await.unwrap().is_none());
    world.store.delete("tenant.acme", new).await.unwrap();
    assert!(world.store.entries().await.unwrap().is_empty());
    assert!(world.store.entry("tenant.*").await.unwrap().is_none());
    // What was deleted is new again.
    world.store.put(changed, None).await.unwrap_err();
    let fresh = serde_json::json!({"id": "acme"});
    world.store.put(Entry::from_json("tenant", fresh).unwrap(), None).await.unwrap();
}

#[tokio::test]
async fn thousands_are_applied_at_once_and_a_burst_is_shown_in_few_steps() {
    let world = World::new().await;
    let mut followed = world.follow(None).await;
    let tenants: String = (0..500).map(|n| tenant(&format!("t{n}"), "")).collect();
    let channels: String = (0..1_700)
        .map(|n| channel(&format!("c{n}"), &format!("t{}", n % 500), &format!("phone_number_id = \"{n}\"")))
        .collect();
    let text = tenants + &channels;
    assert_eq!(world.apply(&text).await.len(), 2_200);
    followed.until("all channels", |now| now.channels().count() == 1_700).await;
    assert_eq!(world.follow(None).await.view.load().channels().count(), 1_700, "read from the beginning");
    assert_eq!(world.apply(&text).await.len(), 0);

    // One by one, as somebody else's program might.
    let bucket = world.bucket().await;
    let start = Instant::now();
    let mut shown = 0_u32;
    let watching = async {
        loop {
            followed.view.changed().await;
            shown += 1;
            if followed.view.load().channel_of_number("last").is_some() {
                break;
            }
        }
    };
    let writing = async {
        for n in 0..400 {
            let number = if n == 399 { "last".to_owned() } else { n.to_string() };
            let entry = serde_json::json!({
                "id": format!("c{n}"), "tenant": "t0", "provider": "cloud_api", "phone_number_id": number,
            });
            bucket.put(format!("channel.c{n}"), entry.to_string().into()).await.unwrap();
        }
    };
    tokio::join!(watching, writing);
    // Not more often than every tenth of a second, however long it took; the first and the last show at once.
    let most = u32::try_from(start.elapsed().as_millis() / 100).unwrap() + 2;
    assert!(shown <= most, "{shown} times in {:?}", start.elapsed());
}

#[tokio::test]
async fn what_other_versions_left_is_no_obstacle() {
    let world = World::new().await;
    let bucket = world.bucket().await;
    // A bucket from before several changes were written as one.
    let mut config = bucket.stream.cached_info().config.clone();
    config.allow_atomic_publish = false;
    world.bus.jetstream().update_stream(config).await.unwrap();
    let store = RegistryStore::open(&world.bus, None).await.unwrap();
    // An entry that this version can't read, and one of which it knows the most.
    bucket.put("tenant.acme", "{\"id\":\"acme\",\"colour\":\"red\",\"needs\":99}".into()).await.unwrap();
    bucket.put("tenant.bravo", "{\"id\":\"bravo\",\"colour\":\"red\"}".into()).await.unwrap();
    let followed = world.follow(None).await;
    let known: Vec<_> = followed.view.load().tenants().map(|tenant| tenant.id.to_string()).collect();
    assert_eq!(known, ["bravo"]);
    let file = RegistryFile::parse(&tenant("acme", "")).unwrap();
    let plan = store.plan(vec![file], Unnamed::Keep).await.unwrap();
    store.apply(plan).await.unwrap();
    followed.until("the tenant", |now| now.tenants().count() == 2).await;
    // What it does not know of the other stays there, whoever writes it.
    let file = RegistryFile::parse(&tenant("bravo", "encoding = \"json\"")).unwrap();
    store.apply(store.plan(vec![file], Unnamed::Keep).await.unwrap()).await.unwrap();
    let stored = bucket.get("tenant.bravo").await.unwrap().unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!((&stored["encoding"], &stored["colour"]), (&"json".into(), &"red".into()));
}
