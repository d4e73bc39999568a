//! NATS or the database is lost whole, and made anew as `docs/backup.md` says. The SQL that the page gives is what runs
//! here.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use staffetta_testkit::{Database, Postgres, until};
use staffetta_tests::{Hook, Installation, LIMIT, ORDERS, SeenEvent, Service, Setup, Streams, User, text};

use crate::arrivals::{begun, has, hook_lines, takes_all, told_to_acme, writes};
use crate::{all, apply_lines};

/// All services but the dispatcher.
const REST: [&str; 4] = ["ingress", "recorder", "delivery", "api"];

/// A database, and what is around it.
struct World {
    staffetta: Installation,
    database: Database,
    erp: Hook,
}

impl World {
    /// Everything prepared, with one endpoint in the registry; nothing runs yet.
    async fn prepare() -> Self {
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let settings = vec![("STAFFETTA__DATABASE__URL", database.url().to_owned())];
        let setup = Setup { settings, ..Setup::default() };
        let registry = setup.registry.clone();
        let staffetta = Installation::prepare(setup).await.unwrap();
        staffetta.apply(&registry).await.unwrap();
        let erp = Hook::start().await.unwrap();
        apply_lines(&staffetta, &hook_lines("acme-erp", erp.url())).await;
        Self { staffetta, database, erp }
    }

    async fn start(&self, roles: &[&'static str]) -> Vec<Service> {
        let mut services = Vec::new();
        for role in roles {
            services.push(self.staffetta.start(role).await.unwrap());
        }
        services
    }

    /// So many users write; gives back what of them was told.
    async fn write(&self, streams: &Streams, name: &str, users: usize) -> Vec<SeenEvent> {
        let wamids: Vec<String> = (0..users).map(|n| format!("wamid.{name}-{n}")).collect();
        for (n, wamid) in wamids.iter().enumerate() {
            writes(&self.staffetta, &User::of_phone("Anna", &format!("3934816{n:05}")), wamid).await;
        }
        let wanted: Vec<_> = wamids.iter().map(|wamid| ("message.received", wamid.clone())).collect();
        let mut events = self.staffetta.told(streams, &wanted).await.unwrap();
        events.retain(|event| wamids.contains(&event.subject));
        events
    }

    /// How often the provider got a command.
    fn sent(&self, id: &str) -> usize {
        let sends = self.staffetta.sends(ORDERS);
        sends.iter().filter(|send| send.text.as_deref() == Some(id)).count()
    }

    /// `staffetta export`, into a file.
    async fn export(&self) -> String {
        let exported = self.staffetta.run(&["export"]).await.unwrap();
        assert_eq!(exported.code, Some(0), "{exported:?}");
        let file = self.staffetta.folder().join("exported.toml");
        fs::write(&file, exported.stdout).unwrap();
        file.display().to_string()
    }

    /// NATS is gone with everything on it, and an empty one comes up in its place.
    async fn lose_nats(&mut self) {
        let nats = self.staffetta.nats.as_mut().unwrap();
        nats.kill().await.unwrap();
        fs::remove_dir_all(nats.process().folder().join("store")).unwrap();
        nats.restart().await.unwrap();
    }

    /// The streams and the registry, as the page says.
    async fn set_up(&self, exported: &str) {
        for arguments in [&["migrate"][..], &["apply", "-f", exported]] {
            let answer = self.staffetta.run(arguments).await.unwrap();
            assert_eq!(answer.code, Some(0), "{answer:?}");
        }
    }

    fn dump(&self) -> String {
        let file = self.staffetta.folder().join("staffetta.dump").display().to_string();
        run("pg_dump", &["--format=custom", "--file", &file, self.database.url()]);
        file
    }

    /// The database is gone, and is made anew from a dump.
    fn restore(&self, dump: &str) {
        let (server, name) = self.database.url().rsplit_once('/').unwrap();
        let server = format!("{server}/postgres");
        run("psql", &[&server, "-qc", &format!("DROP DATABASE {name} WITH (FORCE)")]);
        run("psql", &[&server, "-qc", &format!("CREATE DATABASE {name}")]);
        run("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", self.database.url(), dump]);
    }

    /// Runs a block of SQL of the page; gives back the rows, with `|` between their columns.
    fn sql_of_page(&self, name: &str) -> Vec<String> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backup.md");
        let page = fs::read_to_string(page).unwrap();
        let start = format!("-- {name}\n");
        let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no block {name:?}"));
        self.sql(rest.split_once("```").unwrap().0)
    }

    fn sql(&self, statements: &str) -> Vec<String> {
        let out = run("psql", &[self.database.url(), "-qAtv", "ON_ERROR_STOP=1", "-c", statements]);
        out.lines().map(str::to_owned).collect()
    }
}

/// Runs a program of PostgreSQL, which must go well.
fn run(program: &str, arguments: &[&str]) -> String {
    let program = staffetta_locate::postgres_bin().unwrap().join(program);
    let output = Command::new(&program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn stop(services: Vec<Service>) {
    for mut service in services {
        service.stop().await.unwrap();
    }
}

/// Whether the endpoint got each of these exactly once; more often only if whoever delivered lost the right to.
#[track_caller]
fn assert_came_once(erp: &Hook, events: &[SeenEvent], delivery: &Service) {
    let posts = erp.posts();
    for event in events {
        let came =
            posts.iter().filter(|post| post.headers.get("webhook-id").is_some_and(|id| *id == *event.id));
        let came = came.count();
        let kind = &event.kind;
        assert!(came == 1 || came > 1 && !delivery.kept_its_parts(), "{kind} {}: {came}", event.subject);
    }
}

/// The letters about what the endpoint did not get.
async fn lost_letters(streams: &Streams) -> Vec<String> {
    let mut letters = streams.dead().await.unwrap();
    letters.retain(|letter| letter.reason == "events_lost");
    letters.into_iter().map(|letter| letter.detail).collect()
}

#[tokio::test]
async fn nats_is_lost_whole_and_the_next_one_is_used_from_its_first_event() {
    let mut world = World::prepare().await;
    let services = world.start(&REST).await;
    let mut dispatcher = world.start(&["dispatcher"]).await;
    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let from = begun(&world.staffetta, &streams, "begin", || !world.erp.posts().is_empty()).await;

    // What is done is done.
    let kept = [text("kept", "393481600001")];
    assert_eq!(acme.post(&kept[0]).await.unwrap().0.as_u16(), 202);
    world.staffetta.told(&streams, &all("command.accepted", &kept)).await.unwrap();
    world.write(&streams, "before", 20).await;
    takes_all(&world.erp, &told_to_acme(&streams, from).await).await;
    // One command waits that the database knows, and one that it does not; and an event waits for another try.
    stop(std::mem::take(&mut dispatcher)).await;
    let (known, unknown) = (text("known", "393481600002"), text("unknown", "393481600003"));
    assert_eq!(acme.post(&known).await.unwrap().0.as_u16(), 202);
    acme.send(&unknown).await.unwrap();
    let queued = async || (acme.state("known").await? == "queued").then_some(());
    until("the note of the command", LIMIT, queued).await.unwrap();
    assert_eq!(acme.post(&known).await.unwrap().0.as_u16(), 200, "whoever is known is not queued again");
    let exported = world.export().await;
    stop(services).await;
    let parked =
        "INSERT INTO parked VALUES ('acme', 'acme-erp', 3, 'c1', 1, now(), now() + '1 day', 'HTTP 500')";
    world.sql(parked);
    let place: usize =
        world.sql("SELECT cursor FROM endpoints WHERE endpoint = 'acme-erp'")[0].parse().unwrap();

    world.lose_nats().await;
    world.set_up(&exported).await;
    let open = world.sql_of_page("commands that went with SEND");
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].starts_with("acme|known|acme-orders|normal|queued|"), "{open:?}");
    let missed = world.sql_of_page("events that an endpoint may not have got");
    assert!(missed.iter().any(|row| row.contains("|staffetta.message.received|")), "{missed:?}");
    world.sql_of_page("commands that were surely not sent may come again");
    world.sql_of_page("the registry counts its changes from 1 again");

    // By the time that the endpoint is served again, the new log is longer than the old one ever was.
    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let mut services = world.start(&["ingress", "recorder", "dispatcher", "api"]).await;
    let after = world.write(&streams, "after", place + 10).await;
    services.extend(world.start(&["delivery"]).await);
    takes_all(&world.erp, &after).await;
    assert_came_once(&world.erp, &after, &services[4]);
    let letters = lost_letters(&streams).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].contains(&format!("from number {place} on, and 1 events")), "{letters:?}");
    assert_eq!(world.sql("SELECT count(*) FROM parked"), ["0"]);

    // Who repeats what was on its way is heard, and nothing is sent twice.
    assert_eq!(acme.post(&kept[0]).await.unwrap().0.as_u16(), 200);
    assert_eq!(acme.post(&known).await.unwrap().0.as_u16(), 202);
    acme.send(&unknown).await.unwrap();
    acme.send(&kept[0]).await.unwrap();
    world.staffetta.told(&streams, &all("command.accepted", &[known, unknown])).await.unwrap();
    world.staffetta.settled(&streams).await.unwrap();
    assert_eq!(["kept", "known", "unknown"].map(|id| world.sent(id)), [1; 3]);
    // The export had everything: applied again, it changes nothing.
    let again = world.staffetta.run(&["apply", "-f", &exported]).await.unwrap();
    assert!(again.stdout.contains("nothing to change"), "{again:?}");
    stop(services).await;
}

#[tokio::test]
async fn services_that_run_while_nats_is_lost_go_on_with_the_next_one() {
    let mut world = World::prepare().await;
    let mut roles = REST.to_vec();
    roles.push("dispatcher");
    let services = world.start(&roles).await;
    let streams = world.staffetta.streams().await.unwrap();
    let from = begun(&world.staffetta, &streams, "begin", || !world.erp.posts().is_empty()).await;
    world.write(&streams, "before", 20).await;
    takes_all(&world.erp, &told_to_acme(&streams, from).await).await;
    let exported = world.export().await;

    world.lose_nats().await;
    world.set_up(&exported).await;

    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let posted = until("ingress to know the app again", LIMIT, async || {
        let user = User::of_phone("Berta", "393481700000");
        let body = user.webhook(ORDERS, &[user.text("wamid.first", 1_700_000_000)]);
        let answer = world.staffetta.meta.post(&body).await.ok()?;
        (answer.as_u16() == 200).then_some(())
    });
    posted.await.unwrap();
    let after = world.write(&streams, "after", 5).await;
    takes_all(&world.erp, &after).await;
    world.erp.until(|posts| has(posts, "wamid.first")).await.unwrap();
    let command = text("after", "393481600001");
    let queued = until("the API to take a command", LIMIT, async || {
        // 200 if the first one was queued without an answer.
        matches!(acme.post(&command).await.ok()?.0.as_u16(), 200 | 202).then_some(())
    });
    queued.await.unwrap();
    world.staffetta.told(&streams, &all("command.accepted", &[command])).await.unwrap();
    assert_eq!(world.sent("after"), 1);
    assert_eq!(lost_letters(&streams).await.len(), 1);
    stop(services).await;
}

#[tokio::test]
async fn a_database_from_an_older_dump_sends_nothing_again_by_itself() {
    let world = World::prepare().await;
    let mut roles = REST.to_vec();
    roles.push("dispatcher");
    let services = world.start(&roles).await;
    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let from = begun(&world.staffetta, &streams, "begin", || !world.erp.posts().is_empty()).await;
    let early = [text("early", "393481600001")];
    acme.post(&early[0]).await.unwrap();
    world.staffetta.told(&streams, &all("command.accepted", &early)).await.unwrap();
    world.staffetta.settled(&streams).await.unwrap();

    let dump = world.dump();
    let late = [text("late", "393481600002")];
    acme.post(&late[0]).await.unwrap();
    world.staffetta.told(&streams, &all("command.accepted", &late)).await.unwrap();
    let missing = world.write(&streams, "missing", 5).await;
    takes_all(&world.erp, &told_to_acme(&streams, from).await).await;
    world.staffetta.settled(&streams).await.unwrap();
    stop(services).await;

    world.restore(&dump);
    world.sql_of_page("no conversation gets a number that was given before");
    assert!(world.sql_of_page("commands for later that may have gone out since the dump").is_empty());
    let waiting = text("waiting", "393481600003");
    acme.send(&waiting).await.unwrap();
    let services = world.start(&roles).await;

    // What came after the dump is not known any more; what NATS has of it is delivered again, under the same ids.
    let twice = |id: &str| {
        let is_it =
            |post: &&staffetta_tests::HookPost| post.headers.get("webhook-id").is_some_and(|got| *got == *id);
        world.erp.posts().iter().filter(is_it).count() >= 2
    };
    let again = world.erp.until(|_| missing.iter().all(|event| twice(&event.id)));
    again.await.unwrap();
    assert_eq!(acme.get("early").await.unwrap().0.as_u16(), 200);
    assert_eq!(acme.get("late").await.unwrap().0.as_u16(), 404);
    world.staffetta.told(&streams, &all("command.accepted", &[waiting])).await.unwrap();
    world.staffetta.settled(&streams).await.unwrap();
    assert_eq!(["early", "late", "waiting"].map(|id| world.sent(id)), [1; 3]);

    // Somebody who writes for the first time has a conversation that nobody else ever had.
    let user = User::of_phone("Carla", "393481800000");
    writes(&world.staffetta, &user, "wamid.new").await;
    let new = [("message.received", "wamid.new".to_owned())];
    let events = world.staffetta.told(&streams, &new).await.unwrap();
    let (new, before): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.subject == "wamid.new");
    let id = |event: &&SeenEvent| event.data["conversation_id"].clone();
    let given: Vec<Value> = before.iter().map(id).collect();
    assert!(id(&new[0]) != json!(null) && !given.contains(&id(&new[0])), "{new:?}");
    takes_all(&world.erp, &[new[0].clone()]).await;
    stop(services).await;
}

#[tokio::test]
async fn both_are_lost_and_come_back_from_a_dump_and_an_export() {
    let mut world = World::prepare().await;
    let mut roles = REST.to_vec();
    roles.push("dispatcher");
    let services = world.start(&roles).await;
    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let from = begun(&world.staffetta, &streams, "begin", || !world.erp.posts().is_empty()).await;
    let early = [text("early", "393481600001")];
    acme.post(&early[0]).await.unwrap();
    world.staffetta.told(&streams, &all("command.accepted", &early)).await.unwrap();
    takes_all(&world.erp, &told_to_acme(&streams, from).await).await;
    let (dump, exported) = (world.dump(), world.export().await);
    world.write(&streams, "missing", 5).await;
    stop(services).await;

    world.lose_nats().await;
    world.restore(&dump);
    world.set_up(&exported).await;
    world.sql_of_page("no conversation gets a number that was given before");
    world.sql_of_page("commands that were surely not sent may come again");
    world.sql_of_page("the registry counts its changes from 1 again");
    let services = world.start(&roles).await;

    let streams = world.staffetta.streams().await.unwrap();
    let acme = world.staffetta.tenant(ORDERS, &streams);
    let after = world.write(&streams, "after", 5).await;
    takes_all(&world.erp, &after).await;
    let late = [text("late", "393481600002")];
    assert_eq!(acme.post(&late[0]).await.unwrap().0.as_u16(), 202);
    assert_eq!(acme.post(&early[0]).await.unwrap().0.as_u16(), 200);
    world.staffetta.told(&streams, &all("command.accepted", &late)).await.unwrap();
    assert_eq!(["early", "late"].map(|id| world.sent(id)), [1; 2]);
    stop(services).await;
}
