//! Numbers that nobody can guess, from a seed that the driver gives.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// SHA-256 over a label, the seed and a counter.
pub(crate) struct Random {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { seed, counter: 0 }
    }

    pub(crate) fn bytes32(&mut self) -> [u8; 32] {
        self.counter += 1;
        let digest = Sha256::new().chain_update(b"cairn/random/1").chain_update(*self.seed);
        digest.chain_update(self.counter.to_be_bytes()).finalize().into()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let bytes = self.bytes32();
        u64::from_be_bytes(core::array::from_fn(|i| bytes[i]))
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        let bytes = self.bytes32();
        core::array::from_fn(|i| bytes[i])
    }
}
