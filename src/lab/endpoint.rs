//! How the two kernels, and the host around the talk's sockets, are set.

use super::units::Dur;
use crate::model::Side;
use serde::Deserialize;

/// Both ends; what `[endpoint.client]` and `[endpoint.server]` say goes before what both have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Congestion control (`reno`, `cubic`, `bbr`, …); none: what the host uses.
    pub cc: Option<String>,
    /// SACK (RFC 2018); none: what the kernel does by itself, which is yes.
    pub sack: Option<bool>,
    /// Time stamps (RFC 7323); likewise.
    pub timestamps: Option<bool>,
    /// The two devices cut large segments and merge packets for their kernels (TSO, LRO): the captures show
    /// large segments, the link carries packets of its MTU.
    pub offload: bool,
    /// Only the client's.
    pub client: OneEnd,
    /// Only the server's.
    pub server: OneEnd,
}

/// One end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OneEnd {
    /// As in [`Endpoint`].
    pub cc: Option<String>,
    /// As in [`Endpoint`].
    pub sack: Option<bool>,
    /// As in [`Endpoint`].
    pub timestamps: Option<bool>,
    /// The host drops what arrives for the talk's socket: above its capture, below its TCP. Only in a talk.
    pub drop: Option<HostDrop>,
}

/// A time in which a host drops what it has received. It counts from the connection's opening. The socket does
/// not close before it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDrop {
    /// From here.
    pub at: Dur,
    /// For so long.
    #[serde(rename = "for")]
    pub lasts: Dur,
}

impl Endpoint {
    /// The same congestion control at both ends, whatever the scenario says.
    pub fn set_congestion_control(&mut self, name: &str) {
        self.cc = Some(name.to_owned());
        (self.client.cc, self.server.cc) = (None, None);
    }

    /// What holds for one end.
    pub fn of(&self, side: Side) -> OneEnd {
        let own = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        OneEnd {
            cc: own.cc.as_ref().or(self.cc.as_ref()).cloned(),
            sack: own.sack.or(self.sack),
            timestamps: own.timestamps.or(self.timestamps),
            drop: own.drop,
        }
    }
}
