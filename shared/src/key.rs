//! Keys: who signs, how a signature is checked, and how a secret is agreed on. No other place knows the algorithms.

use alloc::collections::BTreeMap;
use core::fmt;

use curve25519_dalek::{MontgomeryPoint, traits::IsIdentity};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{id::NodeId, limits::SIGNERS};

/// The y coordinates of all points of small order.
#[rustfmt::skip]
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    [0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    [0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05],
    [0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a],
];

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
    /// The other half of an agreement is one with which everybody would get the same.
    #[error("the keys agree on nothing that is secret")]
    Agreement,
}

/// What two sides know after an agreement, and nobody else. It is not yet a key: hash it with what it is for.
pub type Agreed = Zeroizing<[u8; 32]>;

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

    /// What this node has in common with whoever made this half of an agreement (X25519, RFC 7748 §5; the scalar is the one
    /// that the key signs with). Signing and agreeing with one key is safe together: Thormarker, "On using the same key
    /// pair for Ed25519 and an X25519 based KEM", IACR ePrint 2021/509.
    ///
    /// # Errors
    /// When the other half is of small order, so that the result does not depend on this key.
    pub fn agree(&self, ephemeral: &[u8; 32]) -> Result<Agreed, KeyError> {
        match &self.0 {
            Secret::Ed25519(key) => agree(MontgomeryPoint(*ephemeral), &Zeroizing::new(key.to_scalar_bytes())),
            #[cfg(feature = "sim")]
            Secret::Simulated(node) => Ok(simulated::agree(node, ephemeral)),
        }
    }
}

/// Our half of agreements with nodes that need not be there. It prints its public part.
pub struct Ephemeral {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ephemeral({})", hex::encode(&self.public[..5]))
    }
}

impl Ephemeral {
    /// The half with this secret: random bytes.
    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        Self { secret, public }
    }

    /// What the other side needs to know of it.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// What we have in common with a node, by its public key in Montgomery form (RFC 7748 §4.1).
    ///
    /// # Errors
    /// When the node's key is weak.
    pub fn agree(&self, node: &NodeId) -> Result<Agreed, KeyError> {
        #[cfg(feature = "sim")]
        if simulated::is(node) {
            return Ok(simulated::agree(node, &self.public));
        }
        agree(strong(node)?.to_montgomery(), &self.secret)
    }
}

fn agree(point: MontgomeryPoint, scalar: &[u8; 32]) -> Result<Agreed, KeyError> {
    let agreed = point.mul_clamped(*scalar);
    if agreed.is_identity() { Err(KeyError::Agreement) } else { Ok(Zeroizing::new(agreed.to_bytes())) }
}

/// Checks a signature, strictly (`verify_strict` of ed25519-dalek: RFC 8032 §5.1.7 without its choices).
///
/// # Errors
/// When the node's key is weak, or the signature is not its own.
pub fn verify(node: &NodeId, message: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
    Signers::default().verify(node, message, signature)
}

/// Keys that were unpacked once, which is a tenth of what checking a signature costs.
#[derive(Debug, Default)]
pub struct Signers(BTreeMap<NodeId, VerifyingKey>);

impl Signers {
    /// Checks a signature, see [`verify`].
    ///
    /// # Errors
    /// When the node's key is weak, or the signature is not its own.
    pub fn verify(&mut self, node: &NodeId, message: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
        #[cfg(feature = "sim")]
        if simulated::is(node) {
            return if simulated::sign(node, message) == *signature { Ok(()) } else { Err(KeyError::Signature) };
        }
        let key = match self.0.get(node) {
            Some(key) => *key,
            None => {
                let key = strong(node)?;
                if self.0.len() >= SIGNERS {
                    self.0.clear();
                }
                self.0.insert(*node, key);
                key
            }
        };
        // The point with which a good signature begins is compared by its canonical bytes, so there is no need to unpack it to see that it is
        // none of small order. The rest of `verify_strict` is what `verify` does with a strong key.
        let signature = Signature::from_bytes(signature);
        let mut y = *signature.r_bytes();
        y[31] &= 0x7f;
        let good = !SMALL_ORDER.contains(&y) && key.verify(message, &signature).is_ok();
        if good { Ok(()) } else { Err(KeyError::Signature) }
    }
}

/// Checks that a node's id is a key that can sign for it alone.
///
/// # Errors
/// When it is weak, or no key.
pub fn check(node: &NodeId) -> Result<(), KeyError> {
    #[cfg(feature = "sim")]
    if simulated::is(node) {
        return Ok(());
    }
    strong(node).map(drop)
}

/// The node's public key, unless it is of small order.
fn strong(node: &NodeId) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_bytes(node.as_bytes()).map_err(|_| KeyError::Weak)?;
    if key.is_weak() { Err(KeyError::Weak) } else { Ok(key) }
}

/// Keys of simulations. Their ids begin with a label, so that no state says which kind a key is of.
#[cfg(feature = "sim")]
mod simulated {
    use sha2::{Digest, Sha256};

    use super::Agreed;
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

    /// Both sides know the node and the public half, and so does everybody else.
    pub(super) fn agree(node: &NodeId, ephemeral: &[u8; 32]) -> Agreed {
        let digest = Sha256::new().chain_update(b"simulated agreement").chain_update(node.as_bytes());
        Agreed::new(digest.chain_update(ephemeral).finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use curve25519_dalek::{
        EdwardsPoint, Scalar,
        constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION},
        edwards::CompressedEdwardsY,
    };
    use sha2::{Digest, Sha512};

    use super::*;

    /// Everything of small order on the curve and its twist (Bernstein, "Curve25519", list of values to reject).
    const MONTGOMERY: [&str; 5] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    /// `R ‖ S` with S = k·a: good for whoever leaves out that R is of small order, where it takes away what the key has of small order.
    fn forged(point: EdwardsPoint, key: &CompressedEdwardsY, a: Scalar, message: &[u8]) -> [u8; 64] {
        let r = point.compress();
        let digest = Sha512::new().chain_update(r.as_bytes()).chain_update(key.as_bytes()).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&digest.finalize().into());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(r.as_bytes());
        signature[32..].copy_from_slice((k * a).as_bytes());
        signature
    }

    #[test]
    fn small_order_is_known_by_its_y_alone() {
        let mut found: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
        found.iter_mut().for_each(|y| y[31] &= 0x7f);
        found.sort_unstable();
        found.dedup();
        let mut known = SMALL_ORDER;
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn a_signature_counts_exactly_where_the_library_is_strict() {
        let secret = SigningKey::from_bytes(&[5; 32]);
        let a = Scalar::from_bytes_mod_order(secret.to_scalar_bytes());
        let mut loose = 0;
        for part in EIGHT_TORSION {
            // A key with a part of small order is nobody's that is honest, and not weak.
            let key = (a * ED25519_BASEPOINT_POINT + part).compress();
            let library = VerifyingKey::from_bytes(key.as_bytes()).unwrap();
            let mut signers = Signers::default();
            for n in 0..32_u8 {
                let message = [n; 40];
                let mut tried: Vec<[u8; 64]> =
                    EIGHT_TORSION.iter().map(|point| forged(*point, &key, a, &message)).collect();
                let signed = secret.sign(&message).to_bytes();
                tried.push(signed);
                for bit in [0, 255, 256, 511] {
                    let mut flipped = signed;
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    tried.push(flipped);
                }
                for signature in tried {
                    let strict = library.verify_strict(&message, &Signature::from_bytes(&signature)).is_ok();
                    let ours = signers.verify(&NodeId::from_bytes(key.to_bytes()), &message, &signature).is_ok();
                    assert_eq!(ours, strict, "{}", hex::encode(signature));
                    loose +=
                        usize::from(!strict && library.verify(&message, &Signature::from_bytes(&signature)).is_ok());
                }
            }
        }
        assert!(loose > 100, "{loose} signatures show a difference");
    }

    fn ephemeral(n: u8) -> Ephemeral {
        Ephemeral::from_secret(Zeroizing::new([n; 32]))
    }

    #[test]
    fn keys_overwrite_themselves() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        let key = Key::from_secret(&[1; 32]);
        match &key.0 {
            Secret::Ed25519(key) => check(key),
            #[cfg(feature = "sim")]
            Secret::Simulated(_) => {}
        }
        check(&ephemeral(7).secret);
        check(&key.agree(ephemeral(7).public()).unwrap());
    }

    #[test]
    fn both_sides_agree_and_nobody_else_does() {
        let (key, half) = (Key::from_secret(&[1; 32]), ephemeral(7));
        let agreed = half.agree(&key.node()).unwrap();
        assert_eq!(key.agree(half.public()).unwrap(), agreed);
        assert_ne!(Key::from_secret(&[2; 32]).agree(half.public()).unwrap(), agreed);
        assert_ne!(ephemeral(8).agree(&key.node()).unwrap(), agreed);
    }

    #[test]
    fn a_half_that_gives_everybody_the_same_is_refused() {
        for half in MONTGOMERY {
            let half = hex::decode(half).unwrap().try_into().unwrap();
            assert_eq!(Key::from_secret(&[1; 32]).agree(&half), Err(KeyError::Agreement), "{half:?}");
        }
    }

    #[test]
    fn nothing_is_agreed_with_a_weak_key() {
        let mut one = [0; 32];
        one[0] = 1;
        // Order 4, order 1, and no point at all.
        for weak in [[0; 32], one, [2; 32]] {
            assert_eq!(ephemeral(7).agree(&NodeId::from_bytes(weak)), Err(KeyError::Weak), "{weak:?}");
        }
    }

    #[cfg(feature = "sim")]
    #[test]
    fn simulated_keys_agree_too() {
        let (key, half) = (Key::simulated(1), ephemeral(7));
        let agreed = half.agree(&key.node()).unwrap();
        assert_eq!(key.agree(half.public()).unwrap(), agreed);
        assert_ne!(Key::simulated(2).agree(half.public()).unwrap(), agreed);
        assert_ne!(ephemeral(8).agree(&key.node()).unwrap(), agreed);
    }

    #[test]
    fn an_ephemeral_prints_no_secret() {
        assert!(!alloc::format!("{:?}", ephemeral(7)).contains("0707"));
    }
}
