//! Why is this transfer slow or hung, and whose fault is it?
//!
//! ```text
//!  live NIC ┐
//!  file     ┴ capture → decode → flow → tcp ─┐
//!                                            ├ correlate → diagnose → report ─┬ view (text json ndjson)
//!  drive ── sync (sans-IO) ── app events ────┘                                └ tui
//! ```
//!
//! Data flows one way: a room uses rooms to its left, and [`model`]. The middle (`decode` to
//! `diagnose`, `report`, and `sync`) is pure: bytes and time stamps in, values out. Only the edges
//! (`capture`, `drive`, `lab/live`, `tui/run`, `cli`) touch the world. `tests/layers.rs` holds both rules.

pub mod model;

pub mod capture;
pub mod decode;
pub mod flow;
pub mod tcp;

pub mod sync;

pub mod report;

pub mod applog;

pub mod correlate;
pub mod diagnose;

pub mod view;

pub mod lab;

pub mod drive;

pub mod tui;

pub mod cli;
