//! Who is who in these tests.

use std::num::NonZeroU32;

use staffetta_simulator::SimChannel;

/// The app whose webhooks bring everything.
pub const APP: &str = "meta-main";
/// A second app, which is told of the same numbers.
pub const SECOND_APP: &str = "meta-second";

/// A number, as Meta and as Staffetta know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The channel's id.
    pub channel: &'static str,
    /// Whose it is.
    pub tenant: &'static str,
    /// Meta's id of it.
    pub phone_number_id: &'static str,
    /// The number.
    pub display: &'static str,
}

/// A number of the tenant `acme`, who reads JSON.
pub const ORDERS: Number =
    Number { channel: "acme-orders", tenant: "acme", phone_number_id: "100100", display: "390281456000" };
/// A number of the tenant `globex`, who reads Protocol Buffers.
pub const CARE: Number =
    Number { channel: "globex-care", tenant: "globex", phone_number_id: "100200", display: "390281456100" };

pub(crate) const WABA: &str = "900900";

/// More than any channel of these tests may send: the provider measures what comes and does not cut it down.
const PROVIDER_RATE: NonZeroU32 = NonZeroU32::new(1_000).expect("1000 is not zero");

/// A registry file.
#[derive(Clone, Debug)]
pub struct RegistryText {
    /// Messages a second on each channel.
    pub rate: u32,
    /// What the channels show at the provider; each adds its own name.
    pub access_token: String,
}

impl Default for RegistryText {
    fn default() -> Self {
        Self { rate: 250, access_token: "first-token".into() }
    }
}

impl RegistryText {
    pub(crate) fn app_secret(app: &str) -> String {
        format!("the secret of {app}")
    }

    pub(crate) fn api_key(tenant: &str) -> String {
        format!("the-key-of-{tenant}")
    }

    /// What the channel of this number shows at the provider.
    #[must_use]
    pub fn token_of(&self, number: Number) -> String {
        format!("{}-of-{}", self.access_token, number.channel)
    }

    pub(crate) fn toml(&self) -> String {
        let mut text = String::new();
        for app in [APP, SECOND_APP] {
            let secret = Self::app_secret(app);
            text += &format!(
                "[[app]]\nid = {app:?}\napp_secret = {secret:?}\nverify_token = \"shown by Meta\"\n"
            );
        }
        for (number, encoding) in [(ORDERS, "json"), (CARE, "protobuf")] {
            let Number { channel, tenant, phone_number_id, display } = number;
            let key = Self::api_key(tenant);
            let (rate, access_token) = (self.rate, self.token_of(number));
            text += &format!(
                "[[tenant]]\nid = {tenant:?}\nname = {tenant:?}\napi_keys = [{key:?}]\nencoding = {encoding:?}\n\
                 [[channel]]\nid = {channel:?}\ntenant = {tenant:?}\nprovider = \"cloud_api\"\napp = {APP:?}\n\
                 waba_id = {WABA:?}\nphone_number_id = {phone_number_id:?}\ndisplay_phone_number = {display:?}\n\
                 access_token = {access_token:?}\nrate = {rate}\n"
            );
        }
        text
    }

    /// The same numbers, as the provider has them; its limit is its own.
    pub(crate) fn at_provider(&self) -> Vec<SimChannel> {
        let channel = |number: Number| SimChannel {
            phone_number_id: number.phone_number_id.into(),
            access_token: self.token_of(number),
            display_phone_number: number.display.into(),
            waba_id: WABA.into(),
            verified_name: number.tenant.into(),
            rate: PROVIDER_RATE,
            webhook: None,
        };
        vec![channel(ORDERS), channel(CARE)]
    }
}
