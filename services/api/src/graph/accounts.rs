//! What belongs to a WhatsApp Business Account.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use serde_json::Value;
use staffetta_bus::Registry;
use staffetta_domain::TenantId;

use super::error::GraphError;
use super::fields::{NUMBER, RawQuery, TEMPLATE, TEMPLATE_SUMMARY, keep, known, value, wanted};
use super::lists::{limit, origin, page};
use super::node::Node;
use crate::App;
use crate::caller::{Caller, Reader};
use crate::provider::{self, AskError};

/// What may be asked of the list of templates.
pub(crate) const TEMPLATE_FILTERS: [&str; 7] =
    ["status", "category", "language", "name", "name_or_content", "content", "quality_score"];

/// The account's phone numbers: those of the tenant.
#[utoipa::path(
    get,
    path = "/graph/{version}/{id}/phone_numbers",
    operation_id = "graph_phone_numbers",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The account's id (WABA), one of your channels'"),
        ("fields" = Option<String>, Query, description = "As Meta's"),
        ("limit" = Option<u32>, Query, description = "As Meta's, 250 at most"),
        ("after" = Option<String>, Query, description = "As Meta's"),
        ("before" = Option<String>, Query, description = "As Meta's"),
    ),
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn phone_numbers(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    account: Node,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Json<Value>, GraphError> {
    let query = known(query, &["fields", "limit", "after", "before"])?;
    // Without its id nobody could say whose a number is.
    let fields = wanted(&query, &NUMBER).map(|fields| format!("id,{fields}"));
    let list = asked(&app, &tenant.id, &account, "phone_numbers", fields.as_deref(), &query).await?;
    let registry = app.registry.load();
    let is_own = |item: &Value| is_own(&registry, &tenant.id, item);
    let address = address(&app, &headers, &account, "phone_numbers");
    Ok(Json(page(list, is_own, &NUMBER, &address, &query)))
}

fn is_own(registry: &Registry, tenant: &TenantId, number: &Value) -> bool {
    let owner = number["id"].as_str().and_then(|number| registry.channel_of_number(number));
    owner.is_some_and(|owner| owner.tenant.id == *tenant)
}

/// The account's templates.
#[utoipa::path(
    get,
    path = "/graph/{version}/{id}/message_templates",
    operation_id = "graph_message_templates",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The account's id (WABA), one of your channels'"),
        ("fields" = Option<String>, Query, description = "As Meta's"),
        ("summary" = Option<String>, Query, description = "As Meta's"),
        ("name" = Option<String>, Query, description = "As Meta's, like `status`, `category`, `language`, `name_or_content`, `content` and `quality_score`"),
        ("limit" = Option<u32>, Query, description = "As Meta's, 250 at most"),
        ("after" = Option<String>, Query, description = "As Meta's"),
        ("before" = Option<String>, Query, description = "As Meta's"),
    ),
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn message_templates(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    account: Node,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Json<Value>, GraphError> {
    let names = ["fields", "limit", "after", "before", "summary"].into_iter().chain(TEMPLATE_FILTERS);
    let mut query = known(query, &names.collect::<Vec<_>>())?;
    if let Some(summary) = value(&query, "summary") {
        let summary: Vec<&str> = summary.split(',').filter(|name| TEMPLATE_SUMMARY.contains(name)).collect();
        let summary = summary.join(",");
        query.retain(|(name, _)| name != "summary");
        query.extend((!summary.is_empty()).then(|| ("summary".to_owned(), summary)));
    }
    let fields = wanted(&query, &TEMPLATE);
    let mut list = asked(&app, &tenant.id, &account, "message_templates", fields.as_deref(), &query).await?;
    let mut summary = list["summary"].take();
    let address = address(&app, &headers, &account, "message_templates");
    let mut page = page(list, |_| true, &TEMPLATE, &address, &query);
    if summary.is_object() {
        // Some clients take no list without it.
        keep(&mut summary, &TEMPLATE_SUMMARY);
        page["summary"] = summary;
    }
    Ok(Json(page))
}

/// What the provider answers for one of the account's lists.
async fn asked(
    app: &App,
    tenant: &TenantId,
    account: &Node,
    edge: &str,
    fields: Option<&str>,
    query: &[(String, String)],
) -> Result<Value, GraphError> {
    let refused = |error: AskError| GraphError::of_ask(error, &Method::GET, &account.id);
    let line = provider::of_account(&app.registry.load(), tenant, &account.id).map_err(refused)?;
    let _turn = app.turns.take(tenant).map_err(refused)?;
    let rest = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let rest = rest.filter(|(name, _)| !matches!(*name, "fields" | "limit"));
    let own = [("fields", fields), ("limit", limit(query))];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query: Vec<(&str, &str)> = own.chain(rest).collect();
    let answer = app.graph.get(&line.token, &[&account.id, edge], &query).await;
    answer.map_err(|error| refused(AskError::of(&line, error)))
}

fn address(app: &App, headers: &HeaderMap, Node { version, id }: &Node, edge: &str) -> String {
    format!("{}/graph/{version}/{id}/{edge}", origin(&app.settings.api, headers))
}
