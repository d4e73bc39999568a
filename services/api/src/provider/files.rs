//! Files that lie at the provider. Each belongs to one number, and is only ever asked for together with one of the
//! tenant's own: a token may reach more numbers than one.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde_json::Value;
use staffetta_domain::TenantId;
use staffetta_providers::graph::{CallError, Download};
use tokio::time::{Instant, timeout_at};

use super::{AskError, Line, Turn, lines};
use crate::App;

/// Most of a tenant's numbers that are tried when a request names none.
const MOST_LINES: usize = 10;

/// Longest time for all of them.
const FIND_TIME: Duration = Duration::from_secs(9);

/// Whether a text can be a file's id. Everything else stays out of addresses.
pub(crate) fn is_media_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// What the provider knows of a file, and the tenant's line that it belongs to. `number` says which; without it all of
/// them are tried.
pub(crate) async fn find(
    app: &App,
    tenant: &TenantId,
    id: &str,
    number: Option<&str>,
) -> Result<(Line, Value), AskError> {
    let lines = {
        let registry = app.registry.load();
        match number {
            Some(number) => vec![lines::of_number(&registry, tenant, number)?],
            None => lines::own(&registry, tenant),
        }
    };
    if !is_media_id(id) {
        return Err(AskError::NoFile);
    }
    let deadline = Instant::now() + FIND_TIME;
    // What kept one line from being asked may hide the file: then nobody can say that there is none.
    let mut hidden = None;
    for line in lines.into_iter().take(MOST_LINES) {
        let query = [("phone_number_id", line.number.as_str())];
        let path = [id];
        let Ok(asked) = timeout_at(deadline, app.graph.get(&line.token, &path, &query)).await else {
            return Err(AskError::NoAnswer("the provider was not asked for all your numbers in time"));
        };
        match asked {
            Ok(known) if is_file(&known, id) => return Ok((line, known)),
            Ok(_) => {}
            Err(CallError::Refused(refusal)) if is_about_the_file(refusal.code) => {}
            Err(error) => hidden = Some(AskError::of(&line, error)),
        }
    }
    Err(hidden.unwrap_or(AskError::NoFile))
}

/// Whether a refusal says that the file is not there, or not this number's.
fn is_about_the_file(code: i64) -> bool {
    matches!(code, 10 | 33 | 100 | 200..=299)
}

/// Whether it is a file that the provider tells of: with the same token other things can be asked for by id.
fn is_file(known: &Value, id: &str) -> bool {
    ["url", "mime_type", "sha256"].iter().all(|name| known[*name].is_string()) && known["id"] == id
}

/// Deletes a file at the provider.
pub(crate) async fn delete(
    app: &App,
    tenant: &TenantId,
    id: &str,
    number: Option<&str>,
) -> Result<Value, AskError> {
    // It is looked up first: what is no file of the tenant's must not be deleted with a token that could.
    let (line, _) = find(app, tenant, id, number).await?;
    let query = [("phone_number_id", line.number.as_str())];
    let deleted = app.graph.delete(&line.token, &[id], &query).await;
    deleted.map_err(|error| AskError::of(&line, error))
}

/// A file's bytes, as they come from the provider.
pub(crate) async fn download(
    app: &App,
    tenant: &TenantId,
    id: &str,
    number: Option<&str>,
    turn: Turn,
) -> Result<Response, AskError> {
    let (line, known) = find(app, tenant, id, number).await?;
    let address = known["url"].as_str().unwrap_or_default();
    let begun = app.graph.download(&line.token, address).await;
    let file = begun.map_err(|error| AskError::of(&line, error))?;
    Ok(passed_on(file, known["mime_type"].as_str(), turn))
}

/// Only what a file needs is passed on of the provider's headers. Who wrote the file may be anybody: no browser shall
/// take it for a page of ours.
fn passed_on(file: Download, known_type: Option<&str>, turn: Turn) -> Response {
    let content_type = file.content_type().or(known_type).map(HeaderValue::from_str);
    let length = file.length();
    let bytes = file.into_stream().map(move |part| {
        let _turn = &turn;
        part
    });
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, content_type.and_then(Result::ok).unwrap_or(unknown));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_stays_one_part_of_an_address() {
        assert!(is_media_id("1013859600285441") && is_media_id("a-B_9"));
        for other in ["", ".", "..", "1/2", "1?x", "1%2f2", "è", &"1".repeat(129)] {
            assert!(!is_media_id(other), "{other}");
        }
    }

    #[test]
    fn only_a_file_is_a_file() {
        let file = json!({"id": "1", "url": "https://x", "mime_type": "image/png", "sha256": "00"});
        assert!(is_file(&file, "1"));
        assert!(!is_file(&file, "2"));
        assert!(!is_file(&json!({"id": "1", "name": "an account"}), "1"));
        assert!(!is_file(&json!({"id": "1", "url": "https://x"}), "1"));
    }
}
