use std::net::SocketAddr;

use reqwest::header::HeaderMap;
use staffetta_testkit::HeldPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

fn guarded(allow: Option<&str>, nats_is_local: bool) -> Guarded {
    let config = DeliveryConfig {
        allow_networks: allow.map(str::to_owned),
        request_timeout_ms: 5_000,
        ..DeliveryConfig::default()
    };
    client(&config, nats_is_local).unwrap()
}

fn prepared() -> Prepared {
    Prepared { headers: HeaderMap::new(), body: "x".into() }
}

/// Answers one connection, and gives back what it was asked.
async fn answers(answer: String) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\nx") {
            let mut some = [0; 1024];
            let length = connection.read(&mut some).await.unwrap();
            assert!(length > 0, "the request broke off");
            asked.extend_from_slice(&some[..length]);
        }
        // The other side may hang up before it has read all of it.
        let _ = connection.write_all(answer.as_bytes()).await;
        String::from_utf8(asked).unwrap()
    });
    (address, serving)
}

#[tokio::test]
async fn an_answer_is_given_with_the_beginning_of_its_body() {
    let body = "a".repeat(10_000);
    let head = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 120\r\ncontent-length: 10000\r\n\r\n";
    let (address, serving) = answers(format!("{head}{body}")).await;
    let answer = guarded(None, true).post(&format!("http://{address}/hooks?a=1"), prepared()).await.unwrap();
    assert_eq!((answer.status, answer.retry_after), (503, Some(Duration::from_secs(120))));
    assert_eq!(answer.text, &body[..KEPT]);
    let asked = serving.await.unwrap();
    assert!(asked.starts_with("POST /hooks?a=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("user-agent: Staffetta/"), "{asked}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let head =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let (address, _serving) = answers(head.into()).await;
    let answer = guarded(None, true).post(&format!("http://{address}/"), prepared()).await.unwrap();
    assert_eq!(answer.status, 307);
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_to_its_end() {
    let (address, _serving) = answers(format!("HTTP/1.1 200 OK\r\n\r\n{}", "b".repeat(1 << 20))).await;
    let answer = guarded(None, true).post(&format!("http://{address}/"), prepared()).await.unwrap();
    assert_eq!((answer.status, answer.text.len()), (200, KEPT));
}

#[tokio::test]
async fn an_address_is_known_in_every_dress() {
    let guarded = guarded(Some(""), true);
    for url in [
        "http://127.0.0.1:9/",
        "https://127.0.0.1:9/",
        "http://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.01/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://0/",
        "https://localhost:9/",
        "https://LOCALHOST:9/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
    ] {
        assert_eq!(guarded.post(url, prepared()).await, Err(NoAnswer::Forbidden), "{url}");
    }
}

#[tokio::test]
async fn a_url_that_hides_something_is_none() {
    let guarded = guarded(None, true);
    for url in [
        "https://erp.example@127.0.0.1/",
        "https://user:password@erp.example/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "/hooks",
        "https://256.256.256.256/",
    ] {
        assert_eq!(guarded.post(url, prepared()).await, Err(NoAnswer::Url), "{url}");
    }
}

#[tokio::test]
async fn clear_text_stays_within_the_networks_that_are_named() {
    let guarded = guarded(None, true);
    assert_eq!(guarded.post("http://8.8.8.8/", prepared()).await, Err(NoAnswer::Plain));
    assert_eq!(guarded.check("https://8.8.8.8/").map(drop), Ok(()));
}

#[tokio::test]
async fn why_nothing_came_back_is_told_without_the_address() {
    let guarded = guarded(None, true);
    let closed = HeldPort::pick().unwrap();
    let url = format!("http://127.0.0.1:{}/", closed.number());
    assert_eq!(guarded.post(&url, prepared()).await, Err(NoAnswer::Unreachable));
    // No name has a part of this length, so that nobody need be asked.
    let nowhere = format!("https://{}.example/", "a".repeat(64));
    let nowhere = guarded.post(&nowhere, prepared()).await.unwrap_err();
    assert!(matches!(nowhere, NoAnswer::Unresolved | NoAnswer::Unreachable), "{nowhere:?}");
    // With a dot at its end a name may be resolved or not; it is not reached either way.
    let dotted = self::guarded(None, false).post("https://localhost.:9/", prepared()).await.unwrap_err();
    assert!(matches!(dotted, NoAnswer::Unresolved | NoAnswer::Forbidden), "{dotted:?}");
    let (address, _serving) = answers("HTTP/1.1 200".into()).await;
    assert_eq!(guarded.post(&format!("http://{address}/"), prepared()).await, Err(NoAnswer::Broken));
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_reached_where_that_is_allowed() {
    let (address, _serving) = answers("HTTP/1.1 204 No Content\r\n\r\n".into()).await;
    let url = format!("http://localhost:{}/", address.port());
    assert_eq!(guarded(Some("127.0.0.1/32"), false).post(&url, prepared()).await.unwrap().status, 204);
    assert_eq!(guarded(None, false).post(&url, prepared()).await, Err(NoAnswer::Forbidden));
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_costs_the_time_of_one_request() {
    let config = DeliveryConfig { request_timeout_ms: 200, ..DeliveryConfig::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    assert_eq!(client(&config, true).unwrap().post(&url, prepared()).await, Err(NoAnswer::TimedOut));
}

#[test]
fn retry_after_is_read_in_both_its_forms() {
    let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
    let of = |text| wait(&HeaderValue::from_static(text), now);
    assert_eq!(of("120"), Some(Duration::from_secs(120)));
    assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
    assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(of("soon"), None);
    assert_eq!(of("-1"), None);
}
