//! An emulated link, and a log of what it did to every packet.
//!
//! ```text
//!                 scenario.toml
//!                      │
//!  client ──packet──▶ machine ──packet──▶ server      one pure state machine, time is an argument
//!         ◀─packet──  (seeded) ◀─packet──
//!                      │
//!                      ▼
//!                 truth.ndjson                        one line a packet: what became of it, and why
//! ```
//!
//! The machine has three fronts: [`live`] (two network namespaces and a TUN device in each, for the
//! kernel's own TCP), [`transform`] (frames of a capture file) and [`pair`] (two endpoints in virtual
//! time). What the analysis finds can so be checked against what really happened.

mod conn;
pub mod endpoint;
pub mod fate;
mod forge;
pub mod kernel;
pub mod live;
pub mod machine;
pub mod offload;
pub mod packet;
pub mod pair;
mod rule;
pub mod scenario;
pub mod score;
pub mod talk;
pub mod transform;
pub mod units;
