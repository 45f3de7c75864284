//! Merged listings.
#![no_main]

#[path = "../../tests/model/listing.rs"]
mod listing;

libfuzzer_sys::fuzz_target!(|case: listing::Listing| {
    if let Err(why) = listing::check(&case) {
        panic!("{why}\n{case:?}");
    }
});
