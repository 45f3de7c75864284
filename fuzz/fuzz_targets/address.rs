//! Socket addresses and message headers.
#![no_main]

use prun::syscall::socket::address::{ADDR_MAX, MSG_LEN, PATH_AT, name_of, of_path, path_of, set_name};

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
    if let Some(message) = data.first_chunk::<MSG_LEN>() {
        let (address, len) = name_of(message);
        let mut copy = *message;
        set_name(&mut copy, !address, !len);
        assert_eq!(name_of(&copy), (!address, !len));
        set_name(&mut copy, address, len);
        assert_eq!(copy, *message);
    }
});
