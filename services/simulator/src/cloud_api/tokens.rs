//! What an access token is: who may ask, and what it may do until when.

use serde_json::json;

use super::{Call, Reply};
use crate::graph_error::GraphError;
use crate::world::unix_ms;

/// `GET /debug_token`: what is known of the token `input_token`, if the caller's own token is taken. One that nobody
/// knows, or that has ended, is told to be invalid.
pub(super) fn debug(call: &Call<'_>) -> Reply {
    let state = call.world.state();
    let caller = call.token().and_then(|token| state.token(token));
    caller.filter(|token| token.is_valid()).ok_or_else(|| GraphError::of(190))?;
    let shown = call.query("input_token").ok_or_else(|| GraphError::required("input_token"))?;
    let token = state.token(shown);
    let known = json!({
        "app_id": "670843887433847",
        "type": "SYSTEM_USER",
        "application": "Simulated App",
        "data_access_expires_at": 0,
        "expires_at": token.and_then(|token| token.expires_at).unwrap_or(0),
        "is_valid": token.is_some_and(|token| token.is_valid()),
        "issued_at": unix_ms() / 1000 - call.world.now() / 1_000_000,
        "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"],
        "user_id": "122100000000000001",
    });
    match token {
        Some(token) if token.is_valid() => Ok(json!({ "data": known })),
        _ => {
            let message = GraphError::of(190).body("")["error"]["message"].take();
            let error = json!({ "code": 190, "message": message });
            Ok(json!({ "data": { "error": error, "is_valid": false, "scopes": [] } }))
        }
    }
}
