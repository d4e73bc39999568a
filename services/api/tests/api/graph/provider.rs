//! What the provider knows: numbers, profiles, templates; and how it is told when it can't be asked.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::Template;

use super::world::{TOKEN, World};
use crate::harness::{ACME, Answer, OTHER};

#[tokio::test]
async fn a_number_is_read_without_what_is_the_operators() {
    let world = World::start().await;
    let number = world.ask(Method::GET, "1001?fields=id,verified_name,webhook_configuration,owner{id}").await;
    assert_eq!(
        (number.status.as_u16(), &number.json),
        (200, &json!({"id": "1001", "verified_name": "Business of 1001"}))
    );
    let usual = world.ask(Method::GET, "1001").await.json;
    assert_eq!((&usual["id"], &usual["quality_rating"]), (&json!("1001"), &json!("GREEN")));
    let nothing = world.ask(Method::GET, "1001?fields=settings&access_token=x&method=delete").await;
    assert_eq!(nothing.json, json!({"id": "1001"}));
}

#[tokio::test]
async fn an_accounts_numbers_are_ones_own_alone() {
    let world = World::start().await;
    let ids = |list: &Answer| {
        let items = list.json["data"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let list = world.ask(Method::GET, "5001/phone_numbers?fields=verified_name").await;
    assert_eq!((list.status.as_u16(), ids(&list)), (200, vec!["1001".to_owned()]));
    assert!(!list.json.to_string().contains(TOKEN));
    let theirs = world.gateway.get_as(OTHER, "/graph/v23.0/5001/phone_numbers").await;
    assert_eq!(ids(&theirs), ["2002"]);
    for account in ["5002", "1001"] {
        world.ask(Method::GET, &format!("{account}/phone_numbers")).await.is_not_there();
    }
    Answer::of(
        world
            .gateway
            .request(Method::GET, "/graph/v23.0/5003/phone_numbers")
            .bearer_auth(OTHER)
            .send()
            .await
            .unwrap(),
    )
    .await
    .is_not_there();
}

#[tokio::test]
async fn templates_come_in_pages_whose_links_are_ours() {
    let world = World::start().await;
    for n in 0..5 {
        world.provider.put_template(&format!("avviso_{n}"), Template::default()).unwrap();
    }
    let mut path =
        "/graph/v23.0/5001/message_templates?limit=2&fields=name,cta_url_link_tracking_opted_out".to_owned();
    let mut names = Vec::new();
    for page in 0.. {
        assert!(page < 9, "it never ends");
        let answer = world.gateway.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.json.to_string().contains("EAA"), "{answer:?}");
        for item in answer.json["data"].as_array().unwrap() {
            names.push(item["name"].as_str().unwrap().to_owned());
        }
        let Some(next) = answer.json["paging"]["next"].as_str() else { break };
        path = next.strip_prefix(&format!("http://{}", world.gateway.address)).unwrap().to_owned();
    }
    names.retain(|name| name.starts_with("avviso_"));
    assert_eq!(names, ["avviso_0", "avviso_1", "avviso_2", "avviso_3", "avviso_4"]);
    let one = world.ask(Method::GET, "5001/message_templates?name=avviso_3").await;
    assert_eq!(one.json["data"].as_array().unwrap().len(), 1);
    world.ask(Method::GET, "5002/message_templates").await.is_not_there();
}

#[tokio::test]
async fn all_templates_of_a_tenant_are_one_list() {
    let world = World::start().await;
    for n in 0..3 {
        world.provider.put_template(&format!("avviso_{n}"), Template::default()).unwrap();
    }
    let mut found = Vec::new();
    let mut path = "/v1/templates?limit=2&name=avviso_".to_owned();
    for page in 0.. {
        assert!(page < 9, "it never ends");
        let answer = world.gateway.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.json.to_string().contains("EAA"), "{answer:?}");
        for item in answer.json["items"].as_array().unwrap() {
            found.push((item["waba_id"].clone(), item["name"].clone(), item["channels"].clone()));
        }
        let Some(next) = answer.json["next"].as_str() else { break };
        path = format!("/v1/templates?limit=2&name=avviso_&cursor={next}");
    }
    let expected: Vec<(Value, Value, Value)> = [("5001", "acme-orders"), ("5003", "acme-care")]
        .into_iter()
        .flat_map(|(account, channel)| {
            (0..3).map(move |n| (json!(account), json!(format!("avviso_{n}")), json!([channel])))
        })
        .collect();
    assert_eq!(found, expected);
    let one = world.gateway.get("/v1/templates?channel=acme-care").await.json;
    assert!(one["items"].as_array().unwrap().iter().all(|item| item["waba_id"] == "5003"));
    world.gateway.get("/v1/templates?channel=other-orders").await.is_problem(404, "channel-not-found");
    world.gateway.get("/v1/templates?channel=acme-bills").await.is_problem(400, "invalid-parameter");
    world.gateway.get("/v1/templates?cursor=00").await.is_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_profile_is_read_and_changed() {
    let world = World::start().await;
    let change =
        json!({"messaging_product": "whatsapp", "about": "Aperti fino alle 18", "vertical": "RETAIL"});
    let changed = world.post("1001/whatsapp_business_profile", &change).await;
    assert_eq!((changed.status.as_u16(), &changed.json), (200, &json!({"success": true})));
    let profile = world.ask(Method::GET, "1001/whatsapp_business_profile?fields=about,vertical").await;
    let expected = json!({"data": [{"messaging_product": "whatsapp", "about": "Aperti fino alle 18", "vertical": "RETAIL"}]});
    assert_eq!((profile.status.as_u16(), &profile.json), (200, &expected));
    let strange = json!({"messaging_product": "whatsapp", "pin": "123456"});
    world.post("1001/whatsapp_business_profile", &strange).await.is_graph_error(400, 100);
    let refused = world.post("1001/whatsapp_business_profile", &json!({"vertical": "CIRCUS"})).await;
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[tokio::test]
async fn the_channels_bad_token_is_not_the_clients() {
    let world = World::start().await;
    world.provider.set_token("1003", "EAAnew").unwrap();
    for path in ["1003", "1003/whatsapp_business_profile", "5003/message_templates", "5003/phone_numbers"] {
        let answer = world.ask(Method::GET, path).await;
        answer.is_graph_error(503, 2);
        assert!(answer.json["error"]["is_transient"].as_bool().unwrap());
        assert!(!answer.json.to_string().contains("EAA"), "{answer:?}");
    }
    // A file might be that number's: nobody can say that there is none.
    world.ask(Method::GET, "12345").await.is_graph_error(503, 2);
    world.gateway.get("/v1/templates?channel=acme-care").await.is_problem(503, "provider-unavailable");
}

#[tokio::test]
async fn without_the_provider_what_is_its_own_is_unavailable() {
    let World { gateway, provider } = World::start().await;
    provider.stop().await;
    for path in ["1001", "12345", "12345/content", "5001/message_templates"] {
        let request = gateway.request(Method::GET, &format!("/graph/v23.0/{path}")).bearer_auth(ACME);
        Answer::of(request.send().await.unwrap()).await.is_graph_error(503, 2);
    }
    gateway.get("/v1/media/12345").await.is_problem(503, "provider-unavailable");
    gateway.get("/v1/templates").await.is_problem(503, "provider-unavailable");
}
