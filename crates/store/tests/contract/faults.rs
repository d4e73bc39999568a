//! Faults that were found once: each test failed before its mend.

use jiff::Timestamp;
use sqlx::{Connection as _, PgConnection};
use staffetta_domain::{Alias, Direction, Leaf, MessageState, Sighting, TenantId, Touch};
use staffetta_store::{Announcement, ConversationFilter, MessageCursor, Store, StoreError, StoreOptions};

use crate::support::{afterwards, at, claim, on_both, sighting, status, taken, tenant, text, wamid};

on_both!(
    a_change_of_id_beside_a_number_that_was_somebody_elses_is_told,
    a_change_beside_another_channels_change_is_told,
    a_channel_that_goes_to_another_tenant_takes_no_conversation_along,
    a_status_after_the_channel_went_to_another_tenant_is_nobodys_turn,
    a_name_with_a_nul_is_a_name,
    who_is_merged_is_found_by_every_number,
    a_merge_beside_anothers_message_is_told,
    an_early_status_and_its_answer_are_one_conversation,
    times_far_away_are_times,
    a_winner_without_messages_shows_the_losers_last_one,
    a_message_marks_read_where_it_stands,
);

const USERS: [&str; 3] = ["IT.10000000000000000001", "IT.10000000000000000002", "IT.10000000000000000003"];
const DAY: i64 = 86_400;

fn seen(name: &str, names: &[&str], day: i64) -> Leaf {
    let mut leaf = text(name);
    leaf.sighting = Some(Sighting { wrote: true, ..sighting(names, at(day * DAY)) });
    if let Some(Touch::Brought { at: said, .. }) = &mut leaf.touch {
        *said = at(day * DAY);
    }
    leaf
}

fn changed(name: &str, former: &[&str], names: &[&str], day: i64) -> Leaf {
    let mut leaf = seen(name, names, day);
    if let Some(sighting) = &mut leaf.sighting {
        sighting.former = former.iter().filter_map(|name| Alias::of_user(name)).collect();
    }
    leaf
}

fn on(channel: &str, mut leaf: Leaf) -> Leaf {
    leaf.event.channel = channel.parse().unwrap();
    leaf
}

fn of(tenant: &TenantId, mut leaf: Leaf) -> Leaf {
    leaf.event.tenant = tenant.clone();
    leaf
}

fn beta() -> TenantId {
    "beta".parse().unwrap()
}

fn home(told: &Announcement) -> String {
    told.conversation.unwrap().to_string()
}

async fn a_change_of_id_beside_a_number_that_was_somebody_elses_is_told(store: Store) {
    let [one, two, three] = USERS;
    store.record(&[seen("wamid.1", &["39111", one], 1)]).await.unwrap();
    store.record(&[seen("wamid.2", &["39111", two], 5)]).await.unwrap();
    let told = store.record(&[changed("wamid.3", &[two], &[three], 10)]).await;
    assert_eq!(told.unwrap().len(), 1);
}

async fn a_change_beside_another_channels_change_is_told(store: Store) {
    let [one, two, three] = USERS;
    // The same user on two channels, and somebody else's change on the second one in the same batch.
    store.record(&[seen("wamid.1", &["39111", one], 1)]).await.unwrap();
    store.record(&[on("acme-two", seen("wamid.2", &["39111", two], 1))]).await.unwrap();
    store.record(&[on("acme-two", seen("wamid.3", &["39222"], 1))]).await.unwrap();
    let changes = [
        changed("wamid.4", &[one], &[three], 3),
        on("acme-two", changed("wamid.5", &["39222"], &["39333"], 3)),
    ];
    assert_eq!(store.record(&changes).await.unwrap().len(), 2);
}

async fn a_channel_that_goes_to_another_tenant_takes_no_conversation_along(store: Store) {
    let before = store.record(&[seen("wamid.1", &["39111"], 1)]).await.unwrap();
    let after = store.record(&[of(&beta(), seen("wamid.2", &["39111"], 2))]).await.unwrap();
    let filter = ConversationFilter::default();
    let old = store.conversations(&tenant(), &filter, None, 10).await.unwrap();
    let new = store.conversations(&beta(), &filter, None, 10).await.unwrap();
    let ids =
        |id| store.conversation_messages(id, before[0].conversation.unwrap(), None::<MessageCursor>, 10);
    let leaked = ids(&tenant()).await.unwrap().unwrap();
    assert_eq!(leaked.len(), 1, "the old tenant reads the new one's message");
    assert_eq!((old.len(), old[0].unread, new.len()), (1, 1, 1));
    assert_ne!(home(&before[0]), home(&after[0]));
    assert_eq!(after[0].event.data["sequence"], 1);
}

async fn a_status_after_the_channel_went_to_another_tenant_is_nobodys_turn(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let before = store.settle(&[taken("c-1", "wamid.1")]).await.unwrap();
    let after = store.record(&[of(&beta(), status("wamid.1", MessageState::Read))]).await.unwrap();
    assert_ne!(before[0].conversation, after[0].conversation);
}

async fn a_name_with_a_nul_is_a_name(store: Store) {
    let told = store.record(&[seen("wamid.1", &["some\0one"], 1)]).await.unwrap();
    let again = store.record(&[seen("wamid.2", &["some\0one"], 2)]).await.unwrap();
    assert_eq!(home(&told[0]), home(&again[0]));
    let [one, two, _] = USERS;
    let change = changed("wamid.3", &["some\0one"], &[one], 3);
    assert_eq!(home(&store.record(&[change]).await.unwrap()[0]), home(&told[0]));
    store.record(&[changed("wamid.4", &[one], &[two], 4)]).await.unwrap();
}

async fn who_is_merged_is_found_by_every_number(store: Store) {
    let [one, ..] = USERS;
    store.record(&[seen("wamid.1", &["39111"], 1)]).await.unwrap();
    store.record(&[seen("wamid.2", &["39222", one], 2)]).await.unwrap();
    // The second one goes into the first one, and its number is not named by what ties them.
    store.record(&[seen("wamid.3", &["39111", one], 3)]).await.unwrap();
    let of = |number: &str| ConversationFilter { number: Some(number.to_owned()), ..Default::default() };
    assert_eq!(store.conversations(&tenant(), &of("39111"), None, 10).await.unwrap().len(), 1);
    assert_eq!(store.conversations(&tenant(), &of("39222"), None, 10).await.unwrap().len(), 1);
}

async fn a_merge_beside_anothers_message_is_told(store: Store) {
    let [one, ..] = USERS;
    store.record(&[seen("wamid.1", &["39111"], 1)]).await.unwrap();
    store.record(&[seen("wamid.2", &[one], 2)]).await.unwrap();
    let third = store.record(&[seen("wamid.3", &["39333"], 2)]).await.unwrap();
    // A status of the third one's message ties the first two.
    let mut leaf = status("wamid.3", MessageState::Read);
    leaf.sighting = Some(sighting(&["39111", one], at(3 * DAY)));
    let told = store.record(&[leaf]).await.unwrap();
    assert_eq!(home(&told[0]), home(&third[0]));
    // They become one with an event of their own, which tells.
    let next = store.record(&[seen("wamid.4", &["39111", one], 4)]).await.unwrap();
    assert!(next[0].event.data.contains_key("merged"), "nobody was told");
    let all = store.conversations(&tenant(), &ConversationFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.len(), 2);
}

async fn an_early_status_and_its_answer_are_one_conversation(store: Store) {
    let [one, ..] = USERS;
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let mut early = status("wamid.1", MessageState::Sent);
    early.sighting = Some(sighting(&[one], at(1)));
    store.record(&[early]).await.unwrap();
    let told = store.settle(&[taken("c-1", "wamid.1")]).await.unwrap();
    let all = store.conversations(&tenant(), &ConversationFilter::default(), None, 10).await.unwrap();
    let id = told[0].conversation.unwrap();
    let messages = store.conversation_messages(&tenant(), id, None, 10).await.unwrap().unwrap();
    assert_eq!((all.len(), messages.len()), (1, 1), "conversations, messages of the answer's one");
}

async fn times_far_away_are_times(store: Store) {
    for (name, far) in
        [("wamid.old", at(-4_000_000_000)), ("wamid.max", Timestamp::MAX), ("wamid.0", Timestamp::UNIX_EPOCH)]
    {
        let mut leaf = seen(name, &[name], 1);
        leaf.sighting.as_mut().unwrap().at = far;
        leaf.event.time = far;
        if let Some(Touch::Brought { at, .. }) = &mut leaf.touch {
            *at = far;
        }
        assert_eq!(
            store.record(&[leaf]).await.map(|told| told.len()).map_err(|error| format!("{name} {error:?}")),
            Ok(1)
        );
    }
}

async fn a_winner_without_messages_shows_the_losers_last_one(store: Store) {
    let [one, ..] = USERS;
    // Known by a status alone, later than what the other one wrote.
    let mut early = status("wamid.0", MessageState::Sent);
    early.sighting = Some(sighting(&["39111"], at(10 * DAY)));
    store.record(&[early]).await.unwrap();
    store.record(&[seen("wamid.1", &[one], 1)]).await.unwrap();
    let mut tie = status("wamid.0", MessageState::Read);
    tie.sighting = Some(sighting(&["39111", one], at(11 * DAY)));
    store.record(&[tie]).await.unwrap();
    store.record(&[seen("wamid.2", &[one], 2)]).await.unwrap();
    let all = store.conversations(&tenant(), &ConversationFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].last.as_ref().unwrap().wamid, wamid("wamid.2"));
}

async fn a_message_marks_read_where_it_stands(store: Store) {
    // An edit that came before its message puts the message into one conversation, the message itself into another.
    let [one, ..] = USERS;
    let mut edit = text("edit");
    edit.sighting = Some(sighting(&[one], at(5)));
    edit.touch = Some(Touch::Edited { wamid: wamid("wamid.1"), direction: Direction::In, at: at(5) });
    store.record(&[edit]).await.unwrap();
    let told = store.record(&[seen("wamid.1", &["39111"], 0)]).await.unwrap();
    let id = told[0].conversation.unwrap();
    let messages = store.conversation_messages(&tenant(), id, None, 10).await.unwrap().unwrap();
    assert_eq!(messages.len(), 1, "the message stands elsewhere than its event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_refuses_nothing_for_good() {
    let url = crate::support::postgres_url().await;
    crate::support::migrated(&url).await;
    let sign = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{sign}options=-c%20default_transaction_read_only%3Don");
    let store = Store::connect(&url, &StoreOptions::default()).await.unwrap();
    let failure = store.record(&[text("wamid.1")]).await.unwrap_err();
    assert!(store.unannounced(afterwards(), 1).await.is_ok());
    assert!(matches!(failure, StoreError::Unavailable(_)), "{failure:?}");
}

/// A user's message whose user then changes the number: the old number is nobody's, and has a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_given_up_goes_with_its_conversation() {
    let url = crate::support::postgres_url().await;
    let store = crate::support::migrated(&url).await;
    let mut told = store.record(&[seen("wamid.1", &["39111"], 0)]).await.unwrap();
    told.extend(store.record(&[changed("wamid.2", &["39111"], &["39222"], 1)]).await.unwrap());
    store.announced(&told.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    while !store.prune(&tenant(), afterwards(), 100).await.unwrap().is_empty() {}
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let left: Vec<(String,)> =
        sqlx::query_as("SELECT alias FROM identities").fetch_all(&mut connection).await.unwrap();
    assert_eq!(left, [], "whoever was forgotten is still known by number");
}

/// Several recorders meet a new user by a number whose row was left over by somebody who was forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_was_given_up_goes_to_one_conversation() {
    let store = crate::support::migrated(&crate::support::postgres_url().await).await;
    let phones: Vec<_> = (0..20).map(|round| format!("39111{round:02}")).collect();
    for phone in &phones {
        let new = format!("39222{phone}");
        let leaves =
            [seen(&format!("{phone}.1"), &[phone], 0), changed(&format!("{phone}.2"), &[phone], &[&new], 1)];
        let told = store.record(&leaves).await.unwrap();
        store.announced(&told.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    }
    while !store.prune(&tenant(), afterwards(), 100).await.unwrap().is_empty() {}
    for phone in phones {
        let record = |turn: usize| {
            let (store, phone) = (store.clone(), phone.clone());
            tokio::spawn(async move {
                store.record(&[seen(&format!("wamid.{phone}.{turn}"), &[&phone], 9)]).await.unwrap()
            })
        };
        let told = futures_util::future::join_all((0..6).map(record)).await;
        let homes: std::collections::BTreeSet<_> =
            told.into_iter().map(|told| home(&told.unwrap()[0])).collect();
        assert_eq!(homes.len(), 1, "one user, {homes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_conversations_is_still_there_in_postgres() {
    let url = crate::support::postgres_url().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut before = sqlx::migrate!("./migrations/postgres");
    before.migrations.to_mut().truncate(1);
    before.run(&mut connection).await.unwrap();
    let fill = "INSERT INTO events (id, tenant, channel, type, subject, time, data, recorded_at)
                SELECT repeat(md5(g::text), 2), 'acme', 'acme-orders', 'staffetta.message.received', 'wamid.' || g,
                       now(), '{}', now() - interval '1 minute' FROM generate_series(1, 5) g;
                INSERT INTO outbox SELECT seq FROM events WHERE seq > 2;
                INSERT INTO messages (channel, wamid, tenant, direction, user_key, kind, content, state, provider_time,
                                      recorded_at, updated_at)
                SELECT 'acme-orders', 'wamid.' || g, 'acme', 'in', '39111', 'text', '{}', 2,
                       CASE WHEN g < 3 THEN now() END, now(), now() FROM generate_series(1, 5) g;
                INSERT INTO commands (tenant, id, channel, lane, state, wamid, created_at, updated_at)
                VALUES ('acme', 'c-1', 'acme-orders', 'bulk', 'accepted', 'wamid.1', now(), now())";
    sqlx::raw_sql(fill).execute(&mut connection).await.unwrap();
    let store = crate::support::migrated(&url).await;
    look_at_what_was_there(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_conversations_is_still_there_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("staffetta.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let mut before = sqlx::migrate!("./migrations/sqlite");
    before.migrations.to_mut().truncate(1);
    before.run(&mut connection).await.unwrap();
    for g in 1..=5 {
        let fill = format!(
            "INSERT INTO events (id, tenant, channel, type, subject, time, data, recorded_at)
             VALUES ('{g:032x}{g:08x}', 'acme', 'acme-orders', 'staffetta.message.received', 'wamid.{g}', 1, '{{}}', 1);
             INSERT INTO outbox SELECT seq FROM events WHERE seq = {g} AND seq > 2;
             INSERT INTO messages (channel, wamid, tenant, direction, user_key, kind, content, state, provider_time,
                                   recorded_at, updated_at)
             VALUES ('acme-orders', 'wamid.{g}', 'acme', 'in', '39111', 'text', '{{}}', 2, {time}, 1, 1);",
            time = if g < 3 { "1" } else { "NULL" },
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(fill)).execute(&mut connection).await.unwrap();
    }
    sqlx::raw_sql(
        "INSERT INTO commands (tenant, id, channel, lane, state, wamid, created_at, updated_at)
                   VALUES ('acme', 'c-1', 'acme-orders', 'bulk', 'accepted', 'wamid.1', 1, 1)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let store = crate::support::migrated(&url).await;
    look_at_what_was_there(&store).await;
}

async fn look_at_what_was_there(store: &Store) {
    let waiting = store.unannounced(afterwards(), 2).await.unwrap();
    assert_eq!(waiting.len(), 2);
    store.announced(&waiting.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].event.subject.as_str()), (1, "wamid.5"));
    store.announced(&[waiting[0].place]).await.unwrap();
    let told =
        store.record(&[status("wamid.1", MessageState::Read), status("wamid.4", MessageState::Read)]).await;
    let told = told.unwrap();
    let id = told[0].conversation.unwrap();
    assert_eq!(store.conversation_messages(&tenant(), id, None, 10).await.unwrap().unwrap().len(), 2);
    assert_eq!(crate::support::command(store, "c-1").await.message, Some(MessageState::Read));
    store.announced(&told.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    while !store.prune(&tenant(), afterwards(), 3).await.unwrap().is_empty() {}
    assert!(store.unannounced(afterwards(), 10).await.unwrap().is_empty());
}
