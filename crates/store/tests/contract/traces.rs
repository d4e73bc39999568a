//! The traces of events: those of a command are all in the command's.

use staffetta_domain::{Leaf, MessageState, TraceParent};
use staffetta_store::{Announcement, Cancelled, Claim, Outcome, Settlement, Store};

use crate::support::{
    afterwards, cancelled, claim, id, migrated, on_both, outcome, postgres_url, proof, sqlite_url, status,
    taken, tenant, text, told,
};

on_both!(
    an_event_keeps_its_trace_until_it_is_told,
    what_becomes_of_a_command_is_told_in_its_trace,
    a_command_that_was_taken_back_or_is_in_doubt_stays_in_its_trace,
    the_first_claim_that_brings_a_trace_decides,
    without_a_trace_nothing_changes,
);

/// A trace of its own for each number.
fn trace(number: u8) -> TraceParent {
    TraceParent::new([number; 16], [number; 8], 1).unwrap()
}

fn traced(leaf: Leaf, number: u8) -> Leaf {
    let mut leaf = leaf;
    leaf.event.trace = Some(trace(number));
    if let Some(settles) = &mut leaf.settles {
        settles.accepted.trace = Some(trace(number));
    }
    leaf
}

fn traced_claim(key: &str, epoch: i64, number: u8) -> Claim {
    Claim { trace: Some(trace(number)), ..claim(key, epoch) }
}

fn traces(announcements: &[Announcement]) -> Vec<Option<TraceParent>> {
    announcements.iter().map(|told| told.event.trace).collect()
}

async fn waiting(store: &Store) -> Vec<Announcement> {
    store.unannounced(afterwards(), 100).await.unwrap()
}

async fn an_event_keeps_its_trace_until_it_is_told(store: Store) {
    let leaves =
        [traced(text("wamid.A"), 1), text("wamid.B"), traced(status("wamid.A", MessageState::Read), 2)];
    let now = store.record(&leaves).await.unwrap();
    assert_eq!(traces(&now), [Some(trace(1)), None, Some(trace(2))]);
    assert_eq!(traces(&waiting(&store).await), traces(&now));
}

async fn what_becomes_of_a_command_is_told_in_its_trace(store: Store) {
    store.claim(&[traced_claim("c-1", 1, 7), traced_claim("c-2", 1, 8)]).await.unwrap();
    // One is accepted by its answer, the other by a status that comes first.
    let answered = store.settle(&[taken("c-1", "wamid.A")]).await.unwrap();
    assert_eq!(traces(&answered), [Some(trace(7))]);
    let leaves = [
        traced(proof("wamid.A", MessageState::Read, "c-1"), 1),
        traced(proof("wamid.B", MessageState::Sent, "c-2"), 1),
        traced(text("wamid.C"), 1),
    ];
    let now = store.record(&leaves).await.unwrap();
    let names = ["message.status", "command.accepted", "message.status", "message.received"];
    assert_eq!(told(&now).iter().map(|told| told.0).collect::<Vec<_>>(), names);
    assert_eq!(traces(&now), [Some(trace(7)), Some(trace(8)), Some(trace(8)), Some(trace(1))]);
    assert_eq!(traces(&waiting(&store).await), [traces(&answered), traces(&now)].concat());
}

async fn a_command_that_was_taken_back_or_is_in_doubt_stays_in_its_trace(store: Store) {
    let claims = [traced_claim("back", 1, 7), traced_claim("doubt", 1, 8), traced_claim("failed", 1, 9)];
    store.claim(&claims).await.unwrap();
    store.settle(&[outcome("back", Settlement::Retry("busy".into()))]).await.unwrap();
    let taken_back = store.cancel(&tenant(), &id("back"), cancelled("back")).await.unwrap();
    let Cancelled::Done(taken_back) = taken_back else { panic!("not done") };
    assert_eq!(traces(&taken_back), [Some(trace(7))]);
    let (_, doubts) = store.claim(&[claim("doubt", 2)]).await.unwrap();
    assert_eq!(traces(&doubts), [Some(trace(8))]);
    // What came of it knows of no trace, or of another one.
    let mut failed: Outcome = outcome("failed", Settlement::Failed("no".into()));
    failed.event.as_mut().unwrap().trace = Some(trace(1));
    assert_eq!(traces(&store.settle(&[failed]).await.unwrap()), [Some(trace(9))]);
    assert_eq!(traces(&waiting(&store).await), [Some(trace(7)), Some(trace(8)), Some(trace(9))]);
}

async fn the_first_claim_that_brings_a_trace_decides(store: Store) {
    let again = || outcome("c-1", Settlement::Retry("busy".into()));
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[again()]).await.unwrap();
    store.claim(&[traced_claim("c-1", 1, 2)]).await.unwrap();
    store.settle(&[again()]).await.unwrap();
    store.claim(&[traced_claim("c-1", 1, 3)]).await.unwrap();
    assert_eq!(traces(&store.settle(&[taken("c-1", "wamid.A")]).await.unwrap()), [Some(trace(2))]);
}

async fn without_a_trace_nothing_changes(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    assert_eq!(traces(&store.settle(&[taken("c-1", "wamid.A")]).await.unwrap()), [None]);
    // A status has its webhook's trace then.
    let leaf = traced(proof("wamid.A", MessageState::Delivered, "c-1"), 1);
    assert_eq!(traces(&store.record(&[leaf]).await.unwrap()), [Some(trace(1))]);
    let leaf = proof("wamid.A", MessageState::Read, "c-1");
    assert_eq!(traces(&store.record(&[leaf]).await.unwrap()), [None]);
    assert_eq!(traces(&waiting(&store).await), [None, Some(trace(1)), None]);
}

/// Nothing is lost for a trace that somebody spoilt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_trace_is_as_good_as_none() {
    const SPOILT: [&str; 2] =
        ["UPDATE commands SET traceparent = 'none'", "UPDATE events SET traceparent = '00-none'"];
    let folder = tempfile::tempdir().unwrap();
    for url in [sqlite_url(folder.path()), postgres_url().await] {
        let store = migrated(&url).await;
        store.claim(&[traced_claim("c-1", 1, 7)]).await.unwrap();
        store.record(&[traced(text("wamid.A"), 1)]).await.unwrap();
        if url.starts_with("sqlite:") {
            let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
            for statement in SPOILT {
                assert_eq!(sqlx::query(statement).execute(&pool).await.unwrap().rows_affected(), 1);
            }
        } else {
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            for statement in SPOILT {
                assert_eq!(sqlx::query(statement).execute(&pool).await.unwrap().rows_affected(), 1);
            }
        }
        assert_eq!(traces(&waiting(&store).await), [None]);
        assert_eq!(traces(&store.settle(&[taken("c-1", "wamid.B")]).await.unwrap()), [None]);
    }
}
