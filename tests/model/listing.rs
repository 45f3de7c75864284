//! Merged listings: a directory in memory, read with buffers of any size and seeks, through the computation that prun
//! does between the kernel and the guest; against the plain list of what there is.

use prun::syscall::dirents::merge::{self, Beneath, Extra, Fate, Layout, Turn};

/// What the guest does with its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Step {
    /// getdents(2) with so many bytes.
    Read(u16),
    /// lseek(2) to the position that came with one of the entries read so far.
    Seek(u8),
    /// lseek(2) to the start.
    Rewind,
}

/// A directory and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) struct Listing {
    /// The host's entries: the number of each is its name, and how long it is.
    pub(crate) host: Vec<u8>,
    /// What the table has there, likewise.
    pub(crate) table: Vec<u8>,
    /// The table's are all.
    pub(crate) made_up: bool,
    /// getdents64(2).
    pub(crate) wide: bool,
    /// Positions are hashes, as with ext4.
    pub(crate) hashes: bool,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

fn name(n: u8) -> Vec<u8> {
    let mut name = format!("{n}-").into_bytes();
    name.resize(3 + usize::from(n % 16) * usize::from(n % 16), b'x');
    name
}

fn unique(all: &[u8]) -> Vec<u8> {
    let mut seen = vec![];
    for n in all {
        if !seen.contains(n) {
            seen.push(*n);
        }
    }
    seen
}

/// The host's directory and the guest's position in it: what the kernel keeps.
struct Kernel {
    names: Vec<Vec<u8>>,
    hashes: bool,
    position: i64,
    layout: Layout,
}

impl Kernel {
    /// The position of entry `i`.
    fn place(&self, i: usize) -> i64 {
        match (self.hashes, i) {
            (_, 0) => 0,
            (true, i) => ((i as i64) << 33) | 0x1234,
            (false, i) => i as i64,
        }
    }

    fn getdents(&mut self, room: usize) -> Result<Vec<u8>, syscalls::Errno> {
        let first =
            (0..self.names.len()).find(|&i| self.place(i) >= self.position).unwrap_or(self.names.len());
        let mut out = vec![];
        for (i, name) in self.names.iter().enumerate().skip(first) {
            let entry = Extra { name: name.clone(), ino: 1, kind: libc::DT_REG };
            let record = merge::encode(&entry, self.place(i + 1), self.layout);
            if out.len() + record.len() > room {
                if out.is_empty() {
                    return Err(syscalls::Errno::EINVAL);
                }
                break;
            }
            out.extend(record);
            self.position = self.place(i + 1);
        }
        Ok(out)
    }
}

/// One getdents(2) of the guest, as the handlers carry it out.
fn read(
    kernel: &mut Kernel,
    extras: &[Extra],
    beneath: Beneath,
    room: usize,
) -> Result<Vec<u8>, syscalls::Errno> {
    let mut start = false;
    match merge::turn(kernel.position, extras.len(), beneath) {
        Turn::Own(first) => {
            let (bytes, behind) = merge::own(extras, first, room, kernel.layout)?;
            kernel.position = behind;
            return Ok(bytes);
        }
        Turn::End => return Ok(vec![]),
        Turn::Rewind => {
            kernel.position = 0;
            start = true;
        }
        Turn::Host => {}
    }
    loop {
        let got = kernel.getdents(room);
        if start && !matches!(&got, Ok(bytes) if !bytes.is_empty()) {
            kernel.position = merge::FIRST + extras.len() as i64;
        }
        let bytes = got?;
        let kept = merge::without(&bytes, kernel.layout, |name| {
            if extras.iter().any(|e| e.name == name) { Fate::Goes } else { Fate::Stays }
        });
        if !kept.is_empty() || bytes.is_empty() {
            return Ok(kept);
        }
        start = false;
    }
}

/// Plays `case`; says what is listed wrongly.
pub(crate) fn check(case: &Listing) -> Result<(), String> {
    let layout = if case.wide { Layout::Wide } else { Layout::Old };
    let host: Vec<Vec<u8>> = unique(&case.host).into_iter().map(name).collect();
    let own: Vec<Vec<u8>> = unique(&case.table).into_iter().map(name).collect();
    let beneath = if case.made_up { Beneath::Nothing } else { Beneath::Host };
    let extras: Vec<Extra> =
        own.iter().map(|name| Extra { name: name.clone(), ino: 2, kind: libc::DT_DIR }).collect();
    let mut all = own.clone();
    if !case.made_up {
        all.extend(host.iter().filter(|name| !own.contains(name)).cloned());
    }
    let mut kernel = Kernel { names: host, hashes: case.hashes, position: 0, layout };
    let mut at = 0;
    let mut seen: Vec<(i64, usize)> = vec![];
    for step in &case.steps {
        match step {
            Step::Rewind => (kernel.position, at) = (0, 0),
            Step::Seek(n) if seen.is_empty() => _ = n,
            Step::Seek(n) => (kernel.position, at) = seen[usize::from(*n) % seen.len()],
            Step::Read(room) => {
                let room = usize::from(*room % 2048);
                match read(&mut kernel, &extras, beneath, room) {
                    Err(e) => {
                        // A name that is left out has to fit all the same. What comes next must not have changed.
                        let longest = kernel.names.iter().chain(&own).map(Vec::len).max().unwrap_or(0);
                        if e != syscalls::Errno::EINVAL || room > longest + 28 {
                            return Err(format!("{step:?} at {at}: {e:?}"));
                        }
                    }
                    Ok(bytes) if bytes.is_empty() => {
                        if at != all.len() {
                            return Err(format!("{step:?}: the end at {at} of {}", all.len()));
                        }
                    }
                    Ok(bytes) => {
                        let mut rest = &bytes[..];
                        while let Some((record, name, tail)) = merge::split(rest, layout) {
                            if all.get(at).map(Vec::as_slice) != Some(name) {
                                let name = name.escape_ascii();
                                return Err(format!("{step:?}: {name} at {at}, not {:?}", all.get(at)));
                            }
                            at += 1;
                            let next = record[8..16].try_into().map_or(0, i64::from_ne_bytes);
                            seen.push((next, at));
                            rest = tail;
                        }
                        if !rest.is_empty() || bytes.len() > room {
                            return Err(format!("{step:?}: {} bytes, {} behind", bytes.len(), rest.len()));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
