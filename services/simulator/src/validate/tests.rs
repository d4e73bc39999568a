use serde_json::{Value, json};

use super::{Recipient, Request, parse};

/// The code that a request is refused with; 0 when it is right.
fn code(body: &Value) -> u32 {
    parse(body.to_string().as_bytes()).map_or_else(|error| error.code, |_| 0)
}

/// A request to a phone with this message in it.
fn request(kind: &str, message: Value) -> Value {
    json!({"messaging_product": "whatsapp", "to": "+393481213456", "type": kind, kind: message})
}

fn message_code(kind: &str, message: Value) -> u32 {
    code(&request(kind, message))
}

#[test]
fn recipients_are_international_numbers_or_user_ids() {
    for (to, digits) in [
        ("+393481213456", Some("393481213456")),
        ("393481213456", Some("393481213456")),
        ("+1 (650) 555-1234", Some("16505551234")),
        ("", None),
        ("+", None),
        ("12345", None),
        ("0393481213456", None),
        ("39348+1213456", None),
        ("3934812134567890", None),
        ("whatsapp:+393481213456", None),
    ] {
        let body = json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "x"}});
        match parse(body.to_string().as_bytes()) {
            Ok(Request::Send(send)) => {
                assert_eq!(Some(send.to), digits.map(|digits| Recipient::Phone(digits.into())), "{to}");
            }
            Ok(Request::MarkRead(_)) => panic!("{to} is a send"),
            Err(error) => assert_eq!((error.code, digits), (131_009, None), "{to}"),
        }
    }
    let with =
        |recipient| json!({"messaging_product": "whatsapp", "recipient": recipient, "text": {"body": "x"}});
    assert_eq!(code(&with("US.13491208655302741918")), 0);
    assert_eq!(code(&with("US.ENT.1349")), 0);
    assert_eq!(code(&with("us.1349")), 131_009);
    assert_eq!(code(&with("1349")), 131_009);
    assert_eq!(code(&json!({"messaging_product": "whatsapp", "text": {"body": "x"}})), 100);
}

#[test]
fn the_frame_is_checked() {
    assert_eq!(parse(b"{").unwrap_err().code, 100);
    assert_eq!(parse(b"[]").unwrap_err().code, 100);
    assert_eq!(code(&json!({"to": "+393481213456", "text": {"body": "x"}})), 100);
    assert_eq!(message_code("hologram", json!({})), 131_051);
    let mut body = request("text", json!({"body": "x"}));
    body["biz_opaque_callback_data"] = json!("x".repeat(512));
    assert_eq!(code(&body), 0);
    body["biz_opaque_callback_data"] = json!("x".repeat(513));
    assert_eq!(code(&body), 100);
    body["biz_opaque_callback_data"] = json!("x");
    body["recipient_type"] = json!("group");
    assert_eq!(code(&body), 131_215);
    body["recipient_type"] = json!("individual");
    body["context"] = json!({"message_id": "wamid.A"});
    assert_eq!(code(&body), 0);
    body["context"] = json!({});
    assert_eq!(code(&body), 100);
    let read = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.A"});
    assert_eq!(code(&read), 0);
    assert_eq!(code(&json!({"messaging_product": "whatsapp", "status": "read"})), 100);
}

#[test]
fn texts_and_media_keep_their_limits() {
    assert_eq!(
        code(&json!({"messaging_product": "whatsapp", "to": "+393481213456", "type": "text"})),
        131_008
    );
    assert_eq!(message_code("text", json!({"body": "é".repeat(4096), "preview_url": true})), 0);
    assert_eq!(message_code("text", json!({"body": "é".repeat(4097)})), 100);
    assert_eq!(message_code("text", json!({"body": ""})), 131_008);
    assert_eq!(message_code("text", json!({"boddy": "x"})), 100);
    assert_eq!(message_code("image", json!({"id": "1", "caption": "x".repeat(1024)})), 0);
    assert_eq!(message_code("image", json!({"id": "1", "caption": "x".repeat(1025)})), 100);
    assert_eq!(message_code("image", json!({"id": "1", "link": "https://a.example/1.png"})), 131_009);
    assert_eq!(message_code("image", json!({})), 131_008);
    assert_eq!(message_code("document", json!({"link": "https://a.example/1.pdf", "filename": "1.pdf"})), 0);
    assert_eq!(message_code("document", json!({"link": "ftp://a.example/1.pdf"})), 131_009);
    assert_eq!(message_code("audio", json!({"id": "1", "caption": "x"})), 100);
    assert_eq!(message_code("audio", json!({"id": "1", "voice": true})), 0);
    assert_eq!(message_code("sticker", json!({"id": "1"})), 0);
}

#[test]
fn places_contacts_and_reactions_are_checked() {
    assert_eq!(message_code("location", json!({"latitude": 37.46, "longitude": "-122.2", "name": "x"})), 0);
    assert_eq!(message_code("location", json!({"latitude": 91, "longitude": 0})), 131_009);
    assert_eq!(message_code("location", json!({"latitude": 1})), 131_008);
    let contact = json!({"name": {"formatted_name": "A B", "first_name": "A"}, "birthday": "1999-01-31"});
    assert_eq!(message_code("contacts", json!([contact])), 0);
    assert_eq!(message_code("contacts", json!([])), 131_009);
    assert_eq!(message_code("contacts", json!([{"name": {"formatted_name": "A B"}}])), 131_008);
    let late = json!({"name": {"formatted_name": "A B", "first_name": "A"}, "birthday": "31/01/1999"});
    assert_eq!(message_code("contacts", json!([late])), 131_009);
    assert_eq!(message_code("reaction", json!({"message_id": "wamid.A", "emoji": ""})), 0);
    assert_eq!(message_code("reaction", json!({"message_id": "wamid.A"})), 131_008);
}

#[test]
fn buttons_and_lists_keep_their_limits() {
    let button = |id: &str, title: &str| json!({"type": "reply", "reply": {"id": id, "title": title}});
    let buttons = |buttons: Value| {
        let message = json!({"type": "button", "body": {"text": "x"}, "action": {"buttons": buttons}});
        message_code("interactive", message)
    };
    assert_eq!(buttons(json!([button("a", "A"), button("b", "B"), button("c", "C")])), 0);
    assert_eq!(
        buttons(json!([button("a", "A"), button("b", "B"), button("c", "C"), button("d", "D")])),
        131_009
    );
    assert_eq!(buttons(json!([button("a", "A"), button("a", "B")])), 131_009);
    assert_eq!(buttons(json!([button("a", "A"), button("b", "A")])), 131_009);
    assert_eq!(buttons(json!([button("a", &"x".repeat(21))])), 131_009);
    assert_eq!(buttons(json!([])), 131_009);

    let list = |rows: usize, sections: usize| {
        let section = |at: usize| {
            let rows: Vec<Value> =
                (0..rows).map(|row| json!({"id": format!("{at}-{row}"), "title": "x"})).collect();
            json!({"title": "x", "rows": rows})
        };
        let sections: Vec<Value> = (0..sections).map(section).collect();
        let action = json!({"button": "x", "sections": sections});
        message_code("interactive", json!({"type": "list", "body": {"text": "x"}, "action": action}))
    };
    assert_eq!(list(10, 1), 0);
    assert_eq!(list(5, 2), 0);
    assert_eq!(list(6, 2), 131_009, "ten rows in all sections together");
    assert_eq!(list(1, 11), 131_009);
    let action = json!({"name": "cta_url", "parameters": {"display_text": "x", "url": "https://a.example"}});
    assert_eq!(
        message_code("interactive", json!({"type": "cta_url", "body": {"text": "x"}, "action": action})),
        0
    );
    assert_eq!(
        message_code("interactive", json!({"type": "hologram", "body": {"text": "x"}, "action": {}})),
        131_009
    );
}

#[test]
fn templates_have_their_shape() {
    let template = |components: Value| {
        message_code(
            "template",
            json!({"name": "ok_1", "language": {"code": "it"}, "components": components}),
        )
    };
    assert_eq!(message_code("template", json!({"name": "ok", "language": {"code": "it"}})), 0);
    assert_eq!(message_code("template", json!({"name": "Not OK", "language": {"code": "it"}})), 131_009);
    assert_eq!(message_code("template", json!({"name": "ok"})), 131_008);
    let document = json!({"type": "document", "document": {"id": "1", "filename": "a.pdf"}});
    assert_eq!(
        template(json!([
            {"type": "header", "parameters": [document]},
            {"type": "body", "parameters": [{"type": "text", "parameter_name": "first_name", "text": "Ana"}]},
            {"type": "button", "sub_type": "quick_reply", "index": "0",
             "parameters": [{"type": "payload", "payload": "P1"}]},
        ])),
        0
    );
    assert_eq!(
        template(json!([{"type": "body", "parameters": [{"type": "text", "text": "a\nb"}]}])),
        132_012
    );
    assert_eq!(template(json!([{"type": "body", "parameters": [{"type": "text"}]}])), 131_008);
    assert_eq!(template(json!([{"type": "button", "sub_type": "url"}])), 131_008);
    assert_eq!(template(json!([{"type": "hologram"}])), 131_009);
}
