//! The names by which requests may call this machine.
//!
//! A web page can have its own name resolved to this machine, and then read what the machine answers: DNS rebinding. Such a
//! request carries the page's name. An IP address cannot be rebound, and `localhost` is always this machine.

use std::net::IpAddr;

use axum::http::uri::Authority;

/// Allowed names, in lower case and without a port.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// # Errors
    /// The first text that is no name of a host.
    pub(super) fn new(names: &[String]) -> Result<Self, String> {
        names.iter().map(|name| host_in(name).ok_or_else(|| name.clone())).collect::<Result<_, _>>().map(Self)
    }

    /// Adds the name in an address to listen on, if it has one.
    pub(super) fn with_name_in(mut self, address: &str) -> Self {
        self.0.extend(host_in(address));
        self
    }

    pub(super) fn allows(&self, authority: &Authority) -> bool {
        let host = plain(authority.host());
        is_ip(&host) || host == "localhost" || host.ends_with(".localhost") || self.0.contains(&host)
    }
}

/// The name in `diagnostics.example` or `diagnostics.example:8080`.
fn host_in(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    let host = plain(authority.host());
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_name && !host.is_empty() && !text.contains('@')).then_some(host)
}

/// In lower case, and without the dot of the root.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_ip(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &Hosts, host: &str) -> bool {
        hosts.allows(&host.parse().expect("is an authority"))
    }

    #[test]
    fn names_are_rebound_and_addresses_are_not() {
        let names = ["Diagnostics.example".to_owned(), "api:6060".to_owned()];
        let hosts = Hosts::new(&names).expect("names").with_name_in("build-3:6060").with_name_in("127.0.0.1:6060");
        for host in [
            "127.0.0.1",
            "127.0.0.1:6060",
            "10.1.2.3:80",
            "[::1]:6060",
            "[fe80::1]",
            "localhost",
            "LocalHost:6060",
            "shop.localhost:3000",
            "localhost.",
            "diagnostics.example",
            "DIAGNOSTICS.example.:443",
            "api",
            "build-3:9999",
        ] {
            assert!(allows(&hosts, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:6060",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "diagnostics.example.evil.example",
            "evil-diagnostics.example",
            // Browsers write the address out before they send it.
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            assert!(!allows(&hosts, host), "{host}");
        }
    }

    #[test]
    fn an_allowed_host_is_a_name() {
        for text in
            ["", "*", "*.example", "https://diagnostics.example", "a/b", "user@host", "[::1", "münchen.example", "a b"]
        {
            assert_eq!(Hosts::new(&[text.to_owned()]).expect_err("is no name"), text);
        }
    }
}
