//! Marking a user's message read, and showing that an answer is being written.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Map, Value, json};
use staffetta_domain::{ChannelId, TenantId, Wamid};
use staffetta_store::StoreError;
use tokio::time::timeout;
use tracing::warn;

use super::error::GraphError;
use super::messages::metas_id;
use crate::App;
use crate::problem::chain;
use crate::provider::{self, AskError};

/// Longest time to mark the conversation here, once the provider has taken it.
const MARK_TIME: Duration = Duration::from_secs(1);

/// Passes the mark on to the provider, and leaves nothing unread here up to that message. What the provider has taken is
/// not undone when our own count can't be changed.
pub(super) async fn mark(
    app: &App,
    tenant: &TenantId,
    channel: &ChannelId,
    number: &str,
    body: &Map<String, Value>,
) -> Result<Value, GraphError> {
    if body.get("status").is_none_or(|status| status != "read") {
        return Err(GraphError::parameter("Param status must be one of {READ}"));
    }
    let raw = match body.get("message_id") {
        Some(Value::String(raw)) if !raw.is_empty() => raw,
        Some(Value::Null) | None => return Err(GraphError::required("message_id")),
        Some(_) => return Err(GraphError::parameter("Param message_id must be a string.")),
    };
    let id = metas_id(app, tenant, channel, raw, "message_id").await?;
    let refused = |error: AskError| GraphError::of_ask(error, &Method::POST, number);
    let line = provider::of_number(&app.registry.load(), tenant, number).map_err(refused)?;
    let _turn = app.turns.take(tenant).map_err(refused)?;
    let mut mark = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": id });
    if let Some(typing) = body.get("typing_indicator").filter(|typing| !typing.is_null()) {
        mark["typing_indicator"] = json!({ "type": typing["type"] });
    }
    let taken = app.graph.post(&line.token, &[&line.number, "messages"], &mark).await;
    let taken = taken.map_err(|error| refused(AskError::of(&line, error)))?;
    if let Ok(wamid) = id.parse() {
        match timeout(MARK_TIME, mark_here(app, tenant, channel, &wamid)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = chain(&error), "a conversation could not be marked read"),
            Err(_) => warn!("a conversation could not be marked read in time"),
        }
    }
    Ok(taken)
}

async fn mark_here(
    app: &App,
    tenant: &TenantId,
    channel: &ChannelId,
    wamid: &Wamid,
) -> Result<(), StoreError> {
    let Some(conversation) = app.store.conversation_of(tenant, channel, wamid).await? else { return Ok(()) };
    app.store.mark_read(tenant, conversation, Some(wamid)).await.map(drop)
}
