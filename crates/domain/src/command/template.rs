//! Template messages: their shape. Whether the template exists, and what it asks for, the provider knows.

use serde_json::Value;

use super::content::{location, media};
use super::node::{Checked, Node, UNBOUNDED};

pub(super) fn check(template: &Node<'_, '_>) -> Checked {
    let name = template.text("name", 512)?;
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return Err(template.wrong_field("name", "must be of a-z, 0-9 and _ alone"));
    }
    let language = template.object("language")?;
    language.text("code", 16)?;
    match language.optional_text("policy", UNBOUNDED)? {
        None | Some("deterministic") => {}
        Some(_) => return Err(language.wrong_field("policy", "must be deterministic or left out")),
    }
    for component in template.optional_list("components", &(0..=UNBOUNDED))? {
        if is(&component, "carousel")? {
            carousel(&component)?;
        } else {
            check_component(&component)?;
        }
    }
    Ok(())
}

/// Whether the component is of this type. Meta writes types in capitals where templates are made.
fn is(component: &Node<'_, '_>, kind: &str) -> Checked<bool> {
    Ok(component.text("type", UNBOUNDED)?.eq_ignore_ascii_case(kind))
}

fn carousel(component: &Node<'_, '_>) -> Checked {
    for card in component.list("cards", &(1..=10))? {
        if !card.get("card_index").is_some_and(Value::is_u64) {
            return Err(card.wrong_field("card_index", "must be a whole number from 0"));
        }
        for component in card.list("components", &(0..=UNBOUNDED))? {
            check_component(&component)?;
        }
    }
    Ok(())
}

/// The components that may hold parameters.
const COMPONENTS: [&str; 7] =
    ["header", "body", "footer", "button", "limited_time_offer", "order_status", "tap_target_configuration"];

/// A component other than a carousel.
fn check_component(component: &Node<'_, '_>) -> Checked {
    let kind = component.text("type", UNBOUNDED)?;
    if !COMPONENTS.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        let problem = format!("must be one of {}; carousel outside of cards", COMPONENTS.join(", "));
        return Err(component.wrong_field("type", problem));
    }
    if is(component, "button")? {
        button(component)?;
    }
    component.optional_list("parameters", &(0..=UNBOUNDED))?.iter().try_for_each(parameter)
}

fn button(button: &Node<'_, '_>) -> Checked {
    button.text("sub_type", UNBOUNDED)?;
    let index = match button.get("index") {
        None => return Err(button.wrong_field("index", "is missing")),
        Some(Value::String(index)) => index.parse().ok(),
        Some(index) => index.as_u64(),
    };
    // A template has ten buttons at most.
    if index.is_none_or(|index: u64| index > 9) {
        return Err(button.wrong_field("index", "must be a whole number from 0 to 9"));
    }
    Ok(())
}

/// A value for one of the template's placeholders. A type that is not known here is left to the provider.
fn parameter(parameter: &Node<'_, '_>) -> Checked {
    parameter.optional_text("parameter_name", UNBOUNDED)?;
    match parameter.text("type", UNBOUNDED)? {
        "text" => text(parameter),
        "image" => media(&parameter.object("image")?, "image"),
        "video" => media(&parameter.object("video")?, "video"),
        "document" => media(&parameter.object("document")?, "document"),
        "location" => location(&parameter.object("location")?),
        "payload" => parameter.text("payload", UNBOUNDED).map(drop),
        "coupon_code" => parameter.text("coupon_code", UNBOUNDED).map(drop),
        "currency" => {
            let amount = parameter.object("currency")?;
            amount.optional_text("code", UNBOUNDED)?;
            amount.text("fallback_value", UNBOUNDED).map(drop)
        }
        "date_time" => parameter.object("date_time")?.text("fallback_value", UNBOUNDED).map(drop),
        "limited_time_offer" => parameter.object("limited_time_offer").map(drop),
        "action" => parameter.object("action").map(drop),
        "product" => parameter.object("product").map(drop),
        _ => Ok(()),
    }
}

fn text(parameter: &Node<'_, '_>) -> Checked {
    let text = parameter.text("text", UNBOUNDED)?;
    if text.contains(['\n', '\t']) || text.contains("     ") {
        let problem = "must have no line breaks, no tabs and no more than 4 blanks in a row";
        return Err(parameter.wrong_field("text", problem));
    }
    Ok(())
}
