//! Addresses as OpenFunction's status writes them: `http://host/path` by the escaping of Go's `net/url`. Never a port, never https.

use serde::{Deserialize, Serialize};

/// One entry of `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who can use it.
    #[serde(rename = "type")]
    pub reach: Reach,
    /// The URL.
    pub value: String,
}

/// Who can use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// Only what runs in the cluster: the host ends with the cluster's domain.
    Internal,
    /// Everybody who can resolve the host.
    External,
}

impl Address {
    /// The address of a path on a host.
    pub fn new(host: &str, path: &str, cluster_domain: &str) -> Self {
        let reach = if host.ends_with(cluster_domain) { Reach::Internal } else { Reach::External };
        Self { reach, value: format!("http://{host}{}", escaped(path)) }
    }
}

/// `url.URL{Path: path}` as Go prints it behind a host (net/url, `EscapedPath` without a raw path).
fn escaped(path: &str) -> String {
    if path == "*" {
        return "/*".to_owned();
    }
    let mut out = String::with_capacity(path.len() + 1);
    if !path.is_empty() && !path.starts_with('/') {
        out.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_as_go_does() {
        for (path, url) in [
            ("/", "http://h.ofn.io/"),
            ("/c.*", "http://h.ofn.io/c.%2A"),
            ("/v2/foo", "http://h.ofn.io/v2/foo"),
            ("/a b?c#d", "http://h.ofn.io/a%20b%3Fc%23d"),
            ("/(x|y)!'", "http://h.ofn.io/%28x%7Cy%29%21%27"),
            ("/$&+,:;=@-_.~", "http://h.ofn.io/$&+,:;=@-_.~"),
            ("/ü", "http://h.ofn.io/%C3%BC"),
            ("x", "http://h.ofn.io/x"),
            ("", "http://h.ofn.io"),
        ] {
            assert_eq!(Address::new("h.ofn.io", path, "cluster.local").value, url, "{path}");
        }
    }

    #[test]
    fn the_cluster_domain_makes_an_address_internal() {
        let reach = |host| Address::new(host, "/", "cluster.local").reach;
        assert_eq!(reach("f.default.svc.cluster.local"), Reach::Internal);
        assert_eq!(reach("f.default.ofn.io"), Reach::External);
        assert_eq!(Address::new("*.wild.ofn.io", "/", "cluster.local").value, "http://*.wild.ofn.io/");
    }
}
