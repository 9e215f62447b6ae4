//! The file that `serve --modules` takes: what is served, to whom, and how much.
//!
//! ```toml
//! [[user]]
//! name = "ann"                              # at most 16 bytes
//! secret-file = "/etc/syncscope/ann"        # mode 600
//!
//! [module.photos]                           # HOST:PORT:photos/…
//! path = "/srv/photos"
//! read-only = true
//! users = ["ann"]                           # without: everybody who may connect
//! allow = ["10.0.0.0/8"]
//! deny = ["10.0.0.13"]
//! max-files = 100000
//! max-file-size = "4GiB"
//! max-size = "100GiB"
//! max-depth = 40
//! ```
//! A word that it does not know is an error: a rule that is misspelt must not be a rule that is absent.

use super::CliError;
use crate::drive::connect::name_token;
use crate::drive::gate::{Access, network};
use crate::drive::{Secret, Share};
use crate::lab::units::Size;
use crate::sync::Limits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: Vec<User>,
    module: BTreeMap<String, Module>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct User {
    name: String,
    secret_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Module {
    path: PathBuf,
    #[serde(default)]
    read_only: bool,
    users: Option<Vec<String>>,
    allow: Option<Vec<String>>,
    #[serde(default)]
    deny: Vec<String>,
    max_files: Option<usize>,
    max_file_size: Option<Size>,
    max_size: Option<Size>,
    max_depth: Option<usize>,
}

/// Users with their secrets, and what is served.
pub type Modules = (Vec<(String, Secret)>, Vec<Share>);

/// Reads it; `limits` are those of modules that name none.
pub fn read(path: &Path, limits: Limits) -> Result<Modules, CliError> {
    let wrong = |what: String| CliError::Message(format!("modules {}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    parse(&text, limits).map_err(wrong)
}

fn parse(text: &str, limits: Limits) -> Result<Modules, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    let mut secrets: Vec<(String, Secret)> = Vec::new();
    for u in file.user {
        if u.name.is_empty() || name_token(&u.name).is_none() {
            return Err(format!("user {:?}: a name has 1 to 16 bytes", u.name));
        }
        if secrets.iter().any(|s| s.0 == u.name) {
            return Err(format!("user {:?} is there twice", u.name));
        }
        secrets.push((u.name, Secret::read(&u.secret_file)?));
    }
    if file.module.is_empty() {
        return Err("it has no module".to_owned());
    }
    let known: Vec<&str> = secrets.iter().map(|s| s.0.as_str()).collect();
    let share = |(name, m): (String, Module)| {
        m.share(&name, &known, limits).map_err(|e| format!("module {name}: {e}"))
    };
    let shares = file.module.into_iter().map(share).collect::<Result<_, _>>()?;
    Ok((secrets, shares))
}

impl Module {
    fn share(self, name: &str, known: &[&str], limits: Limits) -> Result<Share, String> {
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
            return Err("a name has no `/` and no control characters".to_owned());
        }
        // An empty list would mean “nobody” to one reader and “everybody” to another.
        for (what, empty) in [
            ("users", self.users.as_ref().is_some_and(Vec::is_empty)),
            ("allow", self.allow.as_ref().is_some_and(Vec::is_empty)),
        ] {
            if empty {
                return Err(format!("`{what}` is empty; leave it out to admit everybody"));
            }
        }
        let users = self.users.unwrap_or_default();
        if let Some(stranger) = users.iter().find(|u| !known.contains(&u.as_str())) {
            return Err(format!("there is no [[user]] {stranger:?}"));
        }
        let nets = |all: Vec<String>| all.iter().map(|n| network(n)).collect::<Result<Vec<_>, _>>();
        Ok(Share {
            name: name.to_owned(),
            read_only: self.read_only,
            users,
            access: Access { allow: nets(self.allow.unwrap_or_default())?, deny: nets(self.deny)? },
            limits: Limits {
                entries: self.max_files.unwrap_or(limits.entries),
                file: self.max_file_size.map_or(limits.file, |s| s.0),
                bytes: self.max_size.map_or(limits.bytes, |s| s.0),
                depth: self.max_depth.unwrap_or(limits.depth),
            },
            ..Share::whole(&self.path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_what_its_lines_say() {
        let text = "[module.photos]\npath = \"/srv/photos\"\nread-only = true\nallow = [\"10.0.0.0/8\"]\n\
                    max-file-size = \"4GiB\"\n[module.all]\npath = \"/srv\"\n";
        let (secrets, shares) = parse(text, Limits { depth: 9, ..Limits::default() }).unwrap();
        assert!(secrets.is_empty());
        let names: Vec<_> = shares.iter().map(|s| (s.name.as_str(), s.read_only)).collect();
        assert_eq!(names, [("all", false), ("photos", true)]);
        assert_eq!((shares[1].limits.file, shares[1].limits.depth), (4 << 30, 9));
        assert!(!shares[1].access.admits("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_never_left_out() {
        let module = "[module.m]\npath = \"/srv\"\n";
        for (line, why) in [
            ("deny = [\"example.com\"]", "no network"),
            ("deny = [\"\", \"10.0.0.1\"]", "no network"),
            ("denny = [\"10.0.0.1\"]", "denny"),
            ("allow = []", "is empty"),
            ("users = []", "is empty"),
            ("users = [\"ann\"]", "no [[user]]"),
            ("read-only = \"yes\"", "read-only"),
            ("max-file-size = \"many\"", "many"),
        ] {
            let said = parse(&format!("{module}{line}\n"), Limits::default()).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
        assert!(parse("", Limits::default()).is_err());
        assert!(parse("[module]", Limits::default()).unwrap_err().contains("no module"));
    }
}
