//! Keys: who signs, and how a signature is checked. No other place knows the algorithm.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::id::NodeId;

/// Whether this build takes simulated keys for good ones. A node or a relay must not be built so.
pub const SIMULATED: bool = cfg!(feature = "sim");

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key cannot sign safely.
    #[error("the key is weak or no key")]
    Weak,
    /// The signature does not fit the message and the key.
    #[error("the signature is wrong")]
    Signature,
}

/// The secret that signs as one node. It prints as its node.
#[derive(Clone)]
pub struct Key(Secret);

#[derive(Clone)]
enum Secret {
    Ed25519(SigningKey),
    #[cfg(feature = "sim")]
    Simulated(NodeId),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.node())
    }
}

impl Key {
    /// The Ed25519 key with this secret (RFC 8032 §5.1.5).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(Secret::Ed25519(SigningKey::from_bytes(secret)))
    }

    /// A stand-in for simulations: signs with a hash, which costs a hundredth and protects nothing.
    #[cfg(feature = "sim")]
    pub fn simulated(number: u64) -> Self {
        Self(Secret::Simulated(simulated::node(number)))
    }

    /// The public half: the node's id.
    pub fn node(&self) -> NodeId {
        match &self.0 {
            Secret::Ed25519(key) => NodeId::from_bytes(key.verifying_key().to_bytes()),
            #[cfg(feature = "sim")]
            Secret::Simulated(node) => *node,
        }
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match &self.0 {
            Secret::Ed25519(key) => key.sign(message).to_bytes(),
            #[cfg(feature = "sim")]
            Secret::Simulated(node) => simulated::sign(node, message),
        }
    }
}

/// Checks a signature, strictly (`verify_strict` of ed25519-dalek: RFC 8032 §5.1.7 without its choices).
///
/// # Errors
/// When the node's key is weak, or the signature is not its own.
pub fn verify(node: &NodeId, message: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
    #[cfg(feature = "sim")]
    if simulated::is(node) {
        return if simulated::sign(node, message) == *signature { Ok(()) } else { Err(KeyError::Signature) };
    }
    let key = VerifyingKey::from_bytes(node.as_bytes()).map_err(|_| KeyError::Weak)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| KeyError::Signature)
}

/// Keys of simulations. Their ids begin with a label, so that no state says which kind a key is of.
#[cfg(feature = "sim")]
mod simulated {
    use sha2::{Digest, Sha256};

    use crate::id::NodeId;

    const LABEL: &[u8; 16] = b"simulated key  \n";

    pub(super) fn node(number: u64) -> NodeId {
        let digest = Sha256::digest(number.to_be_bytes());
        let mut bytes: [u8; 32] = digest.into();
        bytes[16..].copy_from_slice(LABEL);
        NodeId::from_bytes(bytes)
    }

    pub(super) fn is(node: &NodeId) -> bool {
        node.as_bytes().ends_with(LABEL)
    }

    pub(super) fn sign(node: &NodeId, message: &[u8]) -> [u8; 64] {
        let half: [u8; 32] = Sha256::new().chain_update(node.as_bytes()).chain_update(message).finalize().into();
        core::array::from_fn(|i| half[i % 32])
    }
}
