//! Media: upload, lookup, download, deletion.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::multipart::Field;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::time::timeout;

use super::{Call, Reply, success};
use crate::graph_error::GraphError;
use crate::media::{Download, LARGEST_FILE, Upload};
use crate::world::World;

/// How long an upload may take to arrive.
const UPLOAD_WAIT: Duration = Duration::from_secs(300);
/// The most that the form's other parts may hold.
const PART_LIMIT: usize = 1024;

/// `POST /<number>/media`: keeps the file for the number, and gives back its id.
pub(super) async fn upload(call: &Call<'_>, mut request: Request) -> Reply {
    call.world.state().authorise(call.id, call.token())?;
    DefaultBodyLimit::max(LARGEST_FILE + 64 * PART_LIMIT).apply(&mut request);
    let form = async {
        let form = Multipart::from_request(request, &()).await;
        read(form.map_err(|_| GraphError::required("messaging_product"))?).await
    };
    let upload = timeout(UPLOAD_WAIT, form).await;
    let upload = upload.map_err(|_| GraphError::parameter("The request body did not arrive."))??;
    let id = call.world.upload(call.id, upload)?;
    Ok(json!({ "id": id }))
}

/// The parts of the form, in any order.
async fn read(mut form: Multipart) -> Result<Upload, GraphError> {
    let (mut product, mut kind, mut file) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(|_| broken())? {
        match field.name().unwrap_or_default() {
            "messaging_product" => product = Some(text(field).await?),
            "type" => kind = Some(text(field).await?),
            "ttl_minutes" => {
                if text(field).await?.parse().map_or(true, |minutes: u32| !(60..=43_200).contains(&minutes)) {
                    return Err(GraphError::parameter("Param ttl_minutes must be between 60 and 43200."));
                }
            }
            "file" => {
                let named = field.file_name().is_some_and(|name| !name.is_empty());
                let mime = field.content_type().unwrap_or("application/octet-stream").to_owned();
                let bytes = field.bytes().await.map_err(|_| broken())?;
                file = Some((named, mime, bytes));
            }
            name => {
                return Err(GraphError::parameter(format!(
                    "Unexpected key \"{name}\" on param \"request\"."
                )));
            }
        }
    }
    match product.as_deref() {
        None => return Err(GraphError::required("messaging_product")),
        Some("whatsapp") => {}
        Some(_) => return Err(GraphError::parameter("Param messaging_product must be one of {WHATSAPP}")),
    }
    let kind = kind.ok_or_else(|| GraphError::required("type"))?;
    let Some((true, mime, bytes)) = file else { return Err(GraphError::required("file")) };
    Ok(Upload { kind, mime, bytes })
}

async fn text(mut field: Field<'_>) -> Result<String, GraphError> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| broken())? {
        if text.len() + chunk.len() > PART_LIMIT {
            return Err(broken());
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(|_| broken())
}

fn broken() -> GraphError {
    GraphError::parameter("The multipart body is malformed or too large.")
}

/// `GET /<file>`: what is known of it, and where to download it for the next five minutes.
pub(super) fn look_up(call: &Call<'_>) -> Reply {
    let seen = call.world.look_up(call.id, call.token(), call.query("phone_number_id"))?;
    Ok(json!({
        "messaging_product": "whatsapp",
        "url": format!("http://{}{}", call.host, seen.link),
        "mime_type": seen.mime,
        "sha256": hex::encode(seen.sha256),
        "file_size": seen.size,
        "id": call.id,
    }))
}

/// `DELETE /<file>`: nobody can use it from now on.
pub(super) fn delete(call: &Call<'_>) -> Reply {
    call.world.delete_file(call.id, call.token(), call.query("phone_number_id"))?;
    Ok(success())
}

/// `GET` on a file's address: its bytes. Anything that is wrong with the address or the token is a 404.
pub(super) async fn download(State(world): State<Arc<World>>, request: Request) -> Response {
    let call = Call::of(&world, "", &request);
    let link = |name| call.query(name).unwrap_or_default();
    let (id, until, hash) = (link("mid"), link("ext"), link("hash"));
    // A link is no Graph request: the token must stand in the header.
    let token = super::bearer(request.headers());
    match world.download(Download { id, until, hash }, token) {
        Some((mime, bytes)) => ([(CONTENT_TYPE, mime)], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
