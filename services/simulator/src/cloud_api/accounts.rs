//! What belongs to a WhatsApp Business Account: numbers, templates, the subscription of the app.

use axum::extract::Request;
use serde_json::{Value, json};

use super::numbers::{NUMBER, describe};
use super::paging::{Node, page};
use super::{Call, Reply, parameters, success};
use crate::graph_error::GraphError;

const TEMPLATE: Node = Node {
    name: "WhatsAppMessageTemplate",
    fields: &[
        "id",
        "name",
        "language",
        "status",
        "category",
        "sub_category",
        "parameter_format",
        "components",
        "quality_score",
        "rejected_reason",
        "previous_category",
        "correct_category",
        "message_send_ttl_seconds",
        "library_template_name",
        "cta_url_link_tracking_opted_out",
        "degrees_of_freedom_spec",
    ],
    usual: &["name", "parameter_format", "components", "language", "status", "category"],
};

const SUMMARY: Node = Node {
    name: "MessageTemplateConnectionSummary",
    fields: &["total_count", "message_template_count", "message_template_limit", "are_translations_complete"],
    usual: &[],
};
/// What Meta allows an account.
const MOST_TEMPLATES: u32 = 6_000;

/// `GET /<account>/phone_numbers`, by id.
pub(super) fn phone_numbers(call: &Call<'_>) -> Reply {
    let mut items = Vec::new();
    {
        let (now, state) = (call.world.now(), call.world.state());
        state.authorise_account(call.id, call.token())?;
        for (id, channel) in state.channels.iter().filter(|(_, channel)| channel.config.waba_id == call.id) {
            let number = NUMBER.select(describe(channel, now), call.query("fields"))?;
            items.push((id.to_string(), number));
        }
    }
    items.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    page(call, "phone_numbers", items)
}

/// `GET /<account>/message_templates`, by name: those that someone told of, unless as missing.
pub(super) fn message_templates(call: &Call<'_>) -> Reply {
    let templates = {
        let state = call.world.state();
        state.authorise_account(call.id, call.token())?;
        state.templates.list(call.world.seed, call.id)
    };
    let (count, mut items) = (templates.len(), Vec::new());
    for (name, template) in templates {
        let fits = |field: &str| {
            let told = template.get(field).and_then(Value::as_str).unwrap_or_default();
            call.query(field).is_none_or(|wanted| wanted.split(',').any(|wanted| wanted == told))
        };
        let named = call.query("name").is_none_or(|part| name.contains(part));
        if named && ["language", "status", "category"].into_iter().all(fits) {
            items.push((name, TEMPLATE.select(template, call.query("fields"))?));
        }
    }
    let mut answer = page(call, "message_templates", items)?;
    if let Some(summary) = call.query("summary") {
        let known = json!({
            "total_count": count,
            "message_template_count": count,
            "message_template_limit": MOST_TEMPLATES,
            "are_translations_complete": true,
        });
        let known = known.as_object().cloned().unwrap_or_default();
        answer["summary"] = SUMMARY.select(known, Some(summary))?;
    }
    Ok(answer)
}

/// `GET /<account>/subscribed_apps`: the one app, if its webhooks are on.
pub(super) fn subscribed_apps(call: &Call<'_>) -> Reply {
    let state = call.world.state();
    state.authorise_account(call.id, call.token())?;
    let mut channels = state.channels.values().filter(|channel| channel.config.waba_id == call.id);
    let app = json!({ "whatsapp_business_api_data": {
        "id": "670843887433847", "name": "Simulated App", "link": "https://www.facebook.com/games/?app_id=670843887433847",
    }});
    let apps = if channels.any(|channel| channel.subscribed) { vec![app] } else { Vec::new() };
    Ok(json!({ "data": apps }))
}

/// `POST /<account>/subscribed_apps`: webhooks are on.
pub(super) async fn subscribe(call: &Call<'_>, request: Request) -> Reply {
    call.world.state().authorise_account(call.id, call.token())?;
    if !parameters(request).await?.is_empty() {
        return Err(GraphError::parameter("The simulator knows no override of the callback URI."));
    }
    call.set_subscribed(Subscription::On)
}

/// `DELETE /<account>/subscribed_apps`: webhooks are off.
pub(super) fn unsubscribe(call: &Call<'_>) -> Reply {
    call.world.state().authorise_account(call.id, call.token())?;
    call.set_subscribed(Subscription::Off)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subscription {
    On,
    Off,
}

impl Call<'_> {
    fn set_subscribed(&self, subscription: Subscription) -> Reply {
        let mut state = self.world.state();
        for channel in state.channels.values_mut().filter(|channel| channel.config.waba_id == self.id) {
            channel.subscribed = subscription == Subscription::On;
        }
        Ok(success())
    }
}
