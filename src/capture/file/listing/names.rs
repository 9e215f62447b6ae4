//! Names in a listing: without `-n` tcpdump prints hosts and services by name.

use super::row::{End, Row};
use crate::capture::file::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What names stand for, and which are not known.
pub(super) struct Names {
    told: BTreeMap<String, Name>,
    /// `/etc/services`, read when it is first needed.
    services: Option<HashMap<String, u16>>,
    hosts: BTreeSet<String>,
    ports: BTreeSet<String>,
    first: Option<u64>,
}

impl Names {
    pub fn new(told: &[(String, Name)]) -> Names {
        Names {
            told: told.iter().cloned().collect(),
            services: None,
            hosts: BTreeSet::new(),
            ports: BTreeSet::new(),
            first: None,
        }
    }

    /// Fills in both addresses, or notes which names stand in the way.
    pub fn resolve(&mut self, r: &mut Row, line: u64) {
        for end in [&mut r.src, &mut r.dst] {
            let (host, port) = (self.host(end, r.v6), self.port(end));
            match (host, port) {
                (Some(ip), Some(port)) => end.address = SocketAddr::new(ip, port),
                _ => {
                    self.first.get_or_insert(line);
                }
            }
        }
    }

    fn host(&mut self, end: &End, v6: bool) -> Option<IpAddr> {
        let plain = end.host.split('%').next().unwrap_or(&end.host);
        let found = match self.told.get(&end.host) {
            Some(Name::Address(ip)) => Some(*ip),
            _ => plain.parse().ok(),
        };
        let loopback = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let found = found.or_else(|| matches!(plain, "localhost" | "ip6-localhost").then_some(loopback));
        if found.is_none() {
            self.hosts.insert(end.host.clone());
        }
        found
    }

    fn port(&mut self, end: &End) -> Option<u16> {
        let found = match self.told.get(&end.port) {
            Some(Name::Port(p)) => Some(*p),
            _ => end.port.parse().ok().or_else(|| self.service(&end.port)),
        };
        if found.is_none() {
            self.ports.insert(end.port.clone());
        }
        found
    }

    fn service(&mut self, name: &str) -> Option<u16> {
        let all = self.services.get_or_insert_with(|| {
            let text = std::fs::read_to_string("/etc/services").unwrap_or_default();
            let line = |l: &str| {
                let mut words = l.split('#').next()?.split_whitespace();
                let (name, port) =
                    (words.next()?.to_owned(), words.next()?.strip_suffix("/tcp")?.parse().ok()?);
                Some((name, port))
            };
            text.lines().filter_map(line).collect()
        });
        all.get(name).copied()
    }

    /// The line of the first name that is not known.
    pub fn first_line(&self) -> u64 {
        self.first.unwrap_or(1)
    }

    /// What to tell the user about names that are not known.
    pub fn unknown(&self) -> Option<String> {
        const SHOWN: usize = 8;
        if self.hosts.is_empty() && self.ports.is_empty() {
            return None;
        }
        let hosts = self.hosts.iter().map(|h| format!("--name {}=ADDRESS", super::row::shown(h)));
        let ports = self.ports.iter().map(|p| format!("--name {}=PORT", super::row::shown(p)));
        let all: Vec<String> = hosts.chain(ports).take(SHOWN).collect();
        Some(format!(
            "the listing has names whose addresses are not known here; say what they stand for with {} (or list with \
             `tcpdump -n`)",
            all.join(" ")
        ))
    }
}
