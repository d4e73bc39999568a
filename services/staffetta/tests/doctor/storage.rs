//! The database as it should not be, and what stands in it.

use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, PgConnection};
use staffetta_store::ChannelHold;

use crate::world::World;

async fn sql(world: &World, statement: &'static str) {
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_behind_or_ahead_is_told_of() {
    let world = World::new().await;
    let only = ["--only", "database"];
    assert_eq!(world.doctor(&only).await.problems(), [""; 0]);
    sql(
        &world,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of tomorrow', true, '\\x00', 1)",
    )
    .await;
    let said = world.doctor(&only).await;
    said.says("warning", "database.schema", None, "steps 9999 are newer");
    assert_eq!(said.code, 0);
    sql(&world, "DELETE FROM _sqlx_migrations WHERE version >= 4").await;
    let said = world.doctor(&only).await;
    said.says("error", "database.schema", None, "the last step is 3, and this version needs");
    assert_eq!(said.code, 2);
    sql(&world, "DROP TABLE _sqlx_migrations").await;
    world.doctor(&only).await.says("error", "database.schema", None, "the last step is none");
}

#[tokio::test]
async fn events_that_are_not_told_are_an_error_once_they_are_old() {
    let world = World::new().await;
    sql(&world, "INSERT INTO outbox VALUES (1, '{1,2}', now() - interval '2 minutes')").await;
    let said = world.doctor(&["--only", "database"]).await;
    said.says("warning", "database.outbox", None, "2 events wait to be told");
    sql(&world, "UPDATE outbox SET recorded_at = now() - interval '1 hour'").await;
    let said = world.doctor(&["--only", "database"]).await;
    said.says("error", "database.outbox", None, "the oldest for 60 min");
}

#[tokio::test]
async fn a_held_channel_is_told_with_its_reason_and_how_to_lift_it() {
    let world = World::new().await;
    let hold = |channel: &str| ChannelHold {
        tenant: "acme".parse().unwrap(),
        channel: channel.parse().unwrap(),
        class: "token".into(),
        code: 190,
        reason: "Error validating access token".into(),
        since: Timestamp::now() - SignedDuration::from_hours(3),
    };
    world.store.put_hold(&hold("acme-orders")).await.unwrap();
    world.store.put_hold(&hold("acme-former")).await.unwrap();
    let said = world.doctor(&["--only", "holds"]).await;
    assert_eq!(said.code, 2);
    said.says("error", "holds.channel", Some("acme-orders"), "on hold for 3 h: token 190");
    let todo = said.finding("holds.channel", Some("acme-orders"))["do"].as_str().unwrap();
    assert!(todo.contains("staffetta hold lift acme-orders --tenant acme"), "{todo}");
    said.says("note", "holds.channel", Some("acme-former"), "on hold for 3 h");
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_or_fails_is_told_of() {
    let world = World::new().await;
    let endpoint = |id: &str| {
        format!(
            "[[endpoint]]\nid = \"{id}\"\ntenant = \"acme\"\nkind = \"webhook\"\nurl = \"https://erp.acme.example/\"\n\
                 format = \"cloudevents\"\nsecret = \"the-app-secret\"\n"
        )
    };
    world.apply(&[endpoint("acme-erp"), endpoint("acme-crm")].concat()).await;
    sql(
        &world,
        "INSERT INTO endpoints (tenant, endpoint, disabled_at, disabled_reason, disabled_revision, updated_at)
         VALUES ('acme', 'acme-erp', now() - interval '50 hours', '410 Gone', 1000000, now())",
    )
    .await;
    sql(
        &world,
        "INSERT INTO endpoints (tenant, endpoint, failing_since, last_error, updated_at)
         VALUES ('acme', 'acme-crm', now() - interval '5 minutes', 'answers 500', now())",
    )
    .await;
    let said = world.doctor(&["--only", "endpoints"]).await;
    said.says("error", "endpoints.state", Some("acme-erp"), "disabled for 2 days: 410 Gone");
    said.says("warning", "endpoints.state", Some("acme-crm"), "for 5 min: answers 500");
}
