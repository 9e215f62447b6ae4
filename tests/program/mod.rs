//! The program itself, as a user starts it. A test binary that has this module has `skip`, too.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use crate::skip;
use std::process::{Command, Output, Stdio};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_syncscope");

/// Runs it in the package's folder, without standard input, until it ends.
pub fn syncscope(args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command.output().unwrap()
}

/// True when this machine lets the lab run; a machine of the CI must. `what` cannot run otherwise.
pub fn able(what: &str) -> bool {
    let doctor = syncscope(&["doctor"]);
    if !doctor.status.success() {
        skip::skip(what, &String::from_utf8_lossy(&doctor.stdout));
    }
    doctor.status.success()
}
