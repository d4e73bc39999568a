//! What is on WEBHOOKS afterwards.

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

use reqwest::StatusCode;
use staffetta_proto::v1::BodyEncoding;
use staffetta_testkit::NatsOptions;
use tokio::time::sleep;

use crate::harness::{Harness, Setup, noise};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_come_together_share_envelopes() {
    let ingress = Harness::start().await;
    let bodies: Vec<String> =
        (0..200).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(600))).collect();

    // While nothing comes through, those that have arrived wait together.
    ingress.network.stall().await.unwrap();
    let heal = async {
        sleep(Duration::from_secs(2)).await;
        ingress.network.heal().await.unwrap();
    };
    let (answers, ()) = tokio::join!(ingress.post_all(bodies.clone()), heal);

    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{answers:?}");
    let envelopes = ingress.envelopes().await;
    assert!(envelopes.len() < 100, "{} envelopes", envelopes.len());
    assert!(envelopes.iter().all(|envelope| envelope.webhooks.len() <= 100));
    let mut stored: Vec<_> = ingress.webhooks().await.into_iter().map(|webhook| webhook.body).collect();
    stored.sort();
    let mut bodies = bodies;
    bodies.sort();
    assert_eq!(stored, bodies);
    let ids: HashSet<_> = ingress.webhooks().await.into_iter().map(|webhook| webhook.id).collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn no_envelope_of_several_is_over_its_limit() {
    let ingress = Harness::start().await;
    let bodies = (0..60).map(|n| format!("{n}{}", "x".repeat(if n % 20 == 0 { 100_000 } else { 9_000 })));

    let answers = ingress.post_all(bodies).await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{answers:?}");
    for envelope in ingress.envelopes().await {
        let bytes: usize = envelope.webhooks.iter().map(|webhook| webhook.body.len()).sum();
        assert!(bytes <= 64 << 10 || envelope.webhooks.len() == 1, "{bytes} in {}", envelope.webhooks.len());
    }
    assert_eq!(ingress.webhooks().await.len(), 60);
}

#[tokio::test]
async fn the_largest_body_passes_a_server_with_the_smallest_usual_messages() {
    let nats = NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() };
    let ingress = Harness::start_with(Setup { nats, ..Setup::default() }).await;
    let body: String = (0..).map(|n: u32| format!("{{\"wamid\":{n}}},")).take(3 * MIB / 20).collect();
    let body = format!("{body}{}", "x".repeat(3 * MIB - body.len()));

    assert_eq!(ingress.post(body.clone()).await.status, StatusCode::OK);

    let webhooks = ingress.webhooks().await;
    assert_eq!(webhooks[0].encoding(), BodyEncoding::Gzip);
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&webhooks[0].body[..]).read_to_string(&mut plain).unwrap();
    assert!(plain == body, "the body came back changed");
    // What fits stays as it is.
    assert_eq!(ingress.post(vec![b'x'; MIB - 10_000]).await.status, StatusCode::OK);
    assert_eq!(ingress.webhooks().await[1].encoding(), BodyEncoding::Unspecified);
}

#[tokio::test]
async fn what_no_compression_makes_fit_is_refused_and_others_pass() {
    let nats = NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() };
    let ingress = Harness::start_with(Setup { nats, ..Setup::default() }).await;
    ingress.post(noise(3 * MIB)).await.assert_problem(503, "body-unstorable");
    assert_eq!(ingress.post("{}").await.status, StatusCode::OK);
    assert_eq!(ingress.webhooks().await.len(), 1);
}

#[tokio::test]
async fn a_stop_answers_what_has_arrived() {
    let deadline = Duration::from_secs(12);
    let mut ingress = Harness::start_with(Setup { deadline, ..Setup::default() }).await;
    ingress.network.stall().await.unwrap();
    let waiting = ingress.client.post(ingress.url("main"));
    let signature = crate::harness::signature(crate::harness::SECRET, b"{}");
    let waiting = tokio::spawn(waiting.header("X-Hub-Signature-256", signature).body("{}").send());
    // A publish is in flight for a while: so the webhook has arrived.
    ingress.until("the publish to be in flight", async |ingress| !ingress.is_ready()).await;

    ingress.stop();
    ingress
        .until("the address to be closed", async |ingress| {
            ingress.client.get(ingress.url("main")).send().await.is_err_and(|error| error.is_connect())
        })
        .await;
    ingress.network.heal().await.unwrap();

    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    ingress.ended().await;
    assert_eq!(ingress.webhooks().await.len(), 1);
}
