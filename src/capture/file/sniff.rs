//! What a file that is no capture looks like, so that the message can say so.

/// How many bytes [`describe`] likes to see.
pub(super) const WINDOW: usize = 1024;

/// First bytes, and what they stand for.
const MAGICS: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a snoop capture (Solaris); convert it with `editcap -F pcap`"),
    (b"btsnoop\0", "a Bluetooth HCI log"),
    (b"RTSS", "a Microsoft Network Monitor 1 capture; convert it with `editcap -F pcapng`"),
    (b"GMBU", "a Microsoft Network Monitor 2 capture; convert it with `editcap -F pcapng`"),
    (b"XCP\0", "a NetXRay or Sniffer capture; convert it with `editcap -F pcapng`"),
    (b"TRSNIFF data", "a Sniffer capture; convert it with `editcap -F pcapng`"),
    (b"\x7fver", "an EtherPeek or OmniPeek capture; convert it with `editcap -F pcapng`"),
    (b"\x05VNF", "a Visual Networks capture; convert it with `editcap -F pcapng`"),
    (b"iptrace ", "an AIX iptrace capture; convert it with `editcap -F pcap`"),
    (b"\x1f\x8b", "gzip data inside compressed data; unpack it once before"),
    (b"\x28\xb5\x2f\xfd", "zstd data inside compressed data; unpack it once before"),
    (b"\xfd7zXZ\0", "xz data; unpack it with `xz -dc FILE | syncscope … -`"),
    (b"BZh", "bzip2 data; unpack it with `bzip2 -dc FILE | syncscope … -`"),
    (b"\x04\x22\x4d\x18", "LZ4 data; unpack it with `lz4 -dc FILE | syncscope … -`"),
    (b"\x1f\x9d", "data of `compress`; unpack it with `zcat FILE | syncscope … -`"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"\x7fELF", "a program (ELF)"),
    (b"MZ", "a program (Windows)"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3", "an SQLite database"),
];

/// pcapng, or pcap in either byte order, resolution and format; not compressed.
pub fn is_plain_capture(head: &[u8]) -> bool {
    matches!(
        head,
        [0x0a, 0x0d, 0x0d, 0x0a, ..]
            | [0xa1, 0xb2, 0xc3 | 0x3c, 0xd4 | 0x4d, ..]
            | [0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xcd, 0x34, ..]
            | [0x34, 0xcd, 0xb2, 0xa1, ..]
    )
}

/// In words, for “not a capture file: …”.
pub(super) fn describe(head: &[u8]) -> String {
    if head.is_empty() {
        return "nothing, the file is empty".to_owned();
    }
    if let Some((_, what)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*what).to_owned();
    }
    if head.get(257..262) == Some(b"ustar") {
        return "a tar archive; unpack it first".to_owned();
    }
    if let Some(text) = as_text(head) {
        return describe_text(text);
    }
    if is_erf(head) {
        return "an Endace ERF capture; convert it with `editcap -F pcapng`".to_owned();
    }
    let bytes: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("unknown data that begins with {}", bytes.join(" "))
}

/// The head as text, unless it holds bytes that text does not. Its last character may be cut.
fn as_text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(t) => t,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    (!text.is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\x1b')))
        .then_some(text)
}

fn describe_text(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("");
    if line.starts_with("{\"type\":\"meta\"")
        || line.starts_with("{\"meta\"")
        || line.contains("syncscope.report/")
    {
        return "a report, not a capture; open it with `syncscope view`".to_owned();
    }
    if line.starts_with('<') {
        return "a web page or XML".to_owned();
    }
    let begin: String = crate::model::units::printable(line).chars().take(40).collect();
    format!("text that begins with “{begin}”")
}

/// ERF has no magic: two records must follow each other sensibly. A record is a time stamp (32.32 bits,
/// little-endian), a type, flags, and its length (big-endian).
fn is_erf(head: &[u8]) -> bool {
    let record = |at: usize| -> Option<(u32, usize)> {
        let r = head.get(at..at + 16)?;
        let secs = u32::from_le_bytes([r[4], r[5], r[6], r[7]]);
        let len = usize::from(u16::from_be_bytes([r[10], r[11]]));
        let known = (1..=48).contains(&(r[8] & 0x7f)) && len >= 16 && secs > 800_000_000;
        known.then_some((secs, len))
    };
    let Some((first, len)) = record(0) else { return false };
    match record(len) {
        Some((second, _)) => second.abs_diff(first) < 86_400,
        None => head.len() == len,
    }
}
