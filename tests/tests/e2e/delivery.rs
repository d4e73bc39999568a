//! What happens arrives at the endpoints of its tenant: in each of their formats, and whoever dies on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use staffetta_testkit::{NatsOptions, NatsSync, until};
use staffetta_tests::{
    CARE, Hook, HookPost, Installation, LIMIT, ORDERS, RegistryText, SeenEvent, Service, Setup, SigningKey,
    Storage, Streams, User, free_port, text,
};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::arrivals::{assert_arrived, begun, event, hook_lines, taken, takes_all, told_to_acme, writes};
use crate::{all, apply_lines};

/// Between two messages of one user, and between two commands.
const PACE: Duration = Duration::from_millis(20);
/// Events that may wait for an endpoint before nobody writes any more.
const BEHIND: usize = 600;
const SHARED: &[u8] = b"what both sides know of each other";

/// A user of acme.
fn user(n: usize) -> User {
    User::of_phone(&format!("Utente {n}"), &format!("3934813{n:05}"))
}

/// Users write and are written to; everything of it is told when this returns.
async fn talk(staffetta: &Installation, streams: &Streams, name: &str) {
    let acme = staffetta.tenant(ORDERS, streams);
    let mut wanted = Vec::new();
    for round in 0..4 {
        for n in 0..5 {
            let user = user(n);
            let command = text(&format!("{name}-{n}-{round}"), user.phone.as_deref().unwrap());
            let wamid = format!("wamid.{name}-{n}-{round}");
            acme.send(&command).await.unwrap();
            writes(staffetta, &user, &wamid).await;
            wanted.extend(all("command.accepted", &[command]));
            wanted.push(("message.received", wamid));
        }
    }
    staffetta.told(streams, &wanted).await.unwrap();
    staffetta.settled(streams).await.unwrap();
}

#[tokio::test]
async fn each_format_brings_everything_signed_and_in_order() {
    let spool = tempfile::tempdir().unwrap();
    let folder = spool.path().canonicalize().unwrap();
    let settings = vec![("STAFFETTA__DELIVERY__SPOOL_ROOT", folder.display().to_string())];
    let (staffetta, mut up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (plain, meta, form) =
        (Hook::start().await.unwrap(), Hook::start().await.unwrap(), Hook::start().await.unwrap());
    let (new, old) = (SigningKey::Ed25519([7; 32]), SigningKey::Shared(SHARED.into()));
    let lines = [
        hook_lines("acme-erp", plain.url()),
        format!("secret = [{:?}, {:?}]\n", new.secret(), old.secret()),
        hook_lines("acme-meta", meta.url()),
        "format = \"cloud_api\"\nsecret = \"as an app's\"\n".into(),
        hook_lines("acme-form", form.url()),
        format!(
            "format = \"form\"\nws_webhook_ticket = \"T-1\"\nws_webhook_context_string = \"AZIENDA=1&2\"\nsecret = {:?}\n",
            old.secret()
        ),
        format!(
            "[[endpoint]]\nid = \"acme-folder\"\ntenant = \"acme\"\nkind = \"spool\"\ncheck_file_path = {:?}\n",
            folder.join("erp")
        ),
    ];
    apply_lines(&staffetta, &lines.concat()).await;
    let from = begun(&staffetta, &streams, "begin", || {
        let hooks = [&plain, &meta, &form].iter().all(|hook| !hook.posts().is_empty());
        hooks && !files(&folder.join("erp/events")).is_empty()
    });
    let from = from.await;

    talk(&staffetta, &streams, "talk").await;
    let told = told_to_acme(&streams, from).await;
    assert!(told.len() > 5 * 4 * 4, "{}", told.len());

    let posts = takes_all(&plain, &told).await;
    for post in &posts {
        assert_eq!(post.headers["content-type"], "application/cloudevents+json; charset=utf-8");
        assert_eq!(post.headers["webhook-id"].to_str().unwrap(), post.json()["id"]);
        new.check(post).unwrap();
        old.check(post).unwrap();
        SigningKey::Shared(b"another".into()).check(post).unwrap_err();
    }
    assert_arrived(&told, &taken(&posts));
    assert_once(&up, posts.iter().map(|post| event(&post.json()).id));

    as_meta_would(&up, &meta, &told).await;
    as_form_fields(&up, &form, &old, &told).await;
    as_files(&up, &folder.join("erp"), &told).await;
    up.stop().await.unwrap();
}

/// Nothing died, so nothing came twice: unless whoever delivered lost the right to.
#[track_caller]
fn assert_once(up: &Service, ids: impl Iterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for id in ids {
        assert!(seen.insert(id.clone()) || !up.kept_its_parts(), "{id} came twice");
    }
}

/// Messages and statuses in Meta's envelope, each with the wamid, the status if it is one, and the user's number.
async fn as_meta_would(up: &Service, hook: &Hook, told: &[SeenEvent]) {
    let of_meta = |post: &HookPost| {
        let body = post.json();
        let value = &body["entry"][0]["changes"][0]["value"];
        let one = |name: &str| value[name].get(0).cloned();
        let (thing, user) = match (one("messages"), one("statuses")) {
            (Some(message), None) => (message, "from"),
            (None, Some(status)) => (status, "recipient_id"),
            other => panic!("{other:?}"),
        };
        assert_eq!(value["metadata"]["phone_number_id"], ORDERS.phone_number_id);
        let word = |name: &str| thing[name].as_str().unwrap_or_default().to_owned();
        (word(user), word("id"), word("status"))
    };
    let mut wanted = BTreeMap::<String, Vec<(String, String)>>::new();
    for event in told.iter().filter(|event| event.kind.starts_with("message.")) {
        let status = event.data["status"].as_str().unwrap_or_default();
        let user = event.data["from"].as_str().or(event.data["recipient"].as_str()).unwrap();
        wanted.entry(user.into()).or_default().push((event.subject.clone(), status.into()));
    }
    let count = wanted.values().map(Vec::len).sum::<usize>();
    let begin = |post: &HookPost| post.body.contains("wamid.begin");
    let came = hook.until(|posts| {
        let things: BTreeSet<_> = posts.iter().filter(|post| !begin(post)).map(of_meta).collect();
        things.len() >= count
    });
    let came = came.await.unwrap();
    let mut got = BTreeMap::<String, Vec<(String, String)>>::new();
    for post in came.iter().filter(|post| !begin(post)) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"as an app's");
        let signature = format!("sha256={}", hex::encode(hmac::sign(&key, post.body.as_bytes())));
        assert_eq!(post.headers["x-hub-signature-256"].to_str().unwrap(), signature);
        let (user, wamid, status) = of_meta(post);
        let of_user = got.entry(user).or_default();
        if !of_user.contains(&(wamid.clone(), status.clone())) || up.kept_its_parts() {
            of_user.push((wamid, status));
        }
    }
    assert_eq!(got, wanted);
}

async fn as_form_fields(up: &Service, hook: &Hook, key: &SigningKey, told: &[SeenEvent]) {
    let posts = takes_all_forms(hook, told).await;
    let mut came = Vec::new();
    for post in &posts {
        key.check(post).unwrap();
        let fields = fields(post);
        let whole = event(&serde_json::from_str(&fields["payload"]).unwrap());
        assert_eq!((&*fields["ticket"], &*fields["context_string"]), ("T-1", "AZIENDA=1&2"));
        assert_eq!((&fields["id"], &fields["event"]), (&whole.id, &format!("staffetta.{}", whole.kind)));
        assert_eq!((&*fields["tenant"], &*fields["channel"]), ("acme", "acme-orders"));
        match whole.kind.as_str() {
            "message.received" => {
                assert_eq!((&fields["wamid"], &fields["text"]), (&whole.subject, &whole.subject));
                assert_eq!(fields["to"], ORDERS.display);
                assert_eq!(fields["from"], whole.data["from"].as_str().unwrap());
            }
            "command.accepted" => assert_eq!(fields["command_id"], whole.subject),
            "message.status" => assert_eq!(fields["status"], whole.data["status"].as_str().unwrap()),
            "command.in_doubt" if !up.kept_its_parts() => {}
            other => panic!("{other}"),
        }
        came.push(whole);
    }
    assert_arrived(told, &came);
    assert_once(up, came.into_iter().map(|event| event.id));
}

async fn takes_all_forms(hook: &Hook, told: &[SeenEvent]) -> Vec<HookPost> {
    let all = hook.until(|posts| {
        let ids: BTreeSet<String> = posts.iter().map(|post| fields(post)["id"].clone()).collect();
        told.iter().all(|event| ids.contains(&event.id))
    });
    all.await.unwrap()
}

/// The fields of a form.
fn fields(post: &HookPost) -> BTreeMap<String, String> {
    assert_eq!(
        post.headers["content-type"].to_str().unwrap().split(';').next(),
        Some("application/x-www-form-urlencoded")
    );
    let url = reqwest::Url::parse(&format!("http://form/?{}", post.body)).unwrap();
    url.query_pairs().into_owned().collect()
}

/// A file for each event, and a line of the manifest for each file, in the order in which they came.
async fn as_files(up: &Service, folder: &Path, told: &[SeenEvent]) {
    let events = folder.join("events");
    let wanted: BTreeSet<&str> = told.iter().map(|event| event.id.as_str()).collect();
    let manifest = until("a line for each event", LIMIT, async || {
        let lines = lines_of(&events);
        let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
        wanted.is_subset(&ids).then_some(lines)
    });
    let manifest = manifest.await.unwrap();
    let mut came = Vec::new();
    for line in &manifest {
        let name = line["file"].as_str().unwrap();
        let bytes = fs::read(events.join(name)).unwrap();
        assert_eq!(line["sha256"], hex::encode(digest::digest(&digest::SHA256, &bytes)));
        let whole = event(&serde_json::from_slice(&bytes).unwrap());
        assert_eq!(line["id"], whole.id);
        assert_eq!(name, format!("{:020}-{}.json", line["sequence"].as_u64().unwrap(), whole.id));
        came.push(whole);
    }
    assert_arrived(told, &came);
    assert_eq!(files(&events).len(), manifest.len(), "a line for each file");
    assert_once(up, came.into_iter().map(|event| event.id));
}

fn lines_of(events: &Path) -> Vec<Value> {
    let manifest = fs::read_to_string(events.join("manifest.jsonl")).unwrap_or_default();
    // The last line may be on its way.
    let whole = manifest.rfind('\n').map_or("", |end| &manifest[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of the events' files.
fn files(events: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(events) else { return Vec::new() };
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.') && name.ends_with(".json")).collect()
}

#[tokio::test]
async fn a_dead_endpoint_delays_no_other_and_gets_it_all_when_it_is_back() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (well, ill) = (Hook::start().await.unwrap(), Hook::start().await.unwrap());
    let nobody = format!("http://127.0.0.1:{}/hook", free_port().unwrap());
    let lines = [
        hook_lines("acme-well", well.url()),
        hook_lines("acme-ill", ill.url()),
        hook_lines("acme-dead", &nobody),
    ];
    apply_lines(&staffetta, &lines.concat()).await;
    let acme = staffetta.tenant(ORDERS, &streams);
    let shows = async |id: &str, field: &str, value: &str| {
        let what = format!("{id} to show that its {field} is {value}");
        let shown = async || {
            let (_, endpoint) = acme.read(&format!("/v1/endpoints/{id}")).await.ok()?;
            (endpoint[field] == value).then_some(())
        };
        until(&what, LIMIT, shown).await.unwrap();
    };
    ill.answers(503);
    // That it has failed shows that it has begun.
    begun(&staffetta, &streams, "begin", || !well.posts().is_empty() && !ill.posts().is_empty()).await;
    shows("acme-dead", "state", "failing").await;
    let from = streams.events().await.unwrap().len();

    talk(&staffetta, &streams, "talk").await;
    let told = told_to_acme(&streams, from).await;
    let posts = takes_all(&well, &told).await;
    assert_arrived(&told, &taken(&posts));
    assert_once(&up, posts.iter().map(|post| event(&post.json()).id));
    assert_eq!(taken(&ill.posts()), []);
    // On a busy machine a try may come to nothing for another reason.
    shows("acme-dead", "last_error", "no connection could be made").await;
    let tried = until("the tries of the ill one", LIMIT, async || {
        let tries = acme.list("/v1/endpoints/acme-ill/attempts?failed=true", 5).await.ok()?;
        assert!(
            tries.iter().all(|attempt| attempt["status"] == 503 || attempt["status"].is_null()),
            "{tries:#?}"
        );
        tries.iter().any(|attempt| attempt["status"] == 503).then_some(())
    });
    tried.await.unwrap();

    ill.answers(200);
    assert_arrived(&told, &taken(&takes_all(&ill, &told).await));
    // The dead one moves to where somebody lives.
    let heir = Hook::start().await.unwrap();
    apply_lines(&staffetta, &hook_lines("acme-dead", heir.url())).await;
    assert_arrived(&told, &taken(&takes_all(&heir, &told).await));
    shows("acme-dead", "state", "delivering").await;
}

#[tokio::test]
async fn delivery_and_nats_may_be_killed_and_nothing_is_lost() {
    let nats = NatsOptions { sync: NatsSync::Always, ..NatsOptions::default() };
    let setup = Setup { storage: Storage::Postgres, nats: Some(nats), ..Setup::default() };
    let mut staffetta = Installation::prepare(setup).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let others: Vec<Service> =
        try_join_all(["ingress", "recorder", "dispatcher"].map(|role| staffetta.start(role))).await.unwrap();
    let mut deliveries =
        try_join_all([staffetta.start("delivery"), staffetta.start("delivery")]).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let hooks = try_join_all((0..4).map(|_| Hook::start())).await.unwrap();
    let lines = hooks.iter().enumerate().map(|(n, hook)| hook_lines(&format!("acme-{n}"), hook.url()));
    apply_lines(&staffetta, &lines.collect::<String>()).await;
    let from =
        begun(&staffetta, &streams, "begin", || hooks.iter().all(|hook| !hook.posts().is_empty())).await;

    let (enough, brake) = (CancellationToken::new(), AtomicBool::new(false));
    let meta = staffetta.meta.clone();
    let acme = staffetta.tenant(ORDERS, &streams);
    let post = async |n: usize| {
        let (user, mut pace, mut wamids) = (user(n), interval(PACE * 5), Vec::new());
        while !enough.is_cancelled() {
            pace.tick().await;
            if brake.load(Ordering::Relaxed) {
                continue;
            }
            let wamid = format!("wamid.load-{n}-{}", wamids.len());
            let message = user.text(&wamid, 1_795_257_000);
            meta.deliver(&user.webhook(ORDERS, &[message])).await.unwrap();
            wamids.push(wamid);
        }
        wamids
    };
    let publish = async || {
        let (mut pace, mut commands) = (interval(PACE * 5), Vec::new());
        while !enough.is_cancelled() {
            pace.tick().await;
            if brake.load(Ordering::Relaxed) {
                continue;
            }
            let n = commands.len();
            let command = text(&format!("load-{n}"), user(n % 20).phone.as_deref().unwrap());
            until("an acknowledgement", LIMIT, async || acme.send(&command).await.ok()).await.unwrap();
            commands.push(command);
        }
        commands
    };
    // Nobody writes more than a slow machine gets done in the end. The last endpoint, which will be ill, holds nobody up.
    let watch = async {
        let mut pace = interval(PACE * 10);
        while !enough.is_cancelled() {
            pace.tick().await;
            let taken = hooks[..3].iter().map(taken_by).min().unwrap();
            let Ok(told) = streams.waiting("EVENTS").await else { continue };
            brake.store(usize::try_from(told).unwrap() > from + taken + BEHIND, Ordering::Relaxed);
        }
    };
    let nats = staffetta.nats.as_mut().unwrap();
    let deaths = async {
        // The last endpoint is ill for a while: what it has not taken must outlast a kill too.
        let (well, ill) = (&hooks[..3], &hooks[3]);
        for (delivery, answer) in deliveries.iter_mut().zip([500, 200]) {
            delivery.kill().await.unwrap();
            more(well, 60).await;
            ill.answers(answer);
            delivery.start().await.unwrap();
            more(well, 60).await;
        }
        nats.kill().await.unwrap();
        nats.restart().await.unwrap();
        more(&hooks, 60).await;
        // Both, so that nobody takes over meanwhile.
        for delivery in &mut deliveries {
            delivery.kill().await.unwrap();
        }
        for delivery in &mut deliveries {
            delivery.start().await.unwrap();
        }
        more(&hooks, 60).await;
        enough.cancel();
    };
    let ((), (), wamids, commands) = tokio::join!(deaths, watch, join_all((0..6).map(post)), publish());

    let mut wanted = all("command.accepted", &commands);
    wanted.extend(wamids.into_iter().flatten().map(|wamid| ("message.received", wamid)));
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let told = told_to_acme(&streams, from).await;
    for hook in &hooks {
        assert_arrived(&told, &taken(&takes_all(hook, &told).await));
    }
    assert_eq!(streams.dead().await.unwrap(), []);
    for mut service in deliveries.into_iter().chain(others) {
        service.stop().await.unwrap();
    }
}

/// Waits until each has taken so many more.
async fn more(hooks: &[Hook], count: usize) {
    let before: Vec<usize> = hooks.iter().map(taken_by).collect();
    let more = until("each endpoint to take more", LIMIT, async || {
        hooks.iter().zip(&before).all(|(hook, before)| taken_by(hook) >= before + count).then_some(())
    });
    more.await.unwrap();
}

/// How many it has taken.
fn taken_by(hook: &Hook) -> usize {
    hook.count(|post| post.answered < 300)
}

#[tokio::test]
async fn an_endpoint_hears_nothing_of_another_tenant() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (Hook::start().await.unwrap(), Hook::start().await.unwrap());
    let theirs = hook_lines("globex-erp", globex.url()).replace("\"acme\"", "\"globex\"");
    apply_lines(&staffetta, &(hook_lines("acme-erp", acme.url()) + &theirs)).await;
    begun(&staffetta, &streams, "begin", || !acme.posts().is_empty()).await;

    let tenants = [(ORDERS, &acme), (CARE, &globex)];
    // The other one begins by a message to its own number.
    let mut pace = interval(PACE * 10);
    let mut tries = 0;
    let heard = until("the other endpoint to begin", LIMIT, async || {
        pace.tick().await;
        tries += 1;
        let message = user(9).text(&format!("wamid.theirs-{tries}"), 1_795_257_000);
        staffetta.meta.deliver(&user(9).webhook(CARE, &[message])).await.ok()?;
        (!globex.posts().is_empty()).then_some(())
    });
    heard.await.unwrap();
    let from = streams.events().await.unwrap().len();
    for (number, _) in tenants {
        let answer = staffetta.tenant(number, &streams).post(&text("same-id", "393481300001")).await.unwrap();
        assert_eq!(answer.0.as_u16(), 202, "{answer:?}");
    }
    let told = until("both commands to end", LIMIT, async || {
        let events = streams.events().await.ok()?.split_off(from);
        let ends = events.iter().filter(|event| event.is("command.accepted", "same-id")).count();
        (ends == 2).then_some(())
    });
    told.await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap().split_off(from);
    for (number, hook) in tenants {
        let source = format!("/tenants/{}/", number.tenant);
        let own: Vec<SeenEvent> =
            events.iter().filter(|event| event.source.starts_with(&source)).cloned().collect();
        let posts = takes_all_of(hook, &own).await;
        assert!(posts.iter().all(|post| event(&post.json()).source.starts_with(&source)));
    }
}

async fn takes_all_of(hook: &Hook, own: &[SeenEvent]) -> Vec<HookPost> {
    let all =
        hook.until(|posts| own.iter().all(|event| posts.iter().any(|post| post.json()["id"] == event.id)));
    all.await.unwrap()
}
