//! Whom an ERP knows by number, and what that changes.

use staffetta_domain::{Sighting, TenantId};
use staffetta_store::{Claim, Claimed, Contact, ConversationFilter, Store};

use crate::support::{at, claim, on_both, sighting, tenant, text};

const NUMBER: &str = "393481213456";
const USER: &str = "IT.13491208655302741918";

on_both!(
    a_contact_is_kept_changed_and_deleted,
    two_tenants_know_one_number_each_in_its_own_way,
    contacts_are_listed_by_number_page_by_page,
    a_contact_is_found_by_any_part_of_its_name_or_company,
    whoever_is_switched_off_is_so_for_each_claim,
    whoever_is_switched_off_is_so_under_every_name,
    a_conversation_shows_the_contact_and_is_found_by_it,
    a_contact_does_not_print,
);

fn contact(number: &str, name: &str) -> Contact {
    Contact { number: number.into(), name: name.into(), company: None, whatsapp: true, updated: at(0) }
}

fn switched_off(number: &str) -> Contact {
    Contact { whatsapp: false, ..contact(number, "Anna") }
}

fn beta() -> TenantId {
    "beta".parse().unwrap()
}

async fn a_contact_is_kept_changed_and_deleted(store: Store) {
    assert_eq!(store.contact(&tenant(), NUMBER).await.unwrap(), None);
    let first = Contact { company: Some("Rossi Srl".into()), ..contact(NUMBER, "Anna\0") };
    assert!(store.put_contact(&tenant(), &first).await.unwrap());
    assert!(!store.put_contact(&tenant(), &first).await.unwrap());
    let kept = Contact { name: "Anna\u{fffd}".into(), ..first };
    assert_eq!(store.contact(&tenant(), NUMBER).await.unwrap(), Some(kept));
    let second = Contact { updated: at(9), ..switched_off(NUMBER) };
    assert!(!store.put_contact(&tenant(), &second).await.unwrap());
    assert_eq!(store.contact(&tenant(), NUMBER).await.unwrap(), Some(second.clone()));
    assert!(store.delete_contact(&tenant(), NUMBER).await.unwrap());
    assert!(!store.delete_contact(&tenant(), NUMBER).await.unwrap());
    assert_eq!(store.contact(&tenant(), NUMBER).await.unwrap(), None);
    assert!(store.put_contact(&tenant(), &second).await.unwrap(), "new again");
}

async fn two_tenants_know_one_number_each_in_its_own_way(store: Store) {
    assert!(store.put_contact(&tenant(), &contact(NUMBER, "Anna")).await.unwrap());
    assert!(store.put_contact(&beta(), &contact(NUMBER, "Rossi")).await.unwrap());
    assert_eq!(store.contact(&tenant(), NUMBER).await.unwrap().unwrap().name, "Anna");
    assert_eq!(store.contacts(&beta(), None, None, 10).await.unwrap(), [contact(NUMBER, "Rossi")]);
    assert!(store.delete_contact(&beta(), NUMBER).await.unwrap());
    assert!(store.contact(&tenant(), NUMBER).await.unwrap().is_some());
    assert_eq!(store.contacts(&beta(), None, None, 10).await.unwrap(), []);
}

async fn contacts_are_listed_by_number_page_by_page(store: Store) {
    for n in 0..25 {
        let number = format!("39348{:05}", (n * 7) % 25);
        store.put_contact(&tenant(), &contact(&number, "Anna")).await.unwrap();
    }
    for limit in [1, 7, 25, 26] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(String::as_str);
            let page = store.contacts(&tenant(), None, after, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|contact| contact.number));
        }
        assert_eq!(listed, (0..25).map(|n| format!("39348{n:05}")).collect::<Vec<_>>(), "{limit}");
    }
}

async fn a_contact_is_found_by_any_part_of_its_name_or_company(store: Store) {
    store.put_contact(&tenant(), &contact("391", "Anna Perù")).await.unwrap();
    store.put_contact(&tenant(), &contact("392", "50%_[a]*?")).await.unwrap();
    let company = Contact { company: Some("Perù & Figli".into()), ..contact("393", "Bruno") };
    store.put_contact(&tenant(), &company).await.unwrap();
    store.put_contact(&beta(), &contact("394", "Anna")).await.unwrap();
    for (part, expected) in [
        ("PERÙ", vec!["391", "393"]),
        ("anna", vec!["391"]),
        ("[A]*", vec!["392"]),
        ("%", vec!["392"]),
        ("& f", vec!["393"]),
        (".", vec![]),
        ("\0", vec![]),
    ] {
        let found = store.contacts(&tenant(), Some(part), None, 10).await.unwrap();
        assert_eq!(found.iter().map(|found| found.number.as_str()).collect::<Vec<_>>(), expected, "{part}");
    }
    let rest = store.contacts(&tenant(), Some("perù"), Some("391"), 10).await.unwrap();
    assert_eq!(rest.len(), 1);
}

/// Whether somebody who is claimed for is switched off, and whether it is known that the user wrote.
async fn claimed(store: &Store, claims: Vec<Claim>) -> Vec<(bool, bool)> {
    let (claimed, _) = store.claim(&claims).await.unwrap();
    let standing = |claimed| match claimed {
        Claimed::Granted { user, .. } => (user.switched_off, user.wrote.is_some()),
        other => panic!("{other:?}"),
    };
    claimed.into_iter().map(standing).collect()
}

async fn whoever_is_switched_off_is_so_for_each_claim(store: Store) {
    store.put_contact(&tenant(), &switched_off(NUMBER)).await.unwrap();
    store.put_contact(&tenant(), &contact("44770", "Bruno")).await.unwrap();
    store.put_contact(&beta(), &switched_off("44771")).await.unwrap();
    let to = |key: &str, user: &str| Claim { user: user.into(), ..claim(key, 1) };
    let elsewhere = Claim { channel: "acme-shop".parse().unwrap(), ..to("c-5", NUMBER) };
    let of_beta = Claim { tenant: beta(), channel: "beta-shop".parse().unwrap(), ..to("c-6", NUMBER) };
    let claims = vec![
        to("c-1", NUMBER),
        to("c-2", "+39 348 121-3456"),
        to("c-3", "44770"),
        to("c-4", "44771"),
        elsewhere,
        of_beta,
        to("c-7", ""),
    ];
    let off: Vec<bool> = claimed(&store, claims).await.into_iter().map(|(off, _)| off).collect();
    assert_eq!(off, [true, true, false, false, true, false, false]);
    store.put_contact(&tenant(), &contact(NUMBER, "Anna")).await.unwrap();
    assert_eq!(claimed(&store, vec![to("d-1", NUMBER)]).await, [(false, false)]);
    store.put_contact(&tenant(), &switched_off(NUMBER)).await.unwrap();
    assert_eq!(claimed(&store, vec![to("d-2", NUMBER)]).await, [(true, false)]);
    store.delete_contact(&tenant(), NUMBER).await.unwrap();
    assert_eq!(claimed(&store, vec![to("d-3", NUMBER)]).await, [(false, false)]);
}

async fn whoever_is_switched_off_is_so_under_every_name(store: Store) {
    let both = Sighting { wrote: true, ..sighting(&[NUMBER, USER], at(0)) };
    let mut leaf = text("wamid.A");
    leaf.sighting = Some(both);
    store.record(&[leaf]).await.unwrap();
    let to = |key: &str, user: &str| Claim { user: user.into(), ..claim(key, 1) };
    let claims = |round: u32| vec![to(&format!("p-{round}"), NUMBER), to(&format!("u-{round}"), USER)];
    assert_eq!(claimed(&store, claims(1)).await, [(false, true), (false, true)]);
    store.put_contact(&tenant(), &switched_off(NUMBER)).await.unwrap();
    assert_eq!(claimed(&store, claims(2)).await, [(true, true), (true, true)]);
}

async fn a_conversation_shows_the_contact_and_is_found_by_it(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    let by = |name: &str| ConversationFilter { name: Some(name.into()), ..Default::default() };
    let found = async |name: &str| store.conversations(&tenant(), &by(name), None, 10).await.unwrap();
    assert_eq!(found("anna").await[0].contact, None);
    assert_eq!(found("magazz").await.len(), 0);
    let contact = Contact { company: Some("Rossi Srl".into()), ..contact(NUMBER, "Magazzino") };
    store.put_contact(&beta(), &contact).await.unwrap();
    assert_eq!(found("magazz").await.len(), 0, "another tenant's");
    store.put_contact(&tenant(), &contact).await.unwrap();
    for name in ["magazz", "SRL", "anna"] {
        let found = found(name).await;
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].contact.as_ref(), Some(&contact));
        let one = store.conversation(&tenant(), found[0].id).await.unwrap().unwrap();
        assert_eq!(one.contact.as_ref(), Some(&contact));
    }
    assert_eq!(found("bruno").await.len(), 0);
}

async fn a_contact_does_not_print(store: Store) {
    store.put_contact(&tenant(), &contact(NUMBER, "Anna")).await.unwrap();
    let printed = format!("{:?}", store.contact(&tenant(), NUMBER).await.unwrap());
    assert!(!printed.contains("Anna") && !printed.contains(NUMBER), "{printed}");
}
