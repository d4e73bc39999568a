//! Who sends too much, too slowly or nothing at all costs little.

use futures_util::future::join_all;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Harness, LIMIT, SECRET, Setup, signature};

const MIB: usize = 1 << 20;

/// The head of a webhook with some signature, without the line that tells the body's length.
fn head(length: &str) -> String {
    let signature = signature(SECRET, b"");
    format!(
        "POST /webhooks/meta/main HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {signature}\r\n{length}\r\n\r\n"
    )
}

/// Everything that comes until ingress closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends a connection too.
    let _ =
        timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("ingress did not close the connection");
    String::from_utf8(bytes).unwrap()
}

/// The status line of the next answer.
async fn status(stream: &mut TcpStream) -> String {
    status_unless_reset(stream).await.unwrap()
}

async fn status_unless_reset(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = [0; 12];
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.expect("no answer")?;
    Ok(String::from_utf8(bytes.into()).unwrap())
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_comes() {
    let ingress = Harness::start().await;
    let mut stream = ingress.connect().await;
    let length = 3 * MIB + 1;
    stream.write_all(head(&format!("Content-Length: {length}")).as_bytes()).await.unwrap();
    assert_eq!(status(&mut stream).await, "HTTP/1.1 413");
    // Who asks whether to send it is not asked to.
    let mut stream = ingress.connect().await;
    let asks = format!("Expect: 100-continue\r\nContent-Length: {length}");
    stream.write_all(head(&asks).as_bytes()).await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 413"));
}

/// The connection isn't reset under a sender that writes everything before it reads.
#[tokio::test]
async fn whoever_sends_too_much_hears_so() {
    let ingress = Harness::start().await;
    let length = 8 * MIB;
    let request = [head(&format!("Content-Length: {length}")).into_bytes(), vec![b'x'; length]].concat();
    // Ingress reads on for two seconds only: on a busy machine that may be too short for all of it.
    ingress
        .until("413 to one who sent everything", async |ingress| {
            let mut stream = ingress.connect().await;
            if stream.write_all(&request).await.is_err() {
                return false;
            }
            let Ok(status) = status_unless_reset(&mut stream).await else { return false };
            assert_eq!(status, "HTTP/1.1 413");
            true
        })
        .await;
    ingress.post(vec![b'x'; 3 * MIB + 1]).await.assert_problem(413, "body-too-large");
    assert_eq!(ingress.post(vec![b'x'; 3 * MIB]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_of_untold_length_is_cut_at_the_limit() {
    let ingress = Harness::start().await;
    let mut stream = ingress.connect().await;
    stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..=3 * MIB / 0x10000 {
        stream.write_all(&chunk).await.unwrap();
    }
    assert_eq!(status(&mut stream).await, "HTTP/1.1 413");
}

#[tokio::test]
async fn a_chunked_body_is_stored_whole() {
    let ingress = Harness::start().await;
    let mut stream = ingress.connect().await;
    let head =
        head("Transfer-Encoding: chunked").replace(&signature(SECRET, b""), &signature(SECRET, b"{\"a\":1}"));
    for part in [head.as_bytes(), b"3\r\n{\"a\r\n", b"4\r\n\":1}\r\n", b"0\r\n\r\n"] {
        stream.write_all(part).await.unwrap();
    }
    assert_eq!(status(&mut stream).await, "HTTP/1.1 200");
    assert_eq!(ingress.webhooks().await[0].body, "{\"a\":1}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let ingress = Harness::start().await;
    let (mut silent, mut slow) = (ingress.connect().await, ingress.connect().await);
    slow.write_all(b"POST /webhooks/meta/main HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
    let mut idle = ingress.connect().await;
    idle.write_all(b"GET /webhooks/meta/main HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let ((), slow, idle) = tokio::join!(
        async { assert_eq!(read_to_end(&mut silent).await, "") },
        read_to_end(&mut slow),
        read_to_end(&mut idle),
    );
    assert!(!slow.contains("200"), "{slow}");
    assert!(idle.starts_with("HTTP/1.1 403"), "{idle}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let ingress = Harness::start().await;
    let mut slow = ingress.connect().await;
    slow.write_all(head("Content-Length: 1000").as_bytes()).await.unwrap();
    slow.write_all(b"{").await.unwrap();
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("/problems/body-too-slow"), "{answer}");
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let ingress = Harness::start().await;
    let mut stream = ingress.connect().await;
    let head = format!("POST /webhooks/meta/main HTTP/1.1\r\nHost: x\r\nX-Pad: {}", "x".repeat(64 << 10));
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(ingress.post("{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn promised_bytes_take_no_memory() {
    let ingress = Harness::start_with(Setup { max_buffered_bytes: 8 * MIB, ..Setup::default() }).await;
    let connections = join_all((0..200).map(|_| async {
        let mut stream = ingress.connect().await;
        stream.write_all(head(&format!("Content-Length: {}", 3 * MIB)).as_bytes()).await.unwrap();
        stream
    }))
    .await;
    assert_eq!(ingress.post("{}").await.status, StatusCode::OK);
    drop(connections);
}

#[tokio::test]
async fn when_memory_is_taken_newcomers_are_refused_and_then_served_again() {
    let ingress = Harness::start_with(Setup { max_buffered_bytes: 8 * MIB, ..Setup::default() }).await;
    let most_of_it =
        [head(&format!("Content-Length: {}", 3 * MIB)).into_bytes(), vec![b'x'; 5 * MIB / 2]].concat();
    let mut holders = Vec::new();
    ingress
        .until("a refusal", async |ingress| {
            assert!(holders.len() < 100, "nobody is refused");
            let mut stream = ingress.connect().await;
            // It may be refused itself, if the last webhook still takes its room: then the next one takes that.
            let _ = stream.write_all(&most_of_it).await;
            holders.push(stream);
            let answer = ingress.post(vec![b'x'; MIB]).await;
            if answer.status == StatusCode::OK {
                return false;
            }
            answer.assert_problem(503, "queue-full");
            true
        })
        .await;
    drop(holders);
    ingress
        .until("room again", async |ingress| ingress.post(vec![b'x'; MIB]).await.status == StatusCode::OK)
        .await;
}
