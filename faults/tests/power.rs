//! A short hunt; `just power` is the long one.

use faults::power;

#[test]
fn what_was_acknowledged_outlives_a_loss_of_power() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let seed = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let images = std::env::var("CAIRN_IMAGES").ok().and_then(|images| images.parse().ok()).unwrap_or(200);
    let counts = power::run(directory.path(), seed, images, || {});
    println!("power seed={seed} {counts:?}");
    assert!(counts.acked > images, "nearly nothing was acknowledged: {counts:?}");
    assert!(counts.unacked > 0, "no image is of a moment between a write and its acknowledgement: {counts:?}");
}
