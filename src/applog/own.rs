//! Our own events file, read one event after another: a long run's is larger than what should be held of it.

use crate::model::{AppEvent, AppLog};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::io::Read;

/// Hands each event to `each`, in the order of the file; what else the log holds.
pub fn each_event(reader: impl Read, each: &mut dyn FnMut(AppEvent)) -> Result<AppLog, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(reader);
    let log = json.deserialize_map(Log { each })?;
    json.end()?;
    Ok(log)
}

struct Log<'a> {
    each: &'a mut dyn FnMut(AppEvent),
}

impl<'de> Visitor<'de> for Log<'_> {
    type Value = AppLog;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event log")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<AppLog, M::Error> {
        let (mut side, mut local, mut peer, mut known) = (None, None, None, None);
        let (mut files, mut samples) = (Vec::new(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "side" => side = Some(map.next_value()?),
                "local" => local = Some(map.next_value()?),
                "peer" => peer = Some(map.next_value()?),
                "offsets_known" => known = Some(map.next_value()?),
                "files" => files = map.next_value()?,
                "samples" => samples = map.next_value()?,
                "events" => map.next_value_seed(Events { each: &mut *self.each })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |what| <M::Error as serde::de::Error>::missing_field(what);
        Ok(AppLog {
            side: side.ok_or_else(|| missing("side"))?,
            local: local.ok_or_else(|| missing("local"))?,
            peer: peer.ok_or_else(|| missing("peer"))?,
            events: Vec::new(),
            files,
            samples,
            offsets_known: known.ok_or_else(|| missing("offsets_known"))?,
        })
    }
}

struct Events<'a> {
    each: &'a mut dyn FnMut(AppEvent),
}

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(event) = seq.next_element()? {
            (self.each)(event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppOp, Phase, Side, Ts};

    #[test]
    fn one_after_another_the_events_are_those_of_the_log() {
        let event = |n: u32| AppEvent {
            op: AppOp::Read,
            start: Ts(i64::from(n)),
            ready: n.is_multiple_of(2).then_some(Ts(7)),
            end: Ts(i64::from(n) + 1),
            offset: u64::from(n) * 10,
            len: 10,
            queued: None,
            phase: Phase::Data,
            file: Some(n),
            block: None,
        };
        let log = AppLog {
            side: Side::Server,
            local: "127.0.0.1:1".parse().unwrap(),
            peer: "127.0.0.1:2".parse().unwrap(),
            events: (0..100).map(event).collect(),
            files: vec!["a".to_owned()],
            samples: vec![Default::default()],
            offsets_known: true,
        };
        let text = serde_json::to_vec(&log).unwrap();
        let mut events = Vec::new();
        let rest = each_event(&text[..], &mut |e| events.push(e)).unwrap();
        assert_eq!(AppLog { events, ..rest }, log);
        for bad in [&text[..text.len() - 1], &text[1..], b"{}", b"[]", b"{\"events\":[{}]}", b""] {
            assert!(each_event(bad, &mut |_| {}).is_err());
        }
    }
}
