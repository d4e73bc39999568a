//! What clients read and set besides messages: numbers, templates, profile, registration, read marks.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Detail, InboundMessage, Template, TemplateCategory, TemplateStatus};

use crate::code;
use crate::harness::{NUMBER, TOKEN, USER, World, channel, text};

const ACCOUNT: &str = "102290129340398";

async fn ask(world: &World, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = if path.starts_with("http") { path.to_owned() } else { world.url(&format!("/v23.0/{path}")) };
    let mut request = world.client.request(method, url);
    if !path.contains("access_token") {
        request = request.bearer_auth(TOKEN);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(world: &World, path: &str) -> (u16, Value) {
    ask(world, Method::GET, path, None).await
}

async fn post(world: &World, path: &str, body: Value) -> (u16, Value) {
    ask(world, Method::POST, path, Some(body)).await
}

fn names(answer: &Value) -> Vec<&str> {
    answer["data"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

async fn with_templates() -> World {
    let world = World::start().await;
    let language = |language: &str| Some(language.to_owned());
    for (name, template) in [
        ("avviso", Template { language: language("it"), ..Template::default() }),
        ("codice", Template { category: TemplateCategory::Authentication, ..Template::default() }),
        ("promo", Template { status: TemplateStatus::Paused, ..Template::default() }),
        ("vecchio", Template { status: TemplateStatus::Missing, ..Template::default() }),
    ] {
        world.simulator.put_template(name, template).unwrap();
    }
    world
}

#[tokio::test]
async fn an_account_lists_its_templates() {
    let world = with_templates().await;
    let list = format!("{ACCOUNT}/message_templates");
    let (status, answer) = get(&world, &list).await;
    assert_eq!((status, names(&answer)), (200, vec!["avviso", "codice", "promo"]));
    let avviso = &answer["data"][0];
    assert_eq!(
        (&avviso["status"], &avviso["category"], &avviso["language"], &avviso["parameter_format"]),
        (&json!("APPROVED"), &json!("UTILITY"), &json!("it"), &json!("POSITIONAL"))
    );
    assert_eq!((&avviso["components"][0]["type"], avviso.get("quality_score")), (&json!("BODY"), None));
    for (query, found) in [
        ("status=PAUSED", vec!["promo"]),
        ("language=it", vec!["avviso"]),
        ("category=AUTHENTICATION", vec!["codice"]),
        ("name=codice", vec!["codice"]),
        ("name=od", vec!["codice"]),
        ("status=PAUSED,APPROVED&language=it,en_US", vec!["avviso", "codice", "promo"]),
        ("name=codice&status=PAUSED", vec![]),
    ] {
        assert_eq!(names(&get(&world, &format!("{list}?{query}")).await.1), found, "{query}");
    }
    let (_, answer) = get(&world, &format!("{list}?fields=name,quality_score{{score}}&limit=1")).await;
    let mut fields: Vec<&String> = answer["data"][0].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["id", "name", "quality_score"]);
    let (_, answer) = get(&world, &format!("{list}?summary=total_count,are_translations_complete")).await;
    assert_eq!(answer["summary"], json!({"total_count": 3, "are_translations_complete": true}));
    for query in ["fields=colour", "summary=colour"] {
        assert_eq!(code(&get(&world, &format!("{list}?{query}")).await.1), 100, "{query}");
    }
    let (status, answer) = get(&world, "9/message_templates").await;
    assert_eq!((status, &answer["error"]["error_subcode"]), (400, &json!(33)));
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let world = with_templates().await;
    let list = format!("{ACCOUNT}/message_templates");
    let (_, first) = get(&world, &format!("{list}?limit=2")).await;
    assert_eq!((names(&first), first["paging"].get("previous")), (vec!["avviso", "codice"], None));
    let next = first["paging"]["next"].as_str().unwrap();
    assert!(next.contains(&format!("access_token={TOKEN}")), "as Graph does it");
    let (status, second) = get(&world, next).await;
    assert_eq!((status, names(&second), second["paging"].get("next")), (200, vec!["promo"], None));
    let (_, back) = get(&world, second["paging"]["previous"].as_str().unwrap()).await;
    assert_eq!(names(&back), ["avviso", "codice"]);

    let after = first["paging"]["cursors"]["after"].as_str().unwrap();
    assert_eq!(names(&get(&world, &format!("{list}?after={after}")).await.1), ["promo"]);
    let gone = Template { status: TemplateStatus::Missing, ..Template::default() };
    world.simulator.put_template("codice", gone).unwrap();
    for cursor in [after, "x!"] {
        let (status, answer) = get(&world, &format!("{list}?after={cursor}")).await;
        assert_eq!((status, code(&answer)), (400, 131_059));
    }
    assert_eq!(code(&get(&world, &format!("{list}?limit=0")).await.1), 100);
}

#[tokio::test]
async fn an_account_lists_its_numbers() {
    let world = World::start().await;
    for (id, account) in [("200", ACCOUNT), ("201", "7")] {
        let mut other = channel(80);
        (other.phone_number_id, other.waba_id) = (id.to_owned(), account.to_owned());
        world.simulator.put_channel(other).unwrap();
    }
    let (status, answer) =
        get(&world, &format!("{ACCOUNT}/phone_numbers?fields=id,status,is_pin_enabled")).await;
    assert_eq!(status, 200);
    let number = |id: &str| json!({"id": id, "status": "CONNECTED", "is_pin_enabled": false});
    assert_eq!(answer["data"], json!([number(NUMBER), number("200")]));
    assert!(answer["paging"]["cursors"]["after"].is_string());
    let (status, answer) = get(&world, &format!("{NUMBER}?fields=colour")).await;
    assert_eq!((status, code(&answer)), (400, 100));
}

#[tokio::test]
async fn a_business_tells_of_itself() {
    let world = World::start().await;
    let path = format!("{NUMBER}/whatsapp_business_profile");
    let (_, answer) = get(&world, &path).await;
    assert_eq!(answer, json!({"data": [{"messaging_product": "whatsapp", "vertical": "UNDEFINED"}]}));
    let change = json!({"messaging_product": "whatsapp", "about": "Spedizioni", "vertical": "RETAIL",
        "websites": ["https://acme.example"]});
    assert_eq!(post(&world, &path, change).await, (200, json!({"success": true})));
    let change = json!({"messaging_product": "whatsapp", "email": "info@acme.example"});
    assert_eq!(post(&world, &path, change).await.0, 200);
    let (_, answer) = get(&world, &format!("{path}?fields=about,email,address")).await;
    let known = json!({"messaging_product": "whatsapp", "about": "Spedizioni", "email": "info@acme.example"});
    assert_eq!(answer, json!({"data": [known]}), "what was not named stays");
    let site = "https://acme.example";
    for wrong in [
        json!({"about": "x"}),
        json!({"messaging_product": "whatsapp", "about": "x".repeat(140)}),
        json!({"messaging_product": "whatsapp", "about": ""}),
        json!({"messaging_product": "whatsapp", "vertical": "PIRACY"}),
        json!({"messaging_product": "whatsapp", "motto": "x"}),
        json!({"messaging_product": "whatsapp", "websites": ["x".repeat(257)]}),
    ] {
        assert_eq!(code(&post(&world, &path, wrong).await.1), 100);
    }
    let sites = json!({"messaging_product": "whatsapp", "websites": [site, site, site]});
    assert_eq!(post(&world, &path, sites).await.0, 400);
    assert_eq!(ask(&world, Method::GET, "9/whatsapp_business_profile", None).await.0, 400);
}

#[tokio::test]
async fn a_number_must_be_registered_to_send() {
    let world = World::start().await;
    let (register, deregister) = (format!("{NUMBER}/register"), format!("{NUMBER}/deregister"));
    let pin = |pin: &str| json!({"messaging_product": "whatsapp", "pin": pin});
    assert_eq!(ask(&world, Method::POST, &deregister, None).await, (200, json!({"success": true})));
    let (status, answer) = world.send(&text(USER, "x")).await;
    assert_eq!((status, code(&answer)), (400, 133_010));
    assert_eq!(get(&world, &format!("{NUMBER}?fields=status")).await.1["status"], "DISCONNECTED");
    assert_eq!(code(&post(&world, &register, pin("12345")).await.1), 100);
    assert_eq!(post(&world, &register, pin("123456")).await, (200, json!({"success": true})));
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    let (status, answer) = post(&world, &register, pin("654321")).await;
    assert_eq!((status, code(&answer)), (400, 133_005));
    assert_eq!(post(&world, NUMBER, json!({"pin": "654321"})).await.0, 200);
    for _ in 0..7 {
        assert_eq!(post(&world, &register, pin("654321")).await.0, 200);
    }
    assert_eq!(code(&post(&world, &register, pin("654321")).await.1), 133_016);
}

#[tokio::test]
async fn an_account_without_a_subscription_tells_nothing() {
    let world = World::start().await;
    let path = format!("{ACCOUNT}/subscribed_apps");
    let (_, answer) = get(&world, &path).await;
    assert!(answer["data"][0]["whatsapp_business_api_data"]["id"].is_string());
    assert_eq!(ask(&world, Method::DELETE, &path, None).await, (200, json!({"success": true})));
    assert_eq!(get(&world, &path).await.1, json!({"data": []}));
    assert_eq!(world.send(&text(USER, "unheard")).await.0, 200);
    assert_eq!(ask(&world, Method::POST, &path, None).await.0, 200);
    assert_eq!(
        code(&post(&world, &path, json!({"override_callback_uri": "https://a.example"})).await.1),
        100
    );
    let (_, answer) = world.send(&text(USER, "heard")).await;
    let statuses = world.receiver.statuses(3).await;
    assert!(statuses.iter().all(|status| status["id"] == answer["messages"][0]["id"]));
}

#[tokio::test]
async fn a_user_s_message_can_be_marked_as_read() {
    let world = World::start().await;
    let inbound = InboundMessage {
        phone_number_id: NUMBER.to_owned(),
        from: USER.to_owned(),
        name: None,
        text: Some("ciao".to_owned()),
        message: None,
    };
    let id = world.simulator.inbound(inbound).unwrap();
    let read = |id: &str| json!({"messaging_product": "whatsapp", "status": "read", "message_id": id});
    assert_eq!(world.send(&read(&id)).await, (200, json!({"success": true})));
    let mut typing = read(&id);
    typing["typing_indicator"] = json!({"type": "text"});
    assert_eq!(world.send(&typing).await, (200, json!({"success": true})));
    let (status, answer) = world.send(&read("wamid.A")).await;
    assert_eq!((status, code(&answer)), (400, 131_009), "nobody wrote that");
    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert_eq!((channel.marked_read, channel.typing), (2, 1));
    assert_eq!((channel.received, channel.refused.len()), (0, 0), "no send");
}

#[tokio::test]
async fn a_token_tells_what_it_is_until_it_ends() {
    let world = World::start().await;
    let own = format!("debug_token?input_token={TOKEN}");
    let (status, answer) = get(&world, &own).await;
    let data = &answer["data"];
    assert_eq!((status, &data["is_valid"], &data["expires_at"]), (200, &json!(true), &json!(0)));
    let (status, answer) = get(&world, "debug_token?input_token=nobody-s").await;
    assert_eq!((status, &answer["data"]["is_valid"]), (200, &json!(false)));
    assert_eq!(answer["data"]["error"]["code"], 190);
    let (status, answer) = get(&world, "debug_token").await;
    assert_eq!((status, code(&answer)), (400, 100));

    world.simulator.set_token_end(NUMBER, Some(4_000_000_000)).unwrap();
    assert_eq!(get(&world, &own).await.1["data"]["expires_at"], 4_000_000_000_u64);
    world.simulator.set_token_end(NUMBER, Some(1)).unwrap();
    assert_eq!(code(&get(&world, &own).await.1), 190);
    assert_eq!(code(&world.send(&text(USER, "ciao")).await.1), 190);
    world.simulator.set_token(NUMBER, TOKEN).unwrap();
    assert_eq!(get(&world, &own).await.1["data"]["is_valid"], true);
}
