//! How fast captures are analysed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
mod traffic;

fn main() {
    let a: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let n = |i: usize, d: u64| a.get(i).map_or(d, |x| x.parse().unwrap());
    let t = traffic::Traffic {
        flows: n(1, 8) as u32,
        packets: n(2, 1_000_000),
        loss: n(3, 50),
        snaplen: n(4, 96) as usize,
        each: n(5, 0),
    };
    let mut f = std::io::BufWriter::new(std::fs::File::create(&a[0]).unwrap());
    traffic::write(t, &mut f).unwrap();
}
