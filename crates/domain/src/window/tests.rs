use super::*;
use crate::{CommandFields, CommandId, Lane};

fn command(kind: &str, message: Value) -> Command {
    let json = json!({"to": "393481213456", "type": kind, kind: message, "reply_to": "wamid.Q"});
    let fields: CommandFields = serde_json::from_value(json).unwrap();
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    fields.check(&tenant, &channel, Lane::Normal, || CommandId::made_up(&["7"])).unwrap()
}

fn wrapped(kind: &str, message: Value) -> Result<Wrapped, Unwrappable> {
    wrap(&command(kind, message), WindowTemplateRef { name: "avviso", language: "it" })
}

/// What the only parameter holds.
fn carried(wrapped: &Wrapped) -> &Value {
    let parameter = &wrapped.content["components"][0]["parameters"][0];
    &parameter[parameter["type"].as_str().unwrap()]
}

#[test]
fn a_text_is_the_value_of_the_body() {
    let wrapped = wrapped("text", json!({"body": "Fattura pronta"})).unwrap();
    assert_eq!(
        wrapped.content,
        json!({"name": "avviso", "language": {"code": "it"}, "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "Fattura pronta"}]}]})
    );
    assert!(wrapped.left_out.is_empty());
}

#[test]
fn a_text_loses_the_layout_that_a_template_does_not_take() {
    for (body, line) in [
        ("a\nb", "a b"),
        ("a\r\nb\rc", "a b c"),
        ("a\tb\n\nc", "a b  c"),
        ("a      b", "a    b"),
        ("a\n\n\t\n \nb", "a    b"),
        ("\n  x", "   x"),
    ] {
        let wrapped = wrapped("text", json!({ "body": body })).unwrap();
        assert_eq!(carried(&wrapped), line);
        assert_eq!(wrapped.left_out, ["layout"], "{body:?}");
    }
    let wrapped = wrapped("text", json!({"body": "a    b"})).unwrap();
    assert_eq!((carried(&wrapped), wrapped.left_out.len()), (&json!("a    b"), 0));
}

#[test]
fn a_text_is_as_long_as_a_value_may_be() {
    assert!(wrapped("text", json!({"body": "é".repeat(1024)})).is_ok());
    let problem = wrapped("text", json!({"body": "é".repeat(1025)})).unwrap_err().problem;
    assert_eq!(problem, "a template carries a text of at most 1024 characters");
    let gaps = format!("a{}b", "\n".repeat(2000));
    assert!(wrapped("text", json!({ "body": gaps })).is_ok(), "what counts is what is left");
}

#[test]
fn a_document_is_the_header_without_its_caption() {
    let full = wrapped(
        "document",
        json!({"link": "https://a.example/a.pdf", "filename": "a.pdf", "caption": "Fattura", "id": null}),
    );
    let full = full.unwrap();
    assert_eq!(full.content["components"][0]["type"], "header");
    assert_eq!(carried(&full), &json!({"link": "https://a.example/a.pdf", "filename": "a.pdf"}));
    assert_eq!(full.left_out, ["caption"]);
    let bare = wrapped("document", json!({"id": "1", "caption": ""})).unwrap();
    assert_eq!((carried(&bare), bare.left_out.len()), (&json!({"id": "1"}), 0));
}

#[test]
fn nothing_else_is_carried() {
    let problem = wrapped("image", json!({"id": "1"})).unwrap_err().problem;
    assert_eq!(problem, "only a text or a document can be carried by a template");
    for (kind, named, free_form) in [
        ("text", Some("text"), true),
        ("document", Some("document"), true),
        ("image", None, true),
        ("reaction", None, true),
        ("template", None, false),
    ] {
        assert_eq!((window_kind(kind), is_free_form(kind)), (named, free_form), "{kind}");
    }
}
