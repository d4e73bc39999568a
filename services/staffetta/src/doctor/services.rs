//! Processes that are asked directly whether they are ready, and the API's own certificate.

use futures_util::future::join_all;
use reqwest::{Client, Url};

use super::finding::{Area, Finding, Notes};
use super::patient::{Patient, chain};
use super::provider::{certificate_of, host_of, judge};
use super::reach;

const READY: &str = "services.ready";
/// Most bytes of an answer that are read.
const LONGEST: usize = 8 << 10;

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Services);
    if let Some(address) = &patient.config.api.public_url {
        let certificate = certificate_of(address).await;
        judge("services.certificate", &host_of(address), certificate, &mut notes);
    }
    if patient.admin.is_empty() {
        let todo =
            "Name processes with --admin http://<host>:9090, once for each, and they are asked for /readyz.";
        notes.note(READY, None, "no process was asked", todo);
    }
    let mut findings = notes.end();
    findings.extend(join_all(patient.admin.iter().map(|address| ask(&patient.http, address))).await);
    findings
}

async fn ask(http: &Client, address: &str) -> Finding {
    let mut notes = Notes::of(Area::Services);
    let host = host_of(address);
    match readyz(http, address).await {
        Ok((200, _)) => notes.ok(READY, Some(&host), "ready"),
        Ok((503, text)) => {
            let failing: Vec<&str> = text.lines().filter(|line| !line.ends_with(": ok")).take(10).collect();
            notes.error(
                READY,
                Some(&host),
                format!("not ready: {}", failing.join(", ")),
                "nats or database: see those areas. Others stand in the service's own page. Its log says more.",
            );
        }
        Ok((status, _)) => {
            let todo = "Give the address of admin.listen (port 9090), not that of the service.";
            notes.error(
                READY,
                Some(&host),
                format!("answers {status} to /readyz: it is no process of Staffetta"),
                todo,
            );
        }
        Err(why) => {
            let todo = "Look whether the process runs, and whether this machine may reach its port 9090.";
            notes.error(READY, Some(&host), why, todo);
        }
    }
    notes.end().remove(0)
}

async fn readyz(http: &Client, address: &str) -> Result<(u16, String), String> {
    let mut url = Url::parse(address).map_err(|_| "it is no address of the web".to_owned())?;
    let Ok(mut path) = url.path_segments_mut() else { return Err("it is no address of the web".into()) };
    path.pop_if_empty().push("readyz");
    drop(path);
    let mut answer = match http.get(url.clone()).send().await {
        Ok(answer) => answer,
        Err(error) => return Err(reach::where_it_failed(&url, &chain(&error.without_url())).await),
    };
    let status = answer.status().as_u16();
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST {
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}
