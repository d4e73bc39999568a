mod interactive;
mod messages;
mod random;

use super::*;

fn check(json: Value) -> Result<Command, InvalidCommand> {
    let fields: CommandFields = serde_json::from_value(json).unwrap();
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    fields.check(&tenant, &channel, Lane::Normal, || CommandId::made_up(&["7"]))
}

#[test]
fn the_contracts_own_example_is_a_command() {
    let command = check(serde_json::json!(
        {"id":"inv-2026-0042","to":"393481213456","type":"text","text":{"body":"Fattura pronta"}}
    ))
    .unwrap();
    assert_eq!(command.id.as_str(), "inv-2026-0042");
    assert_eq!(command.to.key(), "393481213456");
    assert_eq!(command.content["body"], "Fattura pronta");
}

#[test]
fn a_command_without_an_id_gets_the_one_offered() {
    let command = check(serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"}})).unwrap();
    assert_eq!(command.id, CommandId::made_up(&["7"]));
}

#[test]
fn an_error_names_its_field() {
    let long = "x".repeat(4097);
    for (json, field) in [
        (serde_json::json!({"type":"text","text":{"body":"x"}}), "to"),
        (serde_json::json!({"to":"12","type":"text","text":{"body":"x"}}), "to"),
        (serde_json::json!({"to":"393481213456"}), "type"),
        (serde_json::json!({"to":"393481213456","type":"fax"}), "type"),
        (serde_json::json!({"to":"393481213456","type":"image"}), "image"),
        (serde_json::json!({"to":"393481213456","type":"image","image":"x"}), "image"),
        (serde_json::json!({"to":"393481213456","type":"text","text":{}}), "text.body"),
        (serde_json::json!({"to":"393481213456","type":"text","text":{"body":long}}), "text.body"),
        (serde_json::json!({"id":"a b","to":"393481213456","type":"text","text":{"body":"x"}}), "id"),
        (
            serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"},"expires_at":"soon"}),
            "expires_at",
        ),
        (
            serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"},"window_policy":"?"}),
            "window_policy",
        ),
    ] {
        assert_eq!(check(json).unwrap_err().field, field);
    }
}

#[test]
fn a_group_is_not_written_to() {
    let to = |kind: Value| {
        check(serde_json::json!(
            {"to":"393481213456","recipient_type":kind,"type":"text","text":{"body":"x"}}
        ))
    };
    assert!(to("individual".into()).is_ok());
    assert!(to(Value::Null).is_ok());
    assert_eq!(to("group".into()).unwrap_err().field, "recipient_type");
    assert_eq!(to(1.into()).unwrap_err().field, "recipient_type");
}

#[test]
fn a_reaction_says_itself_what_it_is_to() {
    let reaction = serde_json::json!({"message_id":"wamid.A","emoji":"\u{1f44d}"});
    let mut command = serde_json::json!({"to":"393481213456","type":"reaction","reaction":reaction});
    assert!(check(command.clone()).is_ok());
    command["reply_to"] = "wamid.B".into();
    assert_eq!(check(command).unwrap_err().field, "reply_to");
}

#[test]
fn times_are_checked_against_the_moment_of_publishing() {
    let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    for (send_at, expires_at, wrong) in [
        (None, None, None),
        (None, Some("2020-01-01T00:00:00Z"), None),
        (Some("2020-01-01T00:00:00Z"), None, None),
        (Some("2027-11-23T09:00:00Z"), None, None),
        (Some("2027-11-23T09:00:00.000001Z"), None, Some("send_at")),
        (Some("9999-01-01T00:00:00Z"), Some("2020-01-01T00:00:00Z"), Some("send_at")),
        (Some("2026-12-01T09:00:00Z"), Some("2026-12-01T09:00:01Z"), None),
        (Some("2026-12-01T09:00:00Z"), Some("2026-12-01T10:00:00+01:00"), Some("expires_at")),
        (Some("2026-12-01T09:00:00Z"), Some("2026-11-30T09:00:00Z"), Some("expires_at")),
    ] {
        let command = check(serde_json::json!({
            "to": "393481213456", "type": "text", "text": {"body": "x"},
            "send_at": send_at, "expires_at": expires_at,
        }))
        .unwrap();
        let field = command.check_times(now).err().map(|invalid| invalid.field);
        assert_eq!(field.as_deref(), wrong, "{send_at:?} {expires_at:?}");
    }
}

#[test]
fn a_year_that_cannot_be_is_an_unreadable_time() {
    for raw in ["soon", "10000-01-01T00:00:00Z", "+123456-01-01T00:00:00Z", "2026-11-22", "out of range", ""]
    {
        let invalid = check(serde_json::json!(
            {"to":"393481213456","type":"text","text":{"body":"x"},"send_at":raw}
        ))
        .unwrap_err();
        assert_eq!(
            invalid.to_string(),
            "send_at: must be a time as in RFC 3339, like 2026-11-21T09:30:00Z",
            "{raw}"
        );
    }
}
