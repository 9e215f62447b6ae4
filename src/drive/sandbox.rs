//! Takes from this process what a server does not need: with Landlock it can touch nothing but what it
//! serves and its own scratch folder, whatever a peer may talk it into.

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use std::path::Path;

/// What is asked for; an older kernel gives what it has.
const WANTED: ABI = ABI::V5;
/// What the capture library reads to find an interface and to make a filter of addresses.
const CAPTURE: [&str; 7] =
    ["/sys", "/proc", "/etc/hosts", "/etc/nsswitch.conf", "/etc/protocols", "/usr/lib", "/lib"];
/// What everything needs.
const ALWAYS: [&str; 3] = ["/dev/urandom", "/etc/localtime", "/usr/share/zoneinfo"];

/// Whether it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// All that is asked for.
    Fully,
    /// What this kernel knows of it.
    Partly,
    /// This kernel has no Landlock.
    No,
}

impl Confined {
    /// In words.
    pub fn in_words(self) -> &'static str {
        match self {
            Confined::Fully => "Landlock is on: this process can touch nothing but what it serves",
            Confined::Partly => {
                "Landlock is on, as far as this kernel has it: this process can touch little but what it serves"
            }
            Confined::No => "Landlock is off: this kernel has none; names are confined by openat2 alone",
        }
    }
}

/// Confines the calling thread and all that it starts from now on.
pub fn confine<'a>(
    written: impl IntoIterator<Item = &'a Path>,
    read: impl IntoIterator<Item = &'a Path>,
    capture: bool,
) -> Result<Confined, RulesetError> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        // It listens already, and never connects.
        .handle_access(AccessNet::from_all(WANTED))?
        .create()?
        .add_rules(path_beneath_rules(written, AccessFs::from_all(WANTED) & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(read, reading))?
        .add_rules(path_beneath_rules(ALWAYS, reading))?
        .add_rules(path_beneath_rules(CAPTURE.iter().filter(|_| capture), reading))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::No,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_not_served_is_out_of_reach_even_by_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let (served, shown) = (dir.path().join("served"), dir.path().join("shown"));
        fs::create_dir(&served).unwrap();
        fs::create_dir(&shown).unwrap();
        fs::write(shown.join("f"), "shown").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("../secret", served.join("link")).unwrap();
        // A thread of its own: it cannot be undone.
        let confined = std::thread::spawn(move || {
            let state = confine([served.as_path()], [shown.as_path()], false).unwrap();
            if state == Confined::No {
                return state;
            }
            fs::write(served.join("f"), "new").unwrap();
            fs::rename(served.join("f"), served.join("g")).unwrap();
            fs::create_dir_all(served.join("d/e")).unwrap();
            assert_eq!(fs::read_to_string(shown.join("f")).unwrap(), "shown");
            assert!(fs::write(shown.join("f"), "new").is_err());
            assert!(fs::read(served.join("link")).is_err() && fs::read("/etc/passwd").is_err());
            assert!(fs::rename(served.join("g"), shown.join("g")).is_err());
            state
        });
        let state = confined.join().unwrap();
        println!("{}", state.in_words());
        assert!(fs::read(dir.path().join("secret")).is_ok(), "other threads are as before");
    }
}
