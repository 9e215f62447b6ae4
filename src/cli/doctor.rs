//! `syncscope doctor`: what this machine allows, and the exact command that mends what it does not.

use super::{CliError, Outcome};
use crate::capture::{CaptureError, live::probe};
use crate::drive::sandbox::{Confined, confine};
use crate::lab::live::{self, Lab, LabError, privilege};
use crate::lab::scenario::{self, Scenario};
use crate::model::Side;
use std::io::Write;
use std::path::Path;

/// Arguments of `syncscope doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Exit code: 0 when `syncscope demo` can run here, else 2.")]
pub struct Args {}

/// One line.
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    mend: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, ok: true, detail: detail.into(), mend: None }
    }

    fn bad(name: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, ok: false, detail: detail.into(), mend: Some(mend.into()) }
    }

    fn of(name: &'static str, good: &str, result: Result<(), LabError>) -> Check {
        match result {
            Ok(()) => Check::ok(name, good),
            Err(LabError::NotAllowed { what, message, mend }) => {
                Check::bad(name, format!("not allowed to {what}: {message}"), mend)
            }
            Err(e) => Check { name, ok: false, detail: e.to_string(), mend: None },
        }
    }
}

/// Runs it.
pub fn run(_args: Args) -> Result<Outcome, CliError> {
    let mut out = std::io::stdout().lock();
    let mut checks =
        vec![capture(), namespaces(), user_namespaces(), tun(), congestion_control(), confinement()];
    // Last: this may move the process into a user namespace.
    let (link, inside) = lab();
    let can_demo = link.ok && inside.ok;
    checks.extend([link, inside]);
    for c in &checks {
        writeln!(out, "{:<6}  {:<19}  {}", if c.ok { "ok" } else { "not ok" }, c.name, c.detail)?;
        if let Some(mend) = &c.mend {
            writeln!(out, "{:<6}  {:<19}  mend it with: {mend}", "", "")?;
        }
    }
    writeln!(out, "\n`syncscope demo` {} run here.", if can_demo { "can" } else { "cannot" })?;
    Ok(if can_demo { Outcome::Ok } else { Outcome::Code(2) })
}

/// What libpcap says of a device of the calling thread's namespace.
fn capture_on(name: &'static str, device: Option<&str>, good: &str) -> Check {
    match probe(device) {
        Ok(_) => Check::ok(name, good),
        Err(CaptureError::Permission { device, message, mend }) => {
            Check::bad(name, format!("no permission to capture on {device}: {message}"), mend)
        }
        Err(e) => Check { name, ok: false, detail: e.to_string(), mend: None },
    }
}

fn capture() -> Check {
    capture_on("capture", None, "packets of this host's interfaces can be captured (libpcap)")
}

fn namespaces() -> Check {
    const NAME: &str = "namespaces";
    if privilege::may_unshare_network() {
        Check::ok(NAME, "network namespaces without a user namespace (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
    } else {
        Check::ok(NAME, "not by itself (no CAP_SYS_ADMIN); a user namespace will do")
    }
}

fn user_namespaces() -> Check {
    const NAME: &str = "user namespaces";
    let read = |path: &str| std::fs::read_to_string(path).map(|t| t.trim().to_owned()).ok();
    let zero = |path: &str| read(path).as_deref() == Some("0");
    let refused = zero("/proc/sys/kernel/unprivileged_userns_clone")
        || zero("/proc/sys/user/max_user_namespaces")
        || read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1");
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        let needed = "the kernel is built without user namespaces";
        return if privilege::may_unshare_network() {
            Check::ok(NAME, format!("{needed}; not needed here"))
        } else {
            Check::bad(NAME, needed, "sudo syncscope demo")
        };
    }
    match (refused, privilege::may_unshare_network()) {
        (false, _) => Check::ok(NAME, "allowed to ordinary users"),
        (true, true) => Check::ok(NAME, "refused to ordinary users; not needed here"),
        (true, false) => Check::bad(NAME, "refused to ordinary users", privilege::mend_namespaces()),
    }
}

fn tun() -> Check {
    Check::of("TUN", "/dev/net/tun can be opened", privilege::check_tun())
}

fn congestion_control() -> Check {
    const NAME: &str = "congestion control";
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let (used, available, allowed) = (
        read("tcp_congestion_control"),
        read("tcp_available_congestion_control"),
        read("tcp_allowed_congestion_control"),
    );
    let detail = format!("this host uses {used}; scenarios may ask for: {allowed}; loaded: {available}");
    if allowed.split_whitespace().any(|c| c == "reno") {
        Check::ok(NAME, detail)
    } else {
        let mend = format!("sudo sysctl -w net.ipv4.tcp_allowed_congestion_control=\"{allowed} reno\"");
        Check::bad(NAME, format!("{detail}; the demo needs reno"), mend)
    }
}

/// What `serve` can take away from itself.
fn confinement() -> Check {
    const NAME: &str = "confinement";
    // In a thread of its own: it cannot be undone.
    let tried = std::thread::spawn(|| confine([] as [&Path; 0], [] as [&Path; 0], false)).join();
    match tried {
        Ok(Ok(Confined::Fully)) => Check::ok(NAME, "`serve` can touch nothing but what it serves (Landlock)"),
        Ok(Ok(Confined::Partly)) => {
            Check::ok(NAME, "`serve` can touch little but what it serves (an older Landlock)")
        }
        Ok(Ok(Confined::No)) => Check::ok(NAME, "no Landlock here; `serve` confines names by openat2 alone"),
        Ok(Err(e)) => Check { name: NAME, ok: false, detail: e.to_string(), mend: None },
        Err(_) => Check { name: NAME, ok: false, detail: "its thread died".into(), mend: None },
    }
}

/// Brings up the demo's link for a moment, and a packet socket in it.
fn lab() -> (Check, Check) {
    const LINK: &str = "emulated link";
    const INSIDE: &str = "capture inside it";
    let how = std::cell::Cell::new("");
    let attempt = || {
        let text = scenario::builtin("demo").unwrap_or_default();
        let demo = Scenario::parse("demo", text)
            .map_err(|e| LabError::Kernel { what: "read its scenario".into(), message: e.to_string() })?;
        how.set(match live::prepare()? {
            live::Privilege::Capable => "",
            live::Privilege::UserNamespace => ", in a user namespace",
        });
        Lab::start(&demo, None)
    };
    let lab = match attempt() {
        Ok(lab) => lab,
        Err(e) => {
            let link = Check::of(LINK, "", Err(e));
            return (
                link,
                Check { name: INSIDE, ok: false, detail: "no link to capture on".into(), mend: None },
            );
        }
    };
    let look = || capture_on(INSIDE, Some(live::DEVICE), "both ends of the link can be captured");
    let died = Check { name: INSIDE, ok: false, detail: "its thread died".into(), mend: None };
    let inside = lab.spawn_thread(Side::Client, "doctor", look).map(std::thread::JoinHandle::join);
    let inside = inside.ok().and_then(Result::ok).unwrap_or(died);
    let link = Check::of(
        LINK,
        &format!("two namespaces and their devices came up{}", how.get()),
        lab.finish().map(|_| ()),
    );
    (link, inside)
}
