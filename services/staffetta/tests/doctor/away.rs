//! What can't be reached hides nothing else, and takes no more than half a minute.

use std::time::{Duration, Instant};

use staffetta_testkit::until;

use crate::world::{LIMIT, World};

#[tokio::test]
async fn without_nats_the_rest_is_looked_at() {
    let mut world = World::new().await;
    world.nats.stop().await.unwrap();
    let said = world.doctor(&[]).await;
    assert_eq!(said.code, 2);
    said.says("error", "nats.connection", None, "no connection");
    said.says("error", "registry.read", None, "no connection to NATS");
    said.says("error", "clocks.skew", Some("NATS"), "no connection to NATS");
    said.says("ok", "database.schema", None, "up to date");
    said.says("ok", "holds.channel", None, "no channel");
    let provider = world.provider.base_url();
    said.says("ok", "provider.reach", Some(provider.trim_start_matches("http://")), "answers");
}

#[tokio::test]
async fn a_server_that_says_nothing_does_not_hide_the_others() {
    let mut world = World::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("nats://{},{}", silent.local_addr().unwrap(), world.nats.url());
    world.set("STAFFETTA__NATS__URL", servers);
    let said = world.doctor(&["--only", "nats"]).await;
    said.says("ok", "nats.connection", None, "connected");
    world.set("STAFFETTA__NATS__URL", ",");
    let said = world.doctor(&["--only", "nats"]).await;
    said.says("error", "nats.connection", None, "nats.url names no server");
}

#[tokio::test]
async fn without_a_database_the_rest_is_looked_at() {
    let mut world = World::new().await;
    world.set("STAFFETTA__DATABASE__URL", "postgres://staffetta:the-app-secret@127.0.0.1:1/staffetta");
    // The database never answers; the provider may do so too late, on a busy machine.
    let said = until("the provider's answer", LIMIT, async || {
        let said = world.doctor_once(&[]).await;
        said.findings().iter().any(|finding| finding["check"] == "channels.token").then_some(said)
    });
    let said = said.await.unwrap();
    assert_eq!(said.code, 2);
    said.says("error", "database.connection", None, "no connection");
    said.says("error", "holds.channel", None, "no database");
    said.says("ok", "nats.stream", Some("SEND"), "0 messages");
    said.says("ok", "channels.token", Some("acme-orders"), "taken");
}

#[tokio::test]
async fn a_sqlite_file_that_is_not_there_is_not_made() {
    let mut world = World::new().await;
    let file = world.folder.path().join("none.db");
    world.set("STAFFETTA__DATABASE__URL", format!("sqlite:{}", file.display()));
    let said = world.doctor(&["--only", "database"]).await;
    said.says("error", "database.connection", None, "there is no file");
    assert!(!file.exists());
}

#[tokio::test]
async fn with_everything_down_it_ends_within_half_a_minute() {
    let mut world = World::new().await;
    // A listener that never answers is slower than none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address.to_string())).unwrap();
    let address = &silent.1;
    world.set("STAFFETTA__NATS__URL", format!("nats://{address}"));
    world.set("STAFFETTA__DATABASE__URL", format!("postgres://a:b@{address}/c"));
    world.set("STAFFETTA__GRAPH__BASE_URL", format!("https://{address}"));
    world.set("STAFFETTA__INGRESS__PUBLIC_URL", format!("https://{address}"));
    world.set("STAFFETTA__API__PUBLIC_URL", format!("https://{address}"));
    let started = Instant::now();
    let said = world.doctor_once(&["--admin", &format!("http://{address}")]).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(said.code, 2);
    for check in ["nats.connection", "database.connection", "registry.read", "channels.asked"] {
        assert_eq!(said.finding(check, None)["level"], "error");
    }
    for check in ["provider.reach", "provider.certificate", "webhooks.certificate", "services.ready"] {
        assert_eq!(said.finding(check, Some(address))["level"], "error");
    }
}

#[tokio::test]
async fn a_configuration_that_can_t_be_used_is_a_finding() {
    let mut world = World::new().await;
    world.set("STAFFETTA__INGRESS__LISEN", "8081");
    let said = world.doctor(&[]).await;
    assert_eq!((said.code, said.findings().len()), (2, 1));
    said.says("error", "configuration.read", None, "lisen");
}
