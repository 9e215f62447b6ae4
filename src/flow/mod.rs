//! Segments → connections: who talked with whom, which incarnation, which way, and how far the
//! capture itself can be trusted.
//!
//! ```text
//! Decoded → Table (4-tuple, incarnation) → Trace (direction, 64-bit sequence numbers, scaled windows)
//!         → hygiene (duplicates, IP ID order) → tap position
//! ```

mod calm;
pub mod hygiene;
mod stray;
pub mod table;
pub mod tap;
pub mod trace;

pub use calm::{Ids, Run};
pub use table::{Batch, Incarnation, Table};
pub use trace::{Packet, Trace, Twin, View};
