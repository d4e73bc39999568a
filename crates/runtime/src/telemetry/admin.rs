//! `/metrics`, `/livez` and `/readyz`.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opentelemetry::KeyValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Telemetry, meter};
use crate::health::Health;
use crate::http::{Limits, serve};

/// Serves `/metrics`, `/livez` and `/readyz` until `stop`, and shows in the metrics what `/readyz` says. Who asks on an
/// open connection after that hears that the process is not ready.
///
/// # Errors
/// If the server itself fails.
pub async fn serve_admin(
    listener: TcpListener,
    telemetry: Telemetry,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    measure(health.clone());
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state((health, stop.clone())))
        .route("/metrics", get(metrics).with_state(telemetry));
    serve(listener, router, Limits { max_connections: 64, ..Limits::default() }, stop).await
}

fn measure(health: Health) {
    meter()
        .u64_observable_gauge("staffetta.ready")
        .with_description("1 if the check of /readyz passes, else 0")
        .with_callback(move |gauge| {
            for (name, ready) in health.checks() {
                gauge.observe(u64::from(ready), &[KeyValue::new("check", name)]);
            }
        })
        .build();
}

async fn readyz(State((health, stop)): State<(Health, CancellationToken)>) -> Response {
    if stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping: not ready\n").into_response();
    }
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for (name, ready) in health.checks() {
        if !ready {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let _ = writeln!(text, "{name}: {}", if ready { "ok" } else { "not ready" });
    }
    (status, text).into_response()
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.render() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(failure) => {
            error!(error = format!("{failure:#}"), "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_stops_is_not_ready_whatever_its_checks_say() {
        let (health, stop) = (Health::default(), CancellationToken::new());
        health.add("nats", || true);
        let asked = async || readyz(State((health.clone(), stop.clone()))).await.status();
        assert_eq!(asked().await, StatusCode::OK);
        stop.cancel();
        assert_eq!(asked().await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn who_fails_one_check_is_not_ready() {
        let health = Health::default();
        health.add("nats", || true);
        health.add("database", || false);
        let answer = readyz(State((health, CancellationToken::new()))).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
