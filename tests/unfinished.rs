//! A sync that did not do what it should is never called healthy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

struct Serve(Child, String);

impl Serve {
    fn folder(folder: &Path) -> Serve {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let mut serve = Command::new(env!("CARGO_BIN_EXE_syncscope"));
        serve.args(["serve", "--listen", &listen]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        let child = serve.spawn().unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(&listen).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Serve(child, listen)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sync(remote: &str, local: &Path, record: &Path, format: &str) -> Output {
    let mut sync = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    sync.arg("sync").arg(remote).arg(local).arg("--record").arg(record);
    sync.args(["--no-capture", "--format", format]).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn what_could_not_be_done_has_failed_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a"), vec![7; 3000]).unwrap();
    let serve = Serve::folder(&source);
    std::fs::write(dir.path().join("file"), b"x").unwrap();
    std::fs::create_dir_all(dir.path().join("way/a/x")).unwrap();
    let (copy, file, way) = (dir.path().join("copy"), dir.path().join("file"), dir.path().join("way"));
    let cases = [("nothere", &copy, "No such file"), ("../../etc", &copy, "leads out of")];
    let local = [("", &file, "cannot make the directory"), ("", &way, "1 of 1 files could not")];
    for (n, (path, to, why)) in cases.into_iter().chain(local).enumerate() {
        let record = dir.path().join(format!("record{n}"));
        let remote = format!("{}:{path}", serve.1);
        let out = sync(&remote, to, &record, "json");
        assert_eq!(out.status.code(), Some(2), "{remote} to {}", to.display());
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let verdict = &report["verdict"];
        assert_eq!(verdict["kind"], "failed", "{verdict}");
        assert!(verdict["sentence"].as_str().unwrap().contains(why), "{why}: {verdict}");
        let view = Command::new(env!("CARGO_BIN_EXE_syncscope")).arg("view").arg(&record).output().unwrap();
        let text = String::from_utf8(view.stdout).unwrap();
        assert!(text.starts_with("FAILED") && !text.contains("saved"), "{text}");
    }
}

#[test]
fn a_record_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let serve = Serve::folder(&source);
    let (copy, record) = (dir.path().join("copy"), dir.path().join("record"));
    let remote = format!("{}:", serve.1);
    sync(&remote, &copy, &record, "text");
    let before = std::fs::read(record.join("report.json")).unwrap();
    let out = sync(&remote, &copy, &record, "text");
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("holds a run record already"), "{said}");
    assert_eq!(std::fs::read(record.join("report.json")).unwrap(), before);
}

/// Four SYNs and no answer: one finding, in the words of a connection request.
#[test]
fn a_request_that_nobody_answers_is_one_finding() {
    use syncscope::capture::writer::{InterfaceInfo, PcapngWriter};
    use syncscope::model::{Frame, FrameNo, LinkType, Ts};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("syn.pcapng");
    let mut w = PcapngWriter::new(Vec::new(), "four SYNs").unwrap();
    w.interface(LinkType::RAW, &InterfaceInfo { name: "t".to_owned(), ..InterfaceInfo::default() }).unwrap();
    for (i, at) in [0, 1, 3, 7].into_iter().enumerate() {
        let mut data = Vec::new();
        let syn = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        syn.tcp(4000, 80, 77, 1000).syn().write(&mut data, &[]).unwrap();
        let (no, orig_len) = (FrameNo(i as u64 + 1), data.len() as u32);
        let ts = Ts::from_secs_nanos(1_000 + at, 0);
        w.write(&Frame { no, ts, link: LinkType::RAW, interface: 0, orig_len, data: &data }).unwrap();
    }
    std::fs::write(&path, w.into_inner().unwrap()).unwrap();
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    let out = analyze.arg("analyze").arg(&path).args(["--format", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0]["code"], "handshake-loss");
    let said = findings[0]["message"].as_str().unwrap();
    assert!(said.contains("sent 4 times") && said.contains("never answered"), "{said}");
}

/// What was made so far stayed as a temporary file for good, and everything was sent again.
#[test]
fn a_receiver_that_was_killed_goes_on_where_it_was_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (source, copy) = (dir.path().join("source"), dir.path().join("copy"));
    std::fs::create_dir(&source).unwrap();
    let mut x = 1u64;
    let noise = std::iter::repeat_with(|| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    });
    let data: Vec<u8> = noise.take(8 << 20).collect();
    std::fs::write(source.join("large"), &data).unwrap();
    let serve = Serve::folder(&source);
    let remote = format!("{}:", serve.1);
    let ours = || -> Vec<_> {
        let all = std::fs::read_dir(&copy).into_iter().flatten().map(|e| e.unwrap().path());
        all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(".syncscope-")).collect()
    };
    let mut killed = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    killed.args(["sync", "--no-capture", "--format", "json", "--bwlimit", "4MB/s", &remote]).arg(&copy);
    killed.arg("--record").arg(dir.path().join("killed")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut killed = killed.spawn().unwrap();
    let enough = || ours().iter().any(|p| p.metadata().is_ok_and(|m| m.len() > 2 << 20));
    while !enough() && killed.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(ours().len(), 1, "what it was writing");
    let out = sync(&remote, &copy, &dir.path().join("again"), "json");
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(std::fs::read(copy.join("large")).unwrap() == data);
    assert_eq!(ours(), Vec::<std::path::PathBuf>::new());
    let run: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("again/run.json")).unwrap()).unwrap();
    assert!(run["stats"]["literal"].as_u64().unwrap() < 6 << 20, "{}", run["stats"]);
}
