//! Whether the provider can reach us: the same question that it asks when an address is verified, through the public
//! address.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::{Client, Url};
use secrecy::ExposeSecret;
use staffetta_bus::App;

use super::finding::{Area, Finding, Notes};
use super::patient::{Patient, chain};
use super::provider::{certificate_of, host_of, judge};
use super::reach;

/// Most apps that are tried.
const MOST: usize = 20;
/// Most bytes of an answer that are compared.
const LONGEST: usize = 64;

const CHECK: &str = "webhooks.reach";

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Webhooks);
    let Some(address) = &patient.config.ingress.public_url else {
        notes.note(
            CHECK,
            None,
            "ingress.public_url is not set: nobody knows where the provider reaches this installation",
            "Set it to the address that stands in the callback URL at the provider, as https://hooks.example.com, and it is \
             tried from outside.",
        );
        return notes.end();
    };
    let certificate = certificate_of(address).await;
    judge("webhooks.certificate", &host_of(address), certificate, &mut notes);
    let registry = match &patient.registry {
        Ok(registry) => registry,
        Err(why) => {
            let todo = "See the area registry: the apps and their verify tokens stand there.";
            notes.error(CHECK, None, format!("no app can be tried: the registry can't be read: {why}"), todo);
            return notes.end();
        }
    };
    let mut apps: Vec<&Arc<App>> = registry.apps().filter(|app| app.verify_token.is_some()).collect();
    apps.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    if apps.is_empty() {
        let todo = "Give an app of the registry a verify_token: with it the address is tried.";
        notes.note(CHECK, None, "no app has a verify token", todo);
    }
    let tries = apps.iter().take(MOST).map(|app| try_out(&patient.http, address, app));
    let mut findings = notes.end();
    findings.extend(join_all(tries).await);
    findings
}

async fn try_out(http: &Client, address: &str, app: &App) -> Finding {
    let mut notes = Notes::of(Area::Webhooks);
    let challenge = format!("{:016x}", rand::random::<u64>());
    let outcome = ask(http, address, app, &challenge).await;
    let name = Some(app.id.as_str());
    match outcome {
        Ok((200, echo)) if echo == challenge => {
            notes.ok(CHECK, name, "answers through the public address as the provider expects");
        }
        Ok((200, _)) => notes.error(
            CHECK,
            name,
            "answers 200, but not with the challenge: it is not ingress that answers",
            "Let the public address's /webhooks/ lead to ingress (port 8081), unchanged and with its query.",
        ),
        Ok((403, _)) => notes.error(
            CHECK,
            name,
            "answers 403: ingress has another verify token than this command sees",
            "Ingress and this command must see the same secret: compare their variables, files and registry. Something in \
             between (a firewall for the web) may answer 403 too.",
        ),
        Ok((404, _)) => notes.error(
            CHECK,
            name,
            "answers 404: ingress does not know the app, or the path leads elsewhere",
            "Look whether the same NATS stands behind ingress and this command, and whether the route of the public address \
             keeps the path /webhooks/meta/<app>.",
        ),
        Ok((status @ 300..400, _)) => notes.error(
            CHECK,
            name,
            format!("answers {status}: it leads elsewhere, and the provider does not follow"),
            "Put the address that it leads to into ingress.public_url and into the callback URL at the provider.",
        ),
        Ok((status, _)) => notes.error(
            CHECK,
            name,
            format!("answers {status}"),
            "502 to 504: the proxy finds no ingress that is ready (area services). Otherwise look at the log of ingress.",
        ),
        Err(why) => notes.error(
            CHECK,
            name,
            why,
            "Look at DNS, certificate, load balancer and firewall of the public address. Some networks can't reach their own \
             public address from inside: then try from elsewhere before you change anything.",
        ),
    }
    notes.end().remove(0)
}

/// The status and the beginning of the answer.
async fn ask(http: &Client, address: &str, app: &App, challenge: &str) -> Result<(u16, String), String> {
    let mut url = Url::parse(address).map_err(|_| "it is no address of the web".to_owned())?;
    let Ok(mut path) = url.path_segments_mut() else { return Err("it is no address of the web".into()) };
    path.pop_if_empty().extend(["webhooks", "meta", app.id.as_str()]);
    drop(path);
    let token = app.verify_token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
    let query = [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", challenge)];
    let failed = async |error: reqwest::Error| {
        // Without the address: the verify token stands in it.
        reach::where_it_failed(&url, &chain(&error.without_url())).await
    };
    let mut answer = match http.get(url.clone()).query(&query).send().await {
        Ok(answer) => answer,
        Err(error) => return Err(failed(error).await),
    };
    let status = answer.status().as_u16();
    let mut begins = Vec::new();
    while begins.len() < LONGEST {
        match answer.chunk().await {
            Ok(Some(chunk)) => begins.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    Ok((status, String::from_utf8_lossy(&begins).into_owned()))
}
