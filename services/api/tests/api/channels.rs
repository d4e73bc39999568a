//! `/v1/channels`.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_store::ChannelHold;

use crate::harness::{Gateway, OTHER};

fn orders() -> Value {
    json!({
        "id": "acme-orders", "provider": "cloud_api", "phone_number_id": "1001",
        "display_phone_number": "390281456000", "rate": 80, "hold": null,
    })
}

/// What the dispatcher writes when a channel of that tenant stops.
async fn hold(gateway: &Gateway, tenant: &str) {
    let hold = ChannelHold {
        tenant: tenant.parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        class: "token".into(),
        code: 190,
        reason: "the access token is no longer valid".into(),
        since: "2026-11-22T09:30:00Z".parse::<Timestamp>().unwrap(),
    };
    gateway.store.put_hold(&hold).await.unwrap();
}

#[tokio::test]
async fn a_tenant_sees_its_own_channels_alone() {
    let gateway = Gateway::start().await;
    let answer = gateway.get("/v1/channels").await;
    assert_eq!(answer.status, 200);
    let bills = json!({
        "id": "acme-bills", "provider": "twilio", "phone_number_id": null, "display_phone_number": null,
        "rate": 250, "hold": null,
    });
    assert_eq!(answer.json, json!({"items": [bills, orders()], "next": null}));

    let one = gateway.get("/v1/channels/acme-orders").await;
    assert_eq!((one.status.as_u16(), one.json), (200, orders()));
    let foreign = gateway.get_as(OTHER, "/v1/channels/acme-orders").await;
    foreign.is_problem(404, "channel-not-found");
    for none in ["/v1/channels/none", "/v1/channels/No%20Id", "/v1/channels/%FF"] {
        assert_eq!(gateway.get_as(OTHER, none).await.json, foreign.json);
    }
}

#[tokio::test]
async fn a_channel_says_why_it_has_stopped_until_it_is_let_go() {
    let gateway = Gateway::start().await;
    hold(&gateway, "acme").await;
    let mut held = orders();
    held["hold"] = json!({
        "class": "token", "code": 190, "reason": "the access token is no longer valid",
        "since": "2026-11-22T09:30:00Z",
    });
    assert_eq!(gateway.get("/v1/channels/acme-orders").await.json, held);
    let list = gateway.get("/v1/channels").await.json;
    assert_eq!((&list["items"][0]["hold"], &list["items"][1]), (&Value::Null, &held));

    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    assert!(gateway.store.lift_hold(&tenant, &channel).await.unwrap());
    assert_eq!(gateway.get("/v1/channels/acme-orders").await.json, orders());
}

/// A number may move from one tenant to another; what it did before is not the new one's.
#[tokio::test]
async fn the_hold_of_the_tenant_before_is_not_shown() {
    let gateway = Gateway::start().await;
    hold(&gateway, "other").await;
    assert_eq!(gateway.get("/v1/channels/acme-orders").await.json, orders());
    assert_eq!(gateway.get_as(OTHER, "/v1/channels").await.json["items"][0]["hold"], Value::Null);
}
