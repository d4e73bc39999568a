//! The simulator from outside: over real HTTP, with a webhook receiver of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod harness;

mod accounts;
mod inbound;
mod media;
mod report;
mod rules;
mod upgrade;
mod usage;
mod webhooks;

use std::num::NonZeroU32;

use harness::{NUMBER, TOKEN, USER, World, text};
use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{
    Behaviour, Detail, Fault, FaultKind, InboundMessage, Options, PairLimit, Signing, WindowMode,
    WindowState, Windows,
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

fn code(answer: &Value) -> u64 {
    answer["error"]["code"].as_u64().unwrap()
}

/// The statuses' names in the order in which they happened. They come over connections side by side, so the
/// order of arrival is not certain even when they are told in order.
fn names(statuses: &[Value]) -> Vec<&str> {
    const ORDER: [&str; 4] = ["sent", "delivered", "read", "failed"];
    let mut names: Vec<&str> = statuses.iter().map(|status| status["status"].as_str().unwrap()).collect();
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name));
    names
}

#[tokio::test]
async fn a_send_is_accepted_and_its_three_statuses_come_signed() {
    let world = World::start().await;
    let mut body = text("+393481213456", "olá 😮 a/b");
    body["biz_opaque_callback_data"] = json!("inv-2026-0042/é");
    let (status, answer) = world.send(&body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["messaging_product"], "whatsapp");
    assert_eq!(answer["contacts"], json!([{"input": "+393481213456", "wa_id": USER}]));
    let wamid = answer["messages"][0]["id"].as_str().unwrap();
    assert!(wamid.starts_with("wamid."));

    let statuses = world.receiver.statuses(3).await;
    assert_eq!(names(&statuses), ["sent", "delivered", "read"]);
    for status in &statuses {
        let priced = status["status"] != "read";
        assert_eq!(status.get("pricing").is_some(), priced, "on sent and on one of the others");
        assert_eq!(status["id"], wamid);
        assert_eq!(status["recipient_id"], USER);
        assert_eq!(status["biz_opaque_callback_data"], "inv-2026-0042/é");
        assert!(status["timestamp"].as_str().unwrap().parse::<u64>().is_ok());
    }

    for post in world.receiver.until(|posts| posts.len() == 3).await {
        assert!(post.verifies());
        assert!(post.body.is_ascii(), "Meta signs escaped JSON");
        assert!(String::from_utf8_lossy(&post.body).contains(r"inv-2026-0042\/\u00e9"));
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(body["object"], "whatsapp_business_account");
        assert_eq!(body["entry"][0]["id"], "102290129340398");
        assert_eq!(body["entry"][0]["changes"][0]["field"], "messages");
        let metadata = &body["entry"][0]["changes"][0]["value"]["metadata"];
        assert_eq!(metadata, &json!({"display_phone_number": "15550783881", "phone_number_id": NUMBER}));
    }
    world.simulator.stop().await;
}

#[tokio::test]
async fn utf8_can_be_signed_too() {
    let world = World::with(Behaviour { signing: Signing::Utf8, ..Behaviour::default() }, 80).await;
    let (_, answer) = world
        .control(
            Method::POST,
            "/_sim/inbound",
            json!({"phone_number_id": NUMBER, "from": USER, "text": "olá"}),
        )
        .await;
    assert!(answer["id"].as_str().unwrap().starts_with("wamid."));
    let posts = world.receiver.until(|posts| posts.len() == 1).await;
    assert!(posts[0].verifies() && !posts[0].body.is_ascii());
}

#[tokio::test]
async fn a_send_without_a_right_is_refused() {
    let world = World::start().await;
    let body = text("+393481213456", "x");
    let ask = |path: &str, token: &str| {
        let request = world.client.post(world.url(path)).bearer_auth(token).json(&body).send();
        async move {
            let response = request.await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    };
    let own = format!("/{NUMBER}/messages");
    assert_eq!(ask(&own, TOKEN).await.0, 200, "the version may be left out");
    let (status, answer) = ask(&own, "wrong").await;
    assert_eq!((status, code(&answer)), (401, 190));
    let (status, answer) = ask("/v23.0/999/messages", TOKEN).await;
    assert_eq!((status, code(&answer), &answer["error"]["error_subcode"]), (400, 100, &json!(33)));
    let (status, answer) = ask("/v23.0/999/messages", "wrong").await;
    assert_eq!((status, code(&answer)), (401, 190));
    let (status, answer) = ask("/v23.0/a/b/c", TOKEN).await;
    assert_eq!((status, code(&answer)), (400, 2_500));

    world.simulator.set_token(NUMBER, "token-b").unwrap();
    assert_eq!(code(&ask(&own, TOKEN).await.1), 190);
    assert_eq!(ask(&own, "token-b").await.0, 200);
}

#[tokio::test]
async fn a_send_that_is_not_right_is_refused_with_metas_code() {
    let world = World::start().await;
    let refused = async |body: Value| {
        let (status, answer) = world.send(&body).await;
        assert_eq!(status, 400);
        let error = &answer["error"];
        assert!(error["message"].as_str().unwrap().starts_with(&format!("(#{})", error["code"])));
        assert!(error["fbtrace_id"].as_str().unwrap().starts_with('A'));
        assert!(error["error_data"]["details"].is_string());
        code(&answer)
    };
    assert_eq!(refused(json!({"to": USER, "type": "text", "text": {"body": "x"}})).await, 100);
    assert_eq!(refused(text("12", "x")).await, 131_009);
    assert_eq!(refused(text(USER, &"x".repeat(4097))).await, 100);
    assert_eq!(refused(json!({"messaging_product": "whatsapp", "to": USER, "type": "image"})).await, 131_008);
    assert_eq!(
        refused(json!({"messaging_product": "whatsapp", "to": USER, "type": "fax", "fax": {}})).await,
        131_051
    );
    assert_eq!(refused(text("+1 555 078 3881", "x")).await, 131_021);
    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert_eq!((channel.received, channel.accepted), (6, 0));
    assert_eq!(channel.refused[&131_009], 1);
}

#[tokio::test]
async fn more_than_the_rate_in_a_second_is_refused() {
    let world = World::with(Behaviour::default(), 2).await;
    let bodies: Vec<Value> = (0..40).map(|at| text(USER, &at.to_string())).collect();
    let mut throttled = 0;
    for body in &bodies {
        let (status, answer) = world.send(body).await;
        if status != 200 {
            assert_eq!((status, code(&answer)), (400, 130_429));
            throttled += 1;
        }
    }
    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert!(throttled > 0, "40 sends at 2 a second would take 20 seconds");
    assert_eq!((channel.received, channel.refused[&130_429]), (40, throttled));
    assert!(channel.worst_second.accepted <= 2);
    assert!(channel.worst_second.sends > 2);
}

#[tokio::test]
async fn more_than_the_credit_of_a_pair_is_refused() {
    let pair = PairLimit { burst: NonZeroU32::new(2).unwrap(), interval_ms: 60_000 };
    let world = World::with(Behaviour { pair: Some(pair), ..Behaviour::default() }, 80).await;
    assert_eq!(world.send(&text(USER, "1")).await.0, 200);
    assert_eq!(world.send(&text(USER, "2")).await.0, 200);
    let (status, answer) = world.send(&text(USER, "3")).await;
    assert_eq!((status, code(&answer)), (400, 131_056));
    assert_eq!(world.send(&text("393480000001", "3")).await.0, 200, "other users are unaffected");
}

fn inbound(text: &str) -> InboundMessage {
    InboundMessage {
        phone_number_id: NUMBER.to_owned(),
        from: USER.to_owned(),
        name: None,
        text: Some(text.to_owned()),
        message: None,
    }
}

fn closed(mode: WindowMode) -> Behaviour {
    let windows = Windows { mode, initially: WindowState::Closed, ..Windows::default() };
    Behaviour { windows, ..Behaviour::default() }
}

#[tokio::test]
async fn a_closed_window_lets_only_templates_pass_until_the_user_writes() {
    let world = World::with(closed(WindowMode::Sync), 80).await;
    let (status, answer) = world.send(&text(USER, "x")).await;
    assert_eq!((status, code(&answer)), (400, 131_047));
    let template = json!({"messaging_product": "whatsapp", "to": USER, "type": "template",
        "template": {"name": "avviso", "language": {"code": "it"}}});
    let (status, answer) = world.send(&template).await;
    assert_eq!((status, &answer["messages"][0]["message_status"]), (200, &json!("accepted")));
    world.simulator.inbound(inbound("ciao")).unwrap();
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
}

#[tokio::test]
async fn a_closed_window_can_show_in_a_status_only() {
    let world = World::with(closed(WindowMode::Async), 80).await;
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    let statuses = world.receiver.statuses(1).await;
    assert_eq!(names(&statuses), ["failed"]);
    assert_eq!(statuses[0]["errors"][0]["code"], 131_047);
    assert!(statuses[0]["errors"][0]["error_data"]["details"].is_string());
}

#[tokio::test]
async fn a_channel_can_behave_in_its_own_way() {
    let world = World::start().await;
    let path = format!("/_sim/behaviour/{NUMBER}");
    let (status, _) = world.control(Method::PUT, &path, json!({"skip_delivered": 1.0})).await;
    assert_eq!(status, 200);
    world.send(&text(USER, "x")).await;
    assert_eq!(names(&world.receiver.statuses(2).await), ["sent", "read"]);
    assert_eq!(world.control(Method::DELETE, &path, json!({})).await.0, 200);
    world.send(&text(USER, "y")).await;
    assert_eq!(names(&world.receiver.statuses(5).await), ["sent", "sent", "delivered", "read", "read"]);
    let (status, answer) = world.control(Method::PUT, "/_sim/behaviour", json!({"reorder": 2})).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("reorder is a probability: it must lie between 0 and 1"))
    );
    assert_eq!(world.control(Method::PUT, "/_sim/behaviour", json!({"reordr": 1})).await.0, 400);
}

#[tokio::test]
async fn faults_strike_as_told() {
    let world = World::start().await;
    let next = |kind| world.simulator.add_fault(Fault::times(kind, 1)).unwrap();

    next(FaultKind::Error { code: 131_000 });
    let (status, answer) = world.send(&text(USER, "1")).await;
    assert_eq!((status, code(&answer)), (500, 131_000));

    next(FaultKind::Html502);
    let response = world.try_send(&text(USER, "2")).await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().starts_with("<!DOCTYPE html>"));

    next(FaultKind::CutBeforeAccept);
    assert!(world.try_send(&text(USER, "3")).await.is_err());
    assert_eq!(world.simulator.report(Detail::Figures).channels[NUMBER].accepted, 0);

    next(FaultKind::AcceptThenCut);
    assert!(world.try_send(&text(USER, "4")).await.is_err());
    assert_eq!(names(&world.receiver.statuses(3).await), ["sent", "delivered", "read"]);

    next(FaultKind::AcceptThenError { code: 131_016 });
    assert_eq!(world.send(&text(USER, "5")).await.0, 500);
    world.receiver.statuses(6).await;

    next(FaultKind::FailedStatus { code: 131_026 });
    assert_eq!(world.send(&text(USER, "6")).await.0, 200);
    let statuses = world.receiver.statuses(7).await;
    let failed = statuses.iter().find(|status| status["status"] == "failed").unwrap();
    assert_eq!(failed["errors"][0]["code"], 131_026);

    next(FaultKind::Slow { delay_ms: 30 });
    assert_eq!(world.send(&text(USER, "7")).await.0, 200);

    let fault = json!({"kind": "error", "code": 131_026, "recipient": "393480000001", "count": 1});
    assert_eq!(world.control(Method::POST, "/_sim/faults", fault).await.0, 200);
    assert_eq!(world.send(&text(USER, "8")).await.0, 200, "the fault is another recipient's");
    assert_eq!(code(&world.send(&text("+393480000001", "9")).await.1), 131_026);

    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert_eq!((channel.received, channel.accepted), (9, 5));
    let struck: Vec<&str> = channel.faults.keys().map(String::as_str).collect();
    let all = [
        "accept_then_cut",
        "accept_then_error",
        "cut_before_accept",
        "error",
        "failed_status",
        "html_502",
        "slow",
    ];
    assert_eq!(struck, all);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_run() {
    let run = async || {
        let behaviour = Behaviour { reorder: 0.5, skip_delivered: 0.3, ..Behaviour::default() };
        let world = World::with(behaviour, 80).await;
        let fault = Fault { probability: 0.3, ..Fault::always(FaultKind::Error { code: 131_000 }) };
        world.simulator.add_fault(fault).unwrap();
        let mut answers = Vec::new();
        for at in 0..20 {
            let (status, answer) = world.send(&text(USER, &at.to_string())).await;
            answers.push((status, answer.pointer("/messages/0/id").cloned()));
        }
        world.until_report(|report| report.webhooks_waiting == 0).await;
        let posts = world.receiver.until(|_| true).await;
        let mut statuses: Vec<(String, String)> = posts
            .iter()
            .flat_map(|post| post.all("statuses"))
            .map(|status| (status["id"].to_string(), status["status"].to_string()))
            .collect();
        statuses.sort(); // their order at the receiver depends on the machine too
        (answers, statuses)
    };
    let (first, second) = tokio::join!(run(), run());
    assert_eq!(first.0, second.0);
    assert!(
        first.0.iter().any(|(status, _)| *status == 500) && first.0.iter().any(|(status, _)| *status == 200)
    );
    assert_eq!(first.1, second.1);
}

#[tokio::test]
async fn a_number_can_be_registered_and_read() {
    let world = World::start().await;
    let config =
        json!({"access_token": "t2", "display_phone_number": "393900000000", "waba_id": "7", "rate": 1000});
    assert_eq!(world.control(Method::PUT, "/_sim/channels/200", config).await.0, 200);
    let known = world.client.get(world.url("/v23.0/200")).bearer_auth("t2").send().await.unwrap();
    assert_eq!(
        known.json::<Value>().await.unwrap(),
        json!({"id": "200", "display_phone_number": "393900000000", "verified_name": "Simulated Business",
            "code_verification_status": "VERIFIED", "platform_type": "CLOUD_API", "quality_rating": "GREEN",
            "throughput": {"level": "HIGH"}})
    );
    let url = world.url("/200?fields=quality_rating");
    let known = world.client.get(url).bearer_auth("t2").send().await.unwrap();
    assert_eq!(known.json::<Value>().await.unwrap(), json!({"id": "200", "quality_rating": "GREEN"}));
    let refused = world.client.get(world.url("/200")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn it_runs_until_it_is_told_to_stop() {
    // On an address where nobody else takes the port once it is free.
    let options = Options { listen: "127.4.0.2:0".parse().unwrap(), ..Options::default() };
    let simulator = staffetta_simulator::start(options).await.unwrap();
    let (address, url) = (simulator.address(), format!("{}/_sim/report", simulator.base_url()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(simulator.run_until(stop.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(client.get(&url).send().await.unwrap().status().is_success());
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
