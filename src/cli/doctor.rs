//! `syncscope doctor`.

use super::{CliError, Outcome};

/// Arguments of `syncscope doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Result<Outcome, CliError> {
    Err(CliError::Message("doctor: not built yet".to_owned()))
}
