//! `/v1/channels`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use staffetta_bus::{Channel, Provider};

use crate::App;
use crate::caller::Caller;

/// One page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What to ask for next; null on the last page.
    pub(crate) next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChannelView {
    id: String,
    provider: Provider,
    phone_number_id: Option<String>,
    display_phone_number: Option<String>,
    rate: u32,
}

impl From<&Channel> for ChannelView {
    fn from(channel: &Channel) -> Self {
        Self {
            id: channel.id.to_string(),
            provider: channel.provider,
            phone_number_id: channel.phone_number_id.clone(),
            display_phone_number: channel.display_phone_number.clone(),
            rate: channel.rate,
        }
    }
}

/// `GET /v1/channels`: the tenant's channels, by id, all on one page.
pub(crate) async fn list(State(app): State<App>, Caller(tenant): Caller) -> Json<Page<ChannelView>> {
    let registry = app.registry.load();
    let own = registry.channels().filter(|channel| channel.tenant.id == tenant.id);
    let mut items: Vec<ChannelView> = own.map(|channel| ChannelView::from(channel.as_ref())).collect();
    items.sort_by(|a, b| a.id.cmp(&b.id));
    Json(Page { items, next: None })
}
