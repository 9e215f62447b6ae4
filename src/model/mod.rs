//! The words that every room shares: time, sequence numbers, flows, frames, units,
//! and what TCP and applications do. Nothing here knows a clock, a file or a socket.

pub mod app;
mod by_byte;
pub mod calendar;
pub mod flow;
pub mod frame;
pub mod hash;
pub mod name;
pub mod seq;
pub mod tcp;
pub mod time;
pub mod units;

pub use app::{AppEvent, AppLog, AppOp, Phase, Side, TcpSample};
pub use by_byte::ByByte;
pub use flow::{Dir, FlowId, PerDir};
pub use frame::{Frame, FrameNo, LinkType};
pub use seq::{RelSeq, Seq, StreamRange};
pub use time::{Ns, Span, Ts};
