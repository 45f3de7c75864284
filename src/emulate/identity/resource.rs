//! The value of the extended attribute `user.rootlesscontainers`, by which tools that unpack and run images without
//! privilege tell each other who owns a file: a protobuf message
//!
//! ```text
//! message Resource { uint32 uid = 1; uint32 gid = 2; }
//! ```
//!
//! as <https://github.com/rootless-containers/proto> defines it; an id of 2³²−1 means "the file's own". prun adds
//! fields that others skip, where there is something to say: permission bits (100) and those that the host's file had
//! when they were set (105), device (101: type in the bits of `S_IFMT`, 102 and 103: major and minor number),
//! `security.capability` (104), `trusted.*` attributes (106, each its name, a NUL and its value).

use super::owner::{Device, Record};

/// The attribute's name, NUL included.
pub const NAME: &[u8] = b"user.rootlesscontainers\0";
/// An id that says nothing.
const NONE: u32 = u32::MAX;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The message for a record. `own` is what a missing id of it stands for.
pub fn encode(record: &Record, own: (u32, u32)) -> Vec<u8> {
    let mut out = vec![];
    let mut number = |field: u64, value: u32| {
        // proto3 leaves out what is zero.
        if value != 0 {
            varint(&mut out, field << 3);
            varint(&mut out, u64::from(value));
        }
    };
    number(1, record.uid.unwrap_or(own.0));
    number(2, record.gid.unwrap_or(own.1));
    if let Some((guest, host)) = record.mode {
        // Never zero: a mode of 000 has to be told from none.
        number(100, guest | 1 << 16);
        number(105, host | 1 << 16);
    }
    if let Some(device) = record.device {
        number(101, device.format);
        number(102, device.number.0);
        number(103, device.number.1);
    }
    let mut bytes = |field: u64, value: &[u8]| {
        varint(&mut out, field << 3 | 2);
        varint(&mut out, value.len() as u64);
        out.extend_from_slice(value);
    };
    if let Some(caps) = &record.capability {
        bytes(104, caps);
    }
    for (name, value) in &record.trusted {
        bytes(106, &[name, b"\0".as_slice(), value].concat());
    }
    out
}

/// What a message says; `host_mode` are the permission bits the file has now, for messages that do not say which it had. `None` if it is no such message.
pub fn decode(mut bytes: &[u8], host_mode: u32) -> Option<Record> {
    let (mut uid, mut gid) = (0, 0);
    let mut record = Record::default();
    let mut device = Device { format: 0, number: (0, 0) };
    let mut host = host_mode;
    while !bytes.is_empty() {
        let key = read_varint(&mut bytes)?;
        match (key >> 3, key & 7) {
            (field, 0) => {
                let value = read_varint(&mut bytes)? as u32;
                match field {
                    1 => uid = value,
                    2 => gid = value,
                    100 => record.mode = Some((value & 0o7777, 0)),
                    105 => host = value & 0o7777,
                    101 => device.format = value,
                    102 => device.number.0 = value,
                    103 => device.number.1 = value,
                    _ => {}
                }
            }
            (field, 2) => {
                let len = usize::try_from(read_varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(len)?;
                match field {
                    104 => record.capability = Some(value.to_vec()),
                    106 => {
                        let (name, value) = value.split_at(value.iter().position(|&b| b == 0)?);
                        record.trusted.insert(name.to_vec(), value[1..].to_vec());
                    }
                    _ => {}
                }
                bytes = rest;
            }
            (_, 1) => bytes = bytes.get(8..)?,
            (_, 5) => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    let id = |id| (id != NONE).then_some(id);
    (record.uid, record.gid) = (id(uid), id(gid));
    record.mode = record.mode.map(|(guest, _)| (guest, host));
    record.device = (device.format != 0).then_some(device);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_other_tools_write_it() {
        let record = Record { uid: Some(1000), gid: Some(5), ..Record::default() };
        assert_eq!(encode(&record, (0, 0)), [0x08, 0xe8, 0x07, 0x10, 0x05]);
        assert_eq!(encode(&Record { uid: Some(0), gid: Some(0), ..Record::default() }, (0, 0)), []);
        let none = decode(&[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x10, 0x07], 0).expect("a message");
        assert_eq!((none.uid, none.gid), (None, Some(7)));
        assert_eq!(decode(&[0x08], 0), None);
        assert_eq!(decode(&[0x0a, 0x09, 0x00], 0), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let record = Record {
            uid: Some(4_000_000_000),
            gid: Some(0),
            mode: Some((0, 0o600)),
            device: Some(Device { format: libc::S_IFCHR, number: (1, 3) }),
            capability: Some(vec![1, 0, 0, 2]),
            trusted: [(b"trusted.x".to_vec(), b"1\x002".to_vec()), (b"trusted.y".to_vec(), vec![])].into(),
        };
        assert_eq!(decode(&encode(&record, (0, 0)), 0o640), Some(record));
        // As earlier versions wrote it.
        let mode = decode(&[0xa0, 0x06, 0x80, 0x80, 0x04], 0o640).expect("a message").mode;
        assert_eq!(mode, Some((0, 0o640)));
    }
}
