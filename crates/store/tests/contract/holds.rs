//! Channels that stopped sending until somebody acts.

use staffetta_domain::{ChannelId, TenantId};
use staffetta_store::{ChannelHold, Store};

use crate::support::{at, channel, on_both, tenant};

on_both!(a_hold_stays_until_it_is_lifted, holds_are_listed_by_tenant, a_newer_hold_takes_an_older_ones_place);

fn hold(tenant: &str, channel: &str) -> ChannelHold {
    ChannelHold {
        tenant: tenant.parse().unwrap(),
        channel: channel.parse().unwrap(),
        class: "token".into(),
        code: 190,
        reason: "the access token has expired".into(),
        since: at(5),
    }
}

async fn a_hold_stays_until_it_is_lifted(store: Store) {
    let other: TenantId = "beta".parse().unwrap();
    assert_eq!(store.hold(&tenant(), &channel()).await.unwrap(), None);
    assert!(!store.lift_hold(&tenant(), &channel()).await.unwrap());
    let held = hold("acme", "acme-orders");
    store.put_hold(&held).await.unwrap();
    assert_eq!(store.hold(&tenant(), &channel()).await.unwrap(), Some(held));
    assert_eq!(store.hold(&other, &channel()).await.unwrap(), None);
    assert!(!store.lift_hold(&other, &channel()).await.unwrap());
    assert!(store.lift_hold(&tenant(), &channel()).await.unwrap());
    assert_eq!(store.hold(&tenant(), &channel()).await.unwrap(), None);
}

async fn holds_are_listed_by_tenant(store: Store) {
    assert_eq!(store.holds(None).await.unwrap(), []);
    let all = [hold("acme", "acme-a"), hold("acme", "acme-b"), hold("beta", "beta-a")];
    for hold in all.iter().rev() {
        store.put_hold(hold).await.unwrap();
    }
    assert_eq!(store.holds(None).await.unwrap(), all);
    assert_eq!(store.holds(Some(&tenant())).await.unwrap(), all[..2]);
    let nobody: ChannelId = "acme-c".parse().unwrap();
    assert_eq!(store.hold(&tenant(), &nobody).await.unwrap(), None);
}

async fn a_newer_hold_takes_an_older_ones_place(store: Store) {
    let newer = ChannelHold {
        class: "account".into(),
        code: 131_031,
        reason: "locked\0".into(),
        since: at(9),
        ..hold("acme", "acme-orders")
    };
    for hold in [hold("acme", "acme-orders"), newer.clone(), newer.clone()] {
        store.put_hold(&hold).await.unwrap();
    }
    let kept = ChannelHold { reason: "locked\u{fffd}".into(), ..newer };
    assert_eq!(store.holds(None).await.unwrap(), [kept]);
}
