//! Passphrases, and where they come from.

use std::{
    env, fmt, fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// The passphrase itself.
const VARIABLE: &str = "CAIRN_PASSPHRASE";
/// A file with it.
const FILE_VARIABLE: &str = "CAIRN_PASSPHRASE_FILE";
/// Bytes of a passphrase at the most.
const BYTES: usize = 1024;
/// Characters of a new one at the least.
const CHARACTERS: usize = 8;

/// Why there is no passphrase.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Nobody gives one.
    #[error(
        "a passphrase is needed and there is no terminal to ask for it: --passphrase-file FILE, {FILE_VARIABLE} or \
         {VARIABLE} gives it"
    )]
    None,
    /// The file cannot be read.
    #[error("the passphrase file {} cannot be read: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The terminal cannot be used.
    #[error("the passphrase cannot be asked for: {0}")]
    Terminal(io::Error),
    /// It is no text.
    #[error("the passphrase is not UTF-8")]
    NotText,
    /// It is none, or no passphrase.
    #[error("a passphrase of {len} bytes, 1 to {BYTES} are allowed")]
    Length {
        /// Bytes that came.
        len: usize,
    },
    /// It can be guessed.
    #[error("a passphrase of {len} characters, at least {CHARACTERS} are expected of a new one")]
    Short {
        /// Characters that came.
        len: usize,
    },
    /// It was not the same the second time.
    #[error("that was another passphrase the second time: nothing was changed")]
    Twice,
}

/// A passphrase. It prints as nothing and is overwritten when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Arc<Zeroizing<String>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.reveal().ct_eq(other.reveal()).into()
    }
}

impl Eq for Passphrase {}

impl From<&str> for Passphrase {
    fn from(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }
}

impl Passphrase {
    /// One that somebody gave.
    ///
    /// # Errors
    /// When it has no bytes, or too many.
    pub fn check(text: Zeroizing<String>) -> Result<Self, PassphraseError> {
        match text.len() {
            1..=BYTES => Ok(Self(Arc::new(text))),
            len => Err(PassphraseError::Length { len }),
        }
    }

    pub(super) fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Where a passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// Nowhere.
    #[default]
    Nothing,
    /// The first line of a file.
    File(PathBuf),
    /// `CAIRN_PASSPHRASE`.
    Environment,
    /// Whoever sits at the terminal.
    Terminal,
    /// It is here.
    Given(Passphrase),
}

impl Source {
    /// The file of the command line, before those of the environment, before the terminal if there is one.
    pub fn resolve(file: Option<&Path>) -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = file.map(Path::to_owned).or_else(|| variable(FILE_VARIABLE).map(PathBuf::from)) {
            return Self::File(path);
        }
        if let Some(value) = variable(VARIABLE) {
            value.into_encoded_bytes().zeroize();
            return Self::Environment;
        }
        Self::terminal()
    }

    /// The terminal, if there is one.
    pub fn terminal() -> Self {
        if io::stdin().is_terminal() { Self::Terminal } else { Self::Nothing }
    }

    /// The passphrase.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn read(&self) -> Result<Passphrase, PassphraseError> {
        self.read_by("Passphrase: ", &mut ask)
    }

    /// A new passphrase, which a person says twice.
    ///
    /// # Errors
    /// When it cannot be had, can be guessed, or is another one the second time.
    pub fn read_new(&self) -> Result<Passphrase, PassphraseError> {
        self.read_new_by(&mut ask)
    }

    fn read_new_by(&self, ask: &mut impl FnMut(&str) -> io::Result<String>) -> Result<Passphrase, PassphraseError> {
        let passphrase = self.read_by("New passphrase: ", ask)?;
        let len = passphrase.0.chars().count();
        if len < CHARACTERS {
            return Err(PassphraseError::Short { len });
        }
        if *self == Self::Terminal && self.read_by("Once more: ", ask)? != passphrase {
            return Err(PassphraseError::Twice);
        }
        Ok(passphrase)
    }

    fn read_by(
        &self,
        prompt: &str,
        ask: &mut impl FnMut(&str) -> io::Result<String>,
    ) -> Result<Passphrase, PassphraseError> {
        let text = match self {
            Self::Nothing => return Err(PassphraseError::None),
            Self::Given(passphrase) => return Ok(passphrase.clone()),
            Self::File(path) => read_file(path)?,
            Self::Environment => match env::var(VARIABLE) {
                Ok(text) => Zeroizing::new(text),
                Err(env::VarError::NotPresent) => return Err(PassphraseError::None),
                Err(env::VarError::NotUnicode(text)) => {
                    text.into_encoded_bytes().zeroize();
                    return Err(PassphraseError::NotText);
                }
            },
            Self::Terminal => Zeroizing::new(ask(prompt).map_err(PassphraseError::Terminal)?),
        };
        Passphrase::check(text)
    }
}

fn ask(prompt: &str) -> io::Result<String> {
    rpassword::prompt_password(prompt)
}

/// The first line of a file, without its end.
fn read_file(path: &Path) -> Result<Zeroizing<String>, PassphraseError> {
    let failed = |error| PassphraseError::File { path: path.to_owned(), error };
    // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * BYTES));
    let file = fs::File::open(path).map_err(failed)?;
    file.take(bytes.capacity() as u64 - 1).read_to_end(&mut bytes).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PassphraseError::NotText)?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(answers: &[&str]) -> impl FnMut(&str) -> io::Result<String> {
        let mut answers: Vec<String> = answers.iter().rev().map(|&answer| answer.to_owned()).collect();
        move |_| answers.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    #[test]
    fn a_passphrase_overwrites_itself() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        check(&*Passphrase::from("correct horse").0);
    }

    #[test]
    fn a_new_passphrase_is_said_twice_and_is_not_short() {
        let new = |given: &[&str]| Source::Terminal.read_new_by(&mut answers(given)).map_err(|error| error.to_string());
        assert_eq!(new(&["correct horse", "correct horse"]).unwrap(), Passphrase::from("correct horse"));
        for (given, error) in [
            (
                &["correct horse", "correct horsf"][..],
                "that was another passphrase the second time: nothing was changed",
            ),
            (&["säbelzä"], "a passphrase of 7 characters, at least 8 are expected of a new one"),
            (&[""], "a passphrase of 0 bytes, 1 to 1024 are allowed"),
            (&["correct horse"], "the passphrase cannot be asked for: unexpected end of file"),
        ] {
            assert_eq!(new(given).unwrap_err(), error);
        }
        let long = "x".repeat(1025);
        assert!(matches!(
            Source::Terminal.read_by("", &mut answers(&[&long])),
            Err(PassphraseError::Length { len: 1025 })
        ));
        let one = Source::Terminal.read_by("", &mut answers(&["x"])).unwrap();
        assert_eq!((format!("{one:?}"), Source::Given(one.clone()).read().unwrap()), ("Passphrase(…)".to_owned(), one));
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        for text in ["correct horse", "correct horse\n", "correct horse\r\n", "correct horse\nand more\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Source::File(path.clone()).read().unwrap(), Passphrase::from("correct horse"));
        }
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(Source::File(path.clone()).read(), Err(PassphraseError::NotText)));
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(matches!(Source::File(path.clone()).read(), Err(PassphraseError::Length { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(Source::File(path).read(), Err(PassphraseError::File { .. })));
        assert!(matches!(Source::Nothing.read(), Err(PassphraseError::None)));
    }
}
