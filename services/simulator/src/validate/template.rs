//! Template messages: their shape. Whether a template exists is not looked at here.

use serde_json::Value;

use super::content::{location, media};
use super::{Object, TemplateName, array, object, only, optional_text, text};
use crate::graph_error::GraphError;

const UNLIMITED: usize = usize::MAX;

/// Checks a `template` object.
pub(super) fn check(template: &Object) -> Result<(), GraphError> {
    only(template, "template", &["name", "language", "components", "namespace"])?;
    let name = text(template, "name", "template", 512)?;
    if !is_template_name(name) {
        return Err(GraphError::invalid("Invalid template name"));
    }
    let language = object(template, "language", "template")?;
    text(language, "code", "language", 16)?;
    match optional_text(language, "policy", UNLIMITED)? {
        None | Some("deterministic") => {}
        Some(_) => return Err(GraphError::invalid("Invalid language policy")),
    }
    if template.contains_key("components") {
        components(array(template, "components", "template", (0, UNLIMITED))?)?;
    }
    Ok(())
}

/// Which template a checked `template` object names.
pub(super) fn name(template: &Object) -> Option<TemplateName> {
    let name = template.get("name")?.as_str()?.to_owned();
    let language = template.get("language")?.get("code")?.as_str()?.to_owned();
    Some(TemplateName { name, language })
}

/// Whether a template can have this name.
pub(crate) fn is_template_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=512).contains(&name.len()) && name.bytes().all(known)
}

fn components(components: &[Value]) -> Result<(), GraphError> {
    for component in components {
        let component = element(component, "components")?;
        match text(component, "type", "components", UNLIMITED)?.to_ascii_lowercase().as_str() {
            "header" | "body" | "footer" | "limited_time_offer" => {}
            "button" => button(component)?,
            "carousel" => {
                for card in array(component, "cards", "carousel", (1, 10))? {
                    let card = element(card, "cards")?;
                    if !card.get("card_index").is_some_and(Value::is_u64) {
                        return Err(GraphError::missing("card_index", "cards"));
                    }
                    self::components(array(card, "components", "cards", (0, UNLIMITED))?)?;
                }
            }
            _ => return Err(GraphError::invalid("Invalid component type")),
        }
        if component.contains_key("parameters") {
            for parameter in array(component, "parameters", "components", (0, UNLIMITED))? {
                self::parameter(element(parameter, "parameters")?)?;
            }
        }
    }
    Ok(())
}

fn button(button: &Object) -> Result<(), GraphError> {
    text(button, "sub_type", "button", UNLIMITED)?;
    let index = match button.get("index") {
        None => return Err(GraphError::missing("index", "button")),
        Some(Value::String(index)) => index.parse().ok(),
        Some(index) => index.as_u64(),
    };
    // A template has at most ten buttons.
    if index.is_none_or(|index| index > 9) {
        return Err(GraphError::invalid("Invalid button index"));
    }
    Ok(())
}

fn parameter(parameter: &Object) -> Result<(), GraphError> {
    match text(parameter, "type", "parameters", UNLIMITED)? {
        "text" => {
            let value = text(parameter, "text", "parameters", UNLIMITED)?;
            if value.contains(['\n', '\t']) || value.contains("     ") {
                return Err(GraphError::with(
                    132_012,
                    "Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
                ));
            }
            Ok(())
        }
        kind @ ("image" | "video" | "document") => media(object(parameter, kind, "parameters")?, kind),
        "location" => location(object(parameter, "location", "parameters")?),
        kind @ ("currency" | "date_time") => {
            text(object(parameter, kind, "parameters")?, "fallback_value", kind, UNLIMITED).map(drop)
        }
        kind @ ("payload" | "coupon_code") => text(parameter, kind, "parameters", UNLIMITED).map(drop),
        kind @ ("action" | "limited_time_offer" | "product") => {
            object(parameter, kind, "parameters").map(drop)
        }
        _ => Err(GraphError::invalid("Invalid parameter type")),
    }
}

fn element<'a>(value: &'a Value, list: &str) -> Result<&'a Object, GraphError> {
    value
        .as_object()
        .ok_or_else(|| GraphError::parameter(format!("Param {list} must be an array of JSON objects.")))
}
