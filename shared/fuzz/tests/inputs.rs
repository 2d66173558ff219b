//! Every committed input, on stable: seeds that must pass, crashers that must never break anything again.

use std::collections::BTreeSet;

use fuzz::{
    TARGETS,
    allocation::{Counting, at_most, largest_of, take_measured},
    files, seeds,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn every_committed_input_passes() {
    for target in TARGETS {
        for folder in [files::corpus(target.name), files::crashers(target.name)] {
            for (path, bytes) in files::read(&folder).unwrap() {
                println!("{}", path.display());
                (target.run)(&bytes);
            }
        }
    }
}

#[test]
fn the_seeds_are_what_the_generator_makes() {
    let mut size = 0;
    for target in TARGETS {
        let made = seeds(target.name);
        assert!(made.len() >= 2, "{} has {} seeds", target.name, made.len());
        let kept = files::read(&files::corpus(target.name)).unwrap();
        let kept: BTreeSet<Vec<u8>> = kept.into_iter().map(|(_, bytes)| bytes).collect();
        size += kept.iter().map(Vec::len).sum::<usize>();
        let missing = made.iter().filter(|seed| !kept.contains(*seed)).count();
        assert_eq!(missing, 0, "{}: run `cargo run -p fuzz -- seeds`", target.name);
    }
    assert!(size < 300 * 1024, "{size} bytes of inputs");
}

#[test]
fn the_largest_allocation_is_measured() {
    let (kept, largest) = largest_of(|| vec![0_u8; 100_000]);
    assert!(largest >= kept.len(), "{largest}");
    let (mut grown, largest) = largest_of(|| Vec::<u64>::with_capacity(10));
    assert!((80..1_000).contains(&largest), "{largest}");
    let (_, largest) = largest_of(|| grown.reserve(50_000));
    assert!(largest >= 400_000, "{largest}");
    take_measured();
    at_most(1_000_000, "a vector", || vec![0_u8; 200_000]);
    assert!(take_measured() >= 200_000);
    let refused = std::panic::catch_unwind(|| at_most(1_000, "a vector", || vec![0_u8; 2_000]));
    assert!(refused.is_err());
}
