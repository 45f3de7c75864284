//! Random sequences of path calls: a script on standard input, one call a line, one line of output each.

use crate::raw::{c, name, ok, old};
use crate::sc;
use libc::*;
use std::ffi::CString;
use std::io::{BufRead, Write};

/// Descriptors that calls open and others use.
const SLOTS: usize = 3;

struct Player {
    dir: String,
    slots: [i64; SLOTS],
}

/// Plays the script in `dir`. A line is a call's name, two slots (3 is the current directory), a number for the flags
/// and two paths, separated by NULs; `@` at the front of a path is `dir`.
pub fn run(dir: &str) -> i32 {
    let mut player = Player { dir: dir.into(), slots: [-1; SLOTS] };
    let mut out = std::io::stdout().lock();
    sc!(SYS_umask, 0o22);
    for (i, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let line = line.expect("a line");
        player.stay_inside();
        let answer = player.play(i, &line);
        let _ = writeln!(out, "{i} {} -> {answer}", String::from_utf8_lossy(&line).replace('\0', " "));
    }
    0
}

impl Player {
    /// Nobody climbs out of the tree that is made for this.
    fn stay_inside(&mut self) {
        if !self.cwd().starts_with("$D") {
            sc!(SYS_chdir, c(self.dir.as_bytes()).as_ptr());
        }
        for i in 0..SLOTS {
            if self.slots[i] >= 0 && !self.behind(self.slots[i]).starts_with("$D") {
                sc!(SYS_close, self.slots[i]);
                self.slots[i] = -1;
            }
        }
    }

    fn show(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(text).replace(&self.dir, "$D")
    }

    fn cwd(&self) -> String {
        let mut buf = [0u8; 4096];
        let n = sc!(SYS_getcwd, buf.as_mut_ptr(), buf.len());
        if n < 0 { name(n) } else { self.show(&buf[..n as usize - 1]) }
    }

    fn link(&self, path: &CString) -> String {
        let mut buf = [0u8; 4096];
        let n = sc!(SYS_readlinkat, AT_FDCWD, path.as_ptr(), buf.as_mut_ptr(), buf.len());
        if n < 0 { name(n) } else { self.show(&buf[..n as usize]) }
    }

    fn behind(&self, fd: i64) -> String {
        self.link(&c(format!("/proc/self/fd/{fd}").as_bytes()))
    }

    fn path(&self, text: &[u8]) -> CString {
        match text.strip_prefix(b"@") {
            Some(rest) => c(&[self.dir.as_bytes(), rest].concat()),
            None => c(text),
        }
    }

    fn play(&mut self, i: usize, line: &[u8]) -> String {
        let parts: Vec<&[u8]> = line.split(|&b| b == 0).collect();
        let [call, slot, other, flags, first, second] = parts[..] else { panic!("six parts: {line:?}") };
        let number = |text: &[u8]| String::from_utf8_lossy(text).parse::<usize>().expect("a number");
        let (slot, other, flags) = (number(slot), number(other), number(flags));
        let fd = |n: usize| if n < SLOTS { self.slots[n] } else { i64::from(AT_FDCWD) };
        let (at, at2) = (fd(slot), fd(other));
        let (path, path2) = (self.path(first), self.path(second));
        let (p, p2) = (path.as_ptr(), path2.as_ptr());
        let pick = |all: &[i32]| all[flags % all.len()];
        let mut st: stat = unsafe { std::mem::zeroed() };
        match call {
            b"open" | b"openat2" => {
                let flags_of = pick(&[
                    O_RDONLY,
                    O_DIRECTORY,
                    O_PATH,
                    O_PATH | O_NOFOLLOW,
                    O_RDWR,
                    O_RDONLY | O_NOFOLLOW,
                    O_CREAT | O_WRONLY,
                    O_CREAT | O_EXCL | O_RDWR,
                    O_WRONLY | O_TRUNC,
                    O_CREAT | O_NOFOLLOW | O_WRONLY,
                    O_TMPFILE | O_RDWR,
                    O_DIRECTORY | O_NOFOLLOW,
                    O_CREAT | O_TRUNC | O_WRONLY,
                ]) | O_CLOEXEC;
                let flags_of = if flags_of & O_PATH == 0 { flags_of | O_NONBLOCK } else { flags_of };
                let r = if call == b"open" {
                    sc!(SYS_openat, at, p, flags_of, 0o644)
                } else {
                    let mode = if flags_of & (O_CREAT | O_TMPFILE & !O_DIRECTORY) != 0 { 0o644 } else { 0 };
                    let resolve = [1, 4, 8, 16, 12, 20, 9, 17][flags / 13 % 8];
                    let how = [flags_of as u64, mode, resolve];
                    crate::raw::openat2(at, p, &how)
                };
                if r < 0 {
                    return name(r);
                }
                if flags_of & O_ACCMODE != O_RDONLY {
                    sc!(SYS_write, r, [b'x'; 256].as_ptr(), i);
                }
                sc!(SYS_fstat, r, &raw mut st);
                let keep = other % SLOTS;
                if self.slots[keep] >= 0 {
                    sc!(SYS_close, self.slots[keep]);
                }
                self.slots[keep] = r;
                if st.st_nlink == 0 {
                    // A file without a name is called after its inode.
                    return kind(&st);
                }
                format!("{} {}", kind(&st), self.behind(r))
            }
            b"mkdir" => ok(sc!(SYS_mkdirat, at, p, pick(&[0o755, 0o700, 0o555]))),
            b"mknod" => ok(sc!(SYS_mknodat, at, p, [S_IFREG, S_IFIFO, S_IFSOCK][flags % 3] | 0o644, 0)),
            b"symlink" => ok(sc!(SYS_symlinkat, p2, at, p)),
            b"link" => ok(sc!(SYS_linkat, at, p, at2, p2, pick(&[0, AT_SYMLINK_FOLLOW]))),
            b"rename" => {
                let flags = pick(&[0, 0, 0, 1, 2]);
                ok(sc!(SYS_renameat2, at, p, at2, p2, flags))
            }
            b"unlink" => ok(sc!(SYS_unlinkat, at, p, 0)),
            b"rmdir" => ok(sc!(SYS_unlinkat, at, p, AT_REMOVEDIR)),
            b"chdir" => {
                let r = sc!(SYS_chdir, p);
                if r < 0 { name(r) } else { self.cwd() }
            }
            b"fchdir" => {
                let r = sc!(SYS_fchdir, at);
                if r < 0 { name(r) } else { self.cwd() }
            }
            b"getcwd" => format!("{} {}", self.cwd(), self.link(&c(b"/proc/self/cwd"))),
            b"stat" => {
                let r =
                    sc!(SYS_newfstatat, at, p, &raw mut st, pick(&[0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH]));
                if r < 0 { name(r) } else { kind(&st) }
            }
            b"readlink" => {
                let mut buf = [0u8; 4096];
                let n = sc!(SYS_readlinkat, at, p, buf.as_mut_ptr(), buf.len());
                if n < 0 { name(n) } else { self.show(&buf[..n as usize]) }
            }
            b"chmod" => ok(sc!(SYS_fchmodat, at, p, pick(&[0o755, 0o644, 0, 0o500, 0o300]))),
            b"truncate" => ok(sc!(SYS_truncate, p, flags)),
            b"access" => ok(sc!(SYS_faccessat, at, p, pick(&[F_OK, R_OK, W_OK, X_OK]))),
            b"list" => self.list(at, p),
            b"proc" => {
                // Through the kernel's own name for a descriptor.
                let way = c(&[format!("/proc/self/fd/{at}/").as_bytes(), first].concat());
                let r = sc!(SYS_newfstatat, AT_FDCWD, way.as_ptr(), &raw mut st, 0);
                if r < 0 { name(r) } else { kind(&st) }
            }
            _ => panic!("no call {}", String::from_utf8_lossy(call)),
        }
    }

    fn list(&self, at: i64, p: *const c_char) -> String {
        let fd = sc!(SYS_openat, at, p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if fd < 0 {
            return name(fd);
        }
        let mut names = vec![];
        loop {
            let mut buf = [0u8; 512];
            let n = sc!(SYS_getdents64, fd, buf.as_mut_ptr(), buf.len());
            if n <= 0 {
                if n < 0 {
                    names.push(name(n));
                }
                break;
            }
            let mut at = 0;
            while at < n as usize {
                let len = usize::from(u16::from_ne_bytes([buf[at + 16], buf[at + 17]]));
                let name = &buf[at + 19..at + len];
                let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(0)];
                names.push(format!("{}:{}", String::from_utf8_lossy(name), buf[at + 18]));
                at += len;
            }
        }
        sc!(SYS_close, fd);
        names.sort();
        names.join(" ")
    }
}

fn kind(st: &stat) -> String {
    let size = if st.st_mode & S_IFMT == S_IFREG { st.st_size } else { 0 };
    format!("{:o} {size} {}", st.st_mode, st.st_nlink)
}

/// Ways to a file of the host that the guest does not show: `/w/out` and `/w/far` are links to it, `/in` is beside it.
pub fn outside(secret: &str) -> i32 {
    let secret = c(secret.as_bytes());
    let open = |at: i64, path: &CString| {
        let fd = sc!(SYS_openat, at, path.as_ptr(), O_RDONLY);
        sc!(SYS_close, fd);
        ok(fd)
    };
    let limited = |at: i64, path: &CString| {
        // RESOLVE_NO_MAGICLINKS: a limit that changes nothing here.
        let how = [O_RDONLY as u64, 0, 2];
        ok(crate::raw::openat2(at, path.as_ptr(), &how))
    };
    let link = sc!(old::open, c"/w/out".as_ptr(), O_PATH | O_NOFOLLOW);
    println!("link as a directory -> {}", open(link, &c(b"secret")));
    println!("link as a directory, up -> {}", open(link, &c(b"../up/secret")));
    println!("absolute with a bad descriptor -> {}", limited(999, &secret));
    let file = sc!(old::open, c"/bin/guest".as_ptr(), O_RDONLY);
    println!("absolute with a file's descriptor -> {}", limited(file, &secret));
    // Deeper than PATH_MAX.
    sc!(SYS_chdir, c"/in".as_ptr());
    let name = c(&[b'n'; 250]);
    const LEVELS: usize = 18;
    for _ in 0..LEVELS {
        sc!(old::mkdir, name.as_ptr(), 0o755);
        sc!(SYS_chdir, name.as_ptr());
    }
    sc!(old::symlink, secret.as_ptr(), c"far".as_ptr());
    let dir = c(&secret.as_bytes()[..secret.as_bytes().len() - "/secret".len()]);
    sc!(old::symlink, dir.as_ptr(), c"out".as_ptr());
    sc!(old::symlink, c"./leaf".as_ptr(), c"near".as_ptr());
    sc!(SYS_close, sc!(old::open, c"leaf".as_ptr(), O_CREAT | O_WRONLY, 0o644));
    let cwd = i64::from(AT_FDCWD);
    println!("link in a deep directory -> {}", open(cwd, &c(b"./far")));
    println!("linked directory in a deep one -> {}", open(cwd, &c(b"out/secret")));
    println!("leaf by a link -> {}", open(cwd, &c(b"near")));
    println!(
        "up from a deep directory -> {}",
        open(cwd, &c(format!("{}secret", "../".repeat(LEVELS + 1)).as_bytes()))
    );
    println!("back to a name -> {}", open(cwd, &c(format!("{}in", "../".repeat(LEVELS + 1)).as_bytes())));
    let argv = [c"x".as_ptr(), std::ptr::null()];
    println!(
        "exec by a link in a deep directory -> {}",
        crate::raw::name(sc!(SYS_execve, c"./far".as_ptr(), argv.as_ptr(), 0))
    );
    0
}
