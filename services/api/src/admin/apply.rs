//! `POST /admin/v1/apply`.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use staffetta_bus::{Change, Changed, FieldChange, MOST_TOGETHER, RegistryFile, Unnamed};
use tracing::info;
use utoipa::ToSchema;

use super::error::{registry, within};
use super::{AdminError, Operator};
use crate::App;
use crate::body;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Largest file, in bytes.
const BODY_LIMIT: usize = 4 << 20;
/// What a registry file changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryApplied)]
pub(crate) struct AppliedView {
    /// Whether it was done, or would be.
    applied: bool,
    changes: Vec<ChangeView>,
    /// Numbers that move with it, or that have moved away, as texts.
    numbers: Vec<String>,
}

/// What happens to an entry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryChange)]
pub(crate) struct ChangeView {
    /// The entry, as `channel.acme-orders`.
    entry: String,
    /// `created`, `updated` or `deleted`.
    change: &'static str,
    /// `updated`: what happens to its fields. No secret is shown.
    fields: Vec<FieldView>,
}

/// What happens to a field.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryFieldChange)]
pub(crate) struct FieldView {
    name: String,
    /// What it was, as a text; null if it was not there.
    old: Option<String>,
    /// What it will be; null if it will not be there.
    new: Option<String>,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let field = |field: &FieldChange| FieldView {
            name: field.name.clone(),
            old: field.old.clone(),
            new: field.new.clone(),
        };
        Self {
            entry: change.key.clone(),
            change: match change.what {
                Changed::Created => "created",
                Changed::Updated(_) => "updated",
                Changed::Deleted => "deleted",
            },
            fields: change.fields().iter().map(field).collect(),
        }
    }
}

/// `POST /admin/v1/apply`: makes the registry hold what a file says, as `staffetta apply` does: all of it, or nothing.
#[utoipa::path(
    post,
    path = "/admin/v1/apply",
    operation_id = "admin_apply",
    tag = "admin",
    params(
        ("dry_run" = Option<bool>, Query, description = "`true`: say what would change, and change nothing"),
        ("prune" = Option<bool>, Query, description = "`true`: delete the entries that the file does not name"),
    ),
    request_body(content = String, content_type = "application/toml", description = "A registry file"),
    responses(
        (status = 200, description = "What changed", body = AppliedView),
        (status = 400, description = "`invalid-parameter`"),
        (status = 412, description = "`changed-meanwhile`: somebody else changed one of the entries; nothing was done"),
        (status = 413, description = "`too-large`"),
        (status = 422, description = "`invalid-entry`: names line and key"),
    ),
)]
pub(crate) async fn apply(
    State(app): State<App>,
    operator: Operator,
    parameters: RawParameters,
    request: Request,
) -> Result<Json<AppliedView>, AdminError> {
    let mut parameters = Parameters::of(parameters, &["dry_run", "prune"])?;
    let applied = !flag(&mut parameters, "dry_run")?;
    let unnamed = if flag(&mut parameters, "prune")? { Unnamed::Delete } else { Unnamed::Keep };
    let body = body::bytes(request, BODY_LIMIT).await?;
    let text = std::str::from_utf8(&body)
        .map_err(|_| InvalidParameter::new("payload", "must be a registry file: TOML, as UTF-8"))?;
    let file = RegistryFile::parse(text)?;
    within(async {
        let store = registry(&app).await?;
        let plan = store.plan(vec![file], unnamed).await?;
        let changes: Vec<ChangeView> = plan.changes().map(ChangeView::from).collect();
        let numbers = plan.claims().iter().map(ToString::to_string).collect();
        if applied && changes.len() > MOST_TOGETHER {
            return Err(AdminError::TooMuch(changes.len(), MOST_TOGETHER));
        }
        if applied {
            let entries: Vec<&str> = changes.iter().map(|change| change.entry.as_str()).collect();
            info!(operator = operator.id, ?entries, "an operator applies a registry file");
            store.apply(plan).await?;
        }
        Ok(Json(AppliedView { applied, changes, numbers }))
    })
    .await
}

fn flag(parameters: &mut Parameters, name: &str) -> Result<bool, InvalidParameter> {
    match parameters.take(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(InvalidParameter::new(name, "must be true or false")),
    }
}
