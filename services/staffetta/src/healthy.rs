//! `staffetta healthy`: asks a process on this machine whether it is ready, for health checks where there is no shell.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use staffetta_runtime::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for the whole answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of an answer that are read: one short line a check.
const MOST: u64 = 64 << 10;
/// In HTTP/1.0 an answer comes in one piece and ends with the connection: all that is to be read here.
const REQUEST: &[u8] = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// Prints what `/readyz` at `admin.listen` says. 0 if every check passes, 1 if not.
///
/// # Errors
/// If nothing answers within 2 seconds.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let address = this_machine(config.admin.listen.0);
    let answer = timeout(LIMIT, ask(address))
        .await
        .with_context(|| format!("no answer from {address} within {} s", LIMIT.as_secs()))
        .flatten()
        .context("admin.listen")?;
    let (ready, text) = read(&answer);
    // Whoever asked may have gone already.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a process that listens there is reached from this machine.
fn this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream =
        TcpStream::connect(address).await.with_context(|| format!("nothing listens on {address}"))?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether the answer is a 200, and its body.
fn read(answer: &str) -> (bool, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    (head.split(' ').nth(1) == Some("200"), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_is_ready() {
        let whole = "HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nnats: ok\n";
        assert_eq!(read(whole), (true, "nats: ok\n"));
        let not_yet = "HTTP/1.0 503 Service Unavailable\r\n\r\nnats: not ready\n";
        assert_eq!(read(not_yet), (false, "nats: not ready\n"));
        assert_eq!(read("no HTTP"), (false, ""));
        assert_eq!(read(""), (false, ""));
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listen, here) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:9090", "10.0.0.7:9090"),
        ] {
            assert_eq!(this_machine(listen.parse().unwrap()), here.parse().unwrap());
        }
    }
}
