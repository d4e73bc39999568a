//! The listener: plain HTTP/1.1, with a way to close a connection without an answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// More connections than this wait in the listener's queue.
const CONNECTIONS: usize = 4_096;
/// How long a connection may sit idle or take for its headers. Longer than clients keep one, so that it is
/// the client that closes: a connection closed under a request would look like a fault nobody asked for.
const HEADER_WAIT: Duration = Duration::from_secs(300);
/// How long running requests get to end once the simulator stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Marks a response that must not be written: its connection closes instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct ConnectionCut;

/// Serves until `stop`, then lets running requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: they come back as connections end.
                    warn!(%error, "accepting a connection failed");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, ended).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY is not set");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// An error from here makes hyper drop the connection, with nothing written.
async fn answer(router: Router, request: hyper::Request<Incoming>) -> Result<Response, ConnectionCut> {
    let request: Request = request.map(Body::new);
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => {
            let never: Infallible = never;
            match never {}
        }
    };
    match response.extensions().get::<Cut>() {
        Some(Cut) => Err(ConnectionCut),
        None => Ok(response),
    }
}
