//! The registry as it should not be.

use jiff::{SignedDuration, Timestamp};

use crate::world::World;

const REGISTRY: [&str; 2] = ["--only", "registry"];

/// Half an hour more than so many days, so that the test's own time does not count; without fractions, for TOML.
fn in_days(days: i64) -> String {
    let end = Timestamp::now() + SignedDuration::from_hours(days * 24) + SignedDuration::from_mins(30);
    end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[tokio::test]
async fn a_key_s_end_is_told_beforehand() {
    let world = World::new().await;
    let said = world.doctor(&REGISTRY).await;
    said.says("ok", "registry.key", None, "within 30 days");
    let key = |name: &str, days| {
        format!(r#"{{ key = "a long key of {name}", name = "{name}", expires = {} }}"#, in_days(days))
    };
    let keys = [key("next-year", 300), key("till", 20), key("shop", 3), key("old", -3)].join(",");
    world.apply(&format!("[[tenant]]\nid = \"acme\"\napi_keys = [{keys}]\n")).await;
    let said = world.doctor(&REGISTRY).await;
    said.says("note", "registry.key", Some("acme/till"), "ends in 20 days");
    said.says("warning", "registry.key", Some("acme/shop"), "ends in 3 days");
    said.says("note", "registry.key", Some("acme/old"), "ended 2 days ago");
    assert_eq!((said.code, said.problems().len()), (0, 1), "{:?}", said.problems());
}

#[tokio::test]
async fn what_an_entry_lacks_is_told_with_what_becomes_of_it() {
    let world = World::new().await;
    let channel = |id: &str, rest: &str| {
        format!("[[channel]]\nid = \"{id}\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\n{rest}\n")
    };
    world.apply("[[app]]\nid = \"empty\"\n").await;
    world.apply(&channel("acme-mute", "phone_number_id = \"100102\"")).await;
    world.apply(&channel("acme-nowhere", "access_token = \"the-access-token\"")).await;
    // The number that the first channel has.
    let again = "phone_number_id = \"100100\"\naccess_token = \"the-access-token\"";
    world.apply(&channel("acme-again", again)).await;

    let said = world.doctor(&REGISTRY).await;
    said.says("error", "registry.app", Some("empty"), "answered with 503");
    said.says("note", "registry.app", Some("empty"), "no verify token");
    said.says("warning", "registry.channel", Some("acme-mute"), "can't send");
    said.says("warning", "registry.channel", Some("acme-nowhere"), "neither sends nor receives");
    said.says("warning", "registry.channel", Some("acme-orders"), "another channel claimed its number");
    assert_eq!((said.code, said.problems().len()), (2, 4), "{:?}", said.problems());
}

#[tokio::test]
async fn another_master_key_is_told_of_each_secret_that_it_does_not_open() {
    let mut world = World::new().await;
    world.set("STAFFETTA__MASTER_KEY", "not the one that sealed them");
    let said = world.doctor(&REGISTRY).await;
    said.says("error", "registry.entry", None, "acme-orders");
    said.says("error", "registry.entry", None, "meta-main");
    assert_eq!(said.code, 2);
}
