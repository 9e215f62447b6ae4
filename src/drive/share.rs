//! What a server serves: one folder, or modules by name, each with its own users, addresses and limits.

use super::gate::Access;
use crate::sync::Limits;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One folder that is served.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// First component of the paths in it; empty: it is all that is served, and has no name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// Nothing may be pushed.
    pub read_only: bool,
    /// Who may use it; empty: everybody who may connect.
    pub users: Vec<String>,
    /// From where.
    pub access: Access,
    /// How much may be pushed.
    pub limits: Limits,
    /// The folder itself; a server opens it when it starts.
    pub root: Option<Arc<OwnedFd>>,
}

impl Share {
    /// One folder without a name.
    pub fn whole(path: &Path) -> Share {
        Share { path: path.to_owned(), ..Share::default() }
    }

    /// Opens the folder, so that what is planted at its path later changes nothing.
    pub(super) fn open(mut self) -> nix::Result<Share> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        self.root = Some(Arc::new(open(&self.path, flags, Mode::empty())?));
        Ok(self)
    }

    fn admits(&self, user: &str, ip: IpAddr) -> bool {
        (self.users.is_empty() || self.users.iter().any(|u| u == user)) && self.access.admits(ip)
    }
}

/// The share that a path lies in, and the path below its folder. What is not there and what is not for
/// this user look alike.
pub(super) fn find<'a, 'p>(
    shares: &'a [Share],
    path: &'p str,
    user: &str,
    ip: IpAddr,
) -> Result<(&'a Share, &'p str), String> {
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let here = shares.iter().find_map(|s| match s.name.as_str() {
        "" => Some((s, path)),
        n => (n == name).then_some((s, rest)),
    });
    here.filter(|(s, _)| s.admits(user, ip)).ok_or_else(|| match name {
        "" => "name a module: HOST:PORT:MODULE/PATH".to_owned(),
        name => format!("there is no module {name:?} for you here"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::gate::network;

    #[test]
    fn modules_are_found_by_name_user_and_address() {
        let share = |name: &str, users: &[&str]| Share {
            name: name.to_owned(),
            users: users.iter().map(|u| (*u).to_owned()).collect(),
            ..Share::whole(Path::new("/srv"))
        };
        let mut near = share("near", &[]);
        near.access.allow.push(network("10.0.0.0/8").unwrap());
        let shares = [share("photos", &["ann"]), share("all", &[]), near];
        let (ann, bob) = ("ann", "bob");
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let found = |path, user| find(&shares, path, user, ip).map(|(s, rest)| (s.name.as_str(), rest));
        assert_eq!(found("photos/2024/a", ann), Ok(("photos", "2024/a")));
        assert_eq!(found("all", bob), Ok(("all", "")));
        let refused = "there is no module \"photos\" for you here";
        assert_eq!(found("photos", bob), Err(refused.to_owned()));
        assert_eq!(found("photo", ann), Err("there is no module \"photo\" for you here".to_owned()));
        assert!(found("", ann).unwrap_err().contains("name a module"));
        assert!(found("near", ann).is_err());
        assert!(find(&shares, "near", bob, "10.1.1.1".parse().unwrap()).is_ok());
        let whole = [Share::whole(Path::new("/srv"))];
        assert_eq!(find(&whole, "photos/x", bob, ip).unwrap().1, "photos/x");
    }
}
