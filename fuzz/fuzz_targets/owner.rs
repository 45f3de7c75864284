//! What is remembered of a file's owner: the attribute that anybody who may write the file can set to anything, the
//! capabilities in it, and the files of /proc that show credentials.
#![no_main]

use prun::emulate::identity::owner::{PERMISSIONS, Record};
use prun::emulate::identity::resource::{decode, encode};
use prun::emulate::identity::{Cred, FileCaps, status};

/// "The file's own", as a message says it.
const OWN: (u32, u32) = (u32::MAX, u32::MAX);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else { return };
    let host = u32::from(first) << 4 & PERMISSIONS;
    if let Some(record) = decode(data, host) {
        check(&record, data, host);
    }
    if let Some(caps) = FileCaps::parse(data) {
        assert!([12, 20, 24].contains(&data.len()), "{caps:?}");
    }
    let text = String::from_utf8_lossy(data);
    let shown = status::status(&text, &Cred::new(0, 0));
    assert_eq!(shown.lines().count(), text.lines().count());
    if let Some(file) = status::file_at(data) {
        assert!(data.starts_with(b"/proc/"), "{file:?}");
    }
});

fn check(record: &Record, data: &[u8], host: u32) {
    if let Some((guest, of_host)) = record.mode {
        assert!(guest | of_host <= PERMISSIONS);
    }
    assert!(record.trusted.keys().all(|name| !name.contains(&0)));
    // What is written is read, whatever the file's mode is by then.
    assert_eq!(decode(&encode(record, OWN), host ^ 0o111).as_ref(), Some(record));
    // Fields that are not known are skipped: 200 as a number, as bytes and as both fixed sizes.
    let fields: [&[u8]; 4] = [b"\xc0\x0c\x96\x01", b"\xc2\x0c\x02ab", b"\xc1\x0c12345678", b"\xc5\x0c1234"];
    for field in fields {
        assert_eq!(decode(&[field, data].concat(), host).as_ref(), Some(record));
        assert_eq!(decode(&[data, field].concat(), host).as_ref(), Some(record));
    }
    // A number that is cut off makes all of it no message.
    assert_eq!(decode(&[data, b"\x08\x80"].concat(), host), None);
}
