//! A short hunt; `just flips` is the long one.

use faults::flips::{Kinds, World, run_on_all};

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_damaged_store_gives_the_truth_or_an_error() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let world = World::new(&directory.path().join("world"));
    println!("flips sizes={:?}", world.size());
    for (kinds, count, seed) in
        [(Kinds::Bits, number("CAIRN_FLIPS", 1000), 1), (Kinds::Pages, number("CAIRN_CUTS", 100), 2)]
    {
        let seed = number("CAIRN_SEED", seed) as u64;
        let counts = run_on_all(&world, directory.path(), seed, (count, kinds, 20), || {});
        println!("flips kinds={kinds:?} seed={seed} {counts:?}");
        assert!(counts.wrong.is_empty(), "{:#?}", counts.wrong);
        assert!(counts.detected > 0 && counts.refused > 0 && counts.repaired > 0, "{counts:?}");
    }
}
