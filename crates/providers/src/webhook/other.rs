//! Everything that is neither a message nor a status: told with its value as it came.

use serde_json::json;
use staffetta_domain::{ChannelId, EventType, Leaf, TenantId};

use super::{Found, lenient};

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let field = found.frame.field.as_str();
    let kind = match field {
        "message_template_status_update"
        | "message_template_quality_update"
        | "message_template_components_update"
        | "template_category_update" => EventType::TemplateChanged,
        "phone_number_quality_update"
        | "phone_number_name_update"
        | "account_update"
        | "account_alerts"
        | "account_review_update"
        | "business_capability_update"
        | "security" => EventType::ChannelChanged,
        _ => EventType::WebhookOther,
    };
    let mut data = found.data();
    lenient::set(&mut data, "field", Some(field));
    let value = match found.list.name() {
        None => found.leaf.clone(),
        Some(list) => json!({list: [found.leaf]}),
    };
    data.insert("value".into(), value);
    let id = found.id_by_content(tenant);
    Leaf { event: found.event(id, kind, data, tenant, channel), message: None, settles: None }
}
