//! Resolution and the view against a reference model: random trees, bindings and paths, shrunk when they disagree.
//! The same model is what `fuzz/fuzz_targets/resolve.rs` fuzzes with.

#[path = "model/check.rs"]
mod check;
#[path = "model/listing.rs"]
mod listing;
#[path = "model/tree.rs"]
pub(crate) mod tree;
#[path = "model/world.rs"]
pub(crate) mod world;

use crate::harness::times;
use check::Checked;
use proptest::prelude::*;
use world::{Ask, Bind, Case, Kind, Made, Part, Path, World};

pub(crate) fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        24 => (0..5u8).prop_map(Part::Name),
        4 => Just(Part::Up),
        2 => Just(Part::Dot),
        1 => Just(Part::Empty),
        1 => prop_oneof![Just(Part::Longest), Just(Part::TooLong)],
    ]
}

fn path() -> impl Strategy<Value = Path> {
    (any::<bool>(), prop::collection::vec(part(), 0..7))
        .prop_map(|(absolute, parts)| Path { absolute, parts })
}

fn made() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![
        6 => Just(Kind::Dir),
        1 => Just(Kind::Locked),
        2 => Just(Kind::File),
        3 => path().prop_map(Kind::Link),
    ];
    (any::<u8>(), 0..5u8, kind).prop_map(|(parent, name, what)| Made { parent, name, what })
}

fn bind() -> impl Strategy<Value = Bind> {
    (any::<u8>(), path(), any::<bool>()).prop_map(|(host, guest, writable)| Bind { host, guest, writable })
}

fn ask() -> impl Strategy<Value = Ask> {
    let limits = prop_oneof![3 => Just(0u8), 1 => any::<u8>()];
    (any::<u8>(), path(), 0..3u8, limits, prop::option::weighted(0.2, made()))
        .prop_map(|(base, path, last, limits, change)| Ask { base, path, last, limits, change })
}

pub(crate) fn case(asks: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(made(), 0..24),
        prop_oneof![Just(0u8), any::<u8>()],
        prop::collection::vec(bind(), 0..6),
        prop::collection::vec(ask(), asks),
    )
        .prop_map(|(made, root, binds, asks)| Case { made, root, binds, asks })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(4000), failure_persistence: None, ..ProptestConfig::default() })]

    /// Up to sixteen paths a case, each with openat2(2) and by the walk alone.
    #[test]
    fn resolution_agrees_with_the_model(case in case(1..17)) {
        let mut checked = Checked::new(World::new(&case));
        prop_assert_eq!(checked.view(), Ok(()));
        prop_assert_eq!(checked.back(), Ok(()));
        for ask in &case.asks {
            if let Err(why) = checked.ask(ask) {
                prop_assert!(false, "{}", why);
            }
        }
    }
}

fn listing() -> impl Strategy<Value = listing::Listing> {
    let names = || prop::collection::vec(0..40u8, 0..12);
    let step = prop_oneof![
        8 => (0..400u16).prop_map(listing::Step::Read),
        1 => Just(listing::Step::Rewind),
        2 => any::<u8>().prop_map(listing::Step::Seek),
    ];
    let steps = prop::collection::vec(step, 1..40);
    (names(), names(), any::<[bool; 3]>(), steps).prop_map(|(host, table, [made_up, wide, hashes], steps)| {
        listing::Listing { host, table, made_up, wide, hashes, steps }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(4000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_listings_agree_with_the_model(case in listing()) {
        prop_assert_eq!(listing::check(&case), Ok(()));
    }
}

/// What was wrong once: the host's tree (`1/a`: `a` in what was made first), the bindings and a path each.
#[test]
fn what_disagreed_before_agrees() {
    type Known<'a> = (&'a str, &'a [(&'a str, Kind)], &'a [(u8, &'a str)], &'a [(&'a str, u8, u8)]);
    let link = |text: &str| Kind::Link(text.into());
    let all: &[Known] = &[
        (
            "`..` of a bound file or closed directory",
            &[("a", Kind::File), ("b", Kind::Locked)],
            &[(1, "c"), (2, "d")],
            &[("c/..", 0, 0), ("c/../a", 2, 0), ("d/..", 0, 0), ("d/../a", 1, 0)],
        ),
        (
            "a name that is too long, after a mount point",
            &[("a", Kind::Dir)],
            &[(1, "b")],
            &[("b/../LONG", 2, 0), ("LONG/a", 2, 0), ("b/../a/LONG", 2, 0)],
        ),
        (
            "a name that is too long in a placeholder",
            &[],
            &[(0, "a/b")],
            &[("a/LONG", 0, 0), ("a/LONG/c", 0, 0)],
        ),
        (
            "an absolute link with RESOLVE_NO_XDEV: the root is known after `..`, or with RESOLVE_IN_ROOT",
            &[("a", link("/b")), ("b", Kind::Dir)],
            &[],
            &[("a", 0, 0x81), ("../a", 0, 0x81), ("a", 0, 0x89), ("/a", 0, 0x81)],
        ),
        (
            "a binding below a bound file, or below a closed directory",
            &[("a", Kind::File), ("b", Kind::Locked), ("c", Kind::Dir)],
            &[(1, "d"), (3, "d/e"), (2, "e"), (3, "e/a"), (3, "b/a")],
            &[("d", 0, 0), ("d/e", 0, 0), ("d/e/..", 0, 0), ("e/a", 0, 0), ("b/a", 0, 0), ("b/a/..", 2, 0)],
        ),
        (
            "a binding over the way to a deeper one that was written shorter",
            &[("a", Kind::Dir), ("b", Kind::Dir), ("a", link("/a/c/d")), ("c", Kind::Dir)],
            &[(2, "e/../a/c"), (1, "b/../a")],
            &[("a/c", 0, 0), ("a/c/..", 0, 0), ("a/c/a", 0, 0)],
        ),
        (
            "a binding below a link that leads nowhere in the guest, but somewhere on the host",
            &[("b", link("/c")), ("c", Kind::Dir), ("d", Kind::Dir)],
            &[(2, "/."), (2, "b/a")],
            &[("b/a", 0, 0), ("b", 1, 0), ("b/a/..", 0, 0)],
        ),
        (
            "a binding at `..` of a link that leads nowhere",
            &[("b", link("b")), ("c", Kind::Dir)],
            &[(1, "b/../d")],
            &[("d", 0, 0), ("b/d", 0, 0), ("b", 1, 0)],
        ),
        (
            "a binding of a short name at the end of a long way, after looks at each component",
            &[("a", Kind::Dir), ("1/a", Kind::Dir), ("2/a", Kind::Dir), ("b", Kind::Dir), ("4/c", Kind::Dir)],
            &[(4, "a/a/a"), (5, "a/a/b")],
            &[
                ("a/a/a", 0, 0x84),
                ("a/a/a", 1, 0x84),
                ("d/../a/a/a", 2, 0),
                ("a/a/a/c", 0, 0x84),
                ("a/a/b", 0, 0x84),
            ],
        ),
    ];
    for (what, made, binds, asks) in all {
        let case = Case {
            made: made
                .iter()
                .map(|(path, what)| {
                    let (parent, name) = path.split_once('/').unwrap_or(("0", path));
                    let parent = parent.parse().expect("a number");
                    Made { parent, name: name.as_bytes()[0] - b'a', what: what.clone() }
                })
                .collect(),
            root: 0,
            binds: binds
                .iter()
                .map(|(host, at)| Bind { host: *host, guest: (*at).into(), writable: true })
                .collect(),
            asks: asks
                .iter()
                .map(|(path, last, limits)| Ask {
                    base: 0,
                    path: (*path).into(),
                    last: *last,
                    limits: *limits,
                    change: None,
                })
                .collect(),
        };
        let mut checked = Checked::new(World::new(&case));
        assert_eq!((checked.view(), checked.back()), (Ok(()), Ok(())), "{what}");
        for ask in &case.asks {
            assert_eq!(checked.ask(ask), Ok(()), "{what}");
        }
    }
}
