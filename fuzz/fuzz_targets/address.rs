//! Socket addresses and message headers.
#![no_main]

use prun::syscall::socket::address::{ADDR_MAX, Header, PATH_AT, msg_len, of_path, path_of};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(path) = path_of(data) {
        assert!(data.len() <= ADDR_MAX && !path.is_empty() && !path.contains(&0));
        assert!(data[PATH_AT..].starts_with(path));
        let again = of_path(path);
        // A path that fills the buffer has no room for its NUL.
        let whole = again.len() <= ADDR_MAX;
        assert_eq!(path_of(&again), whole.then_some(path));
        assert_eq!(path_of(&again[..again.len() - 1]), Some(path));
    } else {
        assert!(data.len() <= PATH_AT || data.len() > ADDR_MAX || data[..2] != [1, 0] || data[2] == 0);
    }
    for word in [4, 8] {
        if let Some(bytes) = data.get(..msg_len(word)) {
            header(word, bytes);
        }
    }
});

/// A `struct msghdr` of an ABI with words of `word` bytes.
fn header(word: usize, bytes: &[u8]) {
    let mut message = Header::new(word);
    message.bytes_mut().copy_from_slice(bytes);
    let whole = if word == 4 { u64::from(u32::MAX) } else { u64::MAX };
    let ((address, len), control) = (message.name(), message.control());
    assert!(address <= whole && control.0 <= whole);
    message.set_name(!address, !len);
    assert_eq!((message.name(), message.control()), ((!address & whole, !len), control));
    message.set_control(!control.0);
    assert_eq!(
        (message.name(), message.control()),
        ((!address & whole, !len), (!control.0 & whole, control.1))
    );
    message.set_name(address, len);
    message.set_control(control.0);
    assert_eq!(message.bytes(), bytes);
}
