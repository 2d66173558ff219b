//! The secret with which a node makes ledgers on the relays of its owner.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Bytes of a secret; one that `npm run deploy` makes has 43.
const BYTES: usize = 256;

/// It cannot be shown to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret of {len} bytes, expected 1 to {BYTES} letters, digits and -._~+/=")]
pub struct UnusableSecret {
    /// Bytes that came.
    pub len: usize,
}

/// What whoever deployed a relay gave to those who may make ledgers on it. It prints as nothing.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RelaySecret(String);

impl RelaySecret {
    /// A secret as it was written somewhere.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of the header `Authorization` (RFC 6750 §2.1).
    ///
    /// # Errors
    /// When the secret has a length or characters that such a header cannot have.
    pub fn authorization(&self) -> Result<HeaderValue, UnusableSecret> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let unusable = UnusableSecret { len: self.0.len() };
        if self.0.is_empty() || self.0.len() > BYTES || !self.0.bytes().all(is_token) {
            return Err(unusable);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).map_err(|_| unusable)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelaySecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_to_relays_and_to_nobody_else() {
        let secret = RelaySecret::new("s3cret-_~".into());
        let header = secret.authorization().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer s3cret-_~");
        assert_eq!(format!("{secret:?} {header:?}"), "RelaySecret(…) Sensitive");
    }

    #[test]
    fn what_no_header_can_hold_is_refused_without_being_shown() {
        for text in ["", "two words", "line\nbreak", "ümlaut", "\"", &"x".repeat(BYTES + 1)] {
            let error = RelaySecret::new(text.into()).authorization().unwrap_err();
            assert_eq!(error.len, text.len());
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        assert!(RelaySecret::new("x".repeat(BYTES)).authorization().is_ok());
    }
}
