//! How many connections one client may have, and which limit a connection met that was closed before anything was read of it. Counts only while there is a limit for each client.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
};

/// Which limit a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Those of the process.
    Connections,
    /// Those of its client.
    Client,
    /// Its turn for a handshake did not come in time.
    Handshakes,
    /// Memory is critical.
    Memory,
}

impl Crowd {
    /// All of them, with the names of their limits.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Connections, "connections"),
        (Self::Client, "connections_per_client"),
        (Self::Handshakes, "handshakes"),
        (Self::Memory, "memory"),
    ];
}

/// Connections by client.
#[derive(Debug)]
pub struct Clients {
    most: Option<u32>,
    known: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection that was counted for its client; counts it out when dropped.
#[derive(Debug)]
pub struct OfClient {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// None yet; each may have so many.
    pub fn new(most: Option<u32>) -> Arc<Self> {
        Arc::new(Self { most, known: Mutex::default() })
    }

    /// Counts a connection in; nothing is counted where there is no limit.
    ///
    /// # Errors
    /// If the client has as many as it may.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Option<OfClient>, Crowd> {
        let Some(most) = self.most else { return Ok(None) };
        let client = network_of(client);
        let mut known = self.known();
        let count = known.entry(client).or_default();
        if *count >= most {
            return Err(Crowd::Client);
        }
        *count += 1;
        drop(known);
        Ok(Some(OfClient { clients: self.clone(), client }))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.known.lock().expect("nothing panics while it holds this lock")
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        if let Entry::Occupied(mut known) = self.clients.known().entry(self.client) {
            match known.get() {
                0 | 1 => drop(known.remove()),
                _ => *known.get_mut() -= 1,
            }
        }
    }
}

/// Who is one client: an address, or a /64 of IPv6, of which one machine may use every address (RFC 6177 §2).
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn each_client_has_its_own_and_what_ends_is_given_back() {
        let clients = Clients::new(Some(2));
        let admit = |address| clients.admit(at(address));
        let first = admit("192.0.2.1").unwrap();
        let second = admit("::ffff:192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Crowd::Client);
        let other = admit("192.0.2.2").unwrap();
        drop(second);
        let third = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_err());
        drop((first, third, other));
        assert!(clients.known().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_machine_has_many_addresses_of_ipv6_and_is_one_client() {
        let clients = Clients::new(Some(1));
        let _one = clients.admit(at("2001:db8:0:1::1")).unwrap();
        assert!(clients.admit(at("2001:db8:0:1:ffff::2")).is_err());
        assert!(clients.admit(at("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let clients = Clients::new(None);
        let open: Vec<_> = (0..100).map(|_| clients.admit(at("192.0.2.1")).unwrap()).collect();
        assert!(open.iter().all(Option::is_none) && clients.known().is_empty());
    }

    #[test]
    fn limits_are_named_as_in_their_table() {
        for (at, (crowd, name)) in Crowd::NAMES.iter().enumerate() {
            assert_eq!(*crowd as usize, at);
            assert!(crate::limits::TABLE.iter().any(|row| row.name == *name), "{name}");
        }
    }
}
