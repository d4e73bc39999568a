//! `GET /v1/dead-letters`.

use axum::Json;
use axum::extract::State;
use staffetta_bus::{DeadStream, LetterFilter, LetterId};
use staffetta_domain::TenantId;

use super::DeadLetterError;
use super::view::LetterView;
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// `GET /v1/dead-letters`: the tenant's letters, oldest first.
///
/// What of yours could not be processed: a message that was rejected or has failed, or something that came in for one of
/// your numbers and could not be recorded. It waits for 30 days to be looked at and replayed.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "list_dead_letters",
    tag = "dead letters",
    params(
        ("service" = Option<String>, Query, description = "Those of this service"),
        ("channel" = Option<String>, Query, description = "Those of this channel"),
        ("reason" = Option<String>, Query, description = "Those with this reason"),
        ("since" = Option<String>, Query, format = DateTime, description = "Those of this time or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Those before this time"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most on a page; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of letters", body = Page<LetterView>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<Page<LetterView>>, DeadLetterError> {
    let known = ["service", "channel", "reason", "since", "until", "limit", "cursor"];
    let mut parameters = Parameters::of(parameters, &known)?;
    let filter = filter(&mut parameters, &tenant.id)?;
    let limit = parameters.limit()? as usize;
    let from = parameters.take("cursor").map(|text| text.parse::<LetterId>());
    let from =
        from.transpose().map_err(|_| InvalidParameter::new("cursor", "is none that was given here"))?;
    let page = DeadStream::new(app.bus.clone()).page(&filter, from, limit).await?;
    let items = page.letters.iter().map(LetterView::from).collect();
    Ok(Json(Page { items, next: page.next.map(|next| next.to_string()) }))
}

fn filter(parameters: &mut Parameters, tenant: &TenantId) -> Result<LetterFilter, InvalidParameter> {
    Ok(LetterFilter {
        service: parameters.id("service")?,
        tenant: Some(tenant.clone()),
        channel: parameters.id("channel")?,
        reason: parameters.take("reason"),
        since: parameters.moment("since")?,
        until: parameters.moment("until")?,
    })
}
