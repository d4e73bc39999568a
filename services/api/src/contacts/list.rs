//! `GET /v1/contacts`.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::{ContactError, ContactView, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::cursor;
use crate::query::{Parameters, RawParameters};

/// `GET /v1/contacts`: your contacts, by number.
#[utoipa::path(
    get,
    path = "/v1/contacts",
    operation_id = "list_contacts",
    tag = "contacts",
    params(
        ("name" = Option<String>, Query, max_length = 100,
            description = "Those whose name or company contains this, in any case"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most on a page; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of contacts", body = Page<ContactView>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<Page<ContactView>>, ContactError> {
    let mut parameters = Parameters::of(parameters, &["name", "limit", "cursor"])?;
    let name = parameters.name()?;
    let limit = parameters.limit()?;
    let list = [tenant.id.as_str(), "contacts"];
    let after = parameters.take("cursor").map(|text| cursor::read_named(&list, &text)).transpose()?;
    let after = after.as_ref().map(|(_, number)| number.as_str());
    // One more than the page holds tells whether there is a next one.
    let mut found = within(app.store.contacts(&tenant.id, name.as_deref(), after, limit + 1)).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    // The list goes by number alone.
    let next = found.last().filter(|_| more);
    let next = next.map(|last| cursor::write_named(&list, Timestamp::UNIX_EPOCH, &last.number));
    Ok(Json(Page { items: found.into_iter().map(Into::into).collect(), next }))
}
