//! Names inside a run record, a folder that `syncscope view` opens again.
//!
//! ```text
//! RECORD/
//! ├── report.json            the report, `syncscope.report/1`
//! ├── client.pcapng          what the client's tap saw; Wireshark opens it
//! ├── server.pcapng          what the server's tap saw
//! ├── client.events.json     the client application's reads, writes, work and TCP_INFO samples
//! ├── server.events.json     the server's
//! ├── scenario.toml          what was asked of the emulated link, if there was one
//! ├── truth.ndjson           the fate of every packet on it
//! ├── kernel.json            the kernels' counters and retransmissions, after a scripted talk
//! └── talk.json              how both ends of a scripted talk ended, and their captures
//! ```

/// The report.
pub const REPORT: &str = "report.json";
/// The client's capture.
pub const CLIENT_CAPTURE: &str = "client.pcapng";
/// The server's capture.
pub const SERVER_CAPTURE: &str = "server.pcapng";
/// The client's [`crate::model::AppLog`].
pub const CLIENT_EVENTS: &str = "client.events.json";
/// The server's [`crate::model::AppLog`].
pub const SERVER_EVENTS: &str = "server.events.json";
/// The link's scenario.
pub const SCENARIO: &str = "scenario.toml";
/// The link's log of packet fates.
pub const TRUTH: &str = "truth.ndjson";
/// What the kernels say they did.
pub const KERNEL: &str = "kernel.json";
/// How a scripted talk went.
pub const TALK: &str = "talk.json";
