//! The log of a run, as it grows: in memory, or, where nobody looks at it meanwhile, with its older part in a file
//! without a name. So the memory that a run takes does not grow with what it moves.
//!
//! ```text
//! file:  one event after another, 51 bytes each, numbers LE
//!        op u8 · phase u8 · which of the optional ones are there u8
//!        start i64 · ready i64 · end i64 · offset u64 · len u32 · queued u32 · file u32 · block u32
//! ```

use super::control::{random, to_hex};
use crate::model::{AppEvent, AppLog, AppOp, Phase, Ts};
use serde::Serialize;
use serde::ser::{Error, SerializeStruct, Serializer};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Events that stay in memory.
const NEAR: usize = 1 << 14;
/// Samples of TCP_INFO that are kept; where there are more, every second one is left out.
const SAMPLES: usize = 1 << 13;
/// Bytes of one event in the file.
const EVENT: usize = 51;

/// A log; its newest part lies in memory.
#[derive(Debug)]
pub struct Journal {
    /// All of it, or what is not in the file.
    pub log: AppLog,
    older: Option<Older>,
}

/// The file.
#[derive(Debug)]
struct Older {
    file: File,
    events: u64,
}

impl Journal {
    /// All of it stays in memory.
    pub fn of(log: AppLog) -> Journal {
        Journal { log, older: None }
    }

    /// What is older goes to a file in this folder, which has no name there.
    pub fn spilling(log: AppLog, folder: &Path) -> io::Result<Journal> {
        let path = folder.join(format!("{}.part", to_hex(&random()?)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Journal { log, older: Some(Older { file, events: 0 }) })
    }

    /// Adds events and samples; how many events found no room on the disk.
    pub(super) fn add(
        &mut self,
        events: &mut Vec<AppEvent>,
        samples: &mut Vec<crate::model::TcpSample>,
    ) -> u64 {
        self.log.events.append(events);
        self.log.samples.append(samples);
        let Some(older) = &mut self.older else { return 0 };
        if self.log.samples.len() > SAMPLES {
            let mut n = 0;
            self.log.samples.retain(|_| {
                n += 1;
                n % 2 == 1
            });
        }
        if self.log.events.len() < NEAR {
            return 0;
        }
        let lost = older.put(&self.log.events);
        self.log.events.clear();
        lost
    }
}

impl Older {
    fn put(&mut self, events: &[AppEvent]) -> u64 {
        let mut out = BufWriter::new(&self.file);
        let written = events.iter().try_for_each(|e| out.write_all(&to_bytes(e))).and_then(|()| out.flush());
        if written.is_ok() {
            self.events += events.len() as u64;
            return 0;
        }
        // What is whole and counted stays; the next ones go behind it.
        drop(out.into_parts());
        let _ = self.file.seek(SeekFrom::Start(self.events * EVENT as u64));
        events.len() as u64
    }
}

/// As [`AppLog`].
impl Serialize for Journal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let AppLog { side, local, peer, files, samples, offsets_known, .. } = &self.log;
        let mut s = serializer.serialize_struct("AppLog", 7)?;
        s.serialize_field("side", side)?;
        s.serialize_field("local", local)?;
        s.serialize_field("peer", peer)?;
        s.serialize_field("events", &Events(self))?;
        s.serialize_field("files", files)?;
        s.serialize_field("samples", samples)?;
        s.serialize_field("offsets_known", offsets_known)?;
        s.end()
    }
}

struct Events<'a>(&'a Journal);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let near = self.0.log.events.iter().copied();
        let Some(older) = &self.0.older else { return serializer.collect_seq(near) };
        let mut file = &older.file;
        file.seek(SeekFrom::Start(0)).map_err(S::Error::custom)?;
        let (mut file, failed) = (BufReader::new(file), RefCell::new(None));
        let before = (0..older.events).map_while(|_| {
            let mut raw = [0; EVENT];
            let read = file.read_exact(&mut raw).and_then(|()| from_bytes(&raw).ok_or_else(damaged));
            read.map_err(|e| failed.replace(Some(e))).ok()
        });
        let done = serializer.collect_seq(before.chain(near))?;
        failed.into_inner().map_or(Ok(done), |e| Err(S::Error::custom(e)))
    }
}

fn damaged() -> io::Error {
    io::Error::other("the log's file was damaged")
}

const OPS: [AppOp; 3] = [AppOp::Read, AppOp::Write, AppOp::Work];
const PHASES: [Phase; 12] = [
    Phase::Handshake,
    Phase::List,
    Phase::Signature,
    Phase::Delta,
    Phase::Data,
    Phase::Patch,
    Phase::Verify,
    Phase::Rename,
    Phase::Pace,
    Phase::Busy,
    Phase::Done,
    Phase::Other,
];

fn to_bytes(e: &AppEvent) -> [u8; EVENT] {
    let there = [e.ready.is_some(), e.queued.is_some(), e.file.is_some(), e.block.is_some()];
    let there = there.iter().rev().fold(0u8, |all, is| all << 1 | u8::from(*is));
    let mut out = [0; EVENT];
    out[..3].copy_from_slice(&[e.op as u8, e.phase as u8, there]);
    let wide = [e.start.0 as u64, e.ready.unwrap_or_default().0 as u64, e.end.0 as u64, e.offset];
    for (room, n) in out[3..35].chunks_exact_mut(8).zip(wide) {
        room.copy_from_slice(&n.to_le_bytes());
    }
    let narrow = [Some(e.len), e.queued, e.file, e.block].map(Option::unwrap_or_default);
    for (room, n) in out[35..51].chunks_exact_mut(4).zip(narrow) {
        room.copy_from_slice(&n.to_le_bytes());
    }
    out
}

fn from_bytes(raw: &[u8; EVENT]) -> Option<AppEvent> {
    let wide = |at: usize| raw.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b));
    let narrow = |at: usize| raw.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let time = |at: usize| wide(at).map(|n| Ts(n as i64));
    let there = |bit: u8| raw[2] >> bit & 1 == 1;
    Some(AppEvent {
        op: *OPS.get(usize::from(raw[0]))?,
        start: time(3)?,
        ready: time(11).filter(|_| there(0)),
        end: time(19)?,
        offset: wide(27)?,
        len: narrow(35)?,
        queued: narrow(39).filter(|_| there(1)),
        phase: *PHASES.get(usize::from(raw[1]))?,
        file: narrow(43).filter(|_| there(2)),
        block: narrow(47).filter(|_| there(3)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Side, TcpSample};

    fn log() -> AppLog {
        AppLog {
            side: Side::Server,
            local: "127.0.0.1:1".parse().unwrap(),
            peer: "127.0.0.1:2".parse().unwrap(),
            events: Vec::new(),
            files: vec!["a".to_owned()],
            samples: Vec::new(),
            offsets_known: true,
        }
    }

    fn event(n: u32) -> AppEvent {
        let some = |bit: u32| (n >> bit & 1 == 1).then_some(n);
        AppEvent {
            op: OPS[n as usize % 3],
            start: Ts(-i64::from(n)),
            ready: some(0).map(|n| Ts(i64::from(n))),
            end: Ts(i64::MAX - i64::from(n)),
            offset: u64::MAX - u64::from(n),
            len: u32::MAX - n,
            queued: some(1),
            phase: PHASES[n as usize % 12],
            file: some(2),
            block: some(3),
        }
    }

    #[test]
    fn an_event_comes_back_as_it_went() {
        for n in 0..100 {
            assert_eq!(from_bytes(&to_bytes(&event(n))), Some(event(n)));
        }
        assert!(PHASES.iter().enumerate().all(|(n, p)| *p as usize == n));
        assert!(OPS.iter().enumerate().all(|(n, op)| *op as usize == n));
        assert_eq!(from_bytes(&[99; EVENT]), None);
    }

    #[test]
    fn in_a_file_or_not_the_log_is_written_alike_and_little_of_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let (mut plain, mut spilling) = (Journal::of(log()), Journal::spilling(log(), dir.path()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        for piece in 0..100 {
            let mut events: Vec<AppEvent> = (piece * 1000..(piece + 1) * 1000).map(event).collect();
            assert_eq!(plain.add(&mut events.clone(), &mut vec![TcpSample::default()]), 0);
            assert_eq!(spilling.add(&mut events, &mut vec![TcpSample::default()]), 0);
            assert!(spilling.log.events.len() < NEAR);
        }
        let text = serde_json::to_string(&spilling).unwrap();
        assert!(text == serde_json::to_string(&plain).unwrap());
        assert!(text == serde_json::to_string(&plain.log).unwrap());
    }

    #[test]
    fn samples_of_a_long_run_are_thinned() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::spilling(log(), dir.path()).unwrap();
        for n in 0..100_000 {
            journal.add(&mut Vec::new(), &mut vec![TcpSample { ts: Ts(n), ..TcpSample::default() }]);
        }
        let samples = &journal.log.samples;
        assert!((SAMPLES / 2..=SAMPLES).contains(&samples.len()), "{}", samples.len());
        assert!(samples[0].ts == Ts(0) && samples.is_sorted_by_key(|s| s.ts));
    }
}
