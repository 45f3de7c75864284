//! Resolution against the reference model.
#![no_main]

#[allow(dead_code, reason = "another target looks at the view")]
#[path = "../../tests/model/check.rs"]
mod check;
#[path = "../../tests/model/tree.rs"]
mod tree;
#[allow(dead_code, reason = "the tests on a real tree use more of it")]
#[path = "../../tests/model/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|case: world::Case| {
    let mut checked = check::Checked::new(world::World::new(&case));
    for ask in case.asks.iter().take(16) {
        if let Err(why) = checked.ask(ask) {
            panic!("{why}\n{case:?}");
        }
    }
});
