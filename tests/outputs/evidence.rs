//! `--annotate`, `--slice`, `--redact`: what is handed on shows the same, and no more than it should.

use super::*;
use pcap_parser::traits::PcapNGPacketBlock;
use serde_json::Value;
use syncscope::decode::redact::{Mask, redact};
use syncscope::decode::{Decoded, decode};

/// Packets of a pcapng file with their comments, read by another reader.
fn commented(path: &Path) -> Vec<(Vec<u8>, Vec<String>)> {
    use pcap_parser::{Block, OptionCode, parse_block_le};
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (after, block) = parse_block_le(rest).unwrap();
        if let Block::EnhancedPacket(p) = &block {
            let of = p.options.iter().filter(|o| o.code == OptionCode::Comment);
            let comments = of.map(|o| String::from_utf8(o.value[..o.len as usize].to_vec()).unwrap());
            out.push((p.packet_data().to_vec(), comments.collect()));
        }
        rest = after;
    }
    out
}

fn analyze(args: &[&str]) -> Value {
    json(&run(&[&["analyze", "--format", "json"], args].concat()))
}

/// Writes an evidence file of `input`.
fn annotate(dir: &Path, input: &str, more: &[&str]) -> PathBuf {
    let path = dir.join("out.pcapng");
    let out = run(&[&["analyze", input, "--fail-on", "never", "--annotate", text(&path)], more].concat());
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    path
}

#[test]
fn the_evidence_has_comments_and_its_frames_are_the_originals() {
    let dir = tempfile::tempdir().unwrap();
    let path = annotate(dir.path(), SENDER, &[]);
    let (all, some, said) = (frames(SENDER), frames(&path), commented(&path));
    assert!(!some.is_empty() && some.len() < all.len());
    assert!(some.iter().all(|p| all.contains(p)), "times, link types and bytes are kept");
    assert_eq!(some.len(), said.len());
    let report = analyze(&[SENDER]);
    for s in report["segments"].as_array().unwrap() {
        let origin = format!("frame {} of sender.pcapng", s["frame"]);
        let (_, comments) = said.iter().find(|(_, c)| c[0] == origin).expect("each has its frame");
        let class = format!(
            "{} ({}), of frame {}",
            s["class"].as_str().unwrap(),
            s["cause"].as_str().unwrap(),
            s["of"]
        );
        assert!(comments.contains(&class), "{class} is not in {comments:?}");
    }
    let finding = report["findings"][0]["message"].as_str().unwrap();
    assert!(said.iter().any(|(_, c)| c.iter().any(|c| c.starts_with("finding ") && c.ends_with(finding))));
}

#[test]
fn wireshark_shows_the_comments() {
    let dir = tempfile::tempdir().unwrap();
    let path = annotate(dir.path(), SENDER, &[]);
    let Ok(out) =
        Command::new("tshark").args(["-r", text(&path), "-T", "fields", "-e", "frame.comment"]).output()
    else {
        eprintln!("skipped: there is no tshark");
        return;
    };
    let shown = stdout(&out);
    assert_eq!(shown.lines().count(), frames(&path).len(), "{}", stderr(&out));
    for part in
        ["retransmission (fast), of frame 3", "finding loss-fast", "fills the hole", "repaired by frame 12"]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn all_frames_give_the_report_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    for input in [SENDER, STRACED] {
        let path = annotate(dir.path(), input, &["--annotate-all"]);
        assert_eq!(frames(&path), frames(input));
        assert!(bare(analyze(&[text(&path)])) == bare(analyze(&[input])));
    }
}

/// Nanoseconds, link types and interfaces of a mixed capture.
#[test]
fn several_interfaces_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut mixed = frames(STRACED);
    for (i, p) in mixed.iter_mut().enumerate() {
        p.ts = Ts(p.ts.0 / 1_000 * 1_000 + 789);
        if i % 3 == 0 {
            // the same packet as a tunnel would show it
            (p.link, p.interface) = (LinkType::RAW, 1);
            p.data.drain(..20);
            p.orig_len -= 20;
        }
    }
    let input = put(dir.path(), "mixed.pcapng", &pcapng(&mixed));
    let path = annotate(dir.path(), text(&input), &["--annotate-all"]);
    assert_eq!(frames(&path), frames(&input));
}

#[test]
fn a_slice_has_the_frames_of_its_finding() {
    let dir = tempfile::tempdir().unwrap();
    let report = analyze(&[SENDER]);
    let code = report["findings"][0]["code"].as_str().unwrap();
    let by_code = commented(&annotate(dir.path(), SENDER, &["--slice", code]));
    let by_number = commented(&annotate(dir.path(), SENDER, &["--slice", "1"]));
    assert_eq!(by_code, by_number);
    let origin = |n: &Value| format!("frame {} of sender.pcapng", n["frame"]);
    for e in report["findings"][0]["evidence"].as_array().unwrap() {
        assert!(by_code.iter().any(|(_, c)| c[0] == origin(e)), "{e}");
    }
    let out = dir.path().join("x.pcapng");
    let out = run(&["analyze", SENDER, "--annotate", text(&out), "--slice", "no-such"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("no finding `no-such`") && stderr(&out).contains(code), "{}", stderr(&out));
    assert!(!dir.path().join("x.pcapng").exists());
}

#[test]
fn two_places_make_two_files_and_standard_input_is_kept_for_the_second_reading() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("e.pcapng");
    run(&["analyze", SENDER, RECEIVER, "--annotate-all", "--annotate", text(&out)]);
    assert_eq!(frames(dir.path().join("e.a.pcapng")), frames(SENDER));
    assert_eq!(frames(dir.path().join("e.b.pcapng")), frames(RECEIVER));
    assert!(!out.exists());
    let args = ["analyze", "-", "--format", "json", "--annotate-all", "--annotate", text(&out)];
    let piped = run_with_stdin(&args, Path::new(SENDER));
    assert_eq!(json(&piped)["inputs"][0]["name"], "standard input");
    assert_eq!(frames(&out), frames(SENDER));
}

/// Without names and addresses.
fn bare(mut v: Value) -> Value {
    v["meta"]["title"] = Value::Null;
    for (list, keys) in [("inputs", ["name", "files"]), ("flows", ["client", "server"])] {
        for i in v[list].as_array_mut().unwrap() {
            keys.iter().for_each(|k| {
                i.as_object_mut().unwrap().remove(*k);
            });
        }
    }
    v
}

/// The captures of other projects, where they are at hand.
pub fn real_ones() -> Vec<PathBuf> {
    let Some(dir) = real::captures("redacted and filtered real captures") else { return Vec::new() };
    let small = |p: &PathBuf| p.metadata().is_ok_and(|m| m.len() < 300_000);
    real::rows(&dir)
        .iter()
        .map(|r| dir.join(&r["path"]))
        .filter(small)
        .filter(|p| file::open(p).is_ok())
        .collect()
}

/// The promise of `--redact`.
#[test]
fn a_redacted_capture_gives_the_same_report_and_tells_no_address_and_no_payload() {
    let dir = tempfile::tempdir().unwrap();
    let real = real_ones();
    let mut inputs = vec![SENDER, RECEIVER, STRACED];
    inputs.extend(real.iter().map(|p| text(p)).take(60));
    let mut compared = 0;
    for input in inputs {
        let path = annotate(dir.path(), input, &["--annotate-all", "--redact", "--redact-key", "k"]);
        let (was, is) = (frames(input), frames(&path));
        assert_eq!(was.len(), is.len(), "{input}");
        let mut no_payload = true;
        for (i, (was, is)) in was.iter().zip(&is).enumerate() {
            assert_eq!(
                (was.ts, was.link, was.orig_len.max(was.data.len() as u32)),
                (is.ts, is.link, is.orig_len)
            );
            let (a, b) = (decoded(was), decoded(is));
            no_payload &= same_but_hidden(&a, &b, &format!("{input} frame {}", i + 1));
        }
        // checksums of data that is gone cannot be judged any more: what rests on them is left to the frames above
        if no_payload {
            let report = |path: &str| {
                let out = stdout(&run(&["analyze", "--format", "json", path])).replace(path, "the capture");
                bare(serde_json::from_str(&out).unwrap())
            };
            assert!(report(text(&path)) == report(input), "{input}: another report");
            compared += 1;
        }
    }
    assert!(compared >= 2, "{compared}");
}

fn decoded(p: &Packet) -> Decoded {
    let (ts, link, interface, orig_len) = (p.ts, p.link, p.interface, p.orig_len);
    decode(&Frame { no: FrameNo(1), ts, link, interface, orig_len, data: &p.data })
}

/// True where a judgement on the checksum survived, too.
fn same_but_hidden(a: &Decoded, b: &Decoded, what: &str) -> bool {
    match (a, b) {
        (Decoded::Tcp(a), Decoded::Tcp(b)) => {
            assert!(a.src.ip() != b.src.ip() || a.src.ip().is_loopback(), "{what}");
            let mut c = *b;
            (c.src, c.dst, c.link_key, c.checksum, c.head) = (a.src, a.dst, a.link_key, a.checksum, a.head);
            c.checksum_ok = a.checksum_ok;
            assert_eq!(*a, c, "{what}");
            assert_eq!(b.head, None, "{what}: payload");
            assert_eq!((a.src.port(), a.dst.port()), (b.src.port(), b.dst.port()), "{what}");
            if a.len == 0 {
                assert_eq!(a.checksum_ok, b.checksum_ok, "{what}");
            }
            a.checksum_ok == b.checksum_ok || a.checksum_ok == Some(true)
        }
        (Decoded::Icmp(a), Decoded::Icmp(b)) => {
            assert_eq!((a.kind, a.mtu, a.seq, a.src.port()), (b.kind, b.mtu, b.seq, b.src.port()), "{what}");
            assert!(a.src.ip() != b.src.ip() || a.src.ip().is_loopback(), "{what}");
            true
        }
        (Decoded::Skip(a), Decoded::Skip(b)) => {
            assert_eq!(a, b, "{what}");
            true
        }
        _ => panic!("{what}: {a:?} became {b:?}"),
    }
}

#[test]
fn the_report_and_the_comments_name_nobody_either() {
    let dir = tempfile::tempdir().unwrap();
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/strace/client.strace");
    let out = dir.path().join("out.pcapng");
    let secret = ["198.18.0", "client.pcap", "client.strace", "/captures/"];
    for format in ["text", "json", "csv", "md", "ndjson"] {
        let said = run(&[
            "analyze",
            STRACED,
            "--app-log",
            log,
            "--slow-read",
            "1ms",
            "--format",
            format,
            "--redact",
            "--annotate",
            text(&out),
        ]);
        assert!(said.status.code().is_some_and(|c| c < 2), "{}", stderr(&said));
        for s in secret {
            assert!(!stdout(&said).contains(s), "{s} is in the {format}\n{}", stdout(&said));
        }
    }
    for (_, comments) in commented(&out) {
        assert!(comments.iter().all(|c| secret.iter().all(|s| !c.contains(s))), "{comments:?}");
    }
}

#[test]
fn a_key_makes_runs_agree_and_networks_keep_their_shape() {
    let ip = |s: &str| s.parse::<std::net::IpAddr>().unwrap();
    let (mut a, mut b, mut other) = (Mask::new(b"k"), Mask::new(b"k"), Mask::new(b"l"));
    for pair in [["10.1.2.3", "10.1.2.77"], ["2001:db8::1", "2001:db8::2:0"]] {
        let [x, y] = pair.map(|p| a.ip(ip(p)));
        assert_eq!(b.ip(ip(pair[1])), y);
        assert_ne!(other.ip(ip(pair[0])), x);
        assert_ne!(x, y);
        let octets = |a: std::net::IpAddr| match a {
            std::net::IpAddr::V4(a) => a.octets().to_vec(),
            std::net::IpAddr::V6(a) => a.octets().to_vec(),
        };
        let shared =
            octets(ip(pair[0])).iter().zip(octets(ip(pair[1]))).take_while(|(a, b)| **a == *b).count();
        let still = octets(x).iter().zip(octets(y)).take_while(|(a, b)| **a == *b).count();
        assert_eq!(shared, still);
    }
    for kept in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
        assert_eq!(a.ip(ip(kept)), ip(kept));
    }
    assert!(a.ip(ip("224.0.0.251")).is_multicast() && a.ip(ip("ff02::1")).is_multicast());
}

/// Any bytes: shorter or equal, and never a panic.
#[test]
fn redaction_takes_any_bytes() {
    let mut mask = Mask::new(b"k");
    let mut out = Vec::new();
    let mut all = frames(STRACED);
    all.truncate(6);
    for p in real_ones().iter().step_by(9).take(12) {
        let mut source = file::open(p).unwrap();
        for _ in 0..4 {
            let Ok(Some(f)) = source.next_frame() else { break };
            let data = f.data[..f.data.len().min(200)].to_vec();
            all.push(Packet { ts: f.ts, link: f.link, interface: 0, orig_len: f.orig_len, data });
        }
    }
    let mut seed = 1u64;
    for p in all {
        for cut in 0..=p.data.len() {
            for link in [p.link, LinkType::RAW, LinkType::SLL2] {
                let mut data = p.data[..cut].to_vec();
                for _ in 0..2 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let at = (seed >> 33) as usize % data.len().max(1);
                    if let Some(b) = data.get_mut(at) {
                        *b ^= (seed >> 20) as u8;
                    }
                    let orig_len = p.orig_len;
                    let f = Frame { no: FrameNo(1), ts: p.ts, link, interface: 0, orig_len, data: &data };
                    redact(&f, &mut mask, &mut out);
                    assert!(out.len() <= data.len());
                }
            }
        }
    }
}
