//! `/admin/v1/{kind}` and `/admin/v1/{kind}/{id}`: entries as the registry has them.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use staffetta_bus::{Entry, RegistryError};
use tracing::info;
use utoipa::ToSchema;

use super::error::{registry, within};
use super::precondition::{Precondition, etag};
use super::{AdminError, Kind, Operator};
use crate::App;
use crate::body;
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Largest entry, in bytes.
const BODY_LIMIT: usize = 256 << 10;

/// An entry of the registry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryEntry)]
pub(crate) struct EntryView {
    id: String,
    /// Changes with every change of the entry: its `ETag`.
    revision: u64,
    /// The entry. Of a secret it says where it comes from; one that is sealed, or a digest, is only marked as such.
    #[schema(value_type = Object)]
    entry: Value,
}

type Named = Result<Path<(String, String)>, PathRejection>;

/// The entry that the address names: its kind and its id. What can't be an id is nobody's.
fn named(path: Named) -> Result<(Kind, String), AdminError> {
    let Path((kind, id)) = path.map_err(|_| AdminError::NoEntry)?;
    let kind = kind.parse().map_err(|()| AdminError::NoKind)?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() || id.len() > 63 || !id.bytes().all(fits) {
        Err(AdminError::NoEntry)
    } else {
        Ok((kind, id))
    }
}

/// `GET /admin/v1/{kind}`: all entries of a kind, by id.
#[utoipa::path(
    get,
    path = "/admin/v1/{kind}",
    operation_id = "admin_list_entries",
    tag = "admin",
    params(
        ("kind" = String, Path, description = "`apps`, `tenants`, `channels` or `endpoints`"),
        ("limit" = Option<u32>, Query, description = "How many entries a page has: 1 to 200, 50 if it is not said"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "The entries", body = Page<EntryView>),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`not-found`: there is no such kind"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    _: Operator,
    kind: Result<Path<String>, PathRejection>,
    parameters: RawParameters,
) -> Result<Json<Page<EntryView>>, AdminError> {
    let kind: Kind = kind.ok().and_then(|Path(kind)| kind.parse().ok()).ok_or(AdminError::NoKind)?;
    let mut parameters = Parameters::of(parameters, &["limit", "cursor"])?;
    let limit = parameters.limit()? as usize;
    let after = parameters.take("cursor");
    let entries = within(async { Ok(registry(&app).await?.entries().await?) }).await?;
    let mut found: Vec<(String, u64, Entry)> = entries
        .into_iter()
        .filter_map(|(revision, entry)| Some((kind.id_of(&entry)?, revision, entry)))
        .filter(|(id, ..)| after.as_ref().is_none_or(|after| id > after))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(id, ..)| id.clone());
    let view = |(id, revision, entry): (String, u64, Entry)| EntryView { id, revision, entry: entry.shown() };
    Ok(Json(Page { items: found.into_iter().map(view).collect(), next }))
}

/// `GET /admin/v1/{kind}/{id}`: one entry. Its revision is the `ETag`.
#[utoipa::path(
    get,
    path = "/admin/v1/{kind}/{id}",
    operation_id = "admin_get_entry",
    tag = "admin",
    params(
        ("kind" = String, Path, description = "`apps`, `tenants`, `channels` or `endpoints`"),
        ("id" = String, Path, description = "The entry's id"),
    ),
    responses(
        (status = 200, description = "The entry, as a registry file has it", body = Object),
        (status = 404, description = "`entry-not-found`"),
    ),
)]
pub(crate) async fn read(State(app): State<App>, _: Operator, path: Named) -> Result<Response, AdminError> {
    let (kind, id) = named(path)?;
    let found = within(async { Ok(registry(&app).await?.entry(&kind.key(&id)).await?) });
    let (revision, entry) = found.await?.ok_or(AdminError::NoEntry)?;
    Ok(shown(StatusCode::OK, revision, &entry))
}

/// `PUT /admin/v1/{kind}/{id}`: makes an entry, or changes it as a whole.
///
/// What was read may be sent back with changes: a secret that is sent as it
/// was shown stays as it is.
#[utoipa::path(
    put,
    path = "/admin/v1/{kind}/{id}",
    operation_id = "admin_put_entry",
    tag = "admin",
    params(
        ("kind" = String, Path, description = "`apps`, `tenants`, `channels` or `endpoints`"),
        ("id" = String, Path, description = "The entry's id"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the entry that is changed"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: the entry must be new"),
    ),
    request_body(content = Object, description = "The entry, as a registry file has it"),
    responses(
        (status = 200, description = "It was changed", body = Object),
        (status = 201, description = "It is new", body = Object),
        (status = 400, description = "`invalid-parameter`"),
        (status = 412, description = "`changed-meanwhile`: it is not, or not any more, as the request says"),
        (status = 413, description = "`too-large`"),
        (status = 422, description = "`invalid-entry`"),
        (status = 428, description = "`precondition-required`: neither `If-Match` nor `If-None-Match` was sent"),
    ),
)]
pub(crate) async fn write(
    State(app): State<App>,
    operator: Operator,
    path: Named,
    request: Request,
) -> Result<Response, AdminError> {
    let (kind, id) = named(path)?;
    let precondition = Precondition::of(request.headers())?;
    let entry = parse(kind, &id, &body::bytes(request, BODY_LIMIT).await?)?;
    let key = kind.key(&id);
    within(async {
        let store = registry(&app).await?;
        let now = store.entry(&key).await?.map(|(revision, _)| revision);
        let expected = precondition.expect(now)?;
        let revision = store.put(entry, expected).await?;
        info!(operator = operator.id, entry = key, revision, "an operator changed the registry");
        // Somebody may have changed it again: what is shown and its revision belong together all the same.
        let (revision, entry) = store.entry(&key).await?.ok_or(AdminError::Changed)?;
        let status = if expected.is_none() { StatusCode::CREATED } else { StatusCode::OK };
        Ok(shown(status, revision, &entry))
    })
    .await
}

/// `DELETE /admin/v1/{kind}/{id}`: takes an entry out of the registry.
#[utoipa::path(
    delete,
    path = "/admin/v1/{kind}/{id}",
    operation_id = "admin_delete_entry",
    tag = "admin",
    params(
        ("kind" = String, Path, description = "`apps`, `tenants`, `channels` or `endpoints`"),
        ("id" = String, Path, description = "The entry's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the entry"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`entry-not-found`"),
        (status = 409, description = "`in-use`: other entries need it"),
        (status = 412, description = "`changed-meanwhile`"),
        (status = 428, description = "`precondition-required`"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    operator: Operator,
    path: Named,
    request: Request,
) -> Result<StatusCode, AdminError> {
    let (kind, id) = named(path)?;
    let precondition = Precondition::of(request.headers())?;
    let key = kind.key(&id);
    within(async {
        let store = registry(&app).await?;
        let (now, _) = store.entry(&key).await?.ok_or(AdminError::NoEntry)?;
        let expected = precondition.expect(Some(now))?.ok_or(AdminError::Changed)?;
        store.delete(&key, expected).await.map_err(|error| match error {
            RegistryError::Wrong { .. } => AdminError::InUse(error),
            error => error.into(),
        })?;
        info!(operator = operator.id, entry = key, "an operator took an entry out of the registry");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The entry that a body is. It need not repeat the address's id.
fn parse(kind: Kind, id: &str, body: &[u8]) -> Result<Entry, AdminError> {
    // The error itself might show a part of the body, and that may hold a secret.
    let value: Result<Value, _> = serde_json::from_slice(body);
    let mut value = match value {
        Ok(value @ Value::Object(_)) => value,
        _ => return Err(InvalidParameter::new("payload", "must be a JSON object").into()),
    };
    match &value["id"] {
        Value::Null => value["id"] = id.into(),
        Value::String(said) if said == id => {}
        _ => return Err(InvalidParameter::new("id", "must be the one in the address").into()),
    }
    Ok(Entry::from_json(kind.word(), value)?)
}

fn shown(status: StatusCode, revision: u64, entry: &Entry) -> Response {
    (status, [etag(revision)], Json(entry.shown())).into_response()
}
