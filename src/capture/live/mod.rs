//! The live capture: a thread that takes packets from libpcap and writes them to a pcapng file.
//!
//! ```text
//! start ── handle opened here, active before it returns ──┐
//!                                                         ├ thread: ring → Coverage → pcapng, flushed each 200 ms
//! stop(expected) ── ring drained, coverage proven ────────┘
//! ```
//!
//! A capture that is stopped the moment a transfer ends easily lacks its last packets while it
//! reports no drops, because they still lay in the ring. So stopping says what must be there (how
//! many bytes of which stream), reads until it is, and reports what is missing if it never comes.

mod coverage;
mod pump;

pub use coverage::{Coverage, Expected, Missing};

use super::CaptureError;
use super::writer::{InterfaceInfo, PcapngWriter};
use crate::model::{LinkType, Side, Ts};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Least snap length: link, IPv6 and TCP headers with all their options, and room for tags.
pub const MIN_SNAPLEN: u32 = 128;

/// What to capture, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Interface; none: all of them (`any`).
    pub device: Option<String>,
    /// Capture filter in the language of tcpdump; empty: everything.
    pub filter: String,
    /// Bytes kept of each frame, at least [`MIN_SNAPLEN`]. The default, 160, keeps all headers and little else.
    pub snaplen: u32,
    /// The pcapng file to write; one that exists is replaced.
    pub path: PathBuf,
    /// Whose end this is, noted at the head of the file.
    pub side: Option<Side>,
    /// The kernel's buffer in bytes.
    pub buffer: u32,
    /// How long stopping waits for what is expected and has not been seen.
    pub patience: Duration,
}

impl LiveOptions {
    /// Everything on every interface, into `path`.
    pub fn new(path: impl Into<PathBuf>) -> LiveOptions {
        LiveOptions {
            device: None,
            filter: String::new(),
            snaplen: 160,
            path: path.into(),
            side: None,
            buffer: 32 << 20,
            patience: Duration::from_secs(2),
        }
    }
}

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSummary {
    /// The file.
    pub path: PathBuf,
    /// The interface.
    pub device: String,
    /// Link type of its frames.
    pub link: LinkType,
    /// Frames written.
    pub frames: u64,
    /// Packets that passed the filter, as the kernel counts them: on loopback each twice, going out
    /// and coming in, of which libpcap hands on one.
    pub received: u64,
    /// Of these, dropped because the ring was full.
    pub dropped: u64,
    /// First time stamp written.
    pub first: Option<Ts>,
    /// Last time stamp.
    pub last: Option<Ts>,
    /// Everything expected was captured.
    pub complete: bool,
    /// What was not.
    pub missing: Vec<Missing>,
}

/// Numbers of a capture that goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Frames written so far.
    pub frames: u64,
    /// Dropped by the kernel so far.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    dropped: AtomicU64,
}

/// What stopping asks of the thread.
struct Stop {
    expected: Vec<Expected>,
    patience: Duration,
}

/// A running capture. Dropping it ends it, too, without any proof.
#[derive(Debug)]
pub struct LiveCapture {
    path: PathBuf,
    device: String,
    patience: Duration,
    counters: Arc<Counters>,
    orders: Option<Sender<Stop>>,
    thread: Option<JoinHandle<Result<LiveSummary, CaptureError>>>,
}

impl LiveCapture {
    /// Begins to capture. The handle is opened in the calling thread (so in its network namespace)
    /// and is active when this returns: what is sent after that is captured.
    pub fn start(options: LiveOptions) -> Result<LiveCapture, CaptureError> {
        let device = options.device.clone().unwrap_or_else(|| "any".to_owned());
        let handle = open(&device, &options)?;
        let link = link_type(handle.get_datalink());
        let file = File::create(&options.path).map_err(|e| io_error(&options.path, &e))?;
        let comment = options.side.map(|s| format!("side: {}", s.as_str())).unwrap_or_default();
        let info = InterfaceInfo {
            name: device.clone(),
            snaplen: options.snaplen.max(MIN_SNAPLEN),
            filter: options.filter.clone(),
        };
        let writer = PcapngWriter::new(BufWriter::with_capacity(256 << 10, file), &comment)
            .and_then(|mut w| {
                w.interface(link, &info)?;
                w.flush()?;
                Ok(w)
            })
            .map_err(|e| io_error(&options.path, &e))?;
        let counters = Arc::new(Counters::default());
        let (orders, inbox) = channel();
        let pump =
            pump::Pump::new(handle, link, writer, options.path.clone(), device.clone(), counters.clone());
        let thread = std::thread::Builder::new()
            .name(format!("capture {device}"))
            .spawn(move || pump.run(&inbox))
            .map_err(|e| CaptureError::Live { device: device.clone(), message: format!("no thread: {e}") })?;
        Ok(LiveCapture {
            path: options.path,
            device,
            patience: options.patience,
            counters,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// The file that is being written. It can be read meanwhile; it is at most 200 ms behind.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it is.
    pub fn counts(&self) -> LiveCounts {
        LiveCounts {
            frames: self.counters.frames.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// False once it has ended by itself: the disk is full, the interface is gone. [`LiveCapture::stop`] says why.
    pub fn running(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// For whoever has no time: waits at most this long for what is expected at its end.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> LiveCapture {
        self.patience = self.patience.min(patience);
        self
    }

    /// Ends the capture once everything expected has been captured, or after the patience of its
    /// options. The file is complete when this returns.
    pub fn stop(mut self, expected: &[Expected]) -> Result<LiveSummary, CaptureError> {
        if let Some(orders) = &self.orders {
            // Nobody listens any more when the thread has failed; joining it tells why.
            let _ = orders.send(Stop { expected: expected.to_vec(), patience: self.patience });
        }
        let gone =
            || CaptureError::Live { device: self.device.clone(), message: "its thread is gone".to_owned() };
        let thread = self.thread.take().ok_or_else(gone)?;
        thread.join().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for LiveCapture {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// Whether this process may capture on `device` (none: all interfaces), and what it would get.
/// Opens a handle and closes it again.
pub fn probe(device: Option<&str>) -> Result<LinkType, CaptureError> {
    let options = LiveOptions { buffer: 1 << 20, ..LiveOptions::new("") };
    open(device.unwrap_or("any"), &options).map(|handle| link_type(handle.get_datalink()))
}

/// Opens and activates the handle, with its filter.
fn open(device: &str, options: &LiveOptions) -> Result<pcap::Capture<pcap::Active>, CaptureError> {
    let failed = |e: pcap::Error| open_error(device, &text_of(e));
    let snaplen = options.snaplen.clamp(MIN_SNAPLEN, 256 << 10);
    let mut handle = pcap::Capture::from_device(device)
        .map_err(failed)?
        .snaplen(i32::try_from(snaplen).unwrap_or(i32::MAX))
        .buffer_size(i32::try_from(options.buffer).unwrap_or(i32::MAX))
        // Packets are at hand the moment they are tapped. Without it they wait for a block of the
        // ring to fill or to time out, and the last ones are lost on stopping.
        .immediate_mode(true)
        .precision(pcap::Precision::Nano)
        .timeout(10)
        .open()
        .map_err(failed)?;
    // For `any`, version 2 of the cooked header also tells the interface.
    let sll2 = pcap::Linktype(i32::from(LinkType::SLL2.0));
    if device == "any" && handle.list_datalinks().is_ok_and(|l| l.contains(&sll2)) {
        handle.set_datalink(sll2).map_err(failed)?;
    }
    if !options.filter.is_empty() {
        handle.filter(&options.filter, true).map_err(|e| CaptureError::Live {
            device: device.to_owned(),
            message: format!("the capture filter “{}” is wrong: {}", options.filter, text_of(e)),
        })?;
    }
    handle.setnonblock().map_err(failed)
}

/// The link type for a file: libpcap's own number of raw IP differs from the registered one.
fn link_type(dlt: pcap::Linktype) -> LinkType {
    match dlt.0 {
        12 | 14 => LinkType::RAW,
        n => LinkType(u16::try_from(n).unwrap_or(u16::MAX)),
    }
}

fn text_of(e: pcap::Error) -> String {
    match e {
        pcap::Error::PcapError(text) => text,
        other => other.to_string(),
    }
}

fn open_error(device: &str, message: &str) -> CaptureError {
    let lower = message.to_lowercase();
    let device = device.to_owned();
    if ["permission", "not permitted", "cap_net_raw"].iter().any(|p| lower.contains(p)) {
        let me = std::env::current_exe().map_or_else(|_| "$(which syncscope)".to_owned(), |p| shell_word(&p));
        return CaptureError::Permission {
            device,
            message: format!("{} (root or the capability CAP_NET_RAW is needed)", message.replace('\n', " ")),
            mend: format!("sudo setcap cap_net_raw,cap_net_admin=eip {me}"),
        };
    }
    let message = if lower.contains("no such device") {
        let known = pcap::Device::list().unwrap_or_default();
        // libpcap also lists what is no network interface.
        let other = ["bluetooth", "nflog", "nfqueue", "dbus-", "usbmon"];
        let network = known.into_iter().map(|d| d.name).filter(|n| !other.iter().any(|o| n.starts_with(o)));
        let names: Vec<String> = network.collect();
        format!("there is no such interface; there are: {}", names.join(", "))
    } else {
        message.to_owned()
    };
    CaptureError::Live { device, message }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn io_error(path: &Path, e: &std::io::Error) -> CaptureError {
    CaptureError::Io { name: path.display().to_string(), message: e.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_permission_names_the_command_that_mends_it() {
        for words in [
            "eth0: You don't have permission to perform this capture on that device\n(socket: Operation not permitted)",
            "Attempt to create packet socket failed - CAP_NET_RAW may be required",
        ] {
            match open_error("eth0", words) {
                CaptureError::Permission { device, mend, .. } => {
                    assert_eq!(device, "eth0");
                    assert!(mend.starts_with("sudo setcap cap_net_raw,cap_net_admin=eip /"), "{mend}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(open_error("eth0", "That device is not up"), CaptureError::Live { .. }));
    }

    #[test]
    fn a_path_with_a_space_is_quoted() {
        assert_eq!(shell_word(Path::new("/opt/a b/x")), "'/opt/a b/x'");
        assert_eq!(shell_word(Path::new("/usr/bin/syncscope")), "/usr/bin/syncscope");
    }
}
