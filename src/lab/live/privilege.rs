//! May this process make network namespaces and TUN devices, and if not, which command mends it?

use super::LabError;
use super::sys;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::time::Duration;

/// How the process came to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It had the capabilities.
    Capable,
    /// It is root in a user namespace of its own.
    UserNamespace,
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Whether the calling thread has a capability.
pub fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let set = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set >> number & 1 == 1)
}

/// Whether it may make network namespaces and configure them without a user namespace.
pub fn may_unshare_network() -> bool {
    has_capability(CAP_SYS_ADMIN) && has_capability(CAP_NET_ADMIN)
}

/// Makes this process able to build a lab: at once if it has the capabilities, else in a user namespace
/// of its own, in which it is root. To be called first in `main`, before any thread starts: the kernel
/// lets only a process with a single thread change its user namespace. Calling it again does nothing.
pub fn prepare() -> Result<Privilege, LabError> {
    check_tun()?;
    if may_unshare_network() {
        return Ok(Privilege::Capable);
    }
    enter_user_namespace()?;
    Ok(Privilege::UserNamespace)
}

/// Whether the TUN control device can be opened.
pub fn check_tun() -> Result<(), LabError> {
    let error = match sys::open_tun() {
        Ok(_) => return Ok(()),
        Err(e) => e,
    };
    let root = nix::unistd::geteuid().is_root();
    let mend = match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "sudo modprobe tun; sudo mkdir -p /dev/net; sudo mknod -m 0666 /dev/net/tun c 10 200"
        }
        Some(libc::ENODEV | libc::ENXIO) => "sudo modprobe tun",
        _ if root => "docker run --device /dev/net/tun … (or whatever gives this container the device)",
        _ => {
            "sudo chmod 0666 /dev/net/tun (usual on desktops; the device does nothing without CAP_NET_ADMIN)"
        }
    };
    Err(LabError::NotAllowed {
        what: format!("open {}", sys::TUN),
        message: error.to_string(),
        mend: mend.into(),
    })
}

fn enter_user_namespace() -> Result<(), LabError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut entered = unshare(CloneFlags::CLONE_NEWUSER);
    // A thread that was joined still counts for a moment: joining returns before the kernel has put it away.
    for _ in 0..200 {
        if entered != Err(Errno::EINVAL) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
        entered = unshare(CloneFlags::CLONE_NEWUSER);
    }
    entered.map_err(|e| not_allowed("make a user namespace", e))?;
    // A program that got capabilities from its file may not write its own maps until it is dumpable again.
    let _ = nix::sys::prctl::set_dumpable(true);
    // Without `deny` an unprivileged process may not map a group (user_namespaces(7)).
    let map = std::fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")));
    map.map_err(|e| not_allowed("become root in a user namespace", errno(&e)))
}

fn errno(e: &io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(0))
}

/// The error of a namespace call, with what mends it on this machine.
pub fn not_allowed(what: &str, error: Errno) -> LabError {
    let message = match error {
        Errno::EINVAL => "the process has more than one thread already".to_owned(),
        e => e.desc().to_owned(),
    };
    LabError::NotAllowed { what: what.to_owned(), message, mend: mend_namespaces() }
}

/// What would allow namespaces to an ordinary user here.
pub fn mend_namespaces() -> String {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|t| t.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "sudo sysctl -w user.max_user_namespaces=10000".to_owned()
    } else if is("/proc/sys/user/max_net_namespaces", "0") {
        "sudo sysctl -w user.max_net_namespaces=10000".to_owned()
    } else {
        let args: Vec<String> = std::env::args().skip(1).collect();
        format!("sudo syncscope {}", args.join(" ")).trim_end().to_owned()
    }
}
