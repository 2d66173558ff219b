//! The table of functions that SQLite calls, over the one that it uses by itself.
#![allow(unsafe_code, reason = "SQLite's file system interface is C functions over raw pointers")]

use std::{
    ffi::{CStr, c_int, c_void},
    path::{Path, PathBuf},
    ptr, slice,
    sync::OnceLock,
};

use rusqlite::ffi;

use super::{Fate, Operation, fate, note};

/// What SQLite holds of an open file: our part, and behind it the file of the file system below.
#[repr(C)]
struct File {
    methods: *const ffi::sqlite3_io_methods,
    /// Made by `Box::into_raw` in `open`, given back in `close`. Null for a file without a name.
    path: *mut PathBuf,
}

/// The file system below. SQLite never frees or moves it.
struct Below(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite's own file system has no state that is bound to a thread.
unsafe impl Send for Below {}
// SAFETY: as above; it is only read here.
unsafe impl Sync for Below {}

static BELOW: OnceLock<Below> = OnceLock::new();

const METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2: with shared memory for the write-ahead log, without memory-mapped files, which could not be seen.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
struct Methods(ffi::sqlite3_io_methods);
// SAFETY: a table of plain functions.
unsafe impl Sync for Methods {}
static TABLE: Methods = Methods(METHODS);

/// Makes this the file system of every connection that is opened from now on.
pub(super) fn register() {
    // SAFETY: a null name asks for the default; SQLite initialises itself and gives a file system that lives for ever.
    let below = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    assert!(!below.is_null(), "SQLite has no file system");
    BELOW.get_or_init(|| Below(below));
    // SAFETY: `below` is valid, see above; the functions that are kept look at no argument of theirs that changes here.
    let mut vfs = unsafe { *below };
    vfs.szOsFile += size_of::<File>() as c_int;
    vfs.zName = c"faults".as_ptr();
    vfs.pNext = ptr::null_mut();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the table is never freed, as SQLite demands.
    let result = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1) };
    assert_eq!(result, ffi::SQLITE_OK, "the file system is refused");
}

fn below() -> *mut ffi::sqlite3_vfs {
    BELOW.get().map_or(ptr::null_mut(), |below| below.0)
}

/// Decides what becomes of an operation and does it, or not.
fn run(name: &'static str, writes: bool, error: c_int, act: impl FnOnce() -> c_int) -> c_int {
    match fate(name, writes) {
        Fate::Done => act(),
        Fate::Fails { done, full } => {
            if done {
                act();
            }
            if full { ffi::SQLITE_FULL } else { error }
        }
    }
}

/// Our part of a file.
///
/// # Safety
/// `file` was opened by [`open`] and is not closed.
unsafe fn path_of<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Path> {
    // SAFETY: by the caller's promise it begins with `File`, whose path is null or points to a live `PathBuf`.
    unsafe { (*file.cast::<File>()).path.as_ref().map(PathBuf::as_path) }
}

/// The file of the file system below.
///
/// # Safety
/// `file` has room for [`File`] and what is below, as SQLite allocates by `szOsFile`.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: by the caller's promise the memory goes on behind `File`; its size keeps the alignment.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// Calls a function of the file below.
macro_rules! pass {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls only with files that `open` opened, so the file below is open and has its methods.
        unsafe {
            let inner = inner($file);
            match (*(*inner).pMethods).$method {
                Some(method) => method(inner $(, $argument)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives memory of `szOsFile` bytes. Without methods the file counts as not opened.
    unsafe { (*file).pMethods = ptr::null() };
    run("open", false, ffi::SQLITE_CANTOPEN, || {
        // SAFETY: the memory behind our part is the file below's, and `name` is null or a C string that outlives it.
        unsafe {
            let Some(below_open) = (*below()).xOpen else { return ffi::SQLITE_CANTOPEN };
            let result = below_open(below(), name, inner(file), flags, out_flags);
            if result == ffi::SQLITE_OK {
                let ours = file.cast::<File>();
                (*ours).path = if name.is_null() {
                    ptr::null_mut()
                } else {
                    let path = CStr::from_ptr(name).to_string_lossy().into_owned();
                    Box::into_raw(Box::new(path.into()))
                };
                (*ours).methods = &raw const TABLE.0;
            }
            result
        }
    })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let result = pass!(file, xClose);
    // SAFETY: the path was made by `Box::into_raw` in `open`, and SQLite closes a file once.
    unsafe {
        let path = (*file.cast::<File>()).path;
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
        (*file).pMethods = ptr::null();
    }
    result
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const std::ffi::c_char, sync: c_int) -> c_int {
    run("delete", true, ffi::SQLITE_IOERR_DELETE, || {
        // SAFETY: `name` is a C string for the length of the call.
        unsafe {
            let Some(below_delete) = (*below()).xDelete else { return ffi::SQLITE_IOERR_DELETE };
            let result = below_delete(below(), name, sync);
            if result == ffi::SQLITE_OK {
                note(Path::new(&*CStr::from_ptr(name).to_string_lossy()), Operation::Delete);
            }
            result
        }
    })
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, len: c_int, offset: i64) -> c_int {
    run("read", false, ffi::SQLITE_IOERR_READ, || pass!(file, xRead, to, len, offset))
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, len: c_int, offset: i64) -> c_int {
    run("write", true, ffi::SQLITE_IOERR_WRITE, || {
        let result = pass!(file, xWrite, from, len, offset);
        // SAFETY: SQLite gives `len` readable bytes at `from`.
        if let (ffi::SQLITE_OK, Some(path)) = (result, unsafe { path_of(file) }) {
            // SAFETY: as above.
            let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), len as usize) };
            note(path, Operation::Write(offset as u64, bytes.to_vec()));
        }
        result
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    run("truncate", true, ffi::SQLITE_IOERR_TRUNCATE, || {
        let result = pass!(file, xTruncate, len);
        // SAFETY: the file is open.
        if let (ffi::SQLITE_OK, Some(path)) = (result, unsafe { path_of(file) }) {
            note(path, Operation::Truncate(len as u64));
        }
        result
    })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    run("sync", true, ffi::SQLITE_IOERR_FSYNC, || {
        // SAFETY: the file is open.
        if let Some(path) = unsafe { path_of(file) } {
            note(path, Operation::Sync);
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    run("size", false, ffi::SQLITE_IOERR_FSTAT, || pass!(file, xFileSize, size))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, held)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    pass!(file, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    to: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap, page, size, extend, to)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    pass!(file, xShmLock, offset, n, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass!`.
    unsafe {
        let inner = inner(file);
        if let Some(method) = (*(*inner).pMethods).xShmBarrier {
            method(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, delete)
}
