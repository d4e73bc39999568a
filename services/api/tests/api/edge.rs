//! What holds for every request.

use reqwest::Method;
use serde_json::json;
use staffetta_runtime::config::{ApiConfig, Listen, TelemetryConfig};
use staffetta_runtime::telemetry::Telemetry;
use staffetta_testkit::{NatsOptions, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{ACME, Answer, Gateway, Setup, WAIT, text, with};

const LIMIT: usize = 1 << 20;

#[tokio::test]
async fn an_address_or_a_method_that_is_not_served_is_a_problem_too() {
    let gateway = Gateway::start().await;
    for path in ["/", "/v1", "/v1/messages/", "/v1/messages/a/b", "/v2/messages"] {
        gateway.get(path).await.is_problem(404, "not-found");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/v1/messages", "GET,HEAD,POST"),
        (Method::POST, "/v1/messages/a", "GET,HEAD,DELETE"),
        (Method::POST, "/v1/channels", "GET,HEAD"),
    ] {
        let request = gateway.request(method, path).bearer_auth(ACME);
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.is_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused_whether_its_length_is_told_or_not() {
    let gateway = Gateway::start().await;
    let filling = |length: usize| {
        let empty = with(text("a"), &json!({"filling": ""})).to_string().len();
        with(text("a"), &json!({"filling": "x".repeat(length - empty)})).to_string().into_bytes()
    };
    assert_eq!(filling(LIMIT).len(), LIMIT);
    let mut told = connect(&gateway, &format!("Content-Length: {}", LIMIT + 1)).await;
    assert_eq!(status_line(&mut told).await, "HTTP/1.1 413 Payload Too Large");
    let mut chunked = connect(&gateway, "Transfer-Encoding: chunked").await;
    chunked.write_all(format!("{:x}\r\n", LIMIT + 1).as_bytes()).await.unwrap();
    chunked.write_all(&filling(LIMIT + 1)).await.unwrap();
    assert_eq!(status_line(&mut chunked).await, "HTTP/1.1 413 Payload Too Large");
    let largest = gateway.request(Method::POST, "/v1/messages").bearer_auth(ACME).body(filling(LIMIT));
    assert_eq!(largest.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_message_that_the_queue_has_no_room_for_is_refused_and_harms_nobody() {
    let largest = 32 << 10;
    let options = NatsOptions { max_payload: largest, ..NatsOptions::default() };
    let gateway = Gateway::start_with_nats(options).await;
    let message = |id: &str, length: usize| {
        with(text(id), &json!({"text": {"body": "x", "filling": "x".repeat(length)}}))
    };
    let largest = usize::try_from(largest).unwrap();
    for (id, length) in
        [("a", largest - 250), ("b", largest - 150), ("c", largest - 50), ("d", largest), ("e", 60_000)]
    {
        let answer = gateway.post(&message(id, length)).await;
        assert!(answer.status == 202 || answer.json["type"] == "/problems/too-large", "{length}: {answer:?}");
        assert!(answer.status == 413 || length < largest);
        assert!(gateway.bus.is_connected());
    }
    assert_eq!(gateway.post(&text("small")).await.status, 202);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let gateway = Gateway::start().await;
    let mut slow = connect(&gateway, "Content-Length: 100").await;
    slow.write_all(b"{").await.unwrap();
    assert_eq!(status_line(&mut slow).await, "HTTP/1.1 408 Request Timeout");
}

#[tokio::test]
async fn bodies_have_room_in_memory_or_are_not_taken_and_slow_ones_give_it_back() {
    let gateway = Gateway::start().await;
    let mut slow = Vec::new();
    let refused = until("a request without room", WAIT, async || {
        // Again at each look: on a slow machine those before may have been given up meanwhile.
        for _ in 0..64 {
            slow.push(connect(&gateway, &format!("Content-Length: {LIMIT}")).await);
        }
        let answer = gateway.post(&with(text("a"), &json!({"channel": null}))).await;
        (answer.status == 503).then_some(answer)
    });
    let refused = refused.await.unwrap();
    refused.is_problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    let taken =
        until("room again", WAIT, async || (gateway.post(&text("a")).await.status == 202).then_some(()));
    taken.await.unwrap();
    for mut stream in slow {
        assert!(
            ["HTTP/1.1 408 Request Timeout", "HTTP/1.1 503 Service Unavailable"]
                .contains(&status_line(&mut stream).await.as_str())
        );
    }
}

#[tokio::test]
async fn requests_are_measured_by_route_and_by_tenant_and_nothing_of_a_message_is_in_the_figures() {
    let telemetry = Telemetry::start(&TelemetryConfig::default(), "test").unwrap();
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("inv-77")).await.status, 202);
    assert_eq!(gateway.get("/v1/messages/inv-77").await.status, 200);
    assert_eq!(gateway.get("/v1/inv-77").await.status, 404);
    let figures = telemetry.render().unwrap();
    let count = |method: &str, status: u16, route: &str| {
        let labels = format!(
            r#"http_server_request_duration_seconds_count{{http_request_method="{method}",http_response_status_code="{status}",http_route="{route}"}}"#
        );
        assert!(figures.contains(&labels), "no {labels} in:\n{figures}");
    };
    count("POST", 202, "/v1/messages");
    count("GET", 200, "/v1/messages/{id}");
    count("GET", 404, "none");
    for outcome in ["ok", "refused"] {
        let labels = format!(r#"staffetta_tenant_requests_total{{outcome="{outcome}",tenant="acme"}}"#);
        assert!(figures.contains(&labels), "no {labels} in:\n{figures}");
    }
    // The whole number: a few digits of it stand in some sum of seconds by chance.
    assert!(!figures.contains("inv-77") && !figures.contains("393481213456"), "{figures}");
}

#[tokio::test]
async fn it_is_ready_while_it_runs_and_ends_when_it_is_told_to() {
    // On an address where nobody else takes the port once it is free.
    let mut setup = Setup::default();
    setup.api = ApiConfig { listen: Listen("127.4.0.1:0".parse().unwrap()), ..setup.api };
    let gateway = Gateway::start_as(setup).await;
    assert_eq!(gateway.get("/v1/channels").await.status, 200);
    assert_eq!(gateway.health.checks(), [("api".to_owned(), true)]);
    gateway.stop.cancel();
    assert_eq!(gateway.health.checks(), [("api".to_owned(), false)]);
    gateway.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

/// A connection on which the head of a `POST /v1/messages` was sent, with one more header.
async fn connect(gateway: &Gateway, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: staffetta\r\nAuthorization: Bearer {ACME}\r\n{header}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn status_line(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}
