//! `GET` and `POST` on `/webhooks/meta/<app>`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use staffetta_bus::{Bus, RegistryView};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::answer::{Outcome, Problem};
use crate::body::{self, Memory};
use crate::commit::Desk;
use crate::complaint::Complaints;
use crate::envelope::{Writer, new_id};
use crate::keys::{AppKeys, Keys, Signature};
use crate::linger::Linger;
use crate::metrics::Metrics;
use crate::visit::{NO_ROUTE, Visit, WEBHOOKS};
use staffetta_runtime::telemetry::method_label;

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Door {
    keys: Keys,
    memory: Memory,
    writer: Writer,
    desk: Desk,
    deadline: Duration,
    linger: Linger,
    metrics: Metrics,
    complaints: Complaints,
}

pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route(WEBHOOKS, get(verify).post(receive))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::new(door))
}

async fn no_route(State(door): State<Arc<Door>>, method: Method) -> Problem {
    let (started, status) = (Instant::now(), StatusCode::NOT_FOUND);
    let answer = problem(status, "not-found", "nothing is here");
    door.metrics.served.answered(method_label(&method), NO_ROUTE, status, started.elapsed());
    answer
}

async fn no_method(State(door): State<Arc<Door>>, method: Method) -> Problem {
    let (started, status) = (Instant::now(), StatusCode::METHOD_NOT_ALLOWED);
    let answer = problem(status, "method-not-allowed", "only GET and POST");
    door.metrics.served.answered(method_label(&method), WEBHOOKS, status, started.elapsed());
    answer
}

fn problem(status: StatusCode, slug: &'static str, title: &'static str) -> Problem {
    Problem { status, slug, title, retry_after: None }
}

type AppPath = Result<Path<String>, PathRejection>;
type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// `GET /webhooks/meta/<app>`: shows the provider that this address is the app's, by repeating its challenge.
async fn verify(
    State(door): State<Arc<Door>>,
    method: Method,
    headers: HeaderMap,
    app: AppPath,
    query: Parameters,
) -> Response {
    let mut visit = Visit::verification(&method, &headers);
    let app = door.app(app);
    let verified = match &app {
        Ok(app) => {
            visit.is_for(app);
            door.verify(app, query)
        }
        Err(unknown) => Err(*unknown),
    };
    let refused = verified.as_ref().err().copied();
    let response = match verified {
        Ok(challenge) => ([(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))], challenge)
            .into_response(),
        Err(outcome) => {
            door.metrics.ended(app.as_deref().ok(), outcome);
            outcome.into_response()
        }
    };
    visit.end(response.status(), refused, &door.metrics);
    response
}

/// `POST /webhooks/meta/<app>`: answers 200 once NATS has the body.
async fn receive(State(door): State<Arc<Door>>, app: AppPath, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut visit = Visit::webhook(&parts.headers);
    let app = door.app(app);
    let outcome = match &app {
        Ok(app) => {
            visit.is_for(app);
            let received = door.receive(app, &parts.headers, &mut body, &mut visit).await;
            received.unwrap_or_else(|refused| refused)
        }
        Err(unknown) => *unknown,
    };
    door.metrics.ended(app.as_deref().ok(), outcome);
    if !matches!(outcome, Outcome::Stored | Outcome::Timeout | Outcome::Broken) {
        door.linger.over(body, &parts.headers);
    }
    let response = outcome.into_response();
    visit.end(response.status(), Some(outcome), &door.metrics);
    response
}

impl Door {
    pub(crate) fn new(
        bus: Bus,
        registry: RegistryView,
        desk: Desk,
        memory: usize,
        deadline: Duration,
        linger: Linger,
        metrics: Metrics,
    ) -> Self {
        Self {
            keys: Keys::new(registry),
            memory: Memory::new(memory),
            writer: Writer::new(bus),
            desk,
            deadline,
            linger,
            metrics,
            complaints: Complaints::default(),
        }
    }

    fn app(&self, path: AppPath) -> Result<Arc<AppKeys>, Outcome> {
        let Ok(Path(id)) = path else { return Err(Outcome::UnknownApp) };
        self.keys.of(&id).ok_or(Outcome::UnknownApp)
    }

    fn verify(&self, app: &AppKeys, query: Parameters) -> Result<String, Outcome> {
        let Ok(Query(mut query)) = query else { return Err(Outcome::Forbidden) };
        let mut parameter =
            |name| query.iter().position(|(key, _)| key == name).map(|at| query.swap_remove(at).1);
        let token = parameter("hub.verify_token").unwrap_or_default();
        let right = app.is_verify_token(&token).ok_or_else(|| {
            if self.complaints.due(&format!("{} verify", app.id)) {
                error!(app = &*app.id, "the app has no verify token: its address can't be verified");
            }
            Outcome::NoSecret
        })?;
        let subscribes = parameter("hub.mode").is_some_and(|mode| mode == "subscribe");
        match parameter("hub.challenge") {
            Some(challenge) if right && subscribes => {
                info!(app = &*app.id, "webhook address verified");
                Ok(challenge)
            }
            _ => {
                if self.complaints.due(&app.id) {
                    warn!(
                        app = &*app.id,
                        right_token = right,
                        "a verification of the webhook address was refused"
                    );
                }
                Err(Outcome::Forbidden)
            }
        }
    }

    async fn receive(
        &self,
        app: &AppKeys,
        headers: &HeaderMap,
        body: &mut Body,
        visit: &mut Visit,
    ) -> Result<Outcome, Outcome> {
        if !app.can_verify() {
            if self.complaints.due(&format!("{} receive", app.id)) {
                error!(app = &*app.id, "the app has no secret: its webhooks are refused");
            }
            return Err(Outcome::NoSecret);
        }
        if body::announces_too_much(body) {
            return Err(Outcome::TooLarge);
        }
        let signature = headers.get(SIGNATURE).and_then(|value| Signature::parse(value.as_bytes()));
        let signature = signature.ok_or(Outcome::Unauthorized)?;
        let (bytes, held) = body::read(body, &self.memory).await?;
        let arrived = Instant::now();
        if !app.signed(&bytes, signature) {
            return Err(Outcome::Unauthorized);
        }
        if let Some(refused) = self.desk.refuses() {
            return Err(refused);
        }
        let id = new_id();
        visit.brings(&id);
        let trace = visit.trace();
        let written = timeout_at(arrived + self.deadline, self.writer.write(&app.id, id, trace, bytes));
        let encoded = written.await.unwrap_or(Err(Outcome::Slow))?;
        let outcome = self.desk.store(encoded, held, arrived, trace).await;
        if outcome == Outcome::Stored {
            self.metrics.stored_after(arrived.elapsed());
        }
        Ok(outcome)
    }
}
