//! Addresses to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// An address to listen on: `8081`, `:8081` (every address), `127.0.0.1:8081`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    pub(super) fn everywhere(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
    }

    pub(super) fn local(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, or an address and a port like 127.0.0.1:8081")
            }

            fn visit_i64<E: serde::de::Error>(self, port: i64) -> Result<Listen, E> {
                let port = u16::try_from(port)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(port), &self))?;
                Ok(Listen::everywhere(port))
            }

            fn visit_u64<E: serde::de::Error>(self, port: u64) -> Result<Listen, E> {
                self.visit_i64(i64::try_from(port).unwrap_or(i64::MAX))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Listen, E> {
                if let Ok(port) = text.trim_start_matches(':').parse() {
                    return Ok(Listen::everywhere(port));
                }
                let text = text.replace("localhost", "127.0.0.1");
                text.parse()
                    .map(Listen)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(&text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
