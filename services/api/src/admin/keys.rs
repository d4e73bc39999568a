//! `/admin/v1/tenants/{id}/keys`: a tenant's API keys.

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use staffetta_bus::{ApiKeyEntry, Entry, RegistryError, Scope, Secret, TenantEntry};
use staffetta_domain::TenantId;
use tracing::info;
use utoipa::ToSchema;

use super::error::{registry, within};
use super::{AdminError, Operator};
use crate::App;
use crate::body;
use crate::channels::Page;
use crate::query::InvalidParameter;

/// How every key begins that is made here: it is known for what it is wherever it turns up.
const BEGINNING: &str = "stf_";
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Characters of a digest by which people and logs know a key.
const ID: usize = 12;
/// How often a change is tried again after somebody else was faster.
const TRIES: usize = 3;
/// Longest name, in characters.
const NAME_LIMIT: usize = 100;

/// What a new key is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewApiKey)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people call it; 100 characters at most.
    #[serde(default)]
    name: Option<String>,
    /// `send`, `read`, `admin`; all three if none is named.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<Scope>>,
    /// From when on it is not known any more (RFC 3339).
    #[serde(default)]
    expires: Option<String>,
}

/// An API key of a tenant, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    /// The first characters of its digest; null if the key can't be had from where it is kept.
    id: Option<String>,
    name: Option<String>,
    scopes: Vec<&'static str>,
    expires: Option<String>,
    /// Where it is kept: `digest`, `env` or `file`.
    kept: &'static str,
}

/// An API key that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeApiKey)]
pub(crate) struct MadeKey {
    /// The key. It is shown this once: only its digest is kept.
    key: String,
    #[serde(flatten)]
    view: KeyView,
}

/// `GET /admin/v1/tenants/{id}/keys`: the tenant's keys.
#[utoipa::path(
    get,
    path = "/admin/v1/tenants/{id}/keys",
    operation_id = "admin_list_keys",
    tag = "admin",
    params(("id" = String, Path, description = "The tenant's id")),
    responses(
        (status = 200, description = "The keys, all on one page", body = Page<KeyView>),
        (status = 404, description = "`entry-not-found`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    _: Operator,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Page<KeyView>>, AdminError> {
    let id = tenant(id.ok().map(|Path(id)| id))?;
    within(async {
        let (_, tenant) = read(&app, &id).await?;
        let items = tenant.api_keys.iter().map(|key| view(&app, &id, key)).collect();
        Ok(Json(Page { items, next: None }))
    })
    .await
}

/// `POST /admin/v1/tenants/{id}/keys`: makes a new key for the tenant, beside those that it has.
#[utoipa::path(
    post,
    path = "/admin/v1/tenants/{id}/keys",
    operation_id = "admin_create_key",
    tag = "admin",
    params(("id" = String, Path, description = "The tenant's id")),
    request_body(content = Option<NewKey>),
    responses(
        (status = 201, description = "The key, shown this once", body = MadeKey),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`entry-not-found`"),
        (status = 412, description = "`changed-meanwhile`"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, AdminError> {
    let id = tenant(id.ok().map(|Path(id)| id))?;
    let wanted = body::fields::<NewKey>(request).await?;
    let key = random_key();
    let sha256 = hex::encode(digest(&SHA256, key.as_bytes()));
    let entry = entry(wanted, Secret::Digest { sha256 }, Timestamp::now())?;
    within(change(&app, &id, |tenant| {
        tenant.api_keys.push(entry.clone());
        Ok(())
    }))
    .await?;
    let view = view(&app, &id, &entry);
    info!(operator = operator.id, tenant = %id, key = view.id, scopes = ?view.scopes, "an operator made an API key");
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, headers, Json(MadeKey { key, view })).into_response())
}

/// `DELETE /admin/v1/tenants/{id}/keys/{key}`: takes a key away.
///
/// Within a second nobody gets in with it any more.
#[utoipa::path(
    delete,
    path = "/admin/v1/tenants/{id}/keys/{key}",
    operation_id = "admin_delete_key",
    tag = "admin",
    params(
        ("id" = String, Path, description = "The tenant's id"),
        ("key" = String, Path, description = "The key's id"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`entry-not-found`, `key-not-found`"),
        (status = 412, description = "`changed-meanwhile`"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    operator: Operator,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, AdminError> {
    let (id, key) = path.ok().map(|Path(path)| path).unzip();
    let id = tenant(id)?;
    let key = key.ok_or(AdminError::NoKey)?;
    within(change(&app, &id, |tenant| {
        let before = tenant.api_keys.len();
        tenant.api_keys.retain(|entry| view(&app, &id, entry).id.as_ref() != Some(&key));
        if tenant.api_keys.len() < before { Ok(()) } else { Err(AdminError::NoKey) }
    }))
    .await?;
    info!(operator = operator.id, tenant = %id, key, "an operator took an API key away");
    Ok(StatusCode::NO_CONTENT)
}

/// The tenant that the address names. What can't be an id is nobody's.
fn tenant(id: Option<String>) -> Result<TenantId, AdminError> {
    id.and_then(|id| id.parse().ok()).ok_or(AdminError::NoEntry)
}

async fn read(app: &App, id: &TenantId) -> Result<(u64, TenantEntry), AdminError> {
    match registry(app).await?.entry(&format!("tenant.{id}")).await? {
        Some((revision, Entry::Tenant(tenant))) => Ok((revision, tenant)),
        _ => Err(AdminError::NoEntry),
    }
}

/// Changes the tenant's entry, again where somebody else was faster.
async fn change(
    app: &App,
    id: &TenantId,
    mut change: impl FnMut(&mut TenantEntry) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let store = registry(app).await?;
    for _ in 0..TRIES {
        let (revision, mut tenant) = read(app, id).await?;
        change(&mut tenant)?;
        match store.put(Entry::Tenant(tenant), Some(revision)).await {
            Ok(_) => return Ok(()),
            Err(RegistryError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AdminError::Changed)
}

fn entry(wanted: NewKey, secret: Secret, now: Timestamp) -> Result<ApiKeyEntry, InvalidParameter> {
    let NewKey { name, scopes, expires } = wanted;
    if name
        .as_ref()
        .is_some_and(|name| name.chars().count() > NAME_LIMIT || name.chars().any(char::is_control))
    {
        let problem = format!("must have at most {NAME_LIMIT} characters, on one line");
        return Err(InvalidParameter::new("name", problem));
    }
    if scopes.as_ref().is_some_and(Vec::is_empty) {
        return Err(InvalidParameter::new("scopes", "must name at least one"));
    }
    let expires = expires.map(|text| text.parse::<Timestamp>()).transpose();
    let expires = expires.ok().filter(|expires| expires.is_none_or(|expires| expires > now));
    let expires = expires.ok_or_else(|| {
        InvalidParameter::new("expires", "must be a time to come, like 2027-01-31T00:00:00Z")
    })?;
    let mut scopes = scopes.unwrap_or_default();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(ApiKeyEntry { name, scopes, expires, ..ApiKeyEntry::from(secret) })
}

fn view(app: &App, tenant: &TenantId, entry: &ApiKeyEntry) -> KeyView {
    let place = format!("tenant.{tenant}/api_keys");
    let digest = entry.secret.digest(&place, app.settings.master.as_deref()).ok();
    let scopes = if entry.scopes.is_empty() { &Scope::ALL[..] } else { &entry.scopes };
    KeyView {
        id: digest.map(|digest| digest.chars().take(ID).collect()),
        name: entry.name.clone(),
        scopes: scopes.iter().map(|scope| scope.as_str()).collect(),
        expires: entry.expires.map(|at| at.to_string()),
        kept: match entry.secret {
            Secret::Env { .. } => "env",
            Secret::File { .. } => "file",
            _ => "digest",
        },
    }
}

fn random_key() -> String {
    let mut bytes = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's randomness never ends");
    BEGINNING.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (random_key(), random_key());
        assert_ne!(one, other);
        assert!(one.starts_with("stf_") && one.len() == 47, "{one}");
    }

    #[test]
    fn what_a_new_key_is_to_be_is_checked() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let made = |json: serde_json::Value| {
            let wanted: NewKey = serde_json::from_value(json).unwrap();
            entry(wanted, Secret::Digest { sha256: "ab".into() }, now).map_err(|invalid| invalid.name)
        };
        let fine = made(serde_json::json!({
            "name": "till", "scopes": ["read", "send", "read"], "expires": "2027-01-31T00:00:00Z",
        }));
        assert_eq!(fine.unwrap().scopes, [Scope::Send, Scope::Read]);
        assert!(made(serde_json::json!({})).unwrap().scopes.is_empty());
        for (json, field) in [
            (serde_json::json!({"name": "x".repeat(101)}), "name"),
            (serde_json::json!({"name": "a\nb"}), "name"),
            (serde_json::json!({"scopes": []}), "scopes"),
            (serde_json::json!({"expires": "2026-11-21T11:59:59Z"}), "expires"),
            (serde_json::json!({"expires": "soon"}), "expires"),
        ] {
            assert_eq!(made(json).err().as_deref(), Some(field));
        }
    }
}
