//! Lists, page by page.

use std::collections::HashSet;

use staffetta_domain::ConversationId;
use staffetta_store::{ConversationFilter, ConversationRecord, Store};

use super::fixtures::{all, number, of_tenant, only, other_tenant, text, wamids};
use crate::support::{on_both, tenant};

on_both!(
    each_conversation_is_on_one_page_whatever_its_size,
    what_stays_in_its_place_is_neither_lost_nor_repeated_while_others_write,
    messages_of_one_second_keep_their_order_on_every_page_size,
    the_newest_conversation_comes_first,
    another_tenants_conversations_are_nowhere,
    a_page_of_a_filtered_list_goes_on_where_the_last_one_ended,
);

/// `count` users wrote at one moment.
async fn crowd(store: &Store, count: usize) {
    let leaves: Vec<_> = (0..count).map(|n| text(n, &format!("wamid.{n}"), 0)).collect();
    for batch in leaves.chunks(100) {
        store.record(batch).await.unwrap();
    }
}

async fn page(store: &Store, after: Option<&ConversationRecord>, limit: u32) -> Vec<ConversationRecord> {
    let after = after.map(ConversationRecord::cursor);
    store.conversations(&tenant(), &ConversationFilter::default(), after, limit).await.unwrap()
}

async fn each_conversation_is_on_one_page_whatever_its_size(store: Store) {
    crowd(&store, 250).await;
    let whole: Vec<_> = all(&store).await.iter().map(|record| record.id).collect();
    assert_eq!(whole.iter().collect::<HashSet<_>>().len(), 250);
    assert!(whole.is_sorted_by(|a, b| a > b));
    for limit in [7, 50, 125, 249, 250, 251] {
        let mut listed = Vec::new();
        let mut last = None;
        loop {
            let page = page(&store, last.as_ref(), limit).await;
            listed.extend(page.iter().map(|record| record.id));
            match page.into_iter().next_back() {
                Some(record) => last = Some(record),
                None => break,
            }
        }
        assert_eq!(listed, whole, "{limit}");
    }
}

async fn what_stays_in_its_place_is_neither_lost_nor_repeated_while_others_write(store: Store) {
    crowd(&store, 250).await;
    let before: HashSet<_> = all(&store).await.iter().map(|record| record.id).collect();
    let mut listed: Vec<ConversationRecord> = Vec::new();
    for turn in 0.. {
        let page = page(&store, listed.last(), 20).await;
        if page.is_empty() {
            break;
        }
        // Somebody who was listed already writes again, and somebody new does.
        let again = page[3].phone.clone().unwrap();
        let again = (0..250).find(|n| number(*n) == again).unwrap();
        let leaves = [
            text(again, &format!("wamid.again.{turn}"), 10 + turn),
            text(1_000 + again, &format!("wamid.new.{turn}"), 10 + turn),
        ];
        store.record(&leaves).await.unwrap();
        listed.extend(page);
    }
    let ids: HashSet<_> = listed.iter().map(|record| record.id).collect();
    assert_eq!((listed.len(), &ids), (250, &before));
    let newest = &page(&store, None, 2).await[0];
    assert_eq!(newest.last.as_ref().unwrap().wamid.as_str(), "wamid.new.12");
}

async fn messages_of_one_second_keep_their_order_on_every_page_size(store: Store) {
    let names: Vec<_> = (0..60).map(|n| format!("wamid.{}", (n * 37) % 60)).collect();
    for batch in names.chunks(13) {
        let leaves: Vec<_> = batch.iter().map(|name| text(1, name, 0)).collect();
        store.record(&leaves).await.unwrap();
    }
    store.record(&[text(1, "wamid.before", -1), text(1, "wamid.after", 1)]).await.unwrap();
    let mut expected: Vec<_> = ["wamid.before".to_owned()].into_iter().chain(names).collect();
    expected.push("wamid.after".to_owned());
    expected.reverse();
    let id = only(&store).await.id;
    for limit in [1, 7, 31, 62, 100] {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = store.conversation_messages(&tenant(), id, after, limit).await.unwrap().unwrap();
            listed.extend(wamids(&page).iter().map(ToString::to_string));
            match page.last() {
                Some(last) => after = Some(last.cursor()),
                None => break,
            }
        }
        assert_eq!(listed, expected, "{limit}");
    }
}

async fn the_newest_conversation_comes_first(store: Store) {
    store.record(&[text(1, "wamid.A", 5), text(2, "wamid.B", 7), text(3, "wamid.C", 6)]).await.unwrap();
    store.record(&[text(1, "wamid.D", 8), text(2, "wamid.E", 1)]).await.unwrap();
    let all = all(&store).await;
    let last: Vec<_> = all.iter().map(|record| record.last.as_ref().unwrap().wamid.as_str()).collect();
    assert_eq!(last, ["wamid.D", "wamid.B", "wamid.C"]);
    assert_eq!(all[1].sequence, 2);
}

async fn another_tenants_conversations_are_nowhere(store: Store) {
    store.record(&[text(1, "wamid.A", 0), of_tenant(text(1, "wamid.A", 0), "other")]).await.unwrap();
    let own = only(&store).await;
    assert_eq!((own.unread, own.channel.as_str()), (1, "acme-orders"));
    let other = other_tenant();
    let theirs = store.conversations(&other, &ConversationFilter::default(), None, 10).await.unwrap();
    assert_eq!(theirs.len(), 1);
    assert_eq!(theirs[0].channel.as_str(), "other-orders");
    for foreign in [own.id, ConversationId::of_number(999), ConversationId::of_number(i64::MAX)] {
        assert!(store.conversation(&other, foreign).await.unwrap().is_none());
        assert!(store.conversation_messages(&other, foreign, None, 10).await.unwrap().is_none());
    }
    // Somebody else's place in a list leads nowhere but into one's own.
    let after =
        store.conversations(&other, &ConversationFilter::default(), Some(own.cursor()), 10).await.unwrap();
    assert!(after.iter().all(|record| record.id == theirs[0].id));
}

async fn a_page_of_a_filtered_list_goes_on_where_the_last_one_ended(store: Store) {
    crowd(&store, 250).await;
    let filter = ConversationFilter { number: Some(number(3)[..11].to_owned()), ..Default::default() };
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = store.conversations(&tenant(), &filter, after, 4).await.unwrap();
        listed.extend(page.iter().map(|record| record.phone.clone().unwrap()));
        match page.last() {
            Some(last) => after = Some(last.cursor()),
            None => break,
        }
    }
    listed.sort_unstable();
    assert_eq!(listed, (0..10).map(number).collect::<Vec<_>>());
}
