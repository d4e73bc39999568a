//! Templates that can't be sent, and users who can't or don't want to be written to.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Template, TemplateCategory, TemplateStatus, UserState};

use crate::harness::{NUMBER, Post, USER, World, text};
use crate::{code, inbound, names};

fn template(name: &str) -> Value {
    json!({"messaging_product": "whatsapp", "to": format!("+{USER}"), "type": "template",
        "template": {"name": name, "language": {"code": "it"}}})
}

async fn quiet() -> World {
    World::with(Behaviour { statuses: Vec::new(), ..Behaviour::default() }, 1_000).await
}

/// The values of the changes of this field, by arrival.
fn changes(posts: &[Post], field: &str) -> Vec<Value> {
    let bodies = posts.iter().map(|post| serde_json::from_slice::<Value>(&post.body).unwrap());
    let entries = bodies.flat_map(|body| body["entry"].as_array().unwrap().clone());
    let changes = entries.flat_map(|entry| entry["changes"].as_array().unwrap().clone());
    changes.filter(|change| change["field"] == field).map(|change| change["value"].clone()).collect()
}

async fn put_template(world: &World, body: Value) {
    assert_eq!(world.control(Method::PUT, "/_sim/templates/promo", body).await.0, 200);
}

#[tokio::test]
async fn a_template_that_is_not_approved_is_refused_and_its_changes_are_told() {
    let world = quiet().await;
    assert_eq!(world.send(&template("promo")).await.0, 200, "nobody spoke of it");
    let steps = [
        ("paused", Some((400, 132_015)), "PAUSED", json!(null), json!("FIRST_PAUSE")),
        ("approved", None, "APPROVED", json!("NONE"), json!("UNPAUSE")),
        ("paused", Some((400, 132_015)), "PAUSED", json!(null), json!("SECOND_PAUSE")),
        ("disabled", Some((400, 132_016)), "DISABLED", json!(null), json!("DISABLED")),
        ("missing", Some((404, 132_001)), "DELETED", json!(null), json!(null)),
        ("approved", None, "APPROVED", json!("NONE"), json!(null)),
    ];
    for (told, (status, refused, event, reason, title)) in steps.into_iter().enumerate() {
        put_template(&world, json!({"status": status, "category": "marketing"})).await;
        let (http, answer) = world.send(&template("promo")).await;
        match refused {
            Some(refused) => assert_eq!((http, code(&answer)), refused, "{status}"),
            None => assert_eq!(http, 200, "{status}"),
        }
        assert_eq!(world.send(&template("other")).await.0, 200);
        let posts = world.receiver.until(|posts| posts.len() == told + 1).await;
        assert!(posts.iter().all(Post::verifies));
        let value = &changes(&posts, "message_template_status_update")[told];
        assert_eq!((&value["event"], &value["reason"]), (&json!(event), &reason));
        assert_eq!(value["other_info"]["title"], title);
        assert_eq!(
            (&value["message_template_name"], &value["message_template_category"]),
            (&json!("promo"), &json!("MARKETING"))
        );
        assert!(value["message_template_id"].is_u64());
    }
    put_template(&world, json!({"status": "approved"})).await;
    put_template(&world, json!({"status": "paused"})).await;
    let posts = world.receiver.until(|posts| posts.len() == 7).await;
    let value = &changes(&posts, "message_template_status_update")[6];
    assert_eq!(value["event"], "PAUSED", "what stays the same is not told");
}

#[tokio::test]
async fn a_template_can_exist_in_one_language_only() {
    let world = quiet().await;
    put_template(&world, json!({"language": "de"})).await;
    let (status, answer) = world.send(&template("promo")).await;
    assert_eq!((status, code(&answer)), (404, 132_001));
    put_template(&world, json!({"language": "it"})).await;
    assert_eq!(world.send(&template("promo")).await.0, 200);
    let (status, _) = world.control(Method::PUT, "/_sim/templates/Promo", json!({})).await;
    assert_eq!(status, 400, "no template can have this name");
}

#[tokio::test]
async fn a_code_can_not_go_to_a_business_scoped_id() {
    let world = quiet().await;
    let code_template = Template { category: TemplateCategory::Authentication, ..Template::default() };
    world.simulator.put_template("promo", code_template).unwrap();
    assert_eq!(world.send(&template("promo")).await.0, 200);
    let mut body = template("promo");
    body.as_object_mut().unwrap().remove("to");
    body["recipient"] = json!("US.1349");
    let (status, answer) = world.send(&body).await;
    assert_eq!((status, code(&answer)), (400, 131_062));
}

#[tokio::test]
async fn the_price_says_what_a_template_is_for() {
    let world = World::start().await;
    put_template(&world, json!({"category": "marketing"})).await;
    world.send(&template("promo")).await;
    let statuses = world.receiver.statuses(3).await;
    let sent = statuses.iter().find(|status| status["status"] == "sent").unwrap();
    assert_eq!(sent["pricing"]["category"], "marketing");
}

async fn put_user(world: &World, state: &str) {
    let path = format!("/_sim/users/+{USER}");
    assert_eq!(world.control(Method::PUT, &path, json!({"state": state})).await.0, 200);
}

#[tokio::test]
async fn a_user_who_blocked_the_business_gets_nothing_until_they_write() {
    let world = quiet().await;
    put_user(&world, "blocked").await;
    let (status, answer) = world.send(&text(USER, "x")).await;
    assert_eq!((status, code(&answer)), (403, 130_403));
    assert_eq!(world.send(&text("393480000001", "x")).await.0, 200, "others do");
    world.simulator.inbound(inbound("ciao")).unwrap();
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
}

#[tokio::test]
async fn what_is_sent_to_a_user_who_is_not_there_fails_later() {
    let world = World::start().await;
    put_user(&world, "unreachable").await;
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    let statuses = world.receiver.statuses(1).await;
    assert_eq!(names(&statuses), ["failed"]);
    assert_eq!(statuses[0]["errors"][0]["code"], 131_026);
    put_user(&world, "fine").await;
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    assert_eq!(names(&world.receiver.statuses(4).await), ["sent", "delivered", "read", "failed"]);
}

#[tokio::test]
async fn a_capped_user_gets_no_marketing_but_the_rest() {
    let world = quiet().await;
    put_template(&world, json!({"category": "marketing"})).await;
    put_user(&world, "capped").await;
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    assert_eq!(world.send(&template("other")).await.0, 200);
    assert_eq!(world.send(&template("promo")).await.0, 200);
    let statuses = world.receiver.statuses(1).await;
    assert_eq!(
        (&statuses[0]["status"], &statuses[0]["errors"][0]["code"]),
        (&json!("failed"), &json!(131_049))
    );
}

#[tokio::test]
async fn an_opt_out_of_marketing_is_told_and_holds_until_it_is_taken_back() {
    let world = quiet().await;
    put_template(&world, json!({"category": "marketing"})).await;
    for state in ["opted_out", "opted_out"] {
        put_user(&world, state).await;
    }
    let (status, answer) = world.send(&template("promo")).await;
    assert_eq!((status, code(&answer)), (400, 131_050));
    assert_eq!(world.send(&template("other")).await.0, 200);
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    let told = |posts: &[Post]| changes(posts, "user_preferences");
    let posts = world.receiver.until(|posts| posts.len() == 1).await;
    let value = &told(&posts)[0];
    assert_eq!(value["metadata"]["phone_number_id"], NUMBER);
    assert_eq!(value["contacts"][0]["wa_id"], USER);
    let preference = &value["user_preferences"][0];
    assert_eq!(
        (&preference["wa_id"], &preference["category"], &preference["value"]),
        (&json!(USER), &json!("marketing_messages"), &json!("stop"))
    );
    assert!(preference["timestamp"].is_u64());

    put_user(&world, "fine").await;
    assert_eq!(world.send(&template("promo")).await.0, 200);
    let posts = world.receiver.until(|posts| posts.len() == 2).await;
    assert_eq!(told(&posts)[1]["user_preferences"][0]["value"], "resume", "and the second stop was none");
}

#[tokio::test]
async fn a_user_can_stand_differently_to_one_number() {
    let world = quiet().await;
    world.simulator.put_user(USER, UserState::Blocked, None).unwrap();
    let path = format!("/_sim/users/{USER}?phone_number_id={NUMBER}");
    assert_eq!(world.control(Method::PUT, &path, json!({"state": "fine"})).await.0, 200);
    assert_eq!(world.send(&text(USER, "x")).await.0, 200);
    put_user(&world, "blocked").await;
    assert_eq!(world.send(&text(USER, "x")).await.0, 403, "what holds for all is said anew");
    let path = format!("/_sim/users/{USER}?phone_number_id=9");
    assert_eq!(world.control(Method::PUT, &path, json!({"state": "fine"})).await.0, 404);
    assert_eq!(world.control(Method::PUT, "/_sim/users/anna", json!({"state": "fine"})).await.0, 400);
}

#[tokio::test]
async fn a_status_of_a_template_is_told_once_for_each_account() {
    let world = quiet().await;
    for number in ["200", "201"] {
        let config = json!({"access_token": "t", "display_phone_number": "393900000000", "waba_id": "7"});
        assert_eq!(world.control(Method::PUT, &format!("/_sim/channels/{number}"), config).await.0, 200);
    }
    let paused = Template { status: TemplateStatus::Paused, ..Template::default() };
    world.simulator.put_template("promo", paused).unwrap();
    world.until_report(|report| report.webhooks_waiting == 0).await;
    let posts = world.receiver.until(|posts| posts.len() >= 2).await;
    assert_eq!(changes(&posts, "message_template_status_update").len(), 2);
}
