//! Who may connect, from where and how often: decided before a byte is read. What cannot be decided is
//! refused.

use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered; the table never holds more.
const REMEMBERED: usize = 4096;
/// What a failed handshake costs, in connections.
const WRONG: f64 = 20.0;
const MINUTE: Duration = Duration::from_secs(60);

/// Lists of networks. A denied address stays out; with an allow list all others do, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Only these, if there are any.
    pub allow: Vec<IpNet>,
    /// Not these.
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Whether this address may.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let among = |nets: &[IpNet]| nets.iter().any(|n| n.contains(&ip));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }
}

/// One network of a list: `10.0.0.0/8`, or one address. Names are not taken: whether one can be looked
/// up must not decide who comes in.
pub fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match net {
        // An IPv4 address behind IPv6 is looked up as what it is.
        Ok(IpNet::V6(v6)) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(format!("`{text}`: write an IPv4 network as such"))
        }
        Ok(net) => Ok(net),
        Err(_) => Err(format!("`{text}` is no network; write 10.0.0.0/8, fd00::/8 or one address")),
    }
}

/// Connections at once and per minute from one address; of IPv6 from one /64.
#[derive(Debug)]
pub struct Turnstile {
    at_once: usize,
    a_minute: f64,
    seen: Mutex<HashMap<IpAddr, Visitor>>,
}

#[derive(Debug)]
struct Visitor {
    open: usize,
    /// Connections that may still come now.
    left: f64,
    since: Instant,
}

impl Turnstile {
    /// With these limits.
    pub fn new(at_once: usize, a_minute: u32) -> Turnstile {
        Turnstile { at_once, a_minute: f64::from(a_minute), seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Visitor>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one connection in; in words why not, else.
    pub fn enter(&self, ip: IpAddr, now: Instant) -> Result<Entered<'_>, String> {
        let key = place(ip);
        let mut seen = self.seen();
        if seen.len() >= REMEMBERED && !seen.contains_key(&key) {
            // Whoever has waited a minute has nothing left to remember.
            seen.retain(|_, v| v.open > 0 || now.saturating_duration_since(v.since) < MINUTE);
            if seen.len() >= REMEMBERED {
                return Err("too many addresses connect at once".to_owned());
            }
        }
        let v = seen.entry(key).or_insert(Visitor { open: 0, left: self.a_minute, since: now });
        let share = now.saturating_duration_since(v.since).as_secs_f64() / MINUTE.as_secs_f64();
        (v.left, v.since) = ((v.left + share * self.a_minute).min(self.a_minute), now);
        if v.open >= self.at_once {
            return Err(format!("{} connections of this address are open", v.open));
        }
        if v.left < 1.0 {
            return Err(format!("more than {} connections a minute from this address", self.a_minute));
        }
        v.left -= 1.0;
        v.open += 1;
        Ok(Entered { by: self, key })
    }

    /// Somebody there did not have the secret: the next tries come more slowly.
    pub fn wrong(&self, ip: IpAddr) {
        if let Some(v) = self.seen().get_mut(&place(ip)) {
            v.left -= WRONG;
        }
    }
}

/// A connection that was let in; counts until it is dropped.
#[derive(Debug)]
pub struct Entered<'a> {
    by: &'a Turnstile,
    key: IpAddr,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(v) = self.by.seen().get_mut(&self.key) {
            v.open = v.open.saturating_sub(1);
        }
    }
}

fn place(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn deny_wins_and_an_allow_list_keeps_all_others_out() {
        let nets = |all: &[&str]| all.iter().map(|n| network(n).unwrap()).collect::<Vec<_>>();
        let open = Access::default();
        assert!(open.admits(ip("192.0.2.1")) && open.admits(ip("2001:db8::1")));
        let a =
            Access { allow: nets(&["10.0.0.0/8", "fd00::/8"]), deny: nets(&["10.0.0.13", "10.9.0.0/16"]) };
        for (who, may) in [
            ("10.0.0.1", true),
            ("10.0.0.13", false),
            ("10.9.1.1", false),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.13", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(a.admits(ip(who)), may, "{who}");
        }
    }

    #[test]
    fn what_is_no_network_is_an_error_and_never_an_empty_rule() {
        for bad in ["", " ", "10.0.0.0/33", "example.com", "10.0.0", "*", "::ffff:10.0.0.1", "10.0.0.1 "] {
            assert!(network(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let t = Turnstile::new(2, 60);
        let start = Instant::now();
        let (a, b) =
            (t.enter(ip("10.0.0.1"), start).unwrap(), t.enter(ip("::ffff:10.0.0.1"), start).unwrap());
        assert!(t.enter(ip("10.0.0.1"), start).unwrap_err().contains("2 connections"));
        assert!(t.enter(ip("10.0.0.2"), start).is_ok(), "others are not held up");
        drop((a, b));
        for _ in 2..60 {
            t.enter(ip("10.0.0.1"), start).unwrap();
        }
        assert!(t.enter(ip("10.0.0.1"), start).unwrap_err().contains("60 connections a minute"));
        let later = start + Duration::from_millis(1100);
        assert!(t.enter(ip("10.0.0.1"), later).is_ok() && t.enter(ip("10.0.0.1"), later).is_err());
        // All of a /64 is one place; a wrong secret costs as much as twenty connections.
        t.enter(ip("2001:db8::1"), start).unwrap();
        (0..3).for_each(|_| t.wrong(ip("2001:db8::2")));
        assert!(t.enter(ip("2001:db8::3"), start).is_err());
        assert!(t.enter(ip("2001:db8:0:1::3"), start).is_ok());
    }

    #[test]
    fn the_table_of_addresses_is_bounded_and_forgets() {
        let t = Turnstile::new(2, 60);
        let start = Instant::now();
        for n in 0..REMEMBERED as u32 {
            t.enter(IpAddr::V4(n.into()), start).unwrap();
        }
        assert!(t.enter(ip("200.0.0.1"), start).is_err());
        assert!(t.enter(ip("200.0.0.1"), start + MINUTE).is_ok());
        assert_eq!(t.seen().len(), 1);
    }
}
