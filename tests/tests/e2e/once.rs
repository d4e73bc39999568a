//! Each message once, however often it comes.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::Value;
use staffetta_tests::{APP, Installation, ORDERS, SECOND_APP, Setup, Storage, message, status, webhook};

use crate::only;

const CONNECTIONS: usize = 50;

#[tokio::test]
async fn a_message_that_comes_in_fifty_bodies_at_once_is_one_event() {
    let setup = Setup { storage: Storage::Postgres, ..Setup::default() };
    let (staffetta, _up) = Installation::up(setup).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let shared = [message("wamid.shared"), status("wamid.out", "sent"), status("wamid.out", "read")];

    let meta = Arc::new(staffetta.meta.clone());
    for round in 0..2 {
        let posts = (0..CONNECTIONS).map(|n| {
            let (meta, body) = (Arc::clone(&meta), body(&shared, n));
            let app = if n % 3 == 0 { SECOND_APP } else { APP };
            tokio::spawn(async move { meta.post_text(app, body).await })
        });
        for answer in join_all(posts).await {
            assert_eq!(answer.unwrap().unwrap().as_u16(), 200, "round {round}");
        }
    }

    let mut wanted = vec![("message.received", "wamid.shared".to_owned())];
    wanted.extend((0..CONNECTIONS).filter_map(own).map(|wamid| ("message.received", wamid)));
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, wamid) in &wanted {
        only(&events, kind, wamid);
    }
    // Two statuses of one message are two events.
    let statuses = events.iter().filter(|event| event.is("message.status", "wamid.out"));
    let mut names: Vec<&str> = statuses.map(|event| event.data["status"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["read", "sent"]);
    assert_eq!(events.len(), wanted.len() + 2);
    assert_eq!(streams.dead().await.unwrap(), []);
}

/// Of each four posts the first is the same body again and again, the others hold the same among something else.
fn body(shared: &[Value; 3], n: usize) -> String {
    let [text, sent, read] = shared.clone();
    match n % 4 {
        0 => webhook(ORDERS, &[text], &[sent, read]).to_string(),
        // The same JSON in another dress.
        1 => format!("{:#}", webhook(ORDERS, &[text], &[read, sent])),
        2 => webhook(ORDERS, &own(n).map(|wamid| vec![message(&wamid), text]).unwrap_or_default(), &[sent])
            .to_string(),
        _ => {
            let mut body = webhook(ORDERS, &[], &[read]);
            let own: Vec<Value> = own(n).iter().map(|wamid| message(wamid)).collect();
            let other = webhook(ORDERS, &[own, vec![text]].concat(), &[sent]);
            body["entry"].as_array_mut().unwrap().extend(other["entry"].as_array().unwrap().clone());
            body.to_string()
        }
    }
}

/// The message that only this post holds, if it has one.
fn own(n: usize) -> Option<String> {
    (n % 4 >= 2).then(|| format!("wamid.own-{n}"))
}
