//! What belongs to a number: its node, its registration, its business profile.

use axum::extract::Request;
use serde_json::{Map, Value, json};

use super::paging::Node;
use super::{Call, Reply, parameters, success};
use crate::graph_error::GraphError;
use crate::profile;
use crate::validate::only;
use crate::world::Channel;

pub(super) const NUMBER: Node = Node {
    name: "WhatsAppBusinessPhoneNumber",
    fields: &[
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
        "webhook_configuration",
        "health_status",
        "whatsapp_business_manager_messaging_limit",
        "username",
        "conversational_automation",
        "is_preverified_number",
        "search_visibility",
        "eligibility_for_api_business_global_search",
        "country_code",
        "country_dial_code",
    ],
    usual: &[
        "verified_name",
        "code_verification_status",
        "display_phone_number",
        "quality_rating",
        "platform_type",
        "throughput",
    ],
};

/// All that is known of a number at this time.
pub(super) fn describe(channel: &Channel, now: u64) -> Map<String, Value> {
    let registered = channel.registration.is_registered();
    let known = json!({
        "id": channel.config.phone_number_id,
        "display_phone_number": channel.config.display_phone_number,
        "verified_name": channel.config.verified_name,
        "quality_rating": "GREEN",
        "quality_score": { "score": "GREEN" },
        "code_verification_status": "VERIFIED",
        "name_status": "APPROVED",
        "status": if registered { "CONNECTED" } else { "DISCONNECTED" },
        "platform_type": if registered { "CLOUD_API" } else { "NOT_APPLICABLE" },
        "throughput": { "level": channel.level_at(now) },
        "account_mode": "LIVE",
        "is_official_business_account": false,
        "is_pin_enabled": channel.registration.has_pin(),
        "health_status": health(channel, registered),
    });
    match known {
        Value::Object(known) => known,
        _ => Map::new(),
    }
}

/// Whether messages can be sent: the worst of what stands in the way.
fn health(channel: &Channel, registered: bool) -> Value {
    let number = &channel.config.phone_number_id;
    if registered {
        let entity = json!({ "entity_type": "PHONE_NUMBER", "id": number, "can_send_message": "AVAILABLE" });
        return json!({ "can_send_message": "AVAILABLE", "entities": [entity] });
    }
    let error = json!({
        "error_code": 133_010,
        "error_description": "The phone number is not registered.",
        "possible_solution": "Register the phone number.",
    });
    let entity = json!({
        "entity_type": "PHONE_NUMBER", "id": number, "can_send_message": "BLOCKED", "errors": [error],
    });
    json!({ "can_send_message": "BLOCKED", "entities": [entity] })
}

/// `GET /<number>`: what is known of it, or the `fields` asked for.
pub(super) fn node(call: &Call<'_>) -> Reply {
    let known = call.with_number(|channel, now| Ok(describe(channel, now)))?;
    NUMBER.select(known, call.query("fields"))
}

/// `POST /<number>`: a new PIN. The first one turns two-step verification on.
pub(super) async fn change_pin(call: &Call<'_>, request: Request) -> Reply {
    call.with_number(|_, _| Ok(()))?;
    let parameters = parameters(request).await?;
    only(&parameters, "request", &["pin"])?;
    let pin = pin(&parameters)?;
    call.with_number(|channel, _| {
        channel.registration.set_pin(pin);
        Ok(success())
    })
}

/// `POST /<number>/register`: from now on messages can be sent. Fails on another PIN than the number's, and at
/// the eleventh call in 72 hours.
pub(super) async fn register(call: &Call<'_>, request: Request) -> Reply {
    const REGIONS: [&str; 14] =
        ["AU", "ID", "IN", "JP", "SG", "KR", "DE", "CH", "GB", "BR", "BH", "ZA", "AE", "CA"];
    call.with_number(|_, _| Ok(()))?;
    let parameters = parameters(request).await?;
    product(&parameters)?;
    only(&parameters, "request", &["messaging_product", "pin", "backup", "data_localization_region"])?;
    let pin = pin(&parameters)?;
    let region = parameters.get("data_localization_region").map(|region| region.as_str().unwrap_or_default());
    if region.is_some_and(|region| !REGIONS.contains(&region)) {
        return Err(GraphError::parameter("Param data_localization_region must be one of the regions."));
    }
    call.with_number(|channel, now| {
        channel.registration.register(pin, now)?;
        Ok(success())
    })
}

/// `POST /<number>/deregister`: sends are refused with 133010 from now on. Fails like a registration.
pub(super) fn deregister(call: &Call<'_>) -> Reply {
    call.with_number(|channel, now| {
        channel.registration.deregister(now)?;
        Ok(success())
    })
}

/// `GET /<number>/whatsapp_business_profile`: what was said of the business, or the `fields` asked for.
pub(super) fn profile(call: &Call<'_>) -> Reply {
    let known = call.with_number(|channel, _| Ok(channel.profile.clone()))?;
    let node = Node { name: "WhatsAppBusinessProfile", fields: &profile::FIELDS, usual: &profile::FIELDS };
    let mut known = node.select(known, call.query("fields"))?;
    known["messaging_product"] = json!("whatsapp");
    Ok(json!({ "data": [known] }))
}

/// `POST /<number>/whatsapp_business_profile`: replaces what the body names and leaves the rest.
pub(super) async fn change_profile(call: &Call<'_>, request: Request) -> Reply {
    call.with_number(|_, _| Ok(()))?;
    let parameters = parameters(request).await?;
    product(&parameters)?;
    let change = profile::check(parameters)?;
    call.with_number(|channel, _| {
        channel.profile.extend(change);
        Ok(success())
    })
}

impl Call<'_> {
    /// What `act` makes of the number, if the token is its own.
    fn with_number<T>(
        &self,
        act: impl FnOnce(&mut Channel, u64) -> Result<T, GraphError>,
    ) -> Result<T, GraphError> {
        let (now, mut state) = (self.world.now(), self.world.state());
        state.authorise(self.id, self.token())?;
        let channel = state.channels.get_mut(self.id);
        act(channel.ok_or_else(|| GraphError::unknown_object(self.id))?, now)
    }
}

fn product(parameters: &Map<String, Value>) -> Result<(), GraphError> {
    match parameters.get("messaging_product") {
        None => Err(GraphError::required("messaging_product")),
        Some(product) if product == "whatsapp" => Ok(()),
        Some(_) => Err(GraphError::parameter("Param messaging_product must be one of {WHATSAPP}")),
    }
}

fn pin(parameters: &Map<String, Value>) -> Result<String, GraphError> {
    match parameters.get("pin") {
        None => Err(GraphError::required("pin")),
        Some(Value::String(pin)) if pin.len() == 6 && pin.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(pin.clone())
        }
        Some(_) => Err(GraphError::parameter("Param pin must be 6 digits long.")),
    }
}
