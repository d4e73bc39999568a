//! Values that are one leaf: what becomes of templates, numbers and accounts, and everything that is not known.

use serde_json::{Value, json};
use staffetta_domain::{ChannelId, EventType, Leaf, Object, TenantId};

use super::content::OURS;
use super::{Found, lenient};

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let value = found.fields();
    let (kind, mut data) = if let Some(change) = template_change(&found.frame.field, value) {
        (EventType::TemplateChanged, template(change, value))
    } else if let Some(change) = channel_change(&found.frame.field, value) {
        (EventType::ChannelChanged, number_or_account(change, value))
    } else {
        (EventType::WebhookOther, Object::new())
    };
    data.extend(found.data());
    lenient::set(&mut data, "field", Some(&found.frame.field));
    data.insert("raw".into(), found.leaf.clone());
    let id = found.id_by_content(tenant);
    Leaf::of_event(found.event(id, kind, data, tenant, channel))
}

fn template_change(field: &str, value: &Object) -> Option<&'static str> {
    match field {
        // Meta's own sample of the other field is labelled so.
        "message_template_status_update" if value.contains_key("new_quality_score") => Some("quality"),
        "message_template_status_update" => Some("status"),
        "message_template_quality_update" => Some("quality"),
        "message_template_components_update" => Some("components"),
        "template_category_update" => Some("category"),
        _ => None,
    }
}

fn channel_change(field: &str, value: &Object) -> Option<&'static str> {
    match field {
        "phone_number_quality_update" if lenient::text(value, "event") == Some("THROUGHPUT_UPGRADE") => {
            Some("throughput")
        }
        "phone_number_quality_update" => Some("quality"),
        "phone_number_name_update" => Some("name"),
        "account_update" => Some("account"),
        "account_alerts" => Some("alert"),
        "account_review_update" => Some("review"),
        "business_capability_update" => Some("capability"),
        "security" => Some("security"),
        "business_username_update" => Some("username"),
        _ => None,
    }
}

/// What there is to say of a template, beside which one it is.
fn template(change: &'static str, value: &Object) -> Object {
    let mut template = Object::new();
    let id = value.get("message_template_id").and_then(lenient::id);
    lenient::set(&mut template, "id", id.as_deref());
    for (name, field) in [
        ("name", "message_template_name"),
        ("language", "message_template_language"),
        ("category", "message_template_category"),
    ] {
        lenient::set(&mut template, name, lenient::text(value, field));
    }
    let rest = value.iter().filter(|(name, _)| !name.starts_with("message_template_"));
    let rest: Object = rest.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut data = match change {
        "status" => plain(&rest, &[("event", "status")]),
        "quality" => {
            plain(&rest, &[("new_quality_score", "quality"), ("previous_quality_score", "previous")])
        }
        "components" => {
            let mut data = plain(&rest, &[]);
            data.insert("components".into(), components(value));
            data
        }
        _ => category(&rest, &mut template),
    };
    data.insert("template".into(), template.into());
    data.insert("change".into(), json!(change));
    data
}

/// A change that is still to come says `new_category` and means the category of now.
fn category(value: &Object, template: &mut Object) -> Object {
    let mut data = if value.contains_key("correct_category") {
        plain(value, &[("new_category", "category"), ("correct_category", "next")])
    } else {
        plain(value, &[("new_category", "category"), ("previous_category", "previous")])
    };
    data.remove("category_update_timestamp");
    let effective = value.get("category_update_timestamp").and_then(lenient::moment);
    lenient::set(&mut data, "effective", effective.map(|at| at.to_string()).as_deref());
    lenient::set(template, "category", lenient::text(value, "new_category"));
    data
}

fn components(value: &Object) -> Value {
    let mut components = Object::new();
    for (name, field) in [
        ("title", "message_template_title"),
        ("body", "message_template_element"),
        ("footer", "message_template_footer"),
    ] {
        lenient::set(&mut components, name, lenient::text(value, field));
    }
    if let Some(Value::Array(buttons)) = value.get("message_template_buttons") {
        let button = |button: &Value| {
            let Value::Object(fields) = button else { return button.clone() };
            let short = |name: &str| name.trim_start_matches("message_template_button_").to_owned();
            Value::Object(fields.iter().map(|(name, value)| (short(name), value.clone())).collect())
        };
        components.insert("buttons".into(), buttons.iter().map(button).collect());
    }
    Value::Object(components)
}

fn number_or_account(change: &'static str, value: &Object) -> Object {
    let mut data = match change {
        "quality" | "throughput" => plain(
            value,
            &[
                ("max_daily_conversations_per_business", "limit"),
                ("current_limit", "limit"),
                ("old_limit", "previous_limit"),
            ],
        ),
        "name" => {
            let mut data = plain(value, &[("rejection_reason", "reason")]);
            lenient::set(&mut data, "name", lenient::text(value, "requested_verified_name"));
            data.remove("requested_verified_name");
            data
        }
        "username" => {
            let mut data = plain(value, &[]);
            lenient::set(&mut data, "username", lenient::text(value, "username"));
            data
        }
        "capability" => plain(
            value,
            &[
                ("max_daily_conversation_per_phone", "limit"),
                ("max_daily_conversations_per_business", "limit"),
            ],
        ),
        "alert" => {
            // The alert's own fields stood in the value itself once.
            let mut flat = value.clone();
            if let Some(Value::Object(alert)) = flat.remove("alert_info") {
                flat.extend(alert);
            }
            plain(
                &flat,
                &[
                    ("alert_severity", "severity"),
                    ("alert_status", "status"),
                    ("alert_type", "alert"),
                    ("alert_description", "description"),
                ],
            )
        }
        _ => plain(value, &[]),
    };
    data.insert("change".into(), json!(change));
    data
}

/// The value's fields with ids as texts, some under plainer names, the later ones of which win. Left out are nulls,
/// what says nothing, and names that mean something else in an event.
fn plain(value: &Object, names: &[(&str, &str)]) -> Object {
    let is_said =
        |name: &str, value: &Value| !value.is_null() && !matches!(name, "metadata" | "messaging_product");
    let mut data = Object::new();
    for (name, value) in value.iter().filter(|(name, value)| is_said(name, value)) {
        let is_renamed = names.iter().any(|(field, _)| field == name);
        if !is_renamed && !OURS.contains(&name.as_str()) {
            data.insert(name.clone(), lenient::with_text_ids_in(name, value));
        }
    }
    for (field, name) in names {
        if let Some(value) = value.get(*field).filter(|value| is_said(field, value)) {
            data.insert((*name).into(), value.clone());
        }
    }
    data
}
