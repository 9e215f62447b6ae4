//! What the client decides for both ends, and how an entry was found to differ.

/// What the client decides for both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// What lies below directories, too.
    pub recurse: bool,
    /// Symlinks, too.
    pub links: bool,
    /// Permission bits are kept.
    pub perms: bool,
    /// Modification times are kept.
    pub times: bool,
    /// Names of one file stay names of one file.
    pub hard_links: bool,
    /// What the source does not have is removed.
    pub delete: bool,
    /// Equal size and time are no proof: files of equal size are compared by their content.
    pub checksum: bool,
    /// Only find out what would be done.
    pub dry_run: bool,
    /// Send files whole, without a search for matches.
    pub whole_file: bool,
    /// Look for matches at every offset, also where none was found for long: finds all, takes longer where
    /// there are none.
    pub full_search: bool,
    /// What travels.
    pub compress: Compress,
}

/// Whether what travels is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Where the path needs longer for the bytes than the processor needs to save them.
    #[default]
    WhereItPays,
    /// Yes.
    Always,
    /// No.
    Never,
}

impl Default for Flags {
    fn default() -> Flags {
        Flags {
            recurse: true,
            links: true,
            perms: true,
            times: true,
            hard_links: false,
            delete: false,
            checksum: false,
            dry_run: false,
            whole_file: false,
            full_search: false,
            compress: Compress::default(),
        }
    }
}

impl Flags {
    /// All that are on or off, in the order of their bits.
    fn switches(&mut self) -> [&mut bool; 10] {
        let Flags { recurse, links, perms, times, hard_links, .. } = self;
        let Flags { delete, checksum, dry_run, whole_file, full_search, .. } = self;
        [recurse, links, perms, times, hard_links, delete, checksum, dry_run, whole_file, full_search]
    }

    /// As a number.
    pub fn bits(mut self) -> u32 {
        let (always, never) = (self.compress == Compress::Always, self.compress == Compress::Never);
        pack(&self.switches().map(|s| *s)) | pack(&[always, never]) << 10
    }

    /// And back, where every bit has a meaning.
    pub fn from_bits(bits: u32) -> Option<Flags> {
        let [on @ .., always, never]: [bool; 12] = unpack(bits)?;
        let compress = match (always, never) {
            (true, true) => return None,
            (true, false) => Compress::Always,
            (false, true) => Compress::Never,
            (false, false) => Compress::WhereItPays,
        };
        let mut flags = Flags { compress, ..Flags::default() };
        for (switch, on) in flags.switches().into_iter().zip(on) {
            *switch = on;
        }
        Some(flags)
    }
}

/// How an entry differed from what lay in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Nothing of its kind lay there.
    pub new: bool,
    /// Its bytes, or what it points to.
    pub content: bool,
    /// Its size.
    pub size: bool,
    /// Its modification time.
    pub time: bool,
    /// Its permission bits.
    pub perms: bool,
    /// It became another name of a file.
    pub link: bool,
}

impl Change {
    /// As a number.
    pub fn bits(self) -> u8 {
        let Change { new, content, size, time, perms, link } = self;
        pack(&[new, content, size, time, perms, link]) as u8
    }

    /// And back, where every bit has a meaning.
    pub fn from_bits(bits: u8) -> Option<Change> {
        let [new, content, size, time, perms, link] = unpack(u32::from(bits))?;
        Some(Change { new, content, size, time, perms, link })
    }

    /// Something has to be done at all.
    pub fn any(self) -> bool {
        self.bits() != 0
    }
}

fn pack(all: &[bool]) -> u32 {
    all.iter().enumerate().fold(0, |bits, (i, &on)| bits | u32::from(on) << i)
}

fn unpack<const N: usize>(bits: u32) -> Option<[bool; N]> {
    (bits >> N == 0).then(|| std::array::from_fn(|i| bits >> i & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_wish_or_none() {
        for bits in 0..1 << 12 {
            let both = bits >> 10 == 3;
            assert_eq!(Flags::from_bits(bits).map(Flags::bits), (!both).then_some(bits));
        }
        assert_eq!(Flags::from_bits(1 << 12), None);
        for bits in 0..64 {
            assert_eq!(Change::from_bits(bits).map(Change::bits), Some(bits));
        }
        assert_eq!(Change::from_bits(64), None);
    }
}
