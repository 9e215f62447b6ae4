//! `syncscope analyze`.

use super::{CliError, ColorWhen, Outcome};

/// Arguments of `syncscope analyze`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args, _color: ColorWhen) -> Result<Outcome, CliError> {
    Err(CliError::Message("analyze: not built yet".to_owned()))
}
