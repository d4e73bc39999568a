//! Interactive messages that may be sent and such that may not, kind by kind.

use serde_json::{Value, json};

use super::messages::{long, refuses, takes};

pub(super) fn interactive(kind: &str, action: Value) -> Value {
    json!({"type": kind, "body": {"text": "x"}, "action": action})
}

#[test]
fn the_frame_of_an_interactive_message() {
    let action = json!({"name": "send_location"});
    let with = |field: &str, value: Value| {
        let mut message = interactive("location_request_message", action.clone());
        message[field] = value;
        message
    };
    takes(
        "interactive",
        &[
            with("footer", json!({"text": long(60)})),
            with("footer", json!(null)),
            with("header", json!({"type": "text", "text": long(60)})),
            with("header", json!({"type": "image", "image": {"id": "1"}})),
            with("header", json!({"type": "video", "video": {"link": "http://a.example"}})),
            with("header", json!({"type": "document", "document": {"id": "1", "filename": "a.pdf"}})),
            with("body", json!({"text": long(1024)})),
            json!({"type": "call_permission_request", "action": {"name": "call_permission_request"}}),
            json!({"type": "of next year", "action": 7, "body": []}),
        ],
    );
    refuses(
        "interactive",
        &[
            (json!({"body": {"text": "x"}}), "interactive.type"),
            (json!({"type": 1}), "interactive.type"),
            (json!({"type": "location_request_message", "action": action}), "interactive.body"),
            (json!({"type": "button", "body": {"text": "x"}}), "interactive.action"),
            (with("action", json!([])), "interactive.action"),
            (with("action", json!({})), "interactive.action.name"),
            (with("action", json!({"name": "location"})), "interactive.action.name"),
            (with("body", json!("x")), "interactive.body"),
            (with("body", json!({"text": ""})), "interactive.body.text"),
            (with("body", json!({"text": long(1025)})), "interactive.body.text"),
            (with("footer", json!({})), "interactive.footer.text"),
            (with("footer", json!({"text": long(61)})), "interactive.footer.text"),
            (with("header", json!({"text": "x"})), "interactive.header.type"),
            (with("header", json!({"type": "audio"})), "interactive.header.type"),
            (with("header", json!({"type": "text", "text": long(61)})), "interactive.header.text"),
            (with("header", json!({"type": "image"})), "interactive.header.image"),
            (with("header", json!({"type": "image", "image": {}})), "interactive.header.image"),
            (
                with("header", json!({"type": "video", "video": {"link": "x"}})),
                "interactive.header.video.link",
            ),
        ],
    );
}

#[test]
fn reply_buttons() {
    let button = |id: &str, title: &str| json!({"type": "reply", "reply": {"id": id, "title": title}});
    let buttons = |buttons: Value| interactive("button", json!({"buttons": buttons}));
    let three = [button("a", "A"), button("b", "B"), button(&long(256), &long(20))];
    takes("interactive", &[buttons(json!(three)), buttons(json!([button("a", "A")]))]);
    let path = |rest: &str| format!("interactive.action.buttons{rest}");
    refuses(
        "interactive",
        &[
            (interactive("button", json!({})), &path("")),
            (buttons(json!([])), &path("")),
            (buttons(json!([three[0], three[1], three[2], button("d", "D")])), &path("")),
            (buttons(json!([{"reply": {"id": "a", "title": "A"}}])), &path("[0].type")),
            (buttons(json!([{"type": "url"}])), &path("[0].type")),
            (buttons(json!([{"type": "reply"}])), &path("[0].reply")),
            (buttons(json!([three[0], button("", "B")])), &path("[1].reply.id")),
            (buttons(json!([three[0], button("a", "B")])), &path("[1].reply.id")),
            (buttons(json!([button(&long(257), "A")])), &path("[0].reply.id")),
            (buttons(json!([three[0], three[1], button("c", &long(21))])), &path("[2].reply.title")),
            (buttons(json!([three[0], button("b", "A")])), &path("[1].reply.title")),
        ],
    );
}

#[test]
fn lists() {
    let row = |id: usize| json!({"id": format!("{id}"), "title": "x"});
    let section = |rows: std::ops::Range<usize>| {
        let rows: Vec<Value> = rows.map(row).collect();
        json!({"title": "x", "rows": rows})
    };
    let list = |sections: Value| interactive("list", json!({"button": "x", "sections": sections}));
    let one = |row: Value| list(json!([{"rows": [row]}]));
    takes(
        "interactive",
        &[
            list(json!([section(0..10)])),
            list(json!([section(0..5), section(5..10)])),
            list((0..10).map(|id| section(id..id + 1)).collect()),
            one(json!({"id": long(200), "title": long(24), "description": long(72)})),
            one(json!({"id": "a", "title": "x", "description": ""})),
            json!({"type": "list", "body": {"text": long(4096)}, "header": {"type": "text", "text": "x"},
                   "action": {"button": long(20), "sections": [section(0..1)]}}),
        ],
    );
    let path = |rest: &str| format!("interactive.action.sections{rest}");
    refuses(
        "interactive",
        &[
            (interactive("list", json!({"button": "x"})), &path("")),
            (interactive("list", json!({"sections": []})), "interactive.action.button"),
            (interactive("list", json!({"button": long(21)})), "interactive.action.button"),
            (list(json!([])), &path("")),
            (list((0..11).map(|id| section(id..id + 1)).collect()), &path("")),
            (list(json!([section(0..6), section(6..12)])), &path("")),
            (list(json!([section(0..11)])), &path("[0].rows")),
            (list(json!([{"title": "x"}])), &path("[0].rows")),
            (list(json!([section(0..1), {"rows": [row(1)]}])), &path("[1].title")),
            (list(json!([{"title": long(25), "rows": [row(1)]}])), &path("[0].title")),
            (list(json!([section(0..2), section(1..3)])), &path("[1].rows[0].id")),
            (one(json!({"id": long(201), "title": "x"})), &path("[0].rows[0].id")),
            (one(json!({"id": "a", "title": long(25)})), &path("[0].rows[0].title")),
            (
                one(json!({"id": "a", "title": "x", "description": long(73)})),
                &path("[0].rows[0].description"),
            ),
            (
                json!({"type": "list", "body": {"text": "x"}, "header": {"type": "image", "image": {"id": "1"}}}),
                "interactive.header.type",
            ),
            (json!({"type": "list", "body": {"text": long(4097)}}), "interactive.body.text"),
        ],
    );
}

#[test]
fn other_interactive_kinds() {
    let cta =
        |parameters: Value| interactive("cta_url", json!({"name": "cta_url", "parameters": parameters}));
    let flow = |change: &str, value: Value| {
        let mut parameters = json!({"flow_message_version": "3", "flow_id": "1", "flow_cta": long(30),
                                    "flow_action": "navigate", "flow_action_payload": {"screen": "A"}});
        parameters[change] = value;
        interactive("flow", json!({"name": "flow", "parameters": parameters}))
    };
    let products = |items: usize, sections: usize| {
        let section =
            json!({"title": "x", "product_items": vec![json!({"product_retailer_id": "1"}); items]});
        interactive("product_list", json!({"catalog_id": "1", "sections": vec![section; sections]}))
    };
    let cards = |count: usize| interactive("carousel", json!({"cards": vec![json!({}); count]}));
    takes(
        "interactive",
        &[
            cta(json!({"display_text": long(20), "url": "https://a.example"})),
            flow("mode", json!("draft")),
            products(10, 3),
            cards(2),
            cards(10),
            json!({"type": "product", "action": {"catalog_id": "1", "product_retailer_id": "2"}}),
            interactive("catalog_message", json!({"name": "catalog_message"})),
            interactive(
                "address_message",
                json!({"name": "address_message", "parameters": {"country": "IN"}}),
            ),
            interactive("order_details", json!({"name": "review_and_pay"})),
        ],
    );
    let parameters = |rest: &str| format!("interactive.action.parameters{rest}");
    refuses(
        "interactive",
        &[
            (cta(json!(null)), &parameters("")),
            (
                cta(json!({"display_text": long(21), "url": "https://a.example"})),
                &parameters(".display_text"),
            ),
            (cta(json!({"display_text": "x", "url": "a.example"})), &parameters(".url")),
            (flow("flow_message_version", json!(3)), &parameters(".flow_message_version")),
            (flow("flow_message_version", json!("2")), &parameters(".flow_message_version")),
            (flow("flow_id", json!(null)), &parameters("")),
            (flow("flow_name", json!("x")), &parameters("")),
            (flow("flow_cta", json!(long(31))), &parameters(".flow_cta")),
            (flow("flow_action", json!("go")), &parameters(".flow_action")),
            (flow("flow_action_payload", json!("x")), &parameters(".flow_action_payload")),
            (products(31, 1), "interactive.action.sections[0].product_items"),
            (products(11, 3), "interactive.action.sections"),
            (products(1, 11), "interactive.action.sections"),
            (cards(1), "interactive.action.cards"),
            (cards(11), "interactive.action.cards"),
            (
                json!({"type": "product", "action": {"catalog_id": "1"}}),
                "interactive.action.product_retailer_id",
            ),
            (
                interactive("address_message", json!({"name": "address_message", "parameters": {}})),
                &parameters(".country"),
            ),
        ],
    );
}
