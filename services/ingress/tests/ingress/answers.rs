//! Who is let in.

use reqwest::StatusCode;
use staffetta_runtime::config::TelemetryConfig;
use staffetta_runtime::telemetry::Telemetry;

use crate::harness::{Answer, Harness, SECRET, VERIFY_TOKEN, signature};

async fn verify(ingress: &Harness, app: &str, query: &[(&str, &str)]) -> Answer {
    Answer::of(ingress.client.get(ingress.url(app)).query(query).send().await.unwrap()).await
}

#[tokio::test]
async fn the_address_is_verified_by_repeating_the_challenge() {
    let ingress = Harness::start().await;
    let (mode, token) = (("hub.mode", "subscribe"), ("hub.verify_token", VERIFY_TOKEN));

    // Not a number that fits anywhere, and not harmless as a page either.
    let challenge = "00115820144499999999999999999<b>&";
    let answer = verify(&ingress, "main", &[mode, ("hub.challenge", challenge), token]).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, challenge));
    assert!(answer.content_type.unwrap().starts_with("text/plain"));

    let challenge = ("hub.challenge", "1158201444");
    for wrong in [
        &[mode, challenge, ("hub.verify_token", "meatyhamhoc")][..],
        &[mode, challenge, ("hub.verify_token", "")],
        &[mode, challenge],
        &[("hub.mode", "unsubscribe"), challenge, token],
        &[challenge, token],
        &[mode, token],
        &[],
    ] {
        verify(&ingress, "main", wrong).await.assert_problem(403, "wrong-verify-token");
    }
    verify(&ingress, "nobody", &[mode, challenge, token]).await.assert_problem(404, "unknown-app");
    verify(&ingress, "rotating", &[mode, challenge, token]).await.assert_problem(503, "app-not-ready");
}

#[tokio::test]
async fn a_signed_webhook_is_on_the_stream_once_it_is_answered() {
    let ingress = Harness::start().await;
    let body = r#"{"text":{"body":"Ol\u00e1 \ud83d\ude2e a\/b"},  "entry":[]}"#;

    let answer = ingress.post(body).await;

    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    let webhooks = ingress.webhooks().await;
    assert_eq!(webhooks.len(), 1);
    assert_eq!(webhooks[0].body, body);
    assert_eq!((webhooks[0].source.as_str(), webhooks[0].provider), ("main", 1));
    assert!(webhooks[0].received_at.is_some());
    assert_eq!(webhooks[0].id.len(), 36);
}

/// The provider's own vectors: the key is the text of the secret, the message the bytes as they came.
#[tokio::test]
async fn signatures_are_verified_over_the_raw_bytes() {
    let ingress = Harness::start().await;
    let vectors = [
        (
            r#"{"object":"whatsapp_business_account","entry":[]}"#,
            "sha256=eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece",
        ),
        (
            r#"{"text":{"body":"Ol\u00e1 \ud83d\ude2e a\/b"}}"#,
            "sha256=2dbdf9e67ae5a028562204228f9ce471450c738c2549771808bd7780facd7403",
        ),
        (
            r#"{"text":{"body":"Olá 😮 a/b"}}"#,
            "sha256=c766e129bb5849800f8e96f7429b5905bae5e6dedf2e014384d19d20fde505db",
        ),
    ];
    for (body, signature) in vectors {
        assert_eq!(ingress.post_to("main", body, Some(signature)).await.status, StatusCode::OK);
    }
    // The same text, escaped otherwise, is another message.
    ingress.post_to("main", vectors[2].0, Some(vectors[1].1)).await.assert_problem(401, "wrong-signature");
    let bodies: Vec<_> = ingress.webhooks().await.into_iter().map(|webhook| webhook.body).collect();
    assert_eq!(bodies, vectors.map(|(body, _)| body));
}

#[tokio::test]
async fn what_is_not_signed_by_the_app_is_refused() {
    let ingress = Harness::start().await;
    let body = r#"{"entry":[]}"#;
    let right = signature(SECRET, body.as_bytes());
    let hex = right.strip_prefix("sha256=").unwrap();
    let other = signature("another secret", body.as_bytes());
    let with_token = signature(VERIFY_TOKEN, body.as_bytes());
    for wrong in ["", "sha256=", hex, &right[..70], &format!("{right}0"), &other, &with_token] {
        ingress.post_to("main", body, Some(wrong)).await.assert_problem(401, "wrong-signature");
    }
    ingress.post_to("main", body, None).await.assert_problem(401, "wrong-signature");
    ingress.post_to("nobody", body, Some(&right)).await.assert_problem(404, "unknown-app");
    ingress.post_to("%ff", body, Some(&right)).await.assert_problem(404, "unknown-app");
    assert_eq!(ingress.webhooks().await.len(), 0);
}

#[tokio::test]
async fn both_secrets_are_valid_during_a_rotation() {
    let ingress = Harness::start().await;
    for secret in ["the new secret", "the old secret"] {
        let signature = signature(secret, b"{}");
        assert_eq!(
            ingress.post_to("rotating", "{}", Some(&signature)).await.status,
            StatusCode::OK,
            "{secret}"
        );
    }
}

#[tokio::test]
async fn an_app_without_a_secret_refuses_until_it_gets_one() {
    let ingress = Harness::start().await;
    let right = signature("a secret at last", b"{}");
    ingress.post_to("bare", "{}", Some(&right)).await.assert_problem(503, "app-not-ready");
    ingress.post_to("bare", "{}", Some(&signature("", b"{}"))).await.assert_problem(503, "app-not-ready");

    ingress.apply("[[app]]\nid = \"bare\"\napp_secret = \"a secret at last\"").await;

    ingress
        .until("the app to be served", async |ingress| {
            ingress.post_to("bare", "{}", Some(&right)).await.status == StatusCode::OK
        })
        .await;
}

/// What a body means is the recorder's business: refused here, it would come back for seven days.
#[tokio::test]
async fn any_signed_body_is_taken() {
    let ingress = Harness::start().await;
    for body in [&b""[..], b"not json", b"\xff\x00\xfe", b"{\"entry\":[{]}"] {
        assert_eq!(ingress.post(body).await.status, StatusCode::OK);
    }
    let bodies: Vec<_> = ingress.webhooks().await.into_iter().map(|webhook| webhook.body).collect();
    assert_eq!(bodies, [&b""[..], b"not json", b"\xff\x00\xfe", b"{\"entry\":[{]}"]);
}

#[tokio::test]
async fn other_addresses_and_methods_are_errors_of_the_same_kind() {
    let ingress = Harness::start().await;
    let elsewhere = ingress.url("main").replace("/webhooks/", "/");
    Answer::of(ingress.client.get(elsewhere).send().await.unwrap()).await.assert_problem(404, "not-found");
    let put = ingress.client.put(ingress.url("main")).send().await.unwrap();
    Answer::of(put).await.assert_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn what_happened_shows_in_the_metrics() {
    let telemetry = Telemetry::start(&TelemetryConfig::default(), "test").unwrap();
    let ingress = Harness::start().await;
    assert_eq!(ingress.post("{}").await.status, StatusCode::OK);
    ingress.post_to("main", "{}", None).await.assert_problem(401, "wrong-signature");
    ingress.post_to("nobody-s", "{}", None).await.assert_problem(404, "unknown-app");
    let refused = ingress.client.get(ingress.url("main")).send().await.unwrap();
    Answer::of(refused).await.assert_problem(403, "wrong-verify-token");
    ingress.client.get(ingress.url("main").replace("/meta", "/nowhere")).send().await.unwrap();

    let text = telemetry.render().unwrap();

    let served = |method: &str, status: u16, route: &str| {
        format!(
            r#"http_server_request_duration_seconds_count{{http_request_method="{method}",http_response_status_code="{status}",http_route="{route}"}}"#
        )
    };
    for name in [
        served("POST", 200, "/webhooks/meta/{app}").as_str(),
        &served("POST", 401, "/webhooks/meta/{app}"),
        &served("GET", 403, "/webhooks/meta/{app}"),
        &served("GET", 404, "none"),
        "staffetta_ingress_webhooks_total{app=\"main\",outcome=\"stored\"}",
        "staffetta_ingress_webhooks_total{app=\"main\",outcome=\"unauthorized\"}",
        "staffetta_ingress_webhooks_total{app=\"main\",outcome=\"forbidden\"}",
        "staffetta_ingress_webhooks_total{app=\"unknown\",outcome=\"unknown_app\"}",
        "staffetta_ingress_ack_duration_seconds_count",
        "staffetta_ingress_publish_duration_seconds_count",
        "staffetta_ingress_envelope_webhooks_count",
        "staffetta_ingress_queue_size_bytes",
        "staffetta_ingress_queue_limit_bytes ",
        "messaging_client_operation_duration_seconds_count{messaging_destination_name=\"WEBHOOKS\"",
    ] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    assert!(!text.contains("nobody-s") && !text.contains("nowhere"), "{text}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let ingress = Harness::start().await;
    let failure = format!("{:#}", ingress.bind_again().await.unwrap_err());
    assert!(failure.starts_with("ingress.listen: 127.0.0.1:"), "{failure}");
}
