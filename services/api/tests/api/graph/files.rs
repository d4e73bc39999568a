//! Files: uploaded, looked up, downloaded and deleted through the gateway.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::world::{READS, TOKEN, World};
use crate::harness::{ACME, Answer, OTHER};

/// A form as clients write it.
fn form(request: RequestBuilder, parts: &[(&str, &str, &[u8])]) -> RequestBuilder {
    let mut body = Vec::new();
    for (name, head, bytes) in parts {
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{head}\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    request.header("content-type", "multipart/form-data; boundary=b").body(body)
}

const PNG: &str = "; filename=\"a.png\"\r\nContent-Type: image/png";
const PDF: &str = "; filename=\"a.pdf\"\r\nContent-Type: application/pdf";

async fn upload(world: &World, number: &str, bytes: &[u8]) -> String {
    let parts: [(&str, &str, &[u8]); 3] =
        [("file", PNG, bytes), ("messaging_product", "", b"whatsapp"), ("type", "", b"image/png")];
    let request = form(world.request(Method::POST, &format!("{number}/media")), &parts);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json.as_object().unwrap().len(), 1);
    answer.json["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_file_goes_there_and_back() {
    let world = World::start().await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let id = upload(&world, "1003", &bytes).await;
    for path in [id.clone(), format!("{id}?phone_number_id=1003")] {
        let known = world.ask(Method::GET, &path).await;
        assert_eq!(known.status, 200, "{known:?}");
        let url = format!("http://{}/graph/v23.0/{id}/content?phone_number_id=1003", world.gateway.address);
        let expected = json!({
            "messaging_product": "whatsapp", "url": url, "mime_type": "image/png", "sha256": known.json["sha256"],
            "file_size": 300_000, "id": id,
        });
        assert_eq!(known.json, expected);
    }
    for query in ["", "?phone_number_id=1003"] {
        let request = world.gateway.request(Method::GET, &format!("/graph/v23.0/{id}/content{query}"));
        let file = request.bearer_auth(READS).send().await.unwrap();
        assert_eq!(file.status(), 200);
        let header = |name: &str| file.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("content-type"), header("content-length")), ("image/png".into(), "300000".into()));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(file.bytes().await.unwrap(), bytes);
    }
    world.ask(Method::GET, &format!("{id}?phone_number_id=1001")).await.is_not_there();
    let deleted = world.ask(Method::DELETE, &id).await;
    assert_eq!((deleted.status.as_u16(), &deleted.json), (200, &json!({"success": true})));
    for (method, path) in
        [(Method::GET, id.clone()), (Method::DELETE, id.clone()), (Method::GET, format!("{id}/content"))]
    {
        world.ask(method, &path).await.is_not_there();
    }
}

#[tokio::test]
async fn what_a_user_sent_is_downloaded_like_any_file() {
    let world = World::start().await;
    let id = world.provider.put_media("1001", "audio/ogg; codecs=opus", &b"voice"[..]).unwrap();
    let file = world.request(Method::GET, &format!("{id}/content")).send().await.unwrap();
    assert_eq!(file.headers()["content-type"], "audio/ogg; codecs=opus");
    assert_eq!(file.bytes().await.unwrap(), &b"voice"[..]);
}

#[tokio::test]
async fn a_shared_token_reaches_no_file_of_another_tenant() {
    let world = World::start().await;
    // The same token opens both numbers at the provider.
    let theirs = world.provider.put_media("2002", "image/png", &b"theirs"[..]).unwrap();
    for number in ["", "?phone_number_id=1001", "?phone_number_id=2002", "?phone_number_id=9"] {
        for (method, path) in [
            (Method::GET, format!("{theirs}{number}")),
            (Method::GET, format!("{theirs}/content{number}")),
            (Method::DELETE, format!("{theirs}{number}")),
        ] {
            world.ask(method, &path).await.is_not_there();
        }
    }
    for query in ["", "?channel=acme-orders"] {
        world.gateway.get(&format!("/v1/media/{theirs}{query}")).await.is_problem(404, "media-not-found");
    }
    let own = world.gateway.request(Method::GET, &format!("/v1/media/{theirs}")).bearer_auth(OTHER);
    assert_eq!(own.send().await.unwrap().bytes().await.unwrap(), &b"theirs"[..]);
}

#[tokio::test]
async fn a_form_that_is_not_as_it_must_be_is_refused() {
    let world = World::start().await;
    let whatsapp: (&str, &str, &[u8]) = ("messaging_product", "", b"whatsapp");
    let kind: (&str, &str, &[u8]) = ("type", "", b"image/png");
    let large = vec![0; (5 << 20) + 1];
    for (parts, word) in [
        (vec![kind, ("file", PNG, b"x")], "messaging_product"),
        (vec![whatsapp, ("file", PNG, b"x")], "type"),
        (vec![whatsapp, kind], "file"),
        (vec![whatsapp, kind, ("file", PNG, &large)], "5242880"),
        (vec![whatsapp, kind, ("access_token", "", b"EAA")], "access_token"),
        (vec![whatsapp, ("type", "", &large[..2000]), ("file", PNG, b"x")], "1024"),
    ] {
        let request = form(world.request(Method::POST, "1001/media"), &parts);
        let answer = Answer::of(request.send().await.unwrap()).await;
        answer.is_graph_error(400, 100);
        assert!(answer.json.to_string().contains(word), "{word}: {answer:?}");
    }
    let broken =
        world.request(Method::POST, "1001/media").header("content-type", "multipart/form-data; boundary=b");
    let broken = broken.body("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc");
    Answer::of(broken.send().await.unwrap()).await.is_graph_error(400, 100);
    world.post("1001/media", &json!({})).await.is_graph_error(400, 100);
}

#[tokio::test]
async fn files_have_addresses_of_our_own_too() {
    let world = World::start().await;
    let gateway = &world.gateway;
    let bytes = vec![7; 6 << 20];
    let post = |query: &str| gateway.request(Method::POST, &format!("/v1/media{query}")).bearer_auth(ACME);
    let uploaded = form(post("?channel=acme-care"), &[("file", PDF, &bytes)]).send().await.unwrap();
    let uploaded = Answer::of(uploaded).await;
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let id = uploaded.json["id"].as_str().unwrap();
    assert_eq!(uploaded.json, json!({"id": id, "channel": "acme-care"}));
    for query in ["", "?channel=acme-care"] {
        let file = gateway.request(Method::GET, &format!("/v1/media/{id}{query}")).bearer_auth(ACME);
        let file = file.send().await.unwrap();
        assert_eq!(
            (file.status().as_u16(), &file.headers()["content-type"]),
            (200, &"application/pdf".parse().unwrap())
        );
        assert_eq!(file.bytes().await.unwrap(), bytes);
    }

    let of = async |request: RequestBuilder| Answer::of(request.send().await.unwrap()).await;
    of(form(post(""), &[("file", PDF, b"x")])).await.is_problem(400, "invalid-parameter");
    of(form(post("?channel=acme-bills"), &[("file", PDF, b"x")])).await.is_problem(400, "invalid-parameter");
    of(form(post("?channel=other-orders"), &[("file", PDF, b"x")]))
        .await
        .is_problem(404, "channel-not-found");
    of(form(post("?channel=acme-unset"), &[("file", PDF, b"x")]))
        .await
        .is_problem(503, "provider-unavailable");
    for (parts, field) in [
        (vec![], "file"),
        (vec![("file", "; filename=\"a\"", &b"x"[..])], "type"),
        (vec![("caption", "", &b"x"[..])], "caption"),
    ] {
        let answer = of(form(post("?channel=acme-care"), &parts)).await;
        answer.is_problem(400, "invalid-parameter");
        assert_eq!(answer.json["field"], field, "{answer:?}");
    }
    let gif = "; filename=\"a.gif\"\r\nContent-Type: image/gif";
    let refused = of(form(post("?channel=acme-care"), &[("file", gif, b"x")])).await;
    refused.is_problem(422, "provider-refuses");
    assert!(refused.json["detail"].as_str().unwrap().contains("100"), "{refused:?}");
    let large = of(form(post("?channel=acme-care"), &[("file", PNG, &bytes)])).await;
    large.is_problem(413, "too-large");
    for path in ["/v1/media/0", "/v1/media/..%2F1001", "/v1/media/0?channel=acme-care"] {
        gateway.get(path).await.is_problem(404, "media-not-found");
    }
    gateway.get("/v1/media/0?channel=other-orders").await.is_problem(404, "channel-not-found");
}

#[tokio::test]
async fn a_key_that_reads_uploads_and_deletes_nothing() {
    let world = World::start().await;
    let id = upload(&world, "1001", b"x").await;
    for (method, path) in
        [(Method::POST, "/graph/v23.0/1001/media".to_owned()), (Method::DELETE, format!("/graph/v23.0/{id}"))]
    {
        let request = world.gateway.request(method, &path).bearer_auth(READS);
        Answer::of(request.send().await.unwrap()).await.is_graph_error(403, 10);
    }
    let upload = world.gateway.request(Method::POST, "/v1/media?channel=acme-orders").bearer_auth(READS);
    Answer::of(upload.send().await.unwrap()).await.is_problem(403, "forbidden");
    let known: Value = world.ask(Method::GET, &id).await.json;
    assert!(known["url"].is_string() && !known.to_string().contains(TOKEN));
}
