//! What is written is valid, and is read again.

use crate::{Owned, read};
use syncscope::capture::writer::{InterfaceInfo, PcapngWriter, Statistics};
use syncscope::model::{Frame, FrameNo, LinkType, Ts};

fn written(f: impl FnOnce(&mut PcapngWriter<Vec<u8>>) -> std::io::Result<()>) -> Vec<u8> {
    let mut w = PcapngWriter::new(Vec::new(), "made by a test").unwrap();
    f(&mut w).unwrap();
    w.into_inner().unwrap()
}

#[test]
fn what_is_written_says_what_was_meant() {
    let data = [7u8; 61];
    let frame = |interface, link, ts| Frame {
        no: FrameNo(1),
        ts: Ts(ts),
        link,
        interface,
        orig_len: 1500,
        data: &data,
    };
    let long = "ü".repeat(40_000);
    let bytes = written(|w| {
        let info = InterfaceInfo { name: "tun0".into(), snaplen: 160, filter: "tcp port 9".into() };
        assert_eq!(w.interface(LinkType::RAW, &info)?, 0);
        w.write(&frame(0, LinkType::RAW, 1_700_000_000_123_456_789))?;
        w.write_with_comments(&frame(5, LinkType::ETHERNET, -5), &["loss-rto: lost here", &long])?;
        w.statistics(0, Ts(1_700_000_001_000_000_000), Statistics { received: 10, dropped: 3, delivered: 7 })
    });
    let (frames, fault, notes) = read(&bytes);
    assert_eq!((fault, notes.dropped, notes.snaplen), (None, Some(3), Some(0)));
    assert_eq!((frames[0].ts, frames[0].link, frames[0].interface), (1_700_000_000_123_456_789, 101, 0));
    assert_eq!((frames[1].ts, frames[1].link, frames[1].interface), (-5, 1, 1));
    assert_eq!((&frames[0].data[..], frames[0].orig_len), (&data[..], 1500));

    // An independent reader sees the same blocks, names and comments.
    use pcap_parser::{Block, OptionCode};
    let mut rest = &bytes[..];
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (after, b) = pcap_parser::parse_block_le(rest).unwrap();
        rest = after;
        blocks.push(match b {
            Block::SectionHeader(s) => {
                assert!(s.shb_userappl().unwrap().unwrap().starts_with("syncscope "));
                "section".to_owned()
            }
            Block::InterfaceDescription(i) => {
                assert_eq!(i.if_tsresol, 9);
                format!("interface {:?} {} {}", i.if_name().map(Result::unwrap), i.linktype.0, i.snaplen)
            }
            Block::EnhancedPacket(p) => {
                let comments: Vec<&[u8]> = p
                    .options
                    .iter()
                    .filter(|o| o.code == OptionCode::Comment)
                    .map(|o| o.as_bytes().unwrap())
                    .collect();
                if let [first, second] = comments[..] {
                    assert_eq!(first, b"loss-rto: lost here");
                    assert_eq!(second, "ü".repeat(32_767).as_bytes(), "cut between two characters");
                }
                format!("packet {} {} {}", p.if_id, p.caplen, comments.len())
            }
            Block::InterfaceStatistics(s) => format!("statistics {:?}", s.isb_osdrop().map(Result::unwrap)),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        blocks,
        [
            "section",
            "interface Some(\"tun0\") 101 160",
            "packet 0 61 0",
            "interface None 1 0",
            "packet 1 61 2",
            "statistics Some(3)"
        ]
    );
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_again(
        frames in proptest::collection::vec(
            (proptest::num::i64::ANY, 0u16..300, 0u32..3, 0u32..9000, proptest::collection::vec(proptest::num::u8::ANY, 0..300)),
            0..20,
        )
    ) {
        let mut numbers = Vec::new();
        let expected: Vec<Owned> = frames.into_iter().zip(1..).map(|((ts, link, interface, more, data), no)| {
            // Interfaces are numbered as they come; one before 1970 is another than one after.
            let key = (interface, link, ts < 0);
            let interface = numbers.iter().position(|k| *k == key).unwrap_or_else(|| { numbers.push(key); numbers.len() - 1 }) as u32;
            Owned { no, ts, link, interface, orig_len: data.len() as u32 + more, data }
        }).collect();
        let bytes = written(|w| expected.iter().try_for_each(|f| {
            let (interface, _, _) = numbers[f.interface as usize];
            w.write(&Frame { interface, ..f.frame() })
        }));
        proptest::prop_assert_eq!(bytes.len() % 4, 0);
        let (got, fault, notes) = read(&bytes);
        proptest::prop_assert_eq!(fault, None);
        proptest::prop_assert_eq!(notes.cut_at, None);
        proptest::prop_assert_eq!(got, expected);
    }
}
