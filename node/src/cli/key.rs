//! `cairn key`: a passphrase for the keys, and a backup of them.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use shared::{Store, replica::note_restored};

use super::Failure;
use crate::{
    config::Settings,
    data::{DataError, LockedDir},
    keys::{
        self, Cost, NodeKey, Opener, SealingKey, Source,
        backup::{Backup, BackupError, Kept},
    },
    store::{Beginning, KEPT},
};

#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Seal the keys of all ledgers of the data directory with a passphrase: a node asks for it when it starts
    Lock,
    /// Change the passphrase that they are sealed with
    Passphrase {
        /// A file whose first line is the new passphrase; --passphrase-file is that of the present one
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Keep them without a passphrase again
    Unlock,
    /// Write the keys of all ledgers to a file, sealed with a passphrase (that of the keys, where they have one)
    Backup {
        /// Where; nothing may be there yet
        file: PathBuf,
    },
    /// Add the ledgers of a backup that are not in the data directory. Each reads at once, and writes as soon as another node
    /// has told what its key has signed before
    Restore {
        /// The backup
        file: PathBuf,
    },
}

impl Key {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let lines = match &self.what {
            What::Lock => lock(settings)?,
            What::Passphrase { new_passphrase_file } => change(settings, new_passphrase_file.as_ref())?,
            What::Unlock => unlock(settings)?,
            What::Backup { file } => backup(settings, file)?,
            What::Restore { file } => restore(settings, file)?,
        };
        let mut out = io::stdout().lock();
        let printed = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
        printed.map_err(Failure::io("standard output cannot be written"))
    }
}

/// The key files of a data directory that no node uses: one that runs would go on with what it knows.
struct Files {
    _locked: LockedDir,
    all: Vec<PathBuf>,
    sealed: Vec<PathBuf>,
}

impl Files {
    fn of(settings: &Settings) -> Result<Self, Failure> {
        let mut files = Self { _locked: settings.data.lock()?, all: Vec::new(), sealed: Vec::new() };
        let mut dirs = settings.data.ledgers()?;
        // Its key counts even when its store is gone.
        if !dirs.contains(&settings.data.first()) {
            dirs.push(settings.data.first());
        }
        for dir in dirs {
            files.all.extend(keys::files(dir.path())?);
        }
        for path in &files.all {
            files.sealed.extend((keys::is_sealed(path)? == Some(true)).then(|| path.clone()));
        }
        if files.all.is_empty() {
            return Err(DataError::Nothing { path: settings.data.path().to_owned() }.into());
        }
        Ok(files)
    }

    fn reseal(&self, sources: Vec<Source>, seal: Option<SealingKey>) -> Result<(), Failure> {
        Ok(keys::reseal(&self.all, &Opener::new(sources), seal.map(Arc::new).as_ref())?)
    }
}

fn lock(settings: &Settings) -> Result<Vec<String>, Failure> {
    let files = Files::of(settings)?;
    if files.sealed.len() == files.all.len() {
        let message = "the keys have a passphrase already, `cairn key passphrase` changes it";
        return Err(Failure::Usage(message.to_owned()));
    }
    let passphrase = settings.passphrase.read_new()?;
    let seal = SealingKey::new(&passphrase, Cost::NEW)?;
    // Some are sealed already where this was cut short before.
    files.reseal(vec![Source::Given(passphrase)], Some(seal))?;
    Ok(vec![
        format!("{} key files are sealed: whoever forgets the passphrase has lost them", files.all.len()),
        "what they were before may still be found on this disk, and in copies of it".to_owned(),
    ])
}

fn change(settings: &Settings, new: Option<&PathBuf>) -> Result<Vec<String>, Failure> {
    let files = Files::of(settings)?;
    let Some(first) = files.sealed.first() else {
        return Err(Failure::Usage("the keys have no passphrase, `cairn key lock` gives them one".to_owned()));
    };
    let old = Source::Given(settings.passphrase.read()?);
    let opener = Opener::new(vec![old.clone()]);
    // That it is wrong is told before a new one is asked for.
    if !files.sealed.iter().any(|path| NodeKey::load(path, &opener).is_ok()) {
        NodeKey::load(first, &opener)?;
    }
    let passphrase = new.map_or_else(Source::terminal, |path| Source::File(path.clone())).read_new()?;
    let seal = SealingKey::new(&passphrase, Cost::NEW)?;
    // Some have the new one already where this was cut short before.
    files.reseal(vec![old, Source::Given(passphrase)], Some(seal))?;
    Ok(vec![format!(
        "{} key files have the new passphrase; backups keep the one that they were made with",
        files.all.len()
    )])
}

fn unlock(settings: &Settings) -> Result<Vec<String>, Failure> {
    let files = Files::of(settings)?;
    if files.sealed.is_empty() {
        return Err(Failure::Usage("the keys have no passphrase".to_owned()));
    }
    files.reseal(vec![settings.passphrase.clone()], None)?;
    Ok(vec![format!("{} key files are open: whoever reads them has the keys", files.all.len())])
}

fn backup(settings: &Settings, file: &Path) -> Result<Vec<String>, Failure> {
    // Before anybody is asked for anything.
    if file.try_exists().map_err(Failure::io("the backup cannot be written"))? {
        let error = io::ErrorKind::AlreadyExists.into();
        return Err(BackupError::Io { path: file.to_owned(), error }.into());
    }
    let dirs = settings.data.ledgers()?;
    if dirs.is_empty() {
        return Err(DataError::Nothing { path: settings.data.path().to_owned() }.into());
    }
    let relays: Vec<String> = settings.relays.iter().map(ToString::to_string).collect();
    let (backup, passphrase) = Backup::of(&settings.data, &dirs, &relays, &settings.passphrase)?;
    backup.write(file, &passphrase)?;
    Ok(vec![
        format!("{}: the keys of {} ledgers, sealed with {}", file.display(), dirs.len(), whose(backup.sealed)),
        "the history is not in it: a restored node gets that from others".to_owned(),
    ])
}

fn whose(sealed: bool) -> &'static str {
    if sealed { "the passphrase of the keys" } else { "the passphrase" }
}

fn restore(settings: &Settings, file: &Path) -> Result<Vec<String>, Failure> {
    let _locked = settings.data.lock()?;
    let (backup, passphrase) = Backup::read(file, || settings.passphrase.read())?;
    let malformed = || BackupError::Malformed { path: file.to_owned() };
    let beginning = |kept: &Kept| Beginning::of(|name| kept.value(name).map(<[u8]>::to_vec)).ok_or_else(malformed);
    let beginnings = backup.ledgers.iter().map(beginning).collect::<Result<Vec<Beginning>, BackupError>>()?;
    let data = settings.data.clone().with_passphrase(Source::Given(passphrase.clone()));
    let seal = match data.seal()? {
        None if backup.sealed => Some(Arc::new(SealingKey::new(&passphrase, Cost::NEW)?)),
        seal => seal,
    };
    let mut lines = Vec::new();
    for (kept, beginning) in backup.ledgers.iter().zip(beginnings) {
        let (id, node) = (beginning.id(), kept.key.node());
        let made = data.make(&beginning, kept.key.clone().sealed(seal.clone()), |mut opened| {
            let store = &mut opened.store;
            let known = kept.values.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
            known.into_iter().try_for_each(|(name, value)| store.set_meta(name, value))?;
            note_restored(store, &node, kept.height)?;
            store.commit()?;
            Ok::<_, Failure>(store.checkpoint()?)
        });
        lines.push(match made {
            Ok(()) => format!("ledger {id}: restored as node {node}"),
            Err(Failure::Data(DataError::Exists(_))) => format!("ledger {id}: is here already and was left as it is"),
            Err(failure) => return Err(failure),
        });
    }
    lines.push("a restored node writes once another one has told it what its key has signed before".to_owned());
    Ok(lines)
}
