//! A healthy installation, and how it is told.

use staffetta_testkit::until;

use crate::world::{LIMIT, World};

#[tokio::test]
async fn a_healthy_installation_has_no_problem() {
    let mut world = World::new().await;
    let admin = world.up().await;
    let arguments = ["--admin", &admin, "--strict"];
    // Its parts are taken within the first seconds.
    let mut last = Vec::new();
    let well = until("a doctor without a complaint", LIMIT, async || {
        let said = world.doctor(&arguments).await;
        last = said.problems();
        last.is_empty().then_some(said)
    });
    let said = match well.await {
        Ok(said) => said,
        Err(error) => panic!("{error}: {last:#?}"),
    };
    assert_eq!(said.code, 0);
    for (check, subject, words) in [
        ("nats.stream", Some("WEBHOOKS"), "0 messages"),
        ("nats.recorder", None, "0 envelopes wait"),
        ("nats.owners", Some("dispatcher"), "32 of 32"),
        ("nats.owners", Some("delivery"), "32 of 32"),
        ("nats.dead", None, "no dead letter"),
        ("database.schema", None, "up to date"),
        ("registry.read", None, "1 app, 1 tenant, 1 channel, 0 endpoints"),
        ("channels.token", Some("acme-orders"), "never ends"),
        ("channels.number", Some("acme-orders"), "CONNECTED, quality GREEN"),
        ("channels.subscription", Some("900900"), "subscribed"),
        ("webhooks.reach", Some("meta-main"), "as the provider expects"),
        ("holds.channel", None, "no channel is on hold"),
    ] {
        said.says("ok", check, subject, words);
    }
    for whose in ["NATS", "database", "provider"] {
        assert_eq!(said.finding("clocks.skew", Some(whose))["level"], "ok");
    }

    let text = until("the same, as people read it", LIMIT, async || {
        let (code, text, _) = world.runs(&[&["doctor"], &arguments[..]].concat()).await;
        last = vec![text.clone()];
        (code == 0).then_some(text)
    });
    let text = match text.await {
        Ok(text) => text,
        Err(error) => panic!("{error}: {}", last.concat()),
    };
    assert!(text.trim_end().lines().last().unwrap().starts_with("Nothing is wrong ("), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    world.stop().await;
    // NATS counts whoever waited for messages a moment longer.
    let said = until("nobody to wait for messages", LIMIT, async || {
        let said = world.doctor(&arguments).await;
        (said.finding("nats.recorder", None)["level"] == "error").then_some(said)
    });
    let said = said.await.unwrap();
    assert_eq!(said.code, 2);
    let host = admin.trim_start_matches("http://");
    said.says("error", "services.ready", Some(host), "can't be reached");
    said.says("error", "webhooks.reach", Some("meta-main"), "can't be reached");
    said.says("error", "nats.recorder", None, "nobody reads");
}

#[tokio::test]
async fn only_what_was_asked_for_is_looked_at() {
    let world = World::new().await;
    let said = world.doctor(&["--only", "registry", "--only", "holds"]).await;
    assert_eq!(said.code, 0);
    let areas: Vec<&str> = said.findings().iter().map(|finding| finding["area"].as_str().unwrap()).collect();
    assert!(areas.iter().all(|area| ["registry", "holds"].contains(area)), "{areas:?}");
    assert!(areas.contains(&"registry") && areas.contains(&"holds"));
    let (code, _, err) = world.runs(&["doctor", "--only", "kidneys"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("kidneys"), "{err}");
}

#[tokio::test]
async fn warnings_fail_only_where_that_is_asked_for() {
    let mut world = World::new().await;
    world.set("STAFFETTA__NATS__REPLICAS", "2");
    let only = ["--only", "configuration"];
    let said = world.doctor(&only).await;
    said.says("warning", "configuration.replicas", None, "nats.replicas is 2");
    assert_eq!(said.code, 0);
    assert_eq!(world.doctor(&["--only", "configuration", "--strict"]).await.code, 1);
}
