//! Calls that look: every one with every interesting path, spelled relative, absolute and from a descriptor.

use super::tree::{HOPS, Place, long_name};
use crate::show::{bytes, c, cwd, descriptor, empty, errno, join, ok, stat};
use crate::sys;
use libc::AT_FDCWD;
use std::ffi::CStr;

/// One call: the directory descriptor (`AT_FDCWD` where the call has none), the path, and what to print.
type Reader = (&'static str, fn(i32, &CStr) -> String);

/// Paths relative to the tree. Those of [`outside`] leave it.
pub fn paths() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "", ".", "..", "./", "../", "file", "./file", ".//file", "file/", "file//", "file/.", "file/..", "file/x",
        "file/../file", "dir", "dir/", "dir/.", "dir//", "dir/..", "dir/../", "dir/../file", "dir/file", "dir/file/",
        "dir/sub/deep", "dir/sub/../file", "dir//sub///deep", "dir/./sub/./deep", "dir/sub/../../file", "missing",
        "missing/", "missing/x", "missing/..", "missing/.", "missing/../file", "dir/missing", "dir/missing/", "locked",
        "locked/", "locked/file", "locked/..", "locked/.", "locked/../file", "noexec", "noexec/file", "noread",
        "link", "link/", "link/.", "link/x", "dlink", "dlink/", "dlink/.", "dlink/..", "dlink/file", "dlink/sub",
        "dlink/../file", "dlink/sub/../../file", "alink", "alink/", "adlink", "adlink/", "adlink/file", "adlink/..",
        "adlink/../file", "chain1", "chain1/", "dangling", "dangling/", "dangling/x", "ddangling", "adangling",
        "self", "self/", "self/x", "loopa", "loopa/x", "up", "up/", "up/x/file", "up/o/file", "slash", "slash/",
        "slash/file", "fslash", "dot", "dot/", "dot/dot/dot/file", "dir/back", "dlink/back", "dir/sub/out",
        "lockedlink", "fifo", "fifo/", "script", "hard", "empty", "empty/", "empty/..", "cwdlink/file", "cwdlink",
        "../x/file", "../x/../o/file", "../../base/x/file",
    ]
    .iter()
    .map(|p| p.as_bytes().to_vec())
    .collect();
    let long = long_name();
    all.push(long.clone());
    all.push([&long[..], b"/"].concat());
    all.push([&long[..], b"/x"].concat());
    all.push([&long[..], b"n"].concat());
    all.push([b"missing/", &long[..], b"n"].concat());
    all.push([b"missing".as_slice(), &long[..]].concat());
    all
}

/// Paths that leave the tree, for calls that change nothing.
fn outside() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = ["/", "//", "/.", "/..", "/../..", "/../../", "rootlink", "rootlink/", "rootlink/..", "over", "over/", "rooted"]
        .iter()
        .map(|p| p.as_bytes().to_vec())
        .collect();
    for n in [38, 39, 40, HOPS] {
        all.push(format!("hop{n}").into_bytes());
        all.push(format!("hop{n}/file").into_bytes());
        all.push(format!("hop{n}/").into_bytes());
        all.push(format!("hop{n}/../file").into_bytes());
    }
    // A path is at most PATH_MAX - 1 = 4095 bytes and its zero.
    for total in [4094, 4095, 4096, 5000] {
        let mut dots = b"./".repeat((total - 4) / 2);
        dots.resize(total - 4, b'/');
        all.push([&dots[..], b"file"].concat());
        let mut slashes = b"dir".to_vec();
        slashes.resize(total - 4, b'/');
        all.push([&slashes[..], b"file"].concat());
        let mut name = b"dir/../".repeat(total / 7);
        name.resize(total, b'/');
        all.push(name);
    }
    all.push([&b"/".repeat(4094)[..]].concat());
    all.push([&b"/".repeat(4095)[..]].concat());
    all.push([&b"/".repeat(4096)[..]].concat());
    all
}

const READERS: &[Reader] = &[
    ("stat", |_, p| with_stat(|st| sys!(stat, p, st))),
    ("lstat", |_, p| with_stat(|st| sys!(lstat, p, st))),
    ("access F", |_, p| ok(sys!(access, p, libc::F_OK))),
    ("access R", |_, p| ok(sys!(access, p, libc::R_OK))),
    ("access W", |_, p| ok(sys!(access, p, libc::W_OK))),
    ("access X", |_, p| ok(sys!(access, p, libc::X_OK))),
    ("open", |_, p| descriptor(sys!(open, p, libc::O_RDONLY | libc::O_NONBLOCK, 0))),
    ("open DIRECTORY", |_, p| descriptor(sys!(open, p, libc::O_DIRECTORY, 0))),
    ("open WRONLY", |_, p| descriptor(sys!(open, p, libc::O_WRONLY | libc::O_NONBLOCK, 0))),
    ("readlink", |_, p| read_link(|buf, len| sys!(readlink, p, buf, len))),
    ("chdir", |_, p| {
        let here = sys!(open, c".", libc::O_PATH | libc::O_DIRECTORY, 0);
        let r = sys!(chdir, p);
        let seen = format!("{} now {}", ok(r), cwd());
        sys!(fchdir, here);
        sys!(close, here);
        seen
    }),
    ("statfs", |_, p| {
        let mut fs: libc::statfs = unsafe { std::mem::zeroed() };
        let r = sys!(statfs, p, &raw mut fs);
        format!("{} namelen {}", ok(r), fs.f_namelen)
    }),
    ("inotify_add_watch", |_, p| watch(p, libc::IN_ATTRIB)),
    ("inotify_add_watch DONT_FOLLOW", |_, p| watch(p, libc::IN_ATTRIB | libc::IN_DONT_FOLLOW)),
    ("inotify_add_watch ONLYDIR", |_, p| watch(p, libc::IN_ATTRIB | libc::IN_ONLYDIR)),
    ("getxattr", |_, p| ok(sys!(getxattr, p, c"user.none", 0usize, 0))),
    ("lgetxattr", |_, p| ok(sys!(lgetxattr, p, c"user.none", 0usize, 0))),
    ("newfstatat", |d, p| with_stat(|st| sys!(newfstatat, d, p, st, 0))),
    ("newfstatat NOFOLLOW", |d, p| with_stat(|st| sys!(newfstatat, d, p, st, libc::AT_SYMLINK_NOFOLLOW))),
    ("newfstatat EMPTY", |d, p| with_stat(|st| sys!(newfstatat, d, p, st, libc::AT_EMPTY_PATH))),
    ("newfstatat NO_AUTOMOUNT", |d, p| with_stat(|st| sys!(newfstatat, d, p, st, libc::AT_NO_AUTOMOUNT))),
    ("statx", |d, p| extended(d, p, 0)),
    ("statx NOFOLLOW", |d, p| extended(d, p, libc::AT_SYMLINK_NOFOLLOW | libc::AT_STATX_DONT_SYNC)),
    ("faccessat X", |d, p| ok(sys!(faccessat, d, p, libc::X_OK))),
    ("faccessat2 EACCESS", |d, p| ok(sys!(faccessat2, d, p, libc::R_OK, libc::AT_EACCESS))),
    ("faccessat2 NOFOLLOW", |d, p| ok(sys!(faccessat2, d, p, libc::R_OK, libc::AT_SYMLINK_NOFOLLOW))),
    ("faccessat2 EMPTY", |d, p| ok(sys!(faccessat2, d, p, libc::F_OK, libc::AT_EMPTY_PATH))),
    ("openat", |d, p| descriptor(sys!(openat, d, p, libc::O_RDONLY | libc::O_NONBLOCK, 0))),
    ("openat NOFOLLOW", |d, p| descriptor(sys!(openat, d, p, libc::O_NOFOLLOW | libc::O_NONBLOCK, 0))),
    ("openat PATH", |d, p| descriptor(sys!(openat, d, p, libc::O_PATH, 0))),
    ("openat PATH NOFOLLOW", |d, p| descriptor(sys!(openat, d, p, libc::O_PATH | libc::O_NOFOLLOW, 0))),
    ("openat DIRECTORY NOFOLLOW", |d, p| {
        descriptor(sys!(openat, d, p, libc::O_DIRECTORY | libc::O_NOFOLLOW, 0))
    }),
    ("openat RDWR", |d, p| descriptor(sys!(openat, d, p, libc::O_RDWR | libc::O_NONBLOCK, 0))),
    ("openat2", |d, p| {
        let how = [(libc::O_RDONLY | libc::O_NONBLOCK) as u64, 0, 0];
        descriptor(sys!(openat2, d, p, how.as_ptr(), 24))
    }),
    ("readlinkat", |d, p| read_link(|buf, len| sys!(readlinkat, d, p, buf, len))),
    ("name_to_handle_at", |d, p| handle(d, p, 0)),
    ("name_to_handle_at FOLLOW", |d, p| handle(d, p, libc::AT_SYMLINK_FOLLOW)),
    ("open_tree", |d, p| descriptor(sys!(open_tree, d, p, libc::O_CLOEXEC))),
    ("open_tree NOFOLLOW", |d, p| descriptor(sys!(open_tree, d, p, libc::AT_SYMLINK_NOFOLLOW))),
    ("getxattrat", |d, p| {
        let args = [0u64, 0];
        ok(sys!(getxattrat, d, p, 0, c"user.none", args.as_ptr(), 16))
    }),
    ("listxattrat NOFOLLOW", |d, p| ok(sys!(listxattrat, d, p, libc::AT_SYMLINK_NOFOLLOW, 0usize, 0))),
    ("file_getattr", |d, p| attributes(d, p, 0)),
    ("file_getattr NOFOLLOW", |d, p| attributes(d, p, libc::AT_SYMLINK_NOFOLLOW)),
];

/// Where the calls with a directory descriptor begin in the list.
const AT_CALLS: usize = 17;

pub fn run(place: &Place) {
    place.hops();
    let mut all = paths();
    all.extend(outside());
    for path in &all {
        let relative = c(path);
        for (name, call) in READERS {
            println!("{name} {} = {}", bytes(path), call(AT_FDCWD, &relative));
        }
    }
    // Absolute spellings stay within PATH_MAX where the relative one did only if short: both are wanted.
    for path in all.iter().filter(|p| !p.starts_with(b"/")) {
        let absolute = c(join(&place.base, path));
        for (name, call) in READERS.iter().filter(|(name, _)| !name.starts_with("access")) {
            println!("{name} $B/{} = {}", bytes(path), call(AT_FDCWD, &absolute));
        }
    }
    let dir = sys!(open, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0) as i32;
    sys!(chdir, &*c(&place.other));
    for path in &all {
        let relative = c(path);
        for (name, call) in &READERS[AT_CALLS..] {
            println!("{name} at {} = {}", bytes(path), call(dir, &relative));
        }
    }
    sys!(close, dir);
}

fn with_stat(call: impl FnOnce(*mut libc::stat) -> i64) -> String {
    let mut st = empty();
    let r = call(&raw mut st);
    if r < 0 { errno(-r) } else { stat(&st) }
}

fn extended(dir: i32, path: &CStr, flags: i32) -> String {
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    let r = sys!(statx, dir, path, flags, libc::STATX_BASIC_STATS, &raw mut st);
    match r {
        ..0 => errno(-r),
        _ if u32::from(st.stx_mode) & libc::S_IFMT == libc::S_IFREG => {
            format!("mode={:o} size={} nlink={}", st.stx_mode, st.stx_size, st.stx_nlink)
        }
        _ => format!("mode={:o}", st.stx_mode),
    }
}

fn read_link(call: impl FnOnce(*mut u8, usize) -> i64) -> String {
    let mut buf = [b'#'; 4200];
    let n = call(buf.as_mut_ptr(), buf.len());
    if n < 0 { errno(-n) } else { format!("{n} {}", bytes(&buf[..n as usize])) }
}

fn watch(path: &CStr, mask: u32) -> String {
    let fd = sys!(inotify_init1, libc::IN_CLOEXEC);
    let r = sys!(inotify_add_watch, fd, path, mask);
    sys!(close, fd);
    ok(r)
}

fn handle(dir: i32, path: &CStr, flags: i32) -> String {
    let mut buf = [0u32; 40];
    buf[0] = 128;
    let mut mount = 0i32;
    let r = sys!(name_to_handle_at, dir, path, buf.as_mut_ptr(), &raw mut mount, flags);
    // How long a handle is, is the file system's affair.
    ok(r)
}

fn attributes(dir: i32, path: &CStr, flags: i32) -> String {
    let mut buf = [0u64; 3];
    // EOPNOTSUPP and what the attributes are is the file system's affair; whether the path was found is not.
    match sys!(file_getattr, dir, path, buf.as_mut_ptr(), 24, flags) {
        r if r == -i64::from(libc::EOPNOTSUPP) || r == -i64::from(libc::ENOTTY) || r >= 0 => "found".into(),
        r => errno(-r),
    }
}
