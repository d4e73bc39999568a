//! `/v1/contacts`, and what they do to messages and conversations: the same on both databases.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_testkit::Postgres;

use crate::conversations::{ANNA, record, wrote};
use crate::harness::{ACME, Answer, Gateway, OTHER, text, with};

#[tokio::test]
async fn a_contact_is_kept_shown_and_forgotten_on_sqlite() {
    a_contact_is_kept_shown_and_forgotten(&Gateway::start().await).await;
}

#[tokio::test]
async fn a_contact_is_kept_shown_and_forgotten_on_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    a_contact_is_kept_shown_and_forgotten(&Gateway::start_with_database(database.url()).await).await;
}

async fn a_contact_is_kept_shown_and_forgotten(gateway: &Gateway) {
    let fields = json!({"name": "Anna Bianchi", "company": "Bianchi S.r.l.", "whatsapp": false});
    let new = gateway.put("/v1/contacts/%2B39%20348%201213456", &fields).await;
    assert_eq!(new.status, 201);
    let expected = with(fields, &json!({"number": ANNA, "updated": new.json["updated"]}));
    assert_eq!(new.json, expected);
    for path in [ANNA, "+393481213456"] {
        let found = gateway.get(&format!("/v1/contacts/{path}")).await;
        assert_eq!((found.status.as_u16(), found.json), (200, expected.clone()));
    }
    // The switch is on unless it is said to be off.
    let changed = gateway.put(&format!("/v1/contacts/{ANNA}"), &json!({"name": "Anna"})).await;
    assert_eq!((changed.status.as_u16(), &changed.json["whatsapp"]), (200, &json!(true)));
    assert_eq!((&changed.json["name"], &changed.json["company"]), (&json!("Anna"), &Value::Null));

    gateway.get_as(OTHER, &format!("/v1/contacts/{ANNA}")).await.is_problem(404, "contact-not-found");
    assert_eq!(gateway.get_as(OTHER, "/v1/contacts").await.json, json!({"items": [], "next": null}));
    assert_eq!(gateway.delete(&format!("/v1/contacts/{ANNA}")).await.status, 204);
    gateway.delete(&format!("/v1/contacts/{ANNA}")).await.is_problem(404, "contact-not-found");
    gateway.get(&format!("/v1/contacts/{ANNA}")).await.is_problem(404, "contact-not-found");
}

#[tokio::test]
async fn contacts_are_listed_by_number_and_found_by_name_or_company() {
    let gateway = Gateway::start().await;
    for (number, name, company) in [
        ("393480000003", "Carla Perù", "Bianchi S.r.l."),
        ("393480000001", "Anna Bianchi", ""),
        ("393480000002", "Bruno Verdi", ""),
    ] {
        let company = if company.is_empty() { Value::Null } else { json!(company) };
        let fields = json!({"name": name, "company": company});
        assert_eq!(gateway.put(&format!("/v1/contacts/{number}"), &fields).await.status, 201);
    }
    let numbers = async |path: &str| {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.json["items"].as_array().unwrap();
        let numbers: Vec<String> =
            items.iter().map(|item| item["number"].as_str().unwrap()[11..].to_owned()).collect();
        (numbers, answer.json["next"].as_str().map(str::to_owned))
    };
    assert_eq!(numbers("/v1/contacts").await, (vec!["1".into(), "2".into(), "3".into()], None));
    assert_eq!(numbers("/v1/contacts?name=bianchi").await.0, ["1", "3"]);
    assert_eq!(numbers("/v1/contacts?name=PER%C3%99").await.0, ["3"]);
    let (first, next) = numbers("/v1/contacts?limit=2").await;
    assert_eq!(first, ["1", "2"]);
    let rest = numbers(&format!("/v1/contacts?limit=2&cursor={}", next.unwrap())).await;
    assert_eq!(rest, (vec!["3".into()], None));
}

#[tokio::test]
async fn what_is_wrong_with_a_contact_is_named() {
    let gateway = Gateway::start().await;
    let path = format!("/v1/contacts/{ANNA}");
    for (path, fields, field) in [
        (path.as_str(), json!({}), "payload"),
        (&path, json!({"name": 7}), "payload"),
        (&path, json!({"name": "A", "wathsapp": false}), "payload"),
        (&path, json!({"name": ""}), "name"),
        (&path, json!({"name": "x".repeat(201)}), "name"),
        (&path, json!({"name": "A", "company": "a\0b"}), "company"),
        ("/v1/contacts/12", json!({"name": "A"}), "number"),
        ("/v1/contacts/IT.1349", json!({"name": "A"}), "number"),
        ("/v1/contacts/anna", json!({"name": "A"}), "number"),
    ] {
        let answer = gateway.put(path, &fields).await;
        answer.is_problem(400, "invalid-parameter");
        assert_eq!(answer.json["field"], field, "{answer:?}");
    }
    for none in ["12", "anna", "%FF"] {
        gateway.get(&format!("/v1/contacts/{none}")).await.is_problem(404, "contact-not-found");
    }
    for parameter in ["name=", "limit=0", "cursor=x", "company=x"] {
        gateway.get(&format!("/v1/contacts?{parameter}")).await.is_problem(400, "invalid-parameter");
    }
    let large = gateway.request(Method::PUT, &path).bearer_auth(ACME).body(vec![b' '; (16 << 10) + 1]);
    Answer::of(large.send().await.unwrap()).await.is_problem(413, "too-large");
}

#[tokio::test]
async fn nothing_is_taken_in_for_a_contact_whose_switch_is_off() {
    let gateway = Gateway::start().await;
    let path = format!("/v1/contacts/{ANNA}");
    assert_eq!(gateway.post(&text("before")).await.status, 202);
    gateway.put(&path, &json!({"name": "Anna", "whatsapp": false})).await;
    for to in [ANNA, "+39 348 1213456"] {
        let refused = gateway.post(&with(text("a"), &json!({"to": to}))).await;
        refused.is_problem(422, "recipient-switched-off");
        assert_eq!(refused.json["field"], "to");
    }
    assert_eq!(gateway.get("/v1/messages/a").await.status, 404);
    // What was taken in before is told as it stands, and others are written to.
    assert_eq!(gateway.post(&text("before")).await.status, 200);
    assert_eq!(gateway.post(&with(text("b"), &json!({"to": "393480000001"}))).await.status, 202);
    // It is acme's contact: the other tenant knows nothing of it.
    let theirs = with(text("a"), &json!({"channel": "other-orders"}));
    let theirs = gateway.request(Method::POST, "/v1/messages").bearer_auth(OTHER).json(&theirs);
    assert_eq!(theirs.send().await.unwrap().status(), 202);
    assert_eq!(gateway.queue().await.len(), 3);

    gateway.put(&path, &json!({"name": "Anna", "whatsapp": true})).await;
    assert_eq!(gateway.post(&text("a")).await.status, 202);
}

#[tokio::test]
async fn a_conversation_shows_the_contact_and_is_found_by_it() {
    let gateway = Gateway::start().await;
    record(&gateway, &[wrote(ANNA, "wamid.A", 0), wrote("393480000001", "wamid.B", 1)]).await;
    let fields = json!({"name": "Dott.ssa Rossi", "company": "Studio Perù", "whatsapp": false});
    gateway.put(&format!("/v1/contacts/{ANNA}"), &fields).await;
    let list = gateway.get("/v1/conversations").await.json;
    assert_eq!(list["items"][1]["contact"], fields);
    assert_eq!(list["items"][0].get("contact"), None);
    for name in ["rossi", "STUDIO%20PER%C3%99"] {
        let found = gateway.get(&format!("/v1/conversations?name={name}")).await.json;
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{name}: {found}");
        assert_eq!(found["items"][0]["user"]["phone"], ANNA);
    }
    let id = list["items"][1]["id"].as_str().unwrap();
    assert_eq!(gateway.get(&format!("/v1/conversations/{id}")).await.json["contact"], fields);
}
