//! The figures.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Detail};

use crate::harness::{NUMBER, USER, World, text};

#[tokio::test]
async fn the_report_tells_duplicates_and_order() {
    let world = World::start().await;
    for (to, body, command) in
        [(USER, "1", "a"), (USER, "2", "b"), ("393480000001", "1", "c"), (USER, "1", "a")]
    {
        let mut body = text(to, body);
        body["biz_opaque_callback_data"] = json!(command);
        assert_eq!(world.send(&body).await.0, 200);
    }
    let (_, written) = world
        .control(Method::POST, "/_sim/inbound", json!({"phone_number_id": NUMBER, "from": USER, "text": "3"}))
        .await;
    let id = &written["id"];
    let read = json!({"messaging_product": "whatsapp", "status": "read", "message_id": id});
    assert_eq!(world.send(&read).await, (200, json!({"success": true})));

    let report: Value =
        world.client.get(world.url("/_sim/report?detail=1")).send().await.unwrap().json().await.unwrap();
    let channel = &report["channels"][NUMBER];
    assert_eq!((&channel["accepted"], &channel["marked_read"]), (&json!(4), &json!(1)));
    assert_eq!((&channel["duplicates"], &channel["same_message"]), (&json!(1), &json!(1)));
    assert!((1..=4).contains(&channel["worst_second"]["sends"].as_u64().unwrap()));
    let sends = channel["sends"].as_array().unwrap();
    let order: Vec<&str> = sends.iter().map(|send| send["callback_data"].as_str().unwrap()).collect();
    assert_eq!(order, ["a", "b", "c", "a"]);
    assert_eq!(
        (&sends[1]["to"], &sends[1]["text"], &sends[1]["text_chars"]),
        (&json!(USER), &json!("2"), &json!(1))
    );
    assert!(sends.windows(2).all(|pair| pair[0]["at_us"].as_u64() <= pair[1]["at_us"].as_u64()));

    assert_eq!(world.control(Method::DELETE, "/_sim/report", json!({})).await.0, 200);
    assert_eq!(world.simulator.report(Detail::Figures).channels[NUMBER].accepted, 0);
}

#[tokio::test]
async fn the_report_tells_refusals_and_gaps() {
    let world = World::with(Behaviour::default(), 2).await;
    for at in 0..8 {
        world.send(&text(USER, &at.to_string())).await;
    }
    world.send(&text("12", "x")).await;
    let url = world.url("/_sim/report?detail=1");
    let report: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    let channel = &report["channels"][NUMBER];
    let refused = channel["refused_at"].as_array().unwrap();
    let counted: u64 = channel["refused"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(refused.len() as u64, counted);
    assert_eq!(refused.last().unwrap()["code"], 131_009);
    assert!(refused.windows(2).all(|pair| pair[0]["at_us"].as_u64() <= pair[1]["at_us"].as_u64()));
    let sends = channel["sends"].as_array().unwrap();
    let at = |send: &Value| send["at_us"].as_u64().unwrap();
    let gaps = sends.windows(2).map(|pair| at(&pair[1]) - at(&pair[0]));
    assert_eq!(channel["longest_gap_us"].as_u64(), gaps.max());
    assert_eq!(channel["used_of_rest"], channel["used_share"], "no user wrote");
    let figures = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert!(figures.sends.is_none() && figures.refused_at.is_none());
}
