//! The fields of the reference's sections 2.4 to 2.6 and 4 that tell of no message.

use serde_json::{Value, json};
use staffetta_domain::EventType;

use crate::leaf::Leaf;
use crate::pen::{Pen, fields};

/// One item of a field that lists what happened to users and groups.
pub(crate) fn item(number: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let time = entry_time(&mut pen);
    let (field, list, item) = match pen.below(5) {
        0 => (
            "smb_app_state_sync",
            "state_sync",
            json!({"type": "contact", "action": pen.pick(&["add", "remove"]),
            "contact": {"full_name": pen.text(), "phone_number": "16505551234"},
            "metadata": {"timestamp": time.to_string(), "version": 1}}),
        ),
        1 => (
            "user_preferences",
            "user_preferences",
            json!({"wa_id": "16505551234", "user_id": "US.1349",
            "detail": pen.text(), "category": "marketing_messages", "value": pen.pick(&["stop", "resume", "signup"]),
            "timestamp": time}),
        ),
        2 => (
            "user_id_update",
            "user_id_update",
            json!({"wa_id": "16505551234", "detail": pen.text(),
            "user_id": {"previous": "US.1", "current": "US.2"}, "timestamp": time.to_string()}),
        ),
        3 => (
            "automatic_events",
            "automatic_events",
            json!({"id": "wamid.Q", "event_name": "Purchase",
            "timestamp": time, "ctwa_clid": "Aff", "custom_data": {"currency": "EUR", "value": 12.5}}),
        ),
        _ => (
            pen.pick(&[
                "group_lifecycle_update",
                "group_participants_update",
                "group_settings_update",
                "group_status_update",
            ]),
            "groups",
            json!({"timestamp": time.to_string(), "group_id": "Y2FwaV9ncm91cDo=", "request_id": "r",
                "type": pen.pick(&["group_create", "group_participants_remove", "group_suspend"]),
                "group_subject": {"text": pen.text(), "update_successful": true},
                "removed_participants": [{"wa_id": "16505551234"}], "initiated_by": "business"}),
        ),
    };
    let item =
        pen.thin(item, &["wa_id", "request_id", "group_subject", "removed_participants", "initiated_by"]);
    let mut leaf = Leaf::in_list(number, field, list, fields(item));
    leaf.time = pen.maybe().then(|| entry_time(&mut pen));
    leaf
}

/// The value of a field that tells of an account, a number or a template.
pub(crate) fn value(account: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let template = json!({"message_template_id": 900_000_000_000_000_u64 + pen.below(4),
        "message_template_name": "avviso_testo", "message_template_language": "it"});
    let with_template = |rest: Value| {
        let mut value = fields(template.clone());
        value.extend(fields(rest));
        Value::Object(value)
    };
    let (field, kind, value) = match pen.below(13) {
        0 => (
            "message_template_status_update",
            EventType::TemplateChanged,
            with_template(json!({
            "event": pen.pick(&["APPROVED", "REJECTED", "PAUSED", "FLAGGED", "SHREDDED"]), "reason": null,
            "other_info": {"title": "FIRST_PAUSE", "description": pen.text()}})),
        ),
        1 => (
            "message_template_quality_update",
            EventType::TemplateChanged,
            with_template(json!({
            "previous_quality_score": "GREEN", "new_quality_score": pen.pick(&["YELLOW", "RED", "UNKNOWN"])})),
        ),
        2 => (
            "message_template_components_update",
            EventType::TemplateChanged,
            with_template(json!({
            "message_template_element": pen.text(), "message_template_buttons": [
                {"message_template_button_type": "URL", "message_template_button_url": "https://x.example/"}]})),
        ),
        3 => (
            "template_category_update",
            EventType::TemplateChanged,
            with_template(json!({
            "previous_category": "UTILITY", "new_category": "MARKETING"})),
        ),
        4 => (
            "phone_number_quality_update",
            EventType::ChannelChanged,
            json!({"display_phone_number": "39020202",
            "event": pen.pick(&["ONBOARDING", "THROUGHPUT_UPGRADE", "FLAGGED"]),
            "max_daily_conversations_per_business": "TIER_10K"}),
        ),
        5 => (
            "phone_number_name_update",
            EventType::ChannelChanged,
            json!({"display_phone_number": "39020202",
            "decision": pen.pick(&["APPROVED", "REJECTED"]), "requested_verified_name": pen.text(),
            "rejection_reason": null}),
        ),
        6 => (
            "account_update",
            EventType::ChannelChanged,
            json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [
            {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": pen.time()}]}),
        ),
        7 => (
            "account_update",
            EventType::ChannelChanged,
            json!({"event": "PARTNER_REMOVED",
            "waba_info": {"waba_id": "1", "owner_business_id": "2"}}),
        ),
        8 => (
            "account_alerts",
            EventType::ChannelChanged,
            json!({"entity_type": "PHONE_NUMBER", "entity_id": "3",
            "alert_info": {"alert_severity": "WARNING", "alert_status": "ACTIVE", "alert_type": "OBA_REJECTED",
                           "alert_description": pen.text()}}),
        ),
        9 => (
            "account_review_update",
            EventType::ChannelChanged,
            json!({"decision": pen.pick(&["APPROVED", "REJECTED", "PENDING"])}),
        ),
        10 => {
            let limit = if pen.maybe() { json!("TIER_2K") } else { json!(2000) };
            (
                "business_capability_update",
                EventType::ChannelChanged,
                json!({"max_daily_conversations_per_business": limit, "max_phone_numbers_per_business": 20}),
            )
        }
        11 => (
            "security",
            EventType::ChannelChanged,
            json!({"display_phone_number": "39020202",
            "event": pen.pick(&["PIN_CHANGED", "PIN_RESET_REQUEST"]), "requester": "4"}),
        ),
        _ => (
            pen.pick(&["partner_solutions", "payment_configuration_update"]),
            EventType::WebhookOther,
            json!({"event": "SOLUTION_CREATED", "solution_id": "5", "solution_status": "DRAFT"}),
        ),
    };
    let mut leaf = Leaf::of_account(account, field, value, entry_time(&mut pen));
    leaf.kind = kind;
    leaf
}

/// A field of next year, whatever it holds.
pub(crate) fn unknown(account: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let value = match pen.below(6) {
        0 => json!(pen.text()),
        1 => json!([pen.text(), null]),
        2 => json!({}),
        3 => json!({"messages": [{"id": "wamid.A"}], "statuses": []}),
        4 => json!({"event": pen.text(), "metadata": {"of": "its own"}, "errors": [{"code": 1}]}),
        _ => json!({"n": [0, -1, 1.5, u64::MAX, i64::MIN, true, {"deep": {"er": [[[{}]]]}}]}),
    };
    let field = pen.pick(&["waves", "a/field of <next> year", "è"]);
    Leaf::of_account(account, field, value, entry_time(&mut pen))
}

/// One of few, so that the same thing is said twice at one time, and again at another.
fn entry_time(pen: &mut Pen) -> u64 {
    1_739_321_024 + pen.below(3)
}
