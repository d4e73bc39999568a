//! Messages of every type, as the reference's sections 2.1 to 2.6 tell.

use serde_json::{Value, json};
use staffetta_domain::EventType;

use crate::leaf::{Leaf, Stand};
use crate::pen::{Object, Pen, fields};

const TYPES: [&str; 21] = [
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "contacts",
    "interactive",
    "button",
    "order",
    "reaction",
    "system",
    "unsupported",
    "unknown",
    "edit",
    "revoke",
    "request_welcome",
    "ephemeral",
    "raw",
    "hologram_of_next_year",
];

/// The number, id and parent id of one of the users, of which a payload names some.
struct User {
    number: String,
    id: String,
    parent: String,
}

fn user(nth: u64) -> User {
    User {
        number: format!("39348121345{nth}"),
        id: format!("IT.134912086553027419{nth}"),
        parent: format!("IT.ENT.1180{nth}"),
    }
}

pub(crate) fn wamid(nth: usize) -> String {
    format!("wamid.HBgLMzkzNDgxMjEzNDU2FQIAEhg{nth}A=")
}

/// A message in `messages`.
pub(crate) fn received(number: usize, nth: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let kind = pen.pick(&TYPES);
    let mut message = message(&mut pen, kind, nth);
    let contact = sender(&mut pen, &mut message);
    if kind != "system" && pen.maybe() {
        message.extend(surroundings(&mut pen));
    }
    let mut leaf = Leaf::in_list(number, "messages", "messages", message);
    leaf.kind = match kind {
        "edit" => EventType::MessageEdited,
        "revoke" => EventType::MessageDeleted,
        _ => EventType::MessageReceived,
    };
    leaf.id = Some(wamid(nth));
    // A system message comes without a contact.
    leaf.contact = contact.filter(|_| kind != "system");
    leaf
}

/// A message that somebody at the business sent from the phone.
pub(crate) fn echoed(number: usize, nth: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let kind = pen.pick(&TYPES);
    let mut message = message(&mut pen, kind, nth);
    let User { number: to, id, parent } = user(pen.below(4));
    message.insert("from".into(), "39020202".into());
    let names = json!({"to": to, "to_user_id": id, "to_parent_user_id": parent});
    message.extend(fields(pen.thin(names, &["to", "to_user_id", "to_parent_user_id"])));
    let mut leaf = Leaf::in_list(number, "smb_message_echoes", "message_echoes", message);
    leaf.kind = EventType::MessageEchoed;
    leaf.id = Some(wamid(nth));
    leaf
}

/// A message from before the channel was connected, or the reason why there is none.
pub(crate) fn of_history(number: usize, nth: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let chunk = pen.below(3);
    if pen.below(6) == 0 {
        let error = json!({"code": 2_593_109, "title": "History sync is turned off", "message": pen.text()});
        let mut leaf = Leaf::in_list(number, "history", "history", fields(error));
        leaf.stand = Stand::ChunkErrors { chunk };
        return leaf;
    }
    let kind = pen.pick(&["text", "image", "media_placeholder", "reaction", "edit"]);
    let mut message = message(&mut pen, kind, nth);
    let User { number: thread, .. } = user(pen.below(4));
    let from_me = pen.maybe();
    let context = json!({"status": pen.pick(&["DELIVERED", "ERROR", "PENDING", "PLAYED", "READ", "SENT"]),
                         "from_me": from_me});
    message.insert("history_context".into(), context);
    message.insert("from".into(), if from_me { "39020202" } else { &thread }.into());
    if from_me {
        message.insert("to".into(), thread.as_str().into());
    }
    let mut leaf = Leaf::in_list(number, "history", "history", message);
    leaf.stand = Stand::Thread { chunk, thread };
    leaf.kind = match (from_me, kind) {
        (true, _) => EventType::MessageEchoed,
        (false, "edit") => EventType::MessageEdited,
        (false, _) => EventType::MessageReceived,
    };
    // It is not the message yet: the file itself follows under the same wamid.
    let placeholder = if kind == "media_placeholder" { " placeholder" } else { "" };
    leaf.id = Some(wamid(nth) + placeholder);
    leaf
}

fn message(pen: &mut Pen, kind: &str, nth: usize) -> Object {
    let mut message = Object::new();
    message.insert("id".into(), wamid(nth).into());
    message.insert("timestamp".into(), pen.time().to_string().into());
    message.insert("type".into(), kind.into());
    message.extend(fields(content(pen, kind)));
    message
}

/// Who wrote it, each user in another of the ways in which users are named since 2026, and the contact that says so too.
fn sender(pen: &mut Pen, message: &mut Object) -> Option<Value> {
    let nth = pen.below(5);
    let User { number, id, parent } = user(nth);
    let (from, wa_id) = match nth {
        // Brazil's ninth digit, and the like: the id ties them.
        0 => (Some(number.clone()), Some(format!("{number}0"))),
        1 => (Some(String::new()), Some(String::new())),
        2 => (None, None),
        3 => (Some(id.clone()), Some(id.clone())),
        _ => (Some(number.clone()), Some(number)),
    };
    message.extend(from.map(|from| ("from".into(), from.into())));
    message.insert("from_user_id".into(), id.as_str().into());
    message.insert("from_parent_user_id".into(), parent.as_str().into());
    let profile = json!({"name": "Ada \u{1f600}", "username": "ada"});
    let mut contact = fields(json!({"profile": profile, "user_id": id, "parent_user_id": parent}));
    contact.extend(wa_id.map(|wa_id| ("wa_id".into(), wa_id.into())));
    pen.maybe().then_some(Value::Object(contact))
}

fn surroundings(pen: &mut Pen) -> Object {
    fields(match pen.below(6) {
        0 => json!({"context": {"from": "39020202", "id": "wamid.Q"}}),
        1 => json!({"context": {"forwarded": true}}),
        2 => json!({"context": {"frequently_forwarded": true}}),
        3 => json!({"context": {"from": "39020202", "id": "wamid.Q",
                    "referred_product": {"catalog_id": "C", "product_retailer_id": "SKU"}}}),
        4 => json!({"group_id": "Y2FwaV9ncm91cDo="}),
        _ => {
            let referral = json!({"source_url": "https://fb.me/x", "source_id": "120", "source_type": "ad",
                "headline": pen.text(), "body": pen.text(), "media_type": "image", "image_url": "https://x.example/i",
                "ctwa_clid": "Aff", "welcome_message": {"text": pen.text()}});
            json!({"referral": pen.thin(referral, &["image_url", "ctwa_clid", "welcome_message"])})
        }
    })
}

/// What the message says: its own object under its own name, mostly.
fn content(pen: &mut Pen, kind: &str) -> Value {
    let content = match kind {
        "image" | "video" | "audio" | "document" | "sticker" => media(pen),
        "location" => {
            let location =
                json!({"latitude": 37.46, "longitude": -122.2, "name": pen.text(), "address": pen.text()});
            pen.thin(location, &["name", "address"])
        }
        "contacts" => {
            let card = json!({"name": {"formatted_name": "A B", "first_name": pen.text()},
                "phones": [{"phone": "+1 555", "wa_id": "1555", "type": "CELL"}], "emails": [], "birthday": "1999-01-31",
                "org": {"company": pen.text()}, "vcard": "BEGIN:VCARD\r\n", "origin": "contact_request"});
            json!([pen.thin(card, &["name", "emails", "org", "vcard", "origin", "birthday"])])
        }
        "interactive" => return interactive(pen),
        "button" => json!({"payload": pen.text(), "text": "Yes"}),
        "order" => json!({"catalog_id": "C", "text": pen.text(), "product_items": [
            {"product_retailer_id": "SKU", "quantity": pen.below(9), "item_price": 30.5, "currency": "BRL"}]}),
        "reaction" => {
            let reaction = json!({"message_id": "wamid.Q", "emoji": pen.pick(&["😮", ""])});
            pen.thin(reaction, &["emoji"])
        }
        "system" => return system(pen),
        "unsupported" | "unknown" => {
            let unsupported = json!({"errors": [{"code": 131_051, "title": "Message type unknown",
                "error_data": {"details": "Message type is currently not supported."}}], "unsupported": {"type": "poll"}});
            return pen.thin(unsupported, &["unsupported"]);
        }
        "edit" => json!({"original_message_id": "wamid.Q",
                         "message": {"context": {"id": "wamid.P"}, "type": "text", "text": {"body": pen.text()}}}),
        "revoke" => json!({"original_message_id": "wamid.Q"}),
        "request_welcome" | "media_placeholder" => return json!({}),
        _ => json!({"body": pen.text()}),
    };
    json!({kind: content})
}

fn media(pen: &mut Pen) -> Value {
    let media = json!({"caption": pen.text(), "filename": "a/b.pdf", "mime_type": "audio/ogg; codecs=opus",
        "sha256": "29ed500fa64eb55fc19dc4124acb300e5dcca0f822a301ae99944db=", "id": pen.below(1 << 53).to_string(),
        "url": "https://lookaside.example/?mid=1&ext=2", "voice": true, "animated": false});
    pen.thin(media, &["caption", "filename", "url", "voice", "animated"])
}

fn interactive(pen: &mut Pen) -> Value {
    let kind = pen.pick(&["button_reply", "list_reply", "nfm_reply", "call_permission_reply", "nothing"]);
    let reply = match kind {
        "button_reply" => json!({"id": "x", "title": pen.text()}),
        "list_reply" => {
            let reply = json!({"id": "x", "title": "Row", "description": pen.text()});
            pen.thin(reply, &["description"])
        }
        "nfm_reply" => json!({"name": pen.pick(&["flow", "address_message"]), "body": "Sent",
            "response_json": pen.pick(&["{\"flow_token\":\"t\"}", "[1]", "not json", "{\"a\":{\"b\":1e999}}"])}),
        "call_permission_reply" => {
            let reply = json!({"response": "accept", "expiration_timestamp": pen.time(), "is_permanent": true,
                               "response_source": "user_action"});
            pen.thin(reply, &["expiration_timestamp", "is_permanent"])
        }
        // Seen in the wild: the type, and no object.
        _ => return json!({}),
    };
    json!({"interactive": {"type": kind, kind: reply}, "context": {"from": "39020202", "id": "wamid.Q"}})
}

fn system(pen: &mut Pen) -> Value {
    match pen.below(4) {
        0 => {
            json!({"system": {"body": "User A changed from 1 to 2", "wa_id": "2", "type": "user_changed_number"}})
        }
        1 => json!({"system": {"body": "User A changed from IT.1 to IT.2", "user_id": "IT.2",
                               "type": "user_changed_user_id"}}),
        2 => json!({"system": {"body": pen.text(), "type": "customer_identity_changed"},
                    "identity": {"acknowledged": true, "created_timestamp": pen.time(), "hash": "h"}}),
        _ => json!({"system": {"body": pen.text(), "new_wa_id": "2", "customer": "1", "identity": "h",
                               "type": "customer_changed_number"}}),
    }
}
