//! The table of a view against the model's plain map, and host paths named back.
#![no_main]

#[allow(dead_code, reason = "paths are resolved by another target")]
#[path = "../../tests/model/check.rs"]
mod check;
#[path = "../../tests/model/tree.rs"]
mod tree;
#[allow(dead_code, reason = "paths are resolved by another target")]
#[path = "../../tests/model/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|case: world::Case| {
    let checked = check::Checked::new(world::World::new(&case));
    if let Err(why) = checked.view().and_then(|()| checked.back()) {
        panic!("{why}\n{case:?}");
    }
});
