//! Links in folders where everybody may make some, and who may follow which: `fs.protected_symlinks` of proc(5).

use crate::raw::{c, ok, old};
use crate::sc;
use libc::*;

const OWNERS: [u32; 3] = [0, 7, 65534];
const MODES: [u32; 3] = [0o1777, 0o777, 0o1775];
/// Name and text of the links that each folder has of each owner.
const LINKS: [(&str, &str); 6] = [
    ("file", "../plain/file"),
    ("dir", "../plain/dir"),
    ("none", "../plain/none"),
    ("twice", "../plain/link"),
    ("program", "../plain/program"),
    ("up", "../plain/back"),
];

/// Makes the folders and links, as root.
pub fn make(dir: &str) -> i32 {
    let link = |text: &str, path: &str, owner: u32| {
        let (text, path) = (c(text.as_bytes()), c(format!("{dir}/{path}").as_bytes()));
        sc!(old::symlink, text.as_ptr(), path.as_ptr());
        sc!(old::lchown, path.as_ptr(), owner, owner);
    };
    let folder = |path: &str, owner: u32, mode: u32| {
        let path = c(format!("{dir}/{path}").as_bytes());
        sc!(old::mkdir, path.as_ptr(), 0o700);
        sc!(old::chown, path.as_ptr(), owner, owner);
        sc!(old::chmod, path.as_ptr(), mode);
    };
    folder("plain", 0, 0o755);
    folder("plain/dir", 0, 0o755);
    let me = std::fs::read("/proc/self/exe").expect("readable");
    for (name, text) in [("file", &b"text"[..]), ("dir/in", b"text"), ("program", &me)] {
        let path = format!("{dir}/plain/{name}");
        std::fs::write(&path, text).expect("new");
        sc!(old::chmod, c(path.as_bytes()).as_ptr(), 0o755);
    }
    link("file", "plain/link", 7);
    // From a folder where all is allowed to one where it is not.
    link("../0-1777/65534-file", "plain/back", 0);
    for owner in OWNERS {
        for mode in MODES {
            let at = format!("{owner}-{mode:o}");
            folder(&at, owner, mode);
            for of in OWNERS {
                for (name, text) in LINKS {
                    link(text, &format!("{at}/{of}-{name}"), of);
                }
                link(&format!("{of}-file"), &format!("{at}/{of}-here"), of);
                link(&format!("{dir}/plain/dir/."), &format!("{at}/{of}-dot"), of);
            }
        }
    }
    0
}

/// What each of these users finds there.
///
/// On a slow machine it is not all.
pub fn look(dir: &str, users: &[u32]) -> i32 {
    let dir = c(dir.as_bytes());
    for &user in users {
        let pid = sc!(old::fork);
        if pid == 0 {
            sc!(SYS_setgroups, 0, 0);
            sc!(SYS_setresgid, user, user, user);
            sc!(SYS_setresuid, user, user, user);
            sc!(SYS_chdir, dir.as_ptr());
            all(user);
            sc!(SYS_exit_group, 0);
        }
        sc!(SYS_wait4, pid, 0, 0, 0);
    }
    0
}

fn all(user: u32) {
    for owner in OWNERS {
        for mode in MODES {
            for of in OWNERS {
                for (name, _) in LINKS.iter().chain(&[("here", ""), ("dot", "")]) {
                    let path = format!("{owner}-{mode:o}/{of}-{name}");
                    println!("{user} {path}: {}", calls(&path));
                    if *name == "dir" || *name == "dot" {
                        for tail in &["/", "/in", "/.", "//"][..if slow() { 2 } else { 4 }] {
                            println!("{user} {path}{tail}: {}", calls(&format!("{path}{tail}")));
                        }
                    }
                }
            }
        }
    }
}

fn slow() -> bool {
    std::env::var_os("PRUN_TEST_SLOW").is_some()
}

fn calls(path: &str) -> String {
    let p = c(path.as_bytes());
    let p = p.as_ptr();
    let mut buffer = [0u8; 4096];
    let b = buffer.as_mut_ptr();
    let open = |flags: i32| {
        let fd = sc!(old::open, p, flags, 0o644);
        if fd >= 0 {
            sc!(SYS_close, fd);
        }
        ok(fd)
    };
    let how = |flags: i32, resolve: u64| {
        let how = [flags as u64, 0, resolve];
        let fd = crate::raw::openat2(AT_FDCWD, p, &how);
        if fd >= 0 {
            sc!(SYS_close, fd);
        }
        ok(fd)
    };
    if slow() {
        return [open(O_RDONLY), ok(sc!(old::lstat, p, b))].join(" ");
    }
    let here = std::fs::File::open(".").expect("a folder");
    let seen = [
        ok(sc!(old::stat, p, b)),
        ok(sc!(old::lstat, p, b)),
        ok(sc!(old::readlink, p, b, 4096)),
        open(O_RDONLY),
        open(O_WRONLY),
        open(O_RDONLY | O_NOFOLLOW),
        open(O_PATH | O_NOFOLLOW),
        open(O_PATH | O_DIRECTORY),
        open(O_RDWR | O_CREAT | O_EXCL),
        how(O_RDONLY, 0),
        how(O_PATH, 4),
        how(O_RDONLY, 16),
        ok(sc!(old::access, p, R_OK)),
        ok(sc!(SYS_chdir, p)),
        ok(sc!(SYS_linkat, AT_FDCWD, p, AT_FDCWD, p, AT_SYMLINK_FOLLOW)),
        ok(sc!(SYS_execve, p, [std::ptr::null::<i8>()].as_ptr(), 8)),
        ok(sc!(SYS_statfs, p, b)),
        ok(sc!(SYS_getxattr, p, c(b"user.x").as_ptr(), b, 9)),
        // Refused for its length before it is looked up; nothing is refused to real root, and so nothing is looked up for it.
        if unsafe { getuid() } == 0 { String::new() } else { ok(sc!(SYS_truncate, p, u64::MAX)) },
    ];
    sc!(SYS_fchdir, std::os::fd::AsRawFd::as_raw_fd(&here));
    seen.join(" ")
}
