//! What a message says, and what became of it.

use serde_json::{Value, json};
use staffetta_domain::{Direction, MessageState};
use staffetta_store::Store;

use super::fixtures::{edited, only, said, status, text, withdrawn, wrote};
use crate::support::{at, claim, on_both, proof, taken};

on_both!(
    what_a_user_wrote_is_shown_as_it_came,
    what_can_not_be_read_says_why,
    what_we_sent_is_shown_with_its_command,
    a_failed_message_says_why,
    a_failure_that_was_overruled_is_no_error,
    statuses_that_come_before_their_message_are_kept,
    members_of_a_group_have_their_own_statuses,
    an_edited_message_shows_both,
    the_last_edit_is_shown_whatever_the_order,
    a_message_is_edited_before_it_comes,
    a_withdrawn_message_has_no_content,
    a_message_is_withdrawn_before_it_comes,
);

async fn what_a_user_wrote_is_shown_as_it_came(store: Store) {
    let raw = json!({
        "type": "image", "image": {"id": "77", "mime_type": "image/jpeg", "caption": "è"},
        "context": {"from": "390281456000", "id": "wamid.Q"}, "referral": {"source_type": "ad"},
    });
    store.record(&[wrote(&["393481213456"], "wamid.A", 3, raw.clone())]).await.unwrap();
    let message = &said(&store).await[0];
    assert_eq!((message.direction, message.state), (Direction::In, MessageState::Received));
    assert_eq!((message.kind.as_deref(), message.at), (Some("image"), at(3)));
    assert_eq!(message.content.as_ref(), Some(&raw["image"]));
    assert_eq!(message.context.as_ref(), Some(&raw["context"]));
    assert_eq!(message.referral.as_ref(), Some(&raw["referral"]));
    assert_eq!((message.from.as_deref(), message.name.as_deref()), (Some("393481213456"), Some("Anna")));
    assert!(message.steps.is_empty() && message.error.is_none() && message.command.is_none());
    assert_eq!(only(&store).await.last.as_ref(), Some(message));
}

async fn what_can_not_be_read_says_why(store: Store) {
    let mut leaf = wrote(&["393481213456"], "wamid.A", 0, json!({"type": "unsupported"}));
    let errors =
        json!([{"code": 131051, "title": "Message type unknown", "error_data": {"details": "poll"}}]);
    leaf.event.data.insert("errors".into(), errors);
    let bare = wrote(&["393481213456"], "wamid.B", 1, json!({"type": "request_welcome"}));
    store.record(&[leaf, bare]).await.unwrap();
    let said = said(&store).await;
    assert_eq!((said[0].kind.as_deref(), said[0].content.as_ref()), (Some("request_welcome"), None));
    let error = said[1].error.as_ref().unwrap();
    assert_eq!((error.code, error.details.as_deref()), (Some(131_051), Some("poll")));
}

async fn what_we_sent_is_shown_with_its_command(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    let accepted = &said(&store).await[0];
    assert_eq!((accepted.direction, accepted.state), (Direction::Out, MessageState::Accepted));
    store.record(&[proof("wamid.A", MessageState::Sent, "c-1")]).await.unwrap();
    let pricing = json!({"billable": true, "category": "utility"});
    let delivered = status("wamid.A", "delivered", 9, json!({"pricing": pricing}));
    // Read and delivered within one second, told the wrong way round.
    let read = status("wamid.A", "read", 9, json!({}));
    store.record(&[read, delivered]).await.unwrap();
    let said = said(&store).await;
    let message = &said[0];
    assert_eq!((said.len(), message.state), (1, MessageState::Read));
    assert_eq!(message.kind.as_deref(), Some("text"));
    assert_eq!(message.content, Some(json!({"body": "Fattura pronta"})));
    assert_eq!(message.command.as_ref().unwrap().as_str(), "c-1");
    assert_eq!(message.callback_data.as_deref(), Some("order of c-1"));
    assert_eq!((message.from.as_deref(), message.name.as_deref()), (None, None));
    let steps: Vec<_> = message.steps.iter().map(|step| step.status.as_str()).collect();
    assert_eq!(steps[1..], ["delivered", "read"]);
    assert_eq!((message.steps[1].at, message.steps[1].pricing.as_ref()), (at(9), Some(&pricing)));
    assert_eq!(only(&store).await.last.as_ref(), Some(message));
}

fn failed(name: &str, seconds: i64) -> staffetta_domain::Leaf {
    let error = json!({"code": 131_026, "title": "Message undeliverable", "details": "d", "hint": "h"});
    status(name, "failed", seconds, json!({"error": error}))
}

async fn a_failed_message_says_why(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    store.record(&[status("wamid.A", "sent", 1, json!({})), failed("wamid.A", 2)]).await.unwrap();
    let message = &said(&store).await[0];
    assert_eq!(message.state, MessageState::Failed);
    let error = message.error.as_ref().unwrap();
    assert_eq!((error.code, error.title.as_deref()), (Some(131_026), Some("Message undeliverable")));
    assert_eq!((error.details.as_deref(), error.hint.as_deref()), (Some("d"), Some("h")));
    assert_eq!(message.steps[1].error.as_ref(), Some(error));
}

async fn a_failure_that_was_overruled_is_no_error(store: Store) {
    store.record(&[failed("wamid.A", 2), status("wamid.A", "delivered", 3, json!({}))]).await.unwrap();
    let message = &said(&store).await[0];
    assert_eq!((message.state, message.error.as_ref()), (MessageState::Delivered, None));
    assert!(message.steps[0].error.is_some());
}

async fn statuses_that_come_before_their_message_are_kept(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.record(&[status("wamid.A", "delivered", 2, json!({}))]).await.unwrap();
    let early = &said(&store).await[0];
    assert_eq!((early.state, early.content.as_ref()), (MessageState::Delivered, None));
    store.record(&[status("wamid.A", "sent", 1, json!({}))]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    let said = said(&store).await;
    let steps: Vec<_> = said[0].steps.iter().map(|step| (step.status.as_str(), step.at)).collect();
    assert_eq!(steps, [("sent", at(1)), ("delivered", at(2))]);
    assert_eq!((said[0].state, said[0].at), (MessageState::Delivered, at(1)));
    assert_eq!(said[0].content, Some(json!({"body": "Fattura pronta"})));
}

async fn members_of_a_group_have_their_own_statuses(store: Store) {
    let of = |member: &str| status("wamid.A", "delivered", 1, json!({"participant": member}));
    store.record(&[of("393480000002"), of("393480000001")]).await.unwrap();
    let unnumbered = json!({"participant_user_id": "IT.1"});
    store.record(&[status("wamid.A", "delivered", 1, unnumbered)]).await.unwrap();
    let members: Vec<_> =
        said(&store).await[0].steps.iter().map(|step| step.participant.clone().unwrap()).collect();
    assert_eq!(members, ["393480000001", "393480000002", "IT.1"]);
}

async fn an_edited_message_shows_both(store: Store) {
    store.record(&[text(1, "wamid.A", 0)]).await.unwrap();
    store.record(&[edited(1, "wamid.A", "wamid.E", 5, "better")]).await.unwrap();
    let said = said(&store).await;
    let edit = said[0].edited.as_ref().unwrap();
    assert_eq!((said.len(), edit.at, edit.kind.as_deref()), (1, at(5), Some("text")));
    assert_eq!(edit.content, Some(json!({"body": "better"})));
    assert_eq!(said[0].content, Some(json!({"body": "text of wamid.A"})));
    assert_eq!(only(&store).await.last.as_ref(), Some(&said[0]));
}

async fn the_last_edit_is_shown_whatever_the_order(store: Store) {
    store.record(&[text(1, "wamid.A", 0), edited(1, "wamid.A", "wamid.F", 9, "best")]).await.unwrap();
    store.record(&[edited(1, "wamid.A", "wamid.E", 5, "better")]).await.unwrap();
    let edit = said(&store).await.remove(0).edited.unwrap();
    assert_eq!((edit.at, edit.content), (at(9), Some(json!({"body": "best"}))));
}

async fn a_message_is_edited_before_it_comes(store: Store) {
    store.record(&[edited(1, "wamid.A", "wamid.E", 5, "better")]).await.unwrap();
    let early = said(&store).await.remove(0);
    assert_eq!((early.content, early.edited.unwrap().content), (None, Some(json!({"body": "better"}))));
    store.record(&[text(1, "wamid.A", 0)]).await.unwrap();
    let late = said(&store).await.remove(0);
    assert_eq!((late.at, late.kind.as_deref()), (at(0), Some("text")));
    assert_eq!(late.content, Some(json!({"body": "text of wamid.A"})));
    assert_eq!(late.edited.unwrap().content, Some(json!({"body": "better"})));
}

async fn a_withdrawn_message_has_no_content(store: Store) {
    store.record(&[text(1, "wamid.A", 0), edited(1, "wamid.A", "wamid.E", 5, "better")]).await.unwrap();
    store.record(&[withdrawn(1, "wamid.A", 7)]).await.unwrap();
    let message = said(&store).await.remove(0);
    assert_eq!(message.withdrawn_at, Some(at(7)));
    assert_eq!((message.content.as_ref(), message.edited.as_ref()), (None::<&Value>, None));
    assert_eq!((message.kind.as_deref(), message.name.as_deref()), (Some("text"), Some("Anna")));
    assert_eq!(only(&store).await.last, Some(message));
}

async fn a_message_is_withdrawn_before_it_comes(store: Store) {
    store.record(&[withdrawn(1, "wamid.A", 7)]).await.unwrap();
    store.record(&[text(1, "wamid.A", 0)]).await.unwrap();
    let message = said(&store).await.remove(0);
    assert_eq!((message.withdrawn_at, message.content, message.at), (Some(at(7)), None, at(0)));
}
