//! What is unread, and how it is read.

use futures_util::future::join_all;
use serde_json::json;
use staffetta_domain::{ConversationId, Wamid};
use staffetta_store::{Marked, Store};

use super::fixtures::{all, number, only, other_tenant, text, wrote};
use crate::support::{claim, on_both, taken, tenant, wamid};

on_both!(
    all_is_read_at_once,
    what_came_after_stays_unread,
    what_was_read_stays_read,
    only_what_users_say_is_unread,
    a_message_of_ours_may_be_the_last_one_read,
    what_is_not_there_marks_nothing,
    a_message_that_comes_meanwhile_stays_unread,
    a_message_leads_to_its_conversation,
);

async fn mark(store: &Store, up_to: Option<&str>) -> u32 {
    let id = only(store).await.id;
    let up_to: Option<Wamid> = up_to.map(wamid);
    let Marked::Read(read) = store.mark_read(&tenant(), id, up_to.as_ref()).await.unwrap() else {
        panic!("not read");
    };
    assert_eq!(*read, only(store).await);
    read.unread
}

/// Messages `wamid.0`, `wamid.1`, … of user 1, two of them in each second.
async fn wrote_so_many(store: &Store, count: i64) {
    let leaves: Vec<_> = (0..count).map(|n| text(1, &format!("wamid.{n}"), n / 2)).collect();
    store.record(&leaves).await.unwrap();
}

async fn all_is_read_at_once(store: Store) {
    wrote_so_many(&store, 5).await;
    assert_eq!(only(&store).await.unread, 5);
    assert_eq!(mark(&store, None).await, 0);
    assert_eq!(mark(&store, None).await, 0);
    store.record(&[text(1, "wamid.new", 10)]).await.unwrap();
    assert_eq!(only(&store).await.unread, 1);
}

async fn what_came_after_stays_unread(store: Store) {
    wrote_so_many(&store, 6).await;
    assert_eq!(mark(&store, Some("wamid.2")).await, 3);
    assert_eq!(mark(&store, Some("wamid.3")).await, 2);
    assert_eq!(mark(&store, Some("wamid.5")).await, 0);
}

async fn what_was_read_stays_read(store: Store) {
    wrote_so_many(&store, 6).await;
    assert_eq!(mark(&store, Some("wamid.4")).await, 1);
    assert_eq!(mark(&store, Some("wamid.0")).await, 1);
    store.record(&[text(1, "wamid.new", 10)]).await.unwrap();
    assert_eq!(mark(&store, Some("wamid.0")).await, 2);
}

async fn only_what_users_say_is_unread(store: Store) {
    wrote_so_many(&store, 1).await;
    let welcome = wrote(&[&number(1)], "wamid.W", 5, json!({"type": "request_welcome"}));
    let system = wrote(&[&number(1)], "wamid.S", 6, json!({"type": "system", "system": {"body": "x"}}));
    store.record(&[welcome, system, text(1, "wamid.last", 7)]).await.unwrap();
    assert_eq!(only(&store).await.unread, 2);
    assert_eq!(mark(&store, Some("wamid.0")).await, 1);
    assert_eq!(mark(&store, Some("wamid.S")).await, 1);
}

async fn a_message_of_ours_may_be_the_last_one_read(store: Store) {
    let mine = text(0, "wamid.0", 0);
    let user = "393481213456";
    let mut leaf = mine;
    if let Some(sighting) = &mut leaf.sighting {
        sighting.aliases = vec![staffetta_domain::Alias::of_user(user).unwrap()];
    }
    store.record(&[leaf]).await.unwrap();
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    store.settle(&[taken("c-1", "wamid.ours")]).await.unwrap();
    store.record(&[wrote(&[user], "wamid.later", 200, json!({"type": "text"}))]).await.unwrap();
    assert_eq!(only(&store).await.unread, 2);
    assert_eq!(mark(&store, Some("wamid.ours")).await, 1);
}

async fn what_is_not_there_marks_nothing(store: Store) {
    store.record(&[text(1, "wamid.A", 0), text(2, "wamid.B", 1)]).await.unwrap();
    let [second, first] = &all(&store).await[..] else { panic!("two conversations") };
    for unknown in ["wamid.B", "wamid.none", "\0", "'"] {
        let marked = store.mark_read(&tenant(), first.id, Some(&wamid(unknown))).await.unwrap();
        assert_eq!(marked, Marked::NoMessage);
    }
    for (tenant, id) in [(other_tenant(), first.id), (tenant(), ConversationId::of_number(999))] {
        for up_to in [None, Some(&wamid("wamid.A"))] {
            assert_eq!(store.mark_read(&tenant, id, up_to).await.unwrap(), Marked::NoConversation);
        }
    }
    assert_eq!(all(&store).await, [second.clone(), first.clone()]);
}

async fn a_message_that_comes_meanwhile_stays_unread(store: Store) {
    wrote_so_many(&store, 1).await;
    let id = only(&store).await.id;
    let read = wamid("wamid.0");
    let tenant = tenant();
    let record = async |n: i64| {
        store.record(&[text(1, &format!("wamid.late.{n}"), 10 + n)]).await.unwrap();
    };
    let mark = async || {
        let marked = store.mark_read(&tenant, id, Some(&read)).await.unwrap();
        assert!(matches!(marked, Marked::Read(_)));
    };
    let writers = join_all((0..40).map(record));
    let readers = join_all((0..40).map(|_| mark()));
    tokio::join!(writers, readers);
    mark().await;
    assert_eq!(only(&store).await.unread, 40);
}

async fn a_message_leads_to_its_conversation(store: Store) {
    store.record(&[text(1, "wamid.0", 0)]).await.unwrap();
    let (here, elsewhere) = ("acme-orders".parse().unwrap(), "acme-bills".parse().unwrap());
    let found = store.conversation_of(&tenant(), &here, &wamid("wamid.0")).await.unwrap();
    assert_eq!(found, Some(only(&store).await.id));
    for (tenant, channel, id) in
        [(tenant(), &here, "wamid.1"), (tenant(), &elsewhere, "wamid.0"), (other_tenant(), &here, "wamid.0")]
    {
        assert_eq!(store.conversation_of(&tenant, channel, &wamid(id)).await.unwrap(), None, "{id}");
    }
}
