//! What the API says of itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Gateway;

#[tokio::test]
async fn the_description_is_there_for_everybody_and_lists_every_type_of_message() {
    let gateway = Gateway::start().await;
    let answer = gateway.request(Method::GET, "/openapi.json").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.unwrap();
    let kinds = &document["components"]["schemas"]["MessageType"]["enum"];
    let expected = [
        "text",
        "template",
        "image",
        "audio",
        "video",
        "document",
        "sticker",
        "interactive",
        "location",
        "contacts",
        "reaction",
    ];
    assert_eq!(*kinds, json!(expected));
    let fields = document["components"]["schemas"]["SendCommand"]["properties"].as_object().unwrap();
    assert!(expected.iter().all(|kind| fields.contains_key(*kind)), "{fields:?}");
}

#[tokio::test]
async fn the_page_names_every_address_and_needs_nothing_else() {
    let gateway = Gateway::start().await;
    let answer = gateway.request(Method::GET, "/docs").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = answer.text().await.unwrap();
    let document: Value =
        gateway.request(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for outside in ["<script", "<link", "<img", "<iframe", "src=", "@import", "url(", "href=\"http"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Every link within the page leads somewhere.
    for anchor in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
}
