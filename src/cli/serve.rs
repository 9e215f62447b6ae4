//! `syncscope serve`.

use super::{CliError, Outcome};

/// Arguments of `syncscope serve`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Result<Outcome, CliError> {
    Err(CliError::Message("serve: not built yet".to_owned()))
}
