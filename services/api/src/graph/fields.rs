//! What a client may see of the provider's objects. With the fields of an object, the Graph API would give whatever hangs
//! on it, and on that in turn: all that the token reaches, and more than this tenant's.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde_json::Value;

use super::error::GraphError;

/// Of a number. Where the operator's webhooks go is not among them.
pub(super) const NUMBER: [&str; 22] = [
    "id",
    "verified_name",
    "display_phone_number",
    "quality_rating",
    "quality_score",
    "code_verification_status",
    "name_status",
    "new_name_status",
    "certificate",
    "new_certificate",
    "status",
    "platform_type",
    "throughput",
    "account_mode",
    "is_official_business_account",
    "is_pin_enabled",
    "is_on_biz_app",
    "last_onboarded_time",
    "health_status",
    "messaging_limit_tier",
    "whatsapp_business_manager_messaging_limit",
    "username",
];

/// Of a template.
pub(crate) const TEMPLATE: [&str; 13] = [
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
];

/// Of the counts that come with a list of templates.
pub(super) const TEMPLATE_SUMMARY: [&str; 4] =
    ["total_count", "message_template_count", "message_template_limit", "are_translations_complete"];

/// Of a business profile.
pub(super) const PROFILE: [&str; 8] = [
    "messaging_product",
    "about",
    "address",
    "description",
    "email",
    "profile_picture_url",
    "websites",
    "vertical",
];

/// The query of a request, as axum hands it over.
pub(super) type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Those parameters of a request that are known; what else a client sends goes nowhere.
pub(super) fn known(query: RawQuery, names: &[&str]) -> Result<Vec<(String, String)>, GraphError> {
    let Query(mut query) = query.map_err(|_| GraphError::parameter("The query can't be read."))?;
    query.retain(|(name, _)| names.contains(&name.as_str()));
    Ok(query)
}

/// The value of a parameter.
pub(super) fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The `fields` that are wanted, without what is not for the client; `None` if it wants the usual ones.
pub(super) fn wanted(query: &[(String, String)], known: &[&str]) -> Option<String> {
    let names = value(query, "fields")?;
    let mut depth = 0_usize;
    let names = names.split(move |c| {
        match c {
            '{' | '(' => depth += 1,
            '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    // Fields of fields are left to the provider to choose.
    let names = names.map(|name| name.split(['{', '(', '.']).next().unwrap_or_default().trim());
    let mut wanted: Vec<&str> =
        names.filter(|name| *name != "messaging_product" && known.contains(name)).collect();
    if wanted.is_empty() {
        // Without any, the provider would give the usual ones.
        wanted.extend(known.iter().find(|name| **name != "messaging_product"));
    }
    Some(wanted.join(","))
}

/// Leaves what is for the client.
pub(crate) fn keep(object: &mut Value, known: &[&str]) {
    if let Value::Object(fields) = object {
        fields.retain(|name, _| known.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted_of(fields: &str) -> Option<String> {
        wanted(&[("fields".to_owned(), fields.to_owned())], &NUMBER)
    }

    #[test]
    fn only_what_is_known_is_asked_for() {
        assert_eq!(wanted(&[], &NUMBER), None);
        assert_eq!(wanted_of("id, verified_name").as_deref(), Some("id,verified_name"));
        for other in ["", "webhook_configuration", "owner{phone_numbers{id}}", "{id}", "settings.limit(1)"] {
            assert_eq!(wanted_of(other).as_deref(), Some("id"), "{other}");
        }
        let nested = "health_status{entities{id,errors},x},owner_business_info{id,name},status";
        assert_eq!(wanted_of(nested).as_deref(), Some("health_status,status"));
        assert_eq!(wanted_of("quality_score.as(id)").as_deref(), Some("quality_score"));
    }

    #[test]
    fn only_what_is_known_is_shown() {
        let mut number = json!({"id": "1", "webhook_configuration": {"application": "https://x"}});
        keep(&mut number, &NUMBER);
        assert_eq!(number, json!({"id": "1"}));
    }
}
