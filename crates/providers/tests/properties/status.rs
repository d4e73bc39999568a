//! Statuses, calls and errors, as the reference's sections 2.2, 2.6 and 3 tell.

use serde_json::json;
use staffetta_domain::EventType;

use crate::leaf::Leaf;
use crate::message::wamid;
use crate::pen::{Pen, fields};

/// A status of a message.
pub(crate) fn of_message(number: usize, nth: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let name =
        pen.pick(&["sent", "delivered", "read", "played", "failed", "deleted", "warning", "teleported"]);
    let status = json!({"id": wamid(nth), "status": name, "timestamp": pen.time().to_string(),
        "recipient_id": "16505551234", "recipient_user_id": "US.1349", "recipient_parent_user_id": "US.ENT.1349",
        "biz_opaque_callback_data": pen.pick(&["theirs", "st1.1.inv-2026-0042", ""]), "type": "message",
        "conversation": {"id": "C", "expiration_timestamp": pen.time().to_string(), "origin": {"type": "utility"}},
        "pricing": {"billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility"}});
    let optional = [
        "recipient_id",
        "recipient_user_id",
        "recipient_parent_user_id",
        "biz_opaque_callback_data",
        "conversation",
        "pricing",
        "type",
    ];
    let mut status = fields(pen.thin(status, &optional));
    if name == "failed" {
        let error = json!({"code": 131_047, "title": "Re-engagement message", "message": "Re-engagement message",
            "error_data": {"details": pen.text()}, "href": "https://developers.example/errors"});
        status.insert("errors".into(), json!([error]));
    }
    let participant = if pen.below(4) == 0 { pen.pick(&["16505550001", "16505550002"]) } else { "" };
    if !participant.is_empty() {
        status.insert("recipient_type".into(), "group".into());
        status.insert("recipient_participant_id".into(), participant.into());
    }
    let mut leaf = Leaf::in_list(number, "messages", "statuses", status);
    leaf.kind = EventType::MessageStatus;
    leaf.id = Some(format!("{} {name} {participant}", wamid(nth)));
    leaf
}

/// A call's beginning or end, or a step between: all that it says hangs on which call and which step.
pub(crate) fn of_call(number: usize, nth: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let id = format!("wacid.{nth}");
    let time = 1_750_000_000 + nth;
    if pen.maybe() {
        let name = pen.pick(&["RINGING", "ACCEPTED", "REJECTED"]);
        let status = json!({"id": id, "type": "call", "status": name, "timestamp": time.to_string(),
                            "recipient_id": "16505551234"});
        let mut leaf = Leaf::in_list(number, "calls", "statuses", fields(status));
        leaf.id = Some(format!("{id} {name}"));
        return leaf;
    }
    let event = pen.pick(&["connect", "terminate"]);
    let mut call = fields(json!({"id": id, "from": "16505551234", "to": "39020202", "event": event,
        "timestamp": time.to_string(), "direction": "USER_INITIATED"}));
    call.extend(fields(match event {
        "connect" => json!({"session": {"sdp": "v=0\r\no=- 1 2 IN IP4", "sdp_type": "offer"}}),
        _ => json!({"status": "COMPLETED", "start_time": time.to_string(), "end_time": time.to_string(), "duration": 7,
                    "biz_opaque_callback_data": "theirs"}),
    }));
    let mut leaf = Leaf::in_list(number, "calls", "calls", call);
    leaf.id = Some(format!("{id} {event}"));
    leaf
}

/// An error beside, or instead of, messages.
pub(crate) fn error(number: usize, seed: u64) -> Leaf {
    let mut pen = Pen::of_seed(seed);
    let error = json!({"code": pen.below(3), "title": "unable to authenticate the app user", "message": pen.text(),
        "error_data": {"details": pen.text()}, "href": "https://developers.example/errors"});
    let error = pen.thin(error, &["message", "error_data", "href"]);
    Leaf::in_list(number, "messages", "errors", fields(error))
}
