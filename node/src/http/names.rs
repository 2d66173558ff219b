//! Names in the heads of requests: the host that a request is for, and the page that sends it.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::{Uri, uri::Authority};

/// A host without its port, in lower case and without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The host of `host[:port]`.
    pub(crate) fn of(authority: &str) -> Option<Self> {
        let authority: Authority = authority.parse().ok().filter(|_| !authority.contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        (!host.is_empty()).then_some(Self(host))
    }

    /// Whether it leads to the machine that it is looked up on.
    pub fn is_loopback(&self) -> bool {
        let named = self.0 == "localhost" || self.0.ends_with(".localhost");
        named || self.address().is_some_and(|address| address.is_loopback())
    }

    /// The address, if it is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No host, or more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

impl FromStr for HostName {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        // An address of IPv6 is written in brackets where a port may follow, and here none may.
        let host =
            if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) { &format!("[{text}]") } else { text };
        let port = host.parse::<Authority>().is_ok_and(|authority| authority.as_str() != authority.host());
        if port { Err(NoName) } else { Self::of(host).ok_or(NoName) }
    }
}

/// Where pages come from, as browsers write it (RFC 6454 §6.1): scheme, host, and a port unless it is the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    pub(crate) host: HostName,
}

impl FromStr for Origin {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let uri: Uri = text.parse().map_err(|_| NoName)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(NoName) };
        let host = HostName::of(authority.as_str()).ok_or(NoName)?;
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(NoName);
        }
        let port = authority.port_u16();
        if authority.as_str().len() != authority.host().len() && port.is_none() {
            return Err(NoName);
        }
        let scheme = scheme.to_ascii_lowercase();
        let bracketed = authority.host().to_ascii_lowercase();
        let text = match port.filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443))) {
            Some(port) => format!("{scheme}://{bracketed}:{port}"),
            None => format!("{scheme}://{bracketed}"),
        };
        Ok(Self { text, host })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_without_a_port() {
        for (text, host) in [
            ("Node.Example", Some("node.example")),
            ("192.168.1.5", Some("192.168.1.5")),
            ("fd00::1", Some("fd00::1")),
            ("[fd00::1]", Some("fd00::1")),
            ("node.example:443", None),
            ("https://node.example", None),
            ("a@node.example", None),
            ("node.example/path", None),
            ("two words", None),
            ("", None),
        ] {
            let came = text.parse::<HostName>().ok().map(|host| host.to_string());
            assert_eq!(came.as_deref(), host, "{text}");
        }
        assert_eq!(HostName::of("[::1]:3000").unwrap().address(), "::1".parse().ok());
    }

    #[test]
    fn hosts_of_this_machine_are_known() {
        for (host, loopback) in [
            ("localhost", true),
            ("page.localhost", true),
            ("127.0.0.2", true),
            ("::1", true),
            ("localhost.evil.example", false),
            ("0.0.0.0", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(host.parse::<HostName>().unwrap().is_loopback(), loopback, "{host}");
        }
    }

    #[test]
    fn origins_read_as_browsers_write_them() {
        for (text, origin) in [
            ("https://App.Example", Some("https://app.example")),
            ("https://app.example:443/", Some("https://app.example")),
            ("http://app.example:443", Some("http://app.example:443")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("app.example", None),
            ("https://app.example/path", None),
            ("https://app.example/?a", None),
            ("https://app.example/#a", None),
            ("https://app.example:99999", None),
            ("https://a@app.example", None),
            ("null", None),
            ("*", None),
            ("file://", None),
            ("", None),
        ] {
            let came = text.parse::<Origin>().ok().map(|origin| origin.to_string());
            assert_eq!(came.as_deref(), origin, "{text}");
        }
    }
}
