//! The trace that a request belongs to goes with its webhook, whether or not anybody records it.

use reqwest::StatusCode;

use crate::harness::{Harness, SECRET, VERIFY_TOKEN, signature};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn post(ingress: &Harness, traceparent: Option<&str>) {
    let mut request = ingress.client.post(ingress.url("main")).body("{}");
    request = request.header("X-Hub-Signature-256", signature(SECRET, b"{}"));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_webhook_keeps_the_trace_that_it_came_with() {
    let ingress = Harness::start().await;
    for traceparent in [Some(TRACE), None, Some(&TRACE[1..]), Some(&TRACE.to_uppercase())] {
        post(&ingress, traceparent).await;
    }
    let traces: Vec<String> =
        ingress.webhooks().await.into_iter().map(|webhook| webhook.traceparent).collect();
    assert_eq!(traces, [TRACE, "", "", ""]);
}

#[tokio::test]
async fn webhooks_that_share_an_envelope_keep_their_own() {
    let ingress = Harness::start().await;
    let traces: Vec<String> = (0..40).map(|n| TRACE.replace("31-01", &format!("{n:02x}-01"))).collect();
    futures_util::future::join_all(traces.iter().map(|trace| post(&ingress, Some(trace)))).await;
    let mut kept: Vec<String> =
        ingress.webhooks().await.into_iter().map(|webhook| webhook.traceparent).collect();
    kept.sort();
    assert_eq!(kept, traces);
}

#[tokio::test]
async fn a_verification_may_belong_to_a_trace_too() {
    let ingress = Harness::start().await;
    let query = format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}");
    let asked = ingress.client.get(format!("{}?{query}", ingress.url("main"))).header("traceparent", TRACE);
    assert_eq!(asked.send().await.unwrap().text().await.unwrap(), "1158201444");
}
