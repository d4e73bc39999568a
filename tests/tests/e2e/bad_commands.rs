//! Commands that can't be sent.

use serde_json::json;
use staffetta_tests::{CARE, Installation, ORDERS, Setup, text};

use crate::{assert_each_sent_once_in_order, only};

const USER: &str = "393481213456";

#[tokio::test]
async fn what_can_not_be_sent_is_rejected_and_what_is_around_it_goes_through() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let (own, unknown, foreign) = (
        acme.subject(ORDERS.channel, "normal"),
        acme.subject("nowhere", "normal"),
        acme.subject(CARE.channel, "normal"),
    );
    let json = "application/json";

    let good = ["before", "between", "after"].map(|id| text(id, USER));
    acme.send(&good[0]).await.unwrap();
    acme.send_bytes(own.clone(), Some("broken-json"), json, b"{\"id\": ".to_vec()).await.unwrap();
    acme.send_bytes(own, Some("broken-protobuf"), "application/protobuf", vec![0xff; 9]).await.unwrap();
    acme.send(&good[1]).await.unwrap();
    acme.send(&json!({ "id": "no-text", "to": USER, "type": "text" })).await.unwrap();
    acme.send(&json!({ "id": "no-user", "to": "nobody", "type": "text", "text": { "body": "?" } }))
        .await
        .unwrap();
    acme.send_bytes(unknown, None, json, text("no-channel", USER).to_string().into()).await.unwrap();
    acme.send_bytes(foreign, None, json, text("not-mine", USER).to_string().into()).await.unwrap();
    acme.send(&good[2]).await.unwrap();

    let bad = ["broken-json", "broken-protobuf", "no-text", "no-user", "no-channel", "not-mine"];
    let mut wanted = bad.map(|id| ("command.rejected", id.to_owned())).to_vec();
    wanted.extend(["before", "between", "after"].map(|id| ("command.accepted", id.to_owned())));
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    for (kind, id) in &wanted {
        only(&events, kind, id);
    }
    assert_eq!(only(&events, "command.rejected", "not-mine").source, "/tenants/acme/channels/globex-care");
    let to_globex = events.iter().filter(|event| event.source.starts_with("/tenants/globex/"));
    assert_eq!(to_globex.count(), 0);
    assert_eq!(staffetta.sends(CARE), []);
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &good);

    let mut letters = streams.dead().await.unwrap();
    letters.sort_by(|a, b| a.payload.cmp(&b.payload));
    assert_eq!(letters.len(), bad.len(), "{letters:#?}");
    assert!(
        letters.iter().all(|letter| letter.tenant == ORDERS.tenant && !letter.payload.is_empty()),
        "{letters:#?}"
    );
    assert!(
        letters.iter().all(|letter| !letter.reason.is_empty() && !letter.detail.contains(USER)),
        "{letters:#?}"
    );
    // The API tells the same.
    let (_, message) = acme.get("no-text").await.unwrap();
    assert_eq!(message["state"], "rejected", "{message}");
}
