//! The directory tree that path operations work in, and what changed in it.

use crate::show::{STAMP, bytes, c, empty, join, link, stat};
use crate::sys;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where everything is.
pub struct Place {
    /// The directory the tests were given: nothing outside it is changed.
    pub top: Vec<u8>,
    /// `top/base/x`: the working directory of most operations.
    pub base: Vec<u8>,
    /// `top/base/o`: another directory beside it.
    pub other: Vec<u8>,
    /// This program, as the guest names it.
    pub program: Vec<u8>,
    /// A directory on another mount, where the test has one.
    pub second: Option<Vec<u8>>,
}

/// How many links lie behind `hopN`: forty are followed, one more is ELOOP (path_resolution(7)).
pub const HOPS: usize = 42;

/// A 255-byte name, the longest.
pub fn long_name() -> Vec<u8> {
    vec![b'n'; 255]
}

impl Place {
    /// A path below `base`, absolute.
    pub fn at(&self, name: &[u8]) -> Vec<u8> {
        join(&self.base, name)
    }

    /// Removes what is there and makes the tree anew; leaves the working directory at `base`.
    pub fn rebuild(&self) {
        std::env::set_current_dir("/").expect("to leave the tree");
        let root = path(&self.top).join("base");
        wipe(&root);
        if let Err(e) = self.build() {
            println!("SETUP FAILED: {e}");
        }
        if let Err(e) = std::env::set_current_dir(path(&self.base)) {
            println!("SETUP FAILED: enter the tree: {e}");
        }
    }

    fn build(&self) -> std::io::Result<()> {
        let b = path(&self.base);
        let o = path(&self.other);
        fs::create_dir_all(&b)?;
        fs::create_dir_all(&o)?;
        for dir in ["dir", "dir/sub", "empty", "locked", "noexec"] {
            fs::create_dir(b.join(dir))?;
        }
        for (name, text) in [
            ("file", "abc"),
            ("noread", "secret"),
            ("script", "#!/bin/sh\nexit 7\n"),
            ("dir/file", "defg"),
            ("dir/sub/deep", "hi"),
            ("locked/file", "l"),
            ("noexec/file", "x"),
        ] {
            fs::write(b.join(name), text)?;
        }
        fs::write(o.join("file"), "other")?;
        fs::write(b.join(Path::new(std::ffi::OsStr::from_bytes(&long_name()))), "long")?;
        fs::hard_link(b.join("file"), b.join("hard"))?;
        let base = b.as_os_str().as_bytes();
        let absolute = |name: &str| std::ffi::OsString::from(path(&join(base, name.as_bytes())));
        for (name, target) in [
            ("link", "file".into()),
            ("dlink", "dir".into()),
            ("alink", absolute("file")),
            ("adlink", absolute("dir")),
            ("chain1", "chain2".into()),
            ("chain2", "chain3".into()),
            ("chain3", "dir/file".into()),
            ("dangling", "nowhere".into()),
            ("ddangling", "nowhere/deeper".into()),
            ("adangling", absolute("nothing")),
            ("self", "self".into()),
            ("loopa", "loopb".into()),
            ("loopb", "loopa".into()),
            ("up", "..".into()),
            ("slash", "dir/".into()),
            ("fslash", "file/".into()),
            ("dot", ".".into()),
            ("dir/back", "../file".into()),
            ("dir/sub/out", "../../../o/file".into()),
            ("rootlink", "/".into()),
            ("cwdlink", "/proc/self/cwd".into()),
            ("rooted", "/proc/self/root".into()),
            ("over", "../../../../../../../../../../../../../../../..".into()),
            ("lockedlink", "locked/file".into()),
        ] as [(&str, std::ffi::OsString); 24]
        {
            symlink(target, b.join(name))?;
        }
        chmod(&b.join("script"), 0o755);
        chmod(&b.join("noread"), 0);
        chmod(&b.join("noexec"), 0o644);
        chmod(&b.join("locked"), 0);
        sys!(mknod, &*c(self.at(b"fifo")), libc::S_IFIFO | 0o644, 0);
        Ok(())
    }

    /// Links `hop0` … that lie one behind the other.
    pub fn hops(&self) {
        let b = path(&self.base);
        for n in 0..=HOPS {
            let before = if n == 0 { "dir".to_owned() } else { format!("hop{}", n - 1) };
            drop(symlink(before, b.join(format!("hop{n}"))));
        }
    }

    /// Everything below `top/base`, one line each.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        see(&path(&self.top).join("base"), "", &mut all);
        all
    }
}

/// What was added (`+`), removed (`-`) or changed (`~`).
pub fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut out = vec![];
    for (name, was) in before {
        match after.get(name) {
            None => out.push(format!("-{name}")),
            Some(is) if is != was => out.push(format!("~{name} {is}")),
            Some(_) => {}
        }
    }
    for (name, is) in after {
        if !before.contains_key(name) {
            out.push(format!("+{name} {is}"));
        }
    }
    if out.is_empty() { "unchanged".into() } else { out.join("; ") }
}

fn see(dir: &Path, prefix: &str, all: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", bytes(entry.file_name().as_bytes()));
        let full = c(entry.path().as_os_str().as_bytes());
        let mut st = empty();
        let r = sys!(lstat, &*full, &raw mut st);
        let mut seen = if r < 0 { crate::show::errno(-r) } else { stat(&st) };
        match st.st_mode & libc::S_IFMT {
            libc::S_IFLNK => seen.push_str(&format!(" -> {}", link(&full))),
            libc::S_IFREG if st.st_size < 64 && (st.st_nlink > 1 || st.st_mtime == STAMP || st.st_size < 6) => {
                if let Ok(text) = fs::read(entry.path()) {
                    seen.push_str(&format!(" {}", bytes(&text)));
                }
            }
            libc::S_IFDIR => see(&entry.path(), &format!("{name}/"), all),
            _ => {}
        }
        let mut value = [0u8; 32];
        let n = sys!(lgetxattr, &*full, c"user.t", value.as_mut_ptr(), value.len());
        if n >= 0 {
            seen.push_str(&format!(" xattr={}", bytes(&value[..n as usize])));
        }
        all.insert(name, seen);
    }
}

/// A path of bytes.
pub fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn chmod(path: &Path, mode: u32) {
    if let Err(e) = fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        println!("SETUP FAILED: chmod {}: {e}", path.display());
    }
}

/// Removes a directory and all in it, whatever the modes in it have become.
pub fn wipe(dir: &Path) {
    let Ok(meta) = fs::symlink_metadata(dir) else { return };
    if !meta.is_dir() {
        drop(fs::remove_file(dir));
        return;
    }
    if meta.permissions().mode() & 0o700 != 0o700 {
        chmod(dir, 0o700);
    }
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                wipe(&entry.path());
            } else {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
    if let Err(e) = fs::remove_dir(dir) {
        println!("SETUP FAILED: remove {}: {e}", dir.display());
    }
}
