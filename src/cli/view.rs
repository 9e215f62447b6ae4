//! `syncscope view`.

use super::{CliError, ColorWhen, Outcome};

/// Arguments of `syncscope view`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args, _color: ColorWhen) -> Result<Outcome, CliError> {
    Err(CliError::Message("view: not built yet".to_owned()))
}
