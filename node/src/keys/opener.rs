//! Opens the key files of a data directory.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    KeyError,
    passphrase::{Passphrase, Source},
    sealed::{Sealed, SealedError, SealingKey},
};

/// Opens sealed key files: gets their passphrase when the first one is met and derives from it once, because the files of
/// one data directory are sealed with one salt. It keeps what was derived, not the passphrase.
#[derive(Debug, Default)]
pub struct Opener {
    sources: Vec<Source>,
    derived: Mutex<Vec<Arc<SealingKey>>>,
}

impl Opener {
    /// With passphrases from here; each is tried.
    pub fn new(sources: Vec<Source>) -> Self {
        Self { sources, derived: Mutex::default() }
    }

    /// What a line was sealed with, and what is in it.
    pub(super) fn open(
        &self,
        path: &Path,
        sealed: &Sealed,
    ) -> Result<(Arc<SealingKey>, zeroize::Zeroizing<Vec<u8>>), KeyError> {
        let failed = |error| KeyError::Sealed { path: path.to_owned(), error };
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        for key in derived.iter().filter(|key| key.fits(sealed)) {
            if let Ok(opened) = key.open(sealed) {
                return Ok((key.clone(), opened));
            }
        }
        let mut why = KeyError::NoPassphrase { path: path.to_owned() };
        for source in &self.sources {
            let passphrase: Passphrase = match source {
                Source::Nothing => continue,
                source => source.read()?,
            };
            let key = SealingKey::of(&passphrase, sealed).map_err(failed)?;
            match key.open(sealed) {
                Ok(opened) => {
                    let key = Arc::new(key);
                    derived.push(key.clone());
                    return Ok((key, opened));
                }
                Err(error @ SealedError::Passphrase) => why = failed(error),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(why)
    }

    /// How often a passphrase was turned into a key.
    #[cfg(test)]
    pub(super) fn derivations(&self) -> usize {
        self.derived.lock().unwrap().len()
    }
}
