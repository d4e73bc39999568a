//! Interactive messages. A kind that is not known here is left to the provider, which knows new ones first.

use std::collections::HashSet;

use super::content::{address, media};
use super::node::{Checked, Node, UNBOUNDED};

pub(super) fn check(message: &Node<'_, '_>) -> Checked {
    let kind = message.text("type", UNBOUNDED)?;
    let check_action: fn(&Node<'_, '_>) -> Checked = match kind {
        "button" => buttons,
        "list" => list,
        "cta_url" => cta_url,
        "flow" => flow,
        "location_request_message" => |action| action.constant("name", "send_location"),
        "request_contact_info" => |action| action.constant("name", "request_contact_info"),
        "call_permission_request" => |action| action.constant("name", "call_permission_request"),
        "voice_call" => |action| action.constant("name", "voice_call"),
        "catalog_message" => |action| action.constant("name", "catalog_message"),
        "address_message" => address_message,
        "product" => product,
        "product_list" => product_list,
        "carousel" => |action| action.list("cards", &(2..=10)).map(drop),
        // Payments: their rules differ by country.
        "order_details" | "order_status" => |_| Ok(()),
        _ => return Ok(()),
    };
    frame(message, kind)?;
    check_action(&message.object("action")?)
}

/// What stands around the action.
fn frame(message: &Node<'_, '_>, kind: &str) -> Checked {
    if let Some(header) = message.optional_object("header")? {
        check_header(&header, kind)?;
    }
    let body_limit = if kind == "list" { 4096 } else { 1024 };
    // A product shows itself, and a request to call has words of its own.
    let may_lack_body = matches!(kind, "product" | "call_permission_request" | "voice_call");
    match message.optional_object("body")? {
        Some(body) => drop(body.text("text", body_limit)?),
        None if may_lack_body => {}
        None => return Err(message.wrong_field("body", "is missing")),
    }
    if let Some(footer) = message.optional_object("footer")? {
        footer.text("text", 60)?;
    }
    Ok(())
}

fn check_header(header: &Node<'_, '_>, kind: &str) -> Checked {
    let only_text = matches!(kind, "list" | "product_list");
    match header.text("type", UNBOUNDED)? {
        "text" => header.text("text", 60).map(drop),
        _ if only_text => Err(header.wrong_field("type", "must be text with this interactive type")),
        "image" => media(&header.object("image")?, "image"),
        "video" => media(&header.object("video")?, "video"),
        "document" => media(&header.object("document")?, "document"),
        _ => Err(header.wrong_field("type", "must be text, image, video or document")),
    }
}

fn buttons(action: &Node<'_, '_>) -> Checked {
    let (mut ids, mut titles) = (HashSet::new(), HashSet::new());
    for button in action.list("buttons", &(1..=3))? {
        button.constant("type", "reply")?;
        let reply = button.object("reply")?;
        unique(&reply, "id", 256, &mut ids)?;
        unique(&reply, "title", 20, &mut titles)?;
    }
    Ok(())
}

/// Most rows of a list, all its sections together.
const ROWS: usize = 10;

fn list(action: &Node<'_, '_>) -> Checked {
    action.text("button", 20)?;
    let sections = action.list("sections", &(1..=10))?;
    let (mut ids, mut rows) = (HashSet::new(), 0);
    for section in &sections {
        if sections.len() > 1 {
            section.text("title", 24)?;
        } else {
            section.optional_text("title", 24)?;
        }
        for row in section.list("rows", &(1..=ROWS))? {
            unique(&row, "id", 200, &mut ids)?;
            row.text("title", 24)?;
            row.optional_text("description", 72)?;
            rows += 1;
        }
    }
    if rows > ROWS {
        return Err(action.wrong_field("sections", "must have at most 10 rows in all of them together"));
    }
    Ok(())
}

/// Checks a text that must differ from all those `seen`.
fn unique<'v>(node: &Node<'v, '_>, name: &str, most: usize, seen: &mut HashSet<&'v str>) -> Checked {
    if seen.insert(node.text(name, most)?) {
        Ok(())
    } else {
        Err(node.wrong_field(name, "must differ from those before it"))
    }
}

fn cta_url(action: &Node<'_, '_>) -> Checked {
    action.constant("name", "cta_url")?;
    let parameters = action.object("parameters")?;
    parameters.text("display_text", 20)?;
    address(&parameters, "url", parameters.text("url", UNBOUNDED)?)
}

fn flow(action: &Node<'_, '_>) -> Checked {
    action.constant("name", "flow")?;
    let parameters = action.object("parameters")?;
    parameters.constant("flow_message_version", "3")?;
    parameters.text("flow_cta", 30)?;
    parameters.optional_text("flow_token", UNBOUNDED)?;
    let id = parameters.optional_text("flow_id", UNBOUNDED)?;
    let name = parameters.optional_text("flow_name", UNBOUNDED)?;
    if id.is_some() == name.is_some() {
        return Err(parameters.wrong("must have either flow_id or flow_name"));
    }
    match parameters.optional_text("flow_action", UNBOUNDED)? {
        None | Some("navigate" | "data_exchange") => {}
        Some(_) => return Err(parameters.wrong_field("flow_action", "must be navigate or data_exchange")),
    }
    parameters.optional_object("flow_action_payload").map(drop)
}

fn address_message(action: &Node<'_, '_>) -> Checked {
    action.constant("name", "address_message")?;
    action.object("parameters")?.text("country", 2).map(drop)
}

fn product(action: &Node<'_, '_>) -> Checked {
    action.text("catalog_id", UNBOUNDED)?;
    action.text("product_retailer_id", UNBOUNDED).map(drop)
}

/// Most products of a list, all its sections together.
const PRODUCTS: usize = 30;

fn product_list(action: &Node<'_, '_>) -> Checked {
    action.text("catalog_id", UNBOUNDED)?;
    let mut products = 0;
    for section in action.list("sections", &(1..=10))? {
        products += section.list("product_items", &(1..=PRODUCTS))?.len();
    }
    if products > PRODUCTS {
        return Err(action.wrong_field("sections", "must have at most 30 products in all of them together"));
    }
    Ok(())
}
