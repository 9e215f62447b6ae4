//! `syncscope lab`.

use super::{CliError, Outcome};

/// Arguments of `syncscope lab`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Result<Outcome, CliError> {
    Err(CliError::Message("lab: not built yet".to_owned()))
}
