//! A registry of so many tenants, channels and endpoints.

/// The app of all channels.
const APP: &str = "many";
/// What signs for an endpoint.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// How many there are of each. The `n`th channel and the `n`th endpoint belong to the `n`th tenant, round and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) tenants: usize,
    pub(crate) channels: usize,
    pub(crate) endpoints: usize,
}

impl Registered {
    pub(crate) const NONE: Self = Self { tenants: 0, channels: 0, endpoints: 0 };

    /// So many of each, one a tenant.
    pub(crate) fn one_each(tenants: usize) -> Self {
        Self { tenants, channels: tenants, endpoints: tenants }
    }

    /// What `staffetta apply` reads; `url` says where the `n`th endpoint lies. Nothing at all for none.
    pub(crate) fn registry(self, url: impl Fn(usize) -> String) -> String {
        if self == Self::NONE {
            return String::new();
        }
        let mut registry = format!(
            "[[app]]\nid = \"{APP}\"\napp_secret = \"a secret for benchmarks\"\nverify_token = \"a token for benchmarks\"\n"
        );
        for n in 0..self.tenants {
            registry += &format!(
                "[[tenant]]\nid = \"{}\"\nname = \"Tenant {n}\"\nencoding = \"json\"\napi_keys = [\"{}\"]\n",
                tenant(n),
                key(n)
            );
        }
        for n in 0..self.channels {
            registry += &format!(
                "[[channel]]\nid = \"{}\"\ntenant = \"{}\"\nprovider = \"cloud_api\"\napp = \"{APP}\"\n\
                 waba_id = \"8{n:07}\"\nphone_number_id = \"7{n:07}\"\ndisplay_phone_number = \"39061{n:07}\"\n\
                 access_token = \"a token for benchmarks\"\nrate = 250\n",
                channel(n),
                tenant(n % self.tenants)
            );
        }
        for n in 0..self.endpoints {
            registry += &format!(
                "[[endpoint]]\nid = \"many-e{n}\"\ntenant = \"{}\"\nkind = \"webhook\"\nurl = \"{}\"\n\
                 secret = \"{SECRET}\"\n",
                tenant(n % self.tenants),
                url(n)
            );
        }
        registry
    }
}

impl std::fmt::Display for Registered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenants, channels, endpoints } = self;
        write!(out, "{tenants} tenants, {channels} channels, {endpoints} endpoints")
    }
}

/// The `n`th tenant's id.
pub(crate) fn tenant(n: usize) -> String {
    format!("many-t{n}")
}

/// The `n`th channel's id.
pub(crate) fn channel(n: usize) -> String {
    format!("many-c{n}")
}

/// What the `n`th tenant shows at the API.
pub(crate) fn key(n: usize) -> String {
    format!("key {n} for benchmarks")
}
