//! Secrets that whoever shows them is let in by: one for the commands of a data directory, one for clients.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::{open_to_others, write_private};

/// First words of a token file, so that a person who finds one knows what it is.
const LABEL: &str = "cairn client token 1 ";
/// Random bytes of a token.
const BYTES: usize = 32;
/// Bytes of a token file at most.
const FILE_BYTES: u64 = 256;

/// Why there is no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("the token file {} cannot be used: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Others may read the file.
    #[error(
        "the token file {} has mode {mode:03o}, 600 is expected: others may know the token, `cairn token --renew` makes another",
        path.display()
    )]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "the token file {} is not one line of \"{LABEL}\" and 64 hexadecimal digits; `cairn token --renew` makes another",
        path.display()
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// There is no file.
    #[error(
        "there is no client token in {}: a node makes one when it first listens beyond this machine, and \
         `cairn token --renew` does",
        path.parent().unwrap_or(path).display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A secret of 32 random bytes as hexadecimal digits. It prints as nothing and is overwritten when it is dropped.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new secret.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self(Zeroizing::new(hex::encode(*bytes))))
    }

    /// Whether this is what came.
    pub fn is(&self, came: &str) -> bool {
        // The time this takes tells the length at most, and that is no secret.
        self.0.as_bytes().ct_eq(came.as_bytes()).into()
    }

    /// The digits, for whoever may see them.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads the file of the clients' token.
    ///
    /// # Errors
    /// [`TokenError::Missing`] when there is none; also when it cannot be read, is readable by others, or holds no token.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let path = || path.to_owned();
        let failed = |error| TokenError::Io { path: path(), error };
        let file = match fs::File::open(path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(TokenError::Missing { path: path() }),
            Err(error) => return Err(failed(error)),
        };
        if let Some(mode) = open_to_others(&file.metadata().map_err(failed)?) {
            return Err(TokenError::Permissions { path: path(), mode });
        }
        // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * FILE_BYTES as usize));
        file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let malformed = || TokenError::Malformed { path: path() };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let digits = text.strip_prefix(LABEL).ok_or_else(malformed)?.trim_end();
        let mut secret = Zeroizing::new([0; BYTES]);
        hex::decode_to_slice(digits, &mut *secret).map_err(|_| malformed())?;
        Ok(Self(Zeroizing::new(hex::encode(*secret))))
    }

    /// Makes a new token in a file that only its owner may read; what was there before counts no more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make(path: &Path) -> Result<Self, TokenError> {
        let token = Self::generate()?;
        let line = Zeroizing::new(format!("{LABEL}{}\n", token.reveal()));
        match write_private(path, line.as_bytes()) {
            Ok(()) => Ok(token),
            Err(error) => Err(TokenError::Io { path: path.to_owned(), error }),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_equal_or_not_and_print_as_nothing() {
        let (token, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert!(token.is(&token.0) && !token.is(&other.0) && !token.is("") && !token.is(&token.0[1..]));
        assert!(!format!("{token:?}").contains(&token.0[..8]));
    }

    #[test]
    fn a_token_overwrites_itself() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        check(&Token::generate().unwrap().0);
    }

    #[test]
    fn a_token_reads_back_from_its_file_until_another_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.token");
        assert!(matches!(Token::load(&path), Err(TokenError::Missing { .. })));
        let first = Token::make(&path).unwrap();
        assert!(Token::load(&path).unwrap().is(first.reveal()));
        let second = Token::make(&path).unwrap();
        assert!(Token::load(&path).unwrap().is(second.reveal()) && !second.is(first.reveal()));
    }

    #[test]
    fn a_file_that_holds_no_token_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.token");
        let short = format!("{LABEL}abcd");
        let long = format!("{LABEL}{}", "0".repeat(300));
        for text in ["", LABEL, &short, &long, "cairn node key 1 00", "\u{fffd}"] {
            write_private(&path, text.as_bytes()).unwrap();
            assert!(matches!(Token::load(&path), Err(TokenError::Malformed { .. })), "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.token");
        Token::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Token::load(&path), Err(TokenError::Permissions { mode: 0o644, .. })));
    }
}
