//! The HTTP edge: bounded in connections, in headers and in the time that anybody may take to send them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::{debug, warn};

/// What one server may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Longest time for a request's head to arrive, and for a connection to stand idle.
    pub head_timeout: Duration,
    /// How long a peer may leave unread, or not even acknowledge, what it is sent. Its connection is given up then,
    /// however long its answer was to go on.
    pub unread_timeout: Duration,
    /// How long open connections are waited for at the stop: who asks meanwhile is answered, and told that the connection
    /// ends with that. One that is closed without a word may meet a request that is already on its way.
    pub farewell: Duration,
    /// How long requests that run then may take to end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            head_timeout: Duration::from_secs(10),
            unread_timeout: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// Who is at the other end of a request's connection. Every request that [`serve`] hands over has it in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// Serves until `stop`, then takes no new connection, lets the requests that run come to their end and closes every
/// connection.
///
/// # Errors
/// Never while it serves: what one connection does concerns that connection alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(MAX_HEAD)
        .keep_alive(true);
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.context("connection slots closed")?,
        };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already. A pause keeps the first from spinning.
                    warn!(%error, "accept failed");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        limit_unread(&stream, limits.unread_timeout);
        let (router, stop) = (router.clone(), stop.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            // A router is always ready.
            let answering = router.clone().call(request);
            let stop = stop.clone();
            async move {
                let mut answer = answering.await?;
                if stop.is_cancelled() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    let farewell = async { while connections.join_next().await.is_some() {} };
    // Those that stay silent are closed below.
    let _ = timeout(limits.farewell, farewell).await;
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        warn!("closing connections whose requests did not end in time");
    }
    connections.shutdown().await;
    Ok(())
}

/// The kernel sees to it: who writes learns nothing of it while there is room in the kernel's own buffer.
fn limit_unread(stream: &TcpStream, limit: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(
        stream,
        u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
    ) {
        debug!(%error, "a connection has no time limit of its own");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, limit);
}

/// A router answers every request.
const _: fn() = || {
    fn infallible<S: tower::Service<axum::extract::Request, Error = Infallible>>() {}
    infallible::<Router>();
};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io;

    use axum::body::Body;
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let gone = CancellationToken::new();
        let told = gone.clone();
        let endless = async move || {
            let chunk = |held| async { Some((Ok::<_, io::Error>(vec![0_u8; 1 << 16]), held)) };
            Body::from_stream(stream::unfold(told.drop_guard(), chunk))
        };
        let router = Router::new().route("/", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { unread_timeout: Duration::from_secs(1), ..Limits::default() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, limits, stop.clone()));

        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HTTP/1.1\r\nHost: staffetta\r\n\r\n").await.unwrap();
        // What the body holds is dropped once its connection is gone.
        timeout(Duration::from_secs(60), gone.cancelled()).await.expect("it is still being sent");
        drop(silent);
        stop.cancel();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_asks_at_the_stop_is_answered_and_told_that_the_connection_ends() {
        let limit = Duration::from_secs(60);
        let router = Router::new().route("/", get(async || "here"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { farewell: limit, ..Limits::default() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, limits, stop.clone()));

        let ask = b"GET / HTTP/1.1\r\nHost: staffetta\r\n\r\n";
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(ask).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            let read = timeout(limit, connection.read_buf(&mut answer)).await.unwrap().unwrap();
            assert!(read > 0, "it ended");
        }
        assert!(!String::from_utf8(answer).unwrap().contains("connection: close"));

        stop.cancel();
        connection.write_all(ask).await.unwrap();
        let mut answer = String::new();
        timeout(limit, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        timeout(limit, serving).await.unwrap().unwrap().unwrap();
    }
}
