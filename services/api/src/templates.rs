//! `/v1/templates`: the message templates of a tenant's accounts, which lie at the provider.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use staffetta_domain::ChannelId;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::{Caller, Reader};
use crate::cursor;
use crate::graph::{TEMPLATE, after, keep};
use crate::problem::{Kind, Problem};
use crate::provider::{self, AskError, Line};
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// What templates can be chosen by.
const FILTERS: [&str; 4] = ["name", "status", "category", "language"];

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Why templates could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplatesError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl IntoResponse for TemplatesError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(invalid) => {
                Problem::of(Kind::INVALID_PARAMETER, &invalid).field(invalid.name.clone()).into_response()
            }
            Self::Ask(error) => error.into_response(),
        }
    }
}

/// One page of templates.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplatePage {
    /// Templates as the Cloud API has them (`name`, `language`, `status`, `category`, `components`, …), each with its
    /// account's `waba_id` and those of your `channels` that may send it.
    items: Vec<Value>,
    /// What to ask for next as `cursor`; null on the last page.
    next: Option<String>,
}

/// The templates of one channel's account, or of all accounts. A page may hold fewer than `limit`, or none, and yet have
/// a `next`.
#[utoipa::path(
    get,
    path = "/v1/templates",
    operation_id = "list_templates",
    tag = "templates",
    params(
        ("channel" = Option<String>, Query, description = "Only those that this channel may send"),
        ("name" = Option<String>, Query, description = "Only those of this name"),
        ("status" = Option<String>, Query, description = "Only those with this status, as `APPROVED`"),
        ("category" = Option<String>, Query, description = "Only those of this category, as `UTILITY`"),
        ("language" = Option<String>, Query, description = "Only those in this language, as `it`"),
        ("limit" = Option<u32>, Query, description = "How many on a page, 1 to 200; 50 without it"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "One page", body = TemplatePage),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`channel-not-found`"),
        (status = 422, description = "`provider-refuses`"),
        (status = 503, description = "`provider-unavailable`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<TemplatePage>, TemplatesError> {
    let known: Vec<&str> = ["channel", "limit", "cursor"].into_iter().chain(FILTERS).collect();
    let mut parameters = Parameters::of(parameters, &known)?;
    let channel: Option<ChannelId> = parameters.id("channel")?;
    let limit = parameters.limit()?.to_string();
    let cursor = parameters.take("cursor");
    let filters = FILTERS.map(|name| (name, parameters.take(name)));
    let registry = app.registry.load();
    let accounts = match &channel {
        Some(channel) => {
            let line = provider::of_channel(&registry, &tenant.id, channel)?;
            let account = line.channel.waba_id.clone().ok_or(AskError::OtherProvider)?;
            vec![(account, line)]
        }
        None => Line::of_each_account(&registry, &tenant.id),
    };
    let name = channel.as_ref().map_or("", ChannelId::as_str);
    let place = Place { list: [tenant.id.as_str(), "templates", name] };
    let (account, from) = place.read(cursor.as_deref())?;
    let mut accounts = accounts.into_iter().skip_while(|(known, _)| known.as_str() < account.as_str());
    let Some((account, line)) = accounts.next() else {
        return Ok(Json(TemplatePage { items: Vec::new(), next: None }));
    };
    let own = [("limit", Some(limit.as_str())), ("after", from.as_deref())];
    let filters = filters.iter().map(|(name, value)| (*name, value.as_deref()));
    let query: Vec<(&str, &str)> =
        own.into_iter().chain(filters).filter_map(|(name, value)| Some((name, value?))).collect();
    let _turn = app.turns.take(&tenant.id)?;
    let asked = app.graph.get(&line.token, &[&account, "message_templates"], &query).await;
    let mut answer = asked.map_err(|error| AskError::of(&line, error))?;
    let next = match after(&answer) {
        Some(after) => Some(place.write(&account, after)),
        None => accounts.next().map(|(next, _)| place.write(&next, "")),
    };
    let channels: Vec<String> = provider::own(&registry, &tenant.id)
        .into_iter()
        .filter(|line| line.channel.waba_id.as_ref() == Some(&account))
        .map(|line| line.channel.id.to_string())
        .collect();
    let mut items = match answer["data"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    for item in &mut items {
        keep(item, &TEMPLATE);
        item["waba_id"] = json!(account);
        item["channels"] = json!(channels);
    }
    Ok(Json(TemplatePage { items, next }))
}

/// Where a page begins: in which account, and after what.
struct Place<'a> {
    list: [&'a str; 3],
}

impl Place<'_> {
    fn read(&self, cursor: Option<&str>) -> Result<(String, Option<String>), InvalidParameter> {
        let Some(cursor) = cursor else { return Ok((String::new(), None)) };
        let (_, place) = cursor::read_named(&self.list, cursor)?;
        let (account, after) = place.split_once('\n').ok_or_else(cursor::wrong)?;
        Ok((account.to_owned(), Some(after.to_owned()).filter(|after| !after.is_empty())))
    }

    fn write(&self, account: &str, after: &str) -> String {
        cursor::write_named(&self.list, Timestamp::UNIX_EPOCH, &format!("{account}\n{after}"))
    }
}
