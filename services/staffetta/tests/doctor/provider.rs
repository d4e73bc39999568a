//! The provider as it should not be, and the way back from it.

use std::time::{SystemTime, UNIX_EPOCH};

use staffetta_testkit::{NatsOptions, NatsServer, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{LIMIT, NUMBER, World};

const CHANNELS: [&str; 2] = ["--only", "channels"];
const ORDERS: Option<&str> = Some("acme-orders");

#[tokio::test]
async fn a_dead_token_is_told_with_what_to_do() {
    let world = World::new().await;
    world.provider.set_token(NUMBER, "another-token").unwrap();
    let said = world.doctor(&CHANNELS).await;
    assert_eq!(said.code, 2);
    said.says("error", "channels.token", ORDERS, "code 190");
    let todo = said.finding("channels.token", ORDERS)["do"].as_str().unwrap();
    assert!(todo.contains("staffetta hold lift acme-orders"), "{todo}");
}

#[tokio::test]
async fn a_token_s_end_is_told_beforehand() {
    let world = World::new().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (hours, level, words) in [
        (24 * 60, "ok", "ends in 59 days"),
        (24 * 20, "note", "ends in 19 days"),
        (24 * 3, "warning", "ends in 2 days"),
        (6, "error", "ends in 5 h"),
    ] {
        // A minute less, so that the test's own time does not count.
        world.provider.set_token_end(NUMBER, Some(now + hours * 3_600 - 60)).unwrap();
        world.doctor(&CHANNELS).await.says(level, "channels.token", ORDERS, words);
    }
    world.provider.set_token_end(NUMBER, Some(now - 1)).unwrap();
    world.doctor(&CHANNELS).await.says("error", "channels.token", ORDERS, "code 190");
}

#[tokio::test]
async fn a_number_that_can_t_send_and_an_account_without_webhooks_are_told_of() {
    let world = World::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = world.provider.base_url();
    let asked = async |request: reqwest::RequestBuilder| {
        let answer = request.bearer_auth("the-access-token").send().await.unwrap();
        assert!(answer.status().is_success());
    };
    asked(http.post(format!("{base}/v24.0/{NUMBER}/deregister"))).await;
    asked(http.delete(format!("{base}/v24.0/900900/subscribed_apps"))).await;
    let said = world.doctor(&CHANNELS).await;
    said.says("error", "channels.number", ORDERS, "DISCONNECTED");
    said.says("error", "channels.subscription", Some("900900"), "no app is subscribed");
    said.says("ok", "channels.token", ORDERS, "taken");
}

#[tokio::test]
async fn a_clock_that_goes_wrong_is_seen_in_the_provider_s_date() {
    let mut world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.set("STAFFETTA__GRAPH__BASE_URL", format!("http://{}", listener.local_addr().unwrap()));
    let provider = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90);
            let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap();
            let answer = format!(
                "HTTP/1.1 404 Not Found\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let said = world.doctor(&["--only", "clocks"]).await;
    provider.abort();
    assert_eq!(said.code, 2);
    said.says("error", "clocks.skew", Some("provider"), "ahead of this machine");
    assert_eq!(said.finding("clocks.skew", Some("NATS"))["level"], "ok");
}

#[tokio::test]
async fn a_public_address_that_does_not_lead_to_ingress_is_told_of() {
    let mut world = World::new().await;
    world.up().await;
    let only = ["--only", "webhooks"];
    let app = Some("meta-main");
    world.doctor(&only).await.says("ok", "webhooks.reach", app, "as the provider expects");

    // Ingress reads the secret where its own variables lead; here they lead elsewhere.
    world.set("SHOWN_BY_META", "another one");
    world
        .apply("[[app]]\nid = \"meta-main\"\napp_secret = \"the-app-secret\"\nverify_token = { env = \"SHOWN_BY_META\" }\n")
        .await;
    let said = until("ingress to read the other secret", LIMIT, async || {
        let said = world.doctor(&only).await;
        (said.code == 2).then_some(said)
    });
    let said = said.await.unwrap();
    let seen = said.finding("webhooks.reach", app)["seen"].as_str().unwrap();
    assert!(seen.starts_with("answers 403") || seen.starts_with("answers 503"), "{seen}");

    world.set("STAFFETTA__INGRESS__PUBLIC_URL", world.provider.base_url());
    world.doctor(&only).await.says("error", "webhooks.reach", app, "answers 400");
    world.set("STAFFETTA__INGRESS__PUBLIC_URL", "http://127.0.0.1:1");
    world.doctor(&only).await.says("error", "webhooks.reach", app, "TCP: 127.0.0.1:1 can't be reached");
}

#[tokio::test]
async fn a_certificate_s_end_is_told_though_nobody_trusts_it() {
    let mut world = World::new().await;
    let address = world.address();
    let end = (jiff::Zoned::now() + jiff::ToSpan::days(11)).date();
    let mut parameters = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    parameters.not_after =
        rcgen::date_time_ymd(end.year().into(), end.month().cast_unsigned(), end.day().cast_unsigned());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("cert.pem", certificate.pem()), file("key.pem", key.serialize_pem()));
    // Its monitoring side speaks HTTPS.
    let extra_config =
        format!("https: \"{address}\"\ntls {{ cert_file: {certificate:?}, key_file: {key:?} }}");
    let _server =
        NatsServer::start_with(NatsOptions { extra_config, ..NatsOptions::default() }).await.unwrap();
    world.set("STAFFETTA__INGRESS__PUBLIC_URL", format!("https://{address}"));
    let said = world.doctor(&["--only", "webhooks"]).await;
    said.says("warning", "webhooks.certificate", Some(&address), &format!("on {end}"));
    said.says("error", "webhooks.reach", Some("meta-main"), "TCP connects, TLS or HTTP fails");
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_once_and_channels_are_not_tried() {
    let mut world = World::new().await;
    world.set("STAFFETTA__GRAPH__BASE_URL", "http://127.0.0.1:1");
    let said = world.doctor(&["--only", "provider", "--only", "channels"]).await;
    said.says("error", "provider.reach", Some("127.0.0.1:1"), "TCP: 127.0.0.1:1 can't be reached");
    said.says("error", "channels.asked", None, "none of 1: the provider can't be reached");
    assert_eq!(said.findings().iter().filter(|finding| finding["check"] == "channels.token").count(), 0);
}
