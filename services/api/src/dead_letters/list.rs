//! `GET /v1/dead-letters`.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use staffetta_bus::{DeadStream, LetterFilter, LetterId};
use staffetta_domain::TenantId;

use super::DeadLetterError;
use super::view::LetterView;
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// `GET /v1/dead-letters`: the tenant's letters, oldest first.
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
        since: moment(parameters, "since")?,
        until: moment(parameters, "until")?,
    })
}

fn moment(parameters: &mut Parameters, name: &str) -> Result<Option<Timestamp>, InvalidParameter> {
    let wrong = |_| InvalidParameter::new(name, "must be a time like 2026-11-21T09:30:00Z");
    parameters.take(name).map(|text| text.parse()).transpose().map_err(wrong)
}
