//! What can't be understood costs only itself.

use serde_json::json;
use staffetta_tests::{APP, Installation, ORDERS, Setup, message, status, webhook};

use crate::only;

#[tokio::test]
async fn a_broken_leaf_goes_to_dead_and_the_others_are_told() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let too_long = "x".repeat(600);

    let body = webhook(
        ORDERS,
        &[message("wamid.first"), json!("not a message"), message("wamid.last")],
        &[status("wamid.out", "sent"), status(&too_long, "sent"), status("wamid.out", "delivered")],
    );
    assert_eq!(staffetta.meta.post(&body).await.unwrap().as_u16(), 200);
    // Not JSON as a whole: signed by the app, so it is Meta's word all the same.
    assert_eq!(staffetta.meta.post_text(APP, "{\"entry\": [".into()).await.unwrap().as_u16(), 200);
    // Half a character: not even JSON's own strings can hold it.
    let half = webhook(ORDERS, &[message("wamid.whole"), message("wamid.half")], &[]);
    let half = half.to_string().replace("ciao da wamid.half", "ciao \\ud83d");
    assert_eq!(staffetta.meta.post_text(APP, half).await.unwrap().as_u16(), 200);
    // A number that nobody has.
    let nobody =
        webhook(staffetta_tests::Number { phone_number_id: "404", ..ORDERS }, &[message("wamid.lost")], &[]);
    assert_eq!(staffetta.meta.post(&nobody).await.unwrap().as_u16(), 200);

    let wanted =
        ["wamid.first", "wamid.last", "wamid.whole"].map(|wamid| ("message.received", wamid.to_owned()));
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, wamid) in &wanted {
        only(&events, kind, wamid);
    }
    assert_eq!(events.iter().filter(|event| event.is("message.status", "wamid.out")).count(), 2);
    assert_eq!(events.len(), 5, "{events:#?}");

    let mut letters = streams.dead().await.unwrap();
    letters.sort_by(|a, b| a.reason.cmp(&b.reason).then(a.payload.len().cmp(&b.payload.len())));
    let reasons: Vec<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons, ["malformed", "malformed", "malformed", "malformed", "unrouted"]);
    let payload = |index: usize| String::from_utf8_lossy(&letters[index].payload);
    assert_eq!(payload(0), "{\"entry\": [");
    assert_eq!(payload(1), "\"not a message\"");
    assert!(payload(2).contains("wamid.half"));
    assert!(payload(3).contains(&too_long));
    assert!(payload(4).contains("wamid.lost"));
}
