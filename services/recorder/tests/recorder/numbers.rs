//! A number belongs to one channel: the last claim wins, and both sides see it.

use serde_json::{Value, json};
use staffetta_domain::EventType;
use staffetta_testkit::until;

use crate::harness::{Kind, LIMIT, World, body, text};

crate::on_both!(both_sides_see_a_number_change_hands, a_move_while_nobody_looked_is_told_later);

type Told = Vec<(String, String)>;

/// Waits until the database knows the first owner.
async fn first_owner_is_known(world: &World) {
    until("the first owner to be known", LIMIT, async || {
        let claim = |tenant: &str, channel: &str, revision| staffetta_store::NumberClaim {
            number: "100".into(),
            tenant: tenant.parse().unwrap(),
            channel: channel.parse().unwrap(),
            revision,
        };
        // An older claim changes nothing; it shows whether there is a newer one.
        let moved = world.store.claim_numbers(&[claim("acme", "acme-orders", 0)]).await.ok()?;
        moved.is_empty().then_some(())
    })
    .await
    .unwrap();
}

/// Who was told what of its number.
async fn told(world: &World) -> Told {
    let events = world.events().await.into_iter();
    let mut told: Told = events
        .filter(|event| event.kind == EventType::ChannelChanged)
        .map(|event| {
            assert_eq!(event.data.get("phone_number_id"), Some(&Value::from("100")));
            let others = ["acme", "beta"].into_iter().filter(|id| *id != event.tenant.as_str());
            let data = Value::Object(event.data.clone()).to_string();
            assert!(others.into_iter().all(|other| !data.contains(other)), "{data}");
            (event.channel.to_string(), event.data["change"].as_str().unwrap().to_owned())
        })
        .collect();
    told.sort();
    told
}

async fn until_told(world: &World, expected: &[(&str, &str)]) {
    let expected: Told = expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    let seen = until("both sides to be told", LIMIT, async || (told(world).await == expected).then_some(()));
    seen.await.unwrap();
    world.settled().await;
    assert_eq!(told(world).await, expected);
}

const CLAIM: &str =
    r#"channel = [{ id = "beta-two", tenant = "beta", provider = "cloud_api", phone_number_id = "100" }]"#;

async fn both_sides_see_a_number_change_hands(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    // Two of them see the same, and tell it once.
    world.start_recorder().await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    world.settled().await;
    first_owner_is_known(&world).await;
    world.apply(CLAIM).await;
    until_told(&world, &[("acme-orders", "number_lost"), ("beta-two", "number_claimed")]).await;
    // One of them may have told it before the other one heard of it.
    world.all_know_owner("100", "beta-two").await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.B")]}))]).await;
    world.settled().await;
    let events = world.events().await;
    let owner = |wamid: &str| events.iter().find(|event| event.subject == wamid).unwrap().channel.to_string();
    assert_eq!((owner("wamid.A").as_str(), owner("wamid.B").as_str()), ("acme-orders", "beta-two"));
    // Given back, it is the first owner's again.
    world.apply(&CLAIM.replace("\"100\"", "\"300\"")).await;
    until_told(
        &world,
        &[
            ("acme-orders", "number_claimed"),
            ("acme-orders", "number_lost"),
            ("beta-two", "number_claimed"),
            ("beta-two", "number_lost"),
        ],
    )
    .await;
    world.stop().await;
}

async fn a_move_while_nobody_looked_is_told_later(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    first_owner_is_known(&world).await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    world.settled().await;
    world.stop().await;
    world.apply(CLAIM).await;
    world.start_recorder().await;
    until_told(&world, &[("acme-orders", "number_lost"), ("beta-two", "number_claimed")]).await;
    world.stop().await;
}
