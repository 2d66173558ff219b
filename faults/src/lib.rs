//! Disks that fail, lose power and lose bits, under the real store, replica and turn thread of a node.

pub mod disk;
pub mod flips;
pub mod power;
pub mod rng;
