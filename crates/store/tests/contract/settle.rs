//! What the dispatcher relies on after it sent.

use staffetta_domain::{CommandState, MessageState};
use staffetta_store::{Claimed, Outcome, Settlement, Store};

use crate::support::{self, at, claim, command, on_both, outcome, proof, status, taken, told};

on_both!(
    an_owner_that_was_followed_is_not_heard,
    an_answer_is_told_once,
    each_end_is_told_with_its_callback,
    an_answer_after_its_status_tells_nothing,
    a_status_before_the_answer_that_names_no_command_is_kept,
    a_command_that_ended_is_left_alone,
    a_command_that_was_never_claimed_may_end,
    a_missing_answer_is_a_doubt,
    the_first_outcome_of_a_batch_counts,
);

async fn an_answer_is_told_once(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let first = store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    assert_eq!(told(&first), [("command.accepted", "c-1")]);
    assert!(store.settle(&[taken("c-1", "wamid.A")]).await.unwrap().is_empty());
    assert!(store.settle(&[]).await.unwrap().is_empty());
    let command = command(&store, "c-1").await;
    assert_eq!((command.state, command.message), (CommandState::Accepted, Some(MessageState::Accepted)));
    assert_eq!((command.attempt, command.updated), (1, at(100)));
    let late = store.record(&[proof("wamid.A", MessageState::Read, "c-1")]).await.unwrap();
    assert_eq!(told(&late), [("message.status", "wamid.A")]);
}

async fn each_end_is_told_with_its_callback(store: Store) {
    let why = || "the reason".to_owned();
    let claims = ["d", "c", "b", "a"].map(|key| claim(key, 1));
    store.claim(&claims).await.unwrap();
    let outcomes = [
        outcome("d", Settlement::Rejected(why())),
        outcome("c", Settlement::Failed(why())),
        outcome("b", Settlement::Expired),
        outcome("a", Settlement::InDoubt(why())),
    ];
    let ends = store.settle(&outcomes).await.unwrap();
    let expected = [
        ("command.rejected", "d"),
        ("command.failed", "c"),
        ("command.expired", "b"),
        ("command.in_doubt", "a"),
    ];
    assert_eq!(told(&ends), expected);
    for end in &ends {
        assert_eq!(end.event.data["command_id"], end.event.subject);
        assert_eq!(end.event.data["callback_data"], format!("order of {}", end.event.subject));
    }
    assert_eq!(command(&store, "d").await.reason.as_deref(), Some("the reason"));
    assert_eq!(command(&store, "b").await.reason, None);
    assert!(store.settle(&outcomes).await.unwrap().is_empty());
}

async fn an_answer_after_its_status_tells_nothing(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.record(&[proof("wamid.A", MessageState::Delivered, "c-1")]).await.unwrap();
    assert!(store.settle(&[taken("c-1", "wamid.A")]).await.unwrap().is_empty());
    let command = command(&store, "c-1").await;
    assert_eq!((command.state, command.message), (CommandState::Accepted, Some(MessageState::Delivered)));
}

async fn a_status_before_the_answer_that_names_no_command_is_kept(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.record(&[status("wamid.A", MessageState::Read)]).await.unwrap();
    assert_eq!(command(&store, "c-1").await.message, None);
    assert_eq!(store.settle(&[taken("c-1", "wamid.A")]).await.unwrap().len(), 1);
    assert_eq!(command(&store, "c-1").await.message, Some(MessageState::Read));
}

async fn a_command_that_ended_is_left_alone(store: Store) {
    let why = || "too late".to_owned();
    store.settle(&[outcome("c-1", Settlement::Rejected("first".into()))]).await.unwrap();
    for late in [
        Settlement::Accepted("wamid.A".parse().unwrap()),
        Settlement::Retry(why()),
        Settlement::Postponed(why()),
        Settlement::InDoubt(why()),
        Settlement::Failed(why()),
        Settlement::Expired,
    ] {
        assert!(store.settle(&[outcome("c-1", late)]).await.unwrap().is_empty());
        let command = command(&store, "c-1").await;
        assert_eq!((command.state, command.reason.as_deref()), (CommandState::Rejected, Some("first")));
        assert_eq!(command.wamid, None);
    }
}

async fn a_command_that_was_never_claimed_may_end(store: Store) {
    let first = store.settle(&[outcome("c-1", Settlement::Rejected("no such field".into()))]).await.unwrap();
    assert_eq!(told(&first), [("command.rejected", "c-1")]);
    assert_eq!(first[0].event.data.get("callback_data"), None);
    let command = command(&store, "c-1").await;
    assert_eq!((command.state, command.attempt, command.created), (CommandState::Rejected, 0, at(100)));
}

async fn a_missing_answer_is_a_doubt(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let first = store.settle(&[outcome("c-1", Settlement::InDoubt("no answer".into()))]).await.unwrap();
    assert_eq!(told(&first), [("command.in_doubt", "c-1")]);
    let (claimed, doubts) = store.claim(&[claim("c-1", 1)]).await.unwrap();
    assert_eq!((claimed, doubts.len()), (vec![Claimed::Known(CommandState::InDoubt)], 0));
    let (claimed, doubts) = store.claim(&[claim("c-1", 2)]).await.unwrap();
    assert_eq!((claimed, doubts.len()), (vec![Claimed::InDoubt { attempt: 1, since: at(1) }], 0));
    assert_eq!(told(&store.settle(&[taken("c-1", "wamid.A")]).await.unwrap()), [("command.accepted", "c-1")]);
}

async fn the_first_outcome_of_a_batch_counts(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let outcomes = [taken("c-1", "wamid.A"), outcome("c-1", Settlement::Failed("no".into()))];
    assert_eq!(told(&store.settle(&outcomes).await.unwrap()), [("command.accepted", "c-1")]);
    let twice = [taken("c-2", "wamid.B"), taken("c-3", "wamid.B")];
    assert_eq!(store.settle(&twice).await.unwrap().len(), 2);
}

/// Kind, command and direction of a message, and whether it has a conversation.
type Kept = (Option<String>, Option<String>, String, bool);

const KEPT: &str =
    "SELECT kind, command_id, direction, conversation IS NOT NULL FROM messages ORDER BY channel, wamid";

/// One message whose status came before its answer, one whose answer came first, one without an answer.
async fn send_three(store: &Store) {
    store.claim(&["c-1", "c-2", "c-3"].map(|key| claim(key, 1))).await.unwrap();
    store.record(&[status("wamid.1", MessageState::Sent)]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.1"), taken("c-2", "wamid.2")]).await.unwrap();
    let proofs = [proof("wamid.2", MessageState::Sent, "c-2"), proof("wamid.3", MessageState::Sent, "c-3")];
    store.record(&proofs).await.unwrap();
}

fn check_three(kept: &[Kept]) {
    let expected =
        |command: &str| (Some("text".to_owned()), Some(command.to_owned()), "out".to_owned(), true);
    assert_eq!(kept, ["c-1", "c-2", "c-3"].map(expected));
}

#[tokio::test]
async fn a_sent_message_belongs_to_its_command_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = support::sqlite(folder.path()).await;
    send_three(&store).await;
    store.close().await;
    let pool = sqlx::SqlitePool::connect(&support::sqlite_url(folder.path())).await.unwrap();
    check_three(&sqlx::query_as(KEPT).fetch_all(&pool).await.unwrap());
}

#[tokio::test]
async fn a_sent_message_belongs_to_its_command_on_postgres() {
    let url = support::postgres_url().await;
    let store = support::migrated(&url).await;
    send_three(&store).await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    check_three(&sqlx::query_as(KEPT).fetch_all(&pool).await.unwrap());
}

async fn an_owner_that_was_followed_is_not_heard(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.claim(&[claim("c-1", 2)]).await.unwrap();
    let said = |settlement| Outcome { epoch: 1, ..outcome("c-1", settlement) };
    for settlement in [Settlement::InDoubt("no answer".into()), Settlement::Failed("refused".into())] {
        assert_eq!(told(&store.settle(&[said(settlement)]).await.unwrap()), []);
        let command = command(&store, "c-1").await;
        assert_eq!((command.state, command.reason), (CommandState::InDoubt, None));
    }
    // But an acceptance is a fact.
    let accepted = said(Settlement::Accepted("wamid.A".parse().unwrap()));
    assert_eq!(told(&store.settle(&[accepted]).await.unwrap()), [("command.accepted", "c-1")]);
}
