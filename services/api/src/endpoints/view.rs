//! Endpoints, as the API shows them.

use serde::Serialize;
use staffetta_bus::{Endpoint, EndpointFormat, Target};
use staffetta_store::{Disabled, EndpointState};
use utoipa::ToSchema;

/// An endpoint, without its secrets, and how the delivery to it is going.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(crate) struct EndpointView {
    id: String,
    /// `webhook`, `spool` or `nats`.
    kind: &'static str,
    /// `webhook`: where events are posted, without what may be secret in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// `webhook`: `cloudevents`, `cloud_api` or `form`.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    /// `spool`: the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Only events of these channels; of all if none is named.
    channels: Vec<String>,
    /// Only events of these types; all if none is named.
    types: Vec<String>,
    /// `delivering`; `failing`: nothing could be delivered of late; `disabled`: given up, or by request; `off`: switched off
    /// in the registry; `broken`: what it needs can't be had, the operator must see to it.
    state: &'static str,
    /// Why nothing is delivered any more; null while it is.
    disabled: Option<DisabledView>,
    /// Since when nothing could be delivered.
    failing_since: Option<String>,
    last_success: Option<String>,
    /// Why the last delivery that failed did.
    last_error: Option<String>,
    /// How many events wait for another try while others go on.
    parked: u64,
    /// When the oldest event was stored that was not tried yet; null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_since: Option<Option<String>>,
}

/// Why nothing is delivered to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointDisabled)]
pub(crate) struct DisabledView {
    since: String,
    reason: String,
}

impl EndpointView {
    pub(super) fn of(endpoint: &Endpoint, state: Option<EndpointState>) -> Self {
        let mut view = Self {
            id: endpoint.id.to_string(),
            kind: "nats",
            url: None,
            format: None,
            path: None,
            channels: endpoint.channels.iter().map(ToString::to_string).collect(),
            types: endpoint.types.clone(),
            state: word(endpoint, state.as_ref()),
            disabled: None,
            failing_since: None,
            last_success: None,
            last_error: None,
            parked: 0,
            waiting_since: None,
        };
        match &endpoint.target {
            Target::Webhook(webhook) => {
                view.kind = "webhook";
                view.url = Some(without_secrets(&webhook.url));
                view.format = Some(match webhook.format {
                    EndpointFormat::CloudEvents => "cloudevents",
                    EndpointFormat::CloudApi => "cloud_api",
                    EndpointFormat::Form => "form",
                });
            }
            Target::Spool(spool) => {
                view.kind = "spool";
                view.path = Some(spool.path.display().to_string());
            }
            Target::Nats => {}
        }
        if let Some(state) = state {
            view.disabled = state.disabled.map(DisabledView::from);
            view.failing_since = state.failing_since.map(|at| at.to_string());
            view.last_success = state.last_success.map(|at| at.to_string());
            view.last_error = state.last_error;
            view.parked = state.parked;
        }
        view
    }

    /// With the time of the oldest event that was not tried yet.
    pub(super) fn waiting_since(self, since: Option<String>) -> Self {
        Self { waiting_since: Some(since), ..self }
    }
}

impl From<Disabled> for DisabledView {
    fn from(Disabled { at, reason, .. }: Disabled) -> Self {
        Self { since: at.to_string(), reason }
    }
}

/// One word for how it is going.
fn word(endpoint: &Endpoint, state: Option<&EndpointState>) -> &'static str {
    match state {
        _ if !endpoint.enabled => "off",
        Some(state) if state.disabled.is_some() => "disabled",
        _ if endpoint.problem.is_some() => "broken",
        Some(state) if state.failing_since.is_some() => "failing",
        _ => "delivering",
    }
}

/// A URL without user and password, and without the values after the question mark: any of them may be a secret.
fn without_secrets(url: &str) -> String {
    let (address, query) = match url.split_once(['?', '#']) {
        Some((address, _)) => (address, "?…"),
        None => (url, ""),
    };
    let address = match address.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    };
    address + query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("https://erp.example/hooks", "https://erp.example/hooks"),
            ("https://me:hush@erp.example:8443/hooks?key=hush", "https://erp.example:8443/hooks?…"),
            ("https://erp.example?key=hush@x", "https://erp.example?…"),
            ("https://me@erp.example", "https://erp.example"),
            ("https://erp.example/a@b", "https://erp.example/a@b"),
            ("https://erp.example/a#hush", "https://erp.example/a?…"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
