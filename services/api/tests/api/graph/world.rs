//! A gateway whose provider is a simulator: two numbers of `acme` and one of `other`, in accounts and with tokens that
//! they share.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use staffetta_bus::MasterKey;
use staffetta_runtime::config::GraphConfig;
use staffetta_simulator::{DEFAULT_RATE, Options, SimChannel, Simulator, WebhookTarget};

use crate::harness::{ACME, Answer, Gateway, Setup};

/// Opens every number of the account `5001`, whoever's they are.
pub(crate) const TOKEN: &str = "EAAshared";
/// Opens `1003` alone.
const CARE_TOKEN: &str = "EAAcare";

pub(crate) const READS: &str = "acme-reads";

const REGISTRY: &str = r#"
[[tenant]]
id = "acme"
api_keys = ["key-of-acme", { key = "acme-reads", scopes = ["read"] }]
[[tenant]]
id = "other"
api_keys = ["key-of-other"]
[[channel]]
id = "acme-bills"
tenant = "acme"
provider = "twilio"
[[channel]]
id = "acme-care"
tenant = "acme"
provider = "cloud_api"
phone_number_id = "1003"
waba_id = "5003"
access_token = "EAAcare"
[[channel]]
id = "acme-orders"
tenant = "acme"
provider = "cloud_api"
phone_number_id = "1001"
waba_id = "5001"
access_token = "EAAshared"
[[channel]]
id = "acme-unset"
tenant = "acme"
provider = "cloud_api"
phone_number_id = "1004"
waba_id = "5004"
[[channel]]
id = "other-orders"
tenant = "other"
provider = "cloud_api"
phone_number_id = "2002"
waba_id = "5001"
access_token = "EAAshared"
"#;

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) provider: Simulator,
}

impl World {
    pub(crate) async fn start() -> Self {
        let channel = |number: &str, account: &str, token: &str| SimChannel {
            phone_number_id: number.into(),
            access_token: token.into(),
            display_phone_number: format!("39028145{number}"),
            waba_id: account.into(),
            verified_name: format!("Business of {number}"),
            rate: DEFAULT_RATE,
            webhook: Some(WebhookTarget { url: "http://127.0.0.1:1/".into(), app_secret: "secret".into() }),
        };
        let channels = vec![
            channel("1001", "5001", TOKEN),
            channel("1003", "5003", CARE_TOKEN),
            channel("2002", "5001", TOKEN),
        ];
        let provider = staffetta_simulator::start(Options { channels, ..Options::default() }).await.unwrap();
        let graph = GraphConfig { base_url: provider.base_url(), ..GraphConfig::default() };
        let master = Some(Arc::new(MasterKey::new(&"one master key of ours".to_owned().into())));
        let setup = Setup { registry: REGISTRY, graph, master, ..Setup::default() };
        let gateway = Gateway::start_as(setup).await;
        Self { gateway, provider }
    }

    /// A request with acme's key. `path` follows the version.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.gateway.request(method, &format!("/graph/v23.0/{path}")).bearer_auth(ACME)
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }
}

/// A text as Meta's clients write it.
pub(crate) fn text() -> Value {
    json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+393481213456", "type": "text",
        "text": {"body": "Fattura pronta"},
    })
}

impl Answer {
    /// Asserts that it is this error in Meta's shape.
    #[track_caller]
    pub(crate) fn is_graph_error(&self, status: u16, code: i64) {
        let error = &self.json["error"];
        assert_eq!((self.status.as_u16(), error["code"].as_i64()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        for name in ["message", "type", "fbtrace_id"] {
            assert!(error[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {self:?}");
        }
    }

    /// Asserts that there is no such thing, as far as the caller may know.
    #[track_caller]
    pub(crate) fn is_not_there(&self) {
        self.is_graph_error(400, 100);
        assert_eq!(self.json["error"]["error_subcode"], 33, "{self:?}");
    }
}
