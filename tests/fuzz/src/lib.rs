//! The fuzz targets as libFuzzer takes them: `fuzz_targets/NAME.rs` calls [`targets`]`::NAME`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod targets;
