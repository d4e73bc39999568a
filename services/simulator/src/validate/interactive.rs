//! Interactive messages.

use std::collections::HashSet;

use serde_json::Value;

use super::content::media;
use super::{Object, array, object, only, optional_text, text};
use crate::graph_error::GraphError;

const UNLIMITED: usize = usize::MAX;

/// Checks an `interactive` object.
pub(super) fn check(message: &Object) -> Result<(), GraphError> {
    only(message, "interactive", &["type", "header", "body", "footer", "action"])?;
    let kind = text(message, "type", "interactive", UNLIMITED)?;
    let body_limit = if kind == "list" { 4096 } else { 1024 };
    // These show a fixed body of their own, or one is optional.
    let body_needed = !matches!(kind, "product" | "call_permission_request" | "voice_call");
    if body_needed || message.contains_key("body") {
        text(object(message, "body", "interactive")?, "text", "body", body_limit)?;
    }
    if message.contains_key("footer") {
        text(object(message, "footer", "interactive")?, "text", "footer", 60)?;
    }
    if message.contains_key("header") {
        header(object(message, "header", "interactive")?, kind)?;
    }
    action(object(message, "action", "interactive")?, kind)
}

fn header(header: &Object, kind: &str) -> Result<(), GraphError> {
    match text(header, "type", "header", UNLIMITED)? {
        "text" => text(header, "text", "header", 60).map(drop),
        "image" | "video" | "document" if matches!(kind, "list" | "product_list") => {
            Err(GraphError::invalid(format!("Invalid header: {kind} takes a text header only")))
        }
        media_kind @ ("image" | "video" | "document") => {
            media(object(header, media_kind, "header")?, media_kind)
        }
        _ => Err(GraphError::invalid("Invalid header type")),
    }
}

fn action(action: &Object, kind: &str) -> Result<(), GraphError> {
    match kind {
        "button" => buttons(array(action, "buttons", "action", (1, 3))?),
        "list" => list(action),
        "cta_url" => {
            named(action, kind)?;
            let parameters = object(action, "parameters", "action")?;
            text(parameters, "display_text", "parameters", 20)?;
            let url = text(parameters, "url", "parameters", UNLIMITED)?;
            if url.starts_with("https://") || url.starts_with("http://") {
                Ok(())
            } else {
                Err(GraphError::invalid("Invalid url"))
            }
        }
        "flow" => flow(action),
        "location_request_message" => named(action, "send_location"),
        "request_contact_info" | "call_permission_request" | "voice_call" | "catalog_message" => {
            named(action, kind)
        }
        "address_message" => {
            named(action, kind)?;
            text(object(action, "parameters", "action")?, "country", "parameters", 2).map(drop)
        }
        "product" => {
            text(action, "catalog_id", "action", UNLIMITED)?;
            text(action, "product_retailer_id", "action", UNLIMITED).map(drop)
        }
        "product_list" => products(action),
        "carousel" => array(action, "cards", "action", (2, 10)).map(drop),
        "order_details" => named(action, "review_and_pay"),
        "order_status" => named(action, "review_order"),
        _ => Err(GraphError::invalid("Invalid interactive type")),
    }
}

fn named(action: &Object, name: &str) -> Result<(), GraphError> {
    if text(action, "name", "action", UNLIMITED)? == name {
        Ok(())
    } else {
        Err(GraphError::invalid(format!("Invalid action name: it must be {name}")))
    }
}

fn buttons(buttons: &[Value]) -> Result<(), GraphError> {
    let (mut ids, mut titles) = (HashSet::new(), HashSet::new());
    for button in buttons {
        let button = element(button, "buttons")?;
        if text(button, "type", "buttons", UNLIMITED)? != "reply" {
            return Err(GraphError::invalid("Invalid button type: it must be reply"));
        }
        let reply = object(button, "reply", "buttons")?;
        unique(&mut ids, bounded(reply, "id", 256)?, "button id")?;
        unique(&mut titles, bounded(reply, "title", 20)?, "button title")?;
    }
    Ok(())
}

fn list(action: &Object) -> Result<(), GraphError> {
    bounded(action, "button", 20)?;
    let sections = array(action, "sections", "action", (1, 10))?;
    let mut ids = HashSet::new();
    for section in sections {
        let section = element(section, "sections")?;
        if sections.len() > 1 || section.contains_key("title") {
            bounded(section, "title", 24)?;
        }
        for row in array(section, "rows", "sections", (1, 10))? {
            let row = element(row, "rows")?;
            unique(&mut ids, bounded(row, "id", 200)?, "row id")?;
            bounded(row, "title", 24)?;
            if row.contains_key("description") {
                optional_text(row, "description", 72)?;
            }
        }
    }
    // The limit holds for all sections together, and each row has an id of its own.
    if ids.len() > 10 {
        return Err(GraphError::invalid("Total row count exceed max allowed count: 10"));
    }
    Ok(())
}

fn flow(action: &Object) -> Result<(), GraphError> {
    named(action, "flow")?;
    let parameters = object(action, "parameters", "action")?;
    if text(parameters, "flow_message_version", "parameters", UNLIMITED)? != "3" {
        return Err(GraphError::invalid("Invalid flow_message_version: it must be 3"));
    }
    bounded(parameters, "flow_cta", 30)?;
    if parameters.contains_key("flow_id") == parameters.contains_key("flow_name") {
        return Err(GraphError::invalid("flow takes either flow_id or flow_name"));
    }
    match optional_text(parameters, "flow_action", UNLIMITED)? {
        None | Some("navigate" | "data_exchange") => Ok(()),
        Some(_) => Err(GraphError::invalid("Invalid flow_action")),
    }
}

fn products(action: &Object) -> Result<(), GraphError> {
    text(action, "catalog_id", "action", UNLIMITED)?;
    let mut items = 0;
    for section in array(action, "sections", "action", (1, 10))? {
        let section = element(section, "sections")?;
        items += array(section, "product_items", "sections", (1, 30))?.len();
    }
    if items > 30 { Err(GraphError::invalid("Invalid product_items count. Max allowed: 30")) } else { Ok(()) }
}

fn element<'a>(value: &'a Value, list: &str) -> Result<&'a Object, GraphError> {
    value
        .as_object()
        .ok_or_else(|| GraphError::parameter(format!("Param {list} must be an array of JSON objects.")))
}

/// A text that must be there; a wrong length is a wrong value here, not a wrong parameter.
fn bounded<'a>(parent: &'a Object, name: &str, most: usize) -> Result<&'a str, GraphError> {
    let value = text(parent, name, "action", UNLIMITED)?;
    if value.chars().count() > most {
        return Err(GraphError::invalid(format!("Invalid {name} length. Min length: 1, Max length: {most}")));
    }
    Ok(value)
}

fn unique<'a>(seen: &mut HashSet<&'a str>, value: &'a str, what: &str) -> Result<(), GraphError> {
    if seen.insert(value) { Ok(()) } else { Err(GraphError::invalid(format!("Duplicated {what}"))) }
}
