//! What stat(2) and its kin write, in 32-bit ABIs: three structures, of which only the last holds every file.

use super::{Abi, Form};

/// What is known of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stat {
    /// Major and minor number of its device.
    pub dev: (u32, u32),
    /// Inode.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u16,
    /// Names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Which device it is.
    pub rdev: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Bytes of a good read.
    pub blksize: u32,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Access, change of content, change of status: seconds and nanoseconds.
    pub times: [(i64, u32); 3],
}

/// The file does not fit into the structure: `EOVERFLOW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// `overflowuid`, which stands for ids of more than 16 bits.
const OVERFLOW_ID: u16 = 65534;
/// `MAX_NON_LFS`.
const SIZE_MAX: u64 = 0x7fff_ffff;

/// `high2lowuid()`.
pub fn low_id(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(OVERFLOW_ID)
}

/// `low2highuid()`: the 16 bits that stand for no id become the 32 that do.
pub fn high_id(id: u32) -> u32 {
    match id as u16 {
        u16::MAX => u32::MAX,
        id => id.into(),
    }
}

/// `new_encode_dev()`.
fn new_dev((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// `old_encode_dev()`.
fn old_dev((major, minor): (u32, u32)) -> u16 {
    (major << 8 | minor) as u16
}

/// A structure in the making.
struct Bytes(Vec<u8>);

impl Bytes {
    fn put16(&mut self, values: &[u16]) {
        values.iter().for_each(|v| self.0.extend(v.to_le_bytes()));
    }

    fn put32(&mut self, values: &[u32]) {
        values.iter().for_each(|v| self.0.extend(v.to_le_bytes()));
    }

    fn put64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }
}

impl Stat {
    /// The pieces of a 32-bit ABI's structure, by their offset: what lies between is not written (`cp_stat64()`,
    /// `cp_compat_stat()`, `cp_old_stat()`). ARM's has 64-bit members at multiples of eight, and no old one.
    ///
    /// # Errors
    /// [`Overflow`] as the kernel has it for each.
    pub fn pieces(&self, abi: Abi, form: Form) -> Result<Vec<(u64, Vec<u8>)>, Overflow> {
        let ids = [low_id(self.uid), low_id(self.gid)];
        let links = u16::try_from(self.nlink);
        let seconds = self.times.map(|(seconds, _)| seconds as u32);
        let mut out = Bytes(vec![]);
        match form {
            Form::Wide => {
                out.put64(new_dev(self.dev).into());
                let first = std::mem::take(&mut out.0);
                out.put32(&[self.ino as u32, self.mode.into(), self.nlink, self.uid, self.gid]);
                out.put64(new_dev(self.rdev).into());
                let second = std::mem::take(&mut out.0);
                out.put64(self.size);
                out.put32(&[self.blksize]);
                if abi == Abi::Arm {
                    out.put32(&[0]);
                }
                out.put64(self.blocks);
                self.times.iter().for_each(|&(seconds, nanos)| out.put32(&[seconds as u32, nanos]));
                out.put64(self.ino);
                let size_at = if abi == Abi::Arm { 48 } else { 44 };
                Ok(vec![(0, first), (12, second), (size_at, out.0)])
            }
            Form::Plain => {
                let (Ok(ino), Ok(links)) = (u32::try_from(self.ino), links) else { return Err(Overflow) };
                if self.size > SIZE_MAX {
                    return Err(Overflow);
                }
                out.put32(&[new_dev(self.dev), ino]);
                out.put16(&[self.mode, links, ids[0], ids[1]]);
                out.put32(&[new_dev(self.rdev), self.size as u32, self.blksize, self.blocks as u32]);
                self.times.iter().for_each(|&(seconds, nanos)| out.put32(&[seconds as u32, nanos]));
                out.put64(0);
                Ok(vec![(0, out.0)])
            }
            Form::Old | Form::Oldest => {
                let (Ok(ino), Ok(links)) = (u16::try_from(self.ino), links) else { return Err(Overflow) };
                out.put16(&[old_dev(self.dev), ino, self.mode, links, ids[0], ids[1], old_dev(self.rdev), 0]);
                out.put32(&[self.size as u32]);
                out.put32(&seconds);
                Ok(vec![(0, out.0)])
            }
        }
    }
}

/// Where the number of names is in a 32-bit ABI's structure, and its bytes.
///
/// # Errors
/// [`Overflow`] where they are too many for it.
pub fn names(form: Form, names: u32) -> Result<(u64, Vec<u8>), Overflow> {
    let short = || u16::try_from(names).map(|n| n.to_le_bytes().to_vec()).map_err(|_| Overflow);
    match form {
        Form::Wide => Ok((20, names.to_le_bytes().to_vec())),
        Form::Plain => Ok((10, short()?)),
        Form::Old | Form::Oldest => Ok((6, short()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_names_is_where_it_is_written() {
        let file =
            Stat { ino: 0x0101, mode: 0x0202, nlink: 0x3456, uid: 0x0404, gid: 0x0505, ..Stat::default() };
        for abi in [Abi::I386, Abi::Arm] {
            for form in [Form::Wide, Form::Plain, Form::Old] {
                let (at, bytes) = names(form, file.nlink).expect("it fits");
                let pieces = file.pieces(abi, form).expect("it fits");
                let (from, piece) = pieces.iter().rfind(|piece| piece.0 <= at).expect("it is written");
                assert!(piece[(at - from) as usize..].starts_with(&bytes), "{form:?}");
            }
        }
        assert_eq!(names(Form::Plain, 1 << 16), Err(Overflow));
        assert!(names(Form::Wide, 1 << 16).is_ok());
    }

    #[test]
    fn ids_of_16_bits() {
        assert_eq!((low_id(7), low_id(65536), high_id(0x1_0007)), (7, 65534, 7));
        assert_eq!((high_id(0xffff), high_id(u32::MAX)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = Stat { ino: 1 << 20, nlink: 1, size: 1 << 20, ..Stat::default() };
        let len =
            |form| file.pieces(Abi::I386, form).map(|all| all.last().map(|(at, b)| at + b.len() as u64));
        assert_eq!(
            (len(Form::Wide), len(Form::Plain), len(Form::Old)),
            (Ok(Some(96)), Ok(Some(64)), Err(Overflow))
        );
        assert_eq!(Stat { ino: 5, ..file }.pieces(Abi::I386, Form::Old).map(|all| all[0].1.len()), Ok(32));
        for large in
            [Stat { ino: 1 << 32, ..file }, Stat { size: 1 << 31, ..file }, Stat { nlink: 1 << 16, ..file }]
        {
            for abi in [Abi::I386, Abi::Arm] {
                assert!(large.pieces(abi, Form::Plain).is_err() && large.pieces(abi, Form::Wide).is_ok());
            }
        }
    }
}
