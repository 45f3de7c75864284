//! Hundreds of path operations in a directory, one line each; nothing that differs between runs is printed.

use crate::raw::{c, name, ok, old};
use crate::sc;
use libc::*;
use std::ffi::CString;

const CWD: i64 = AT_FDCWD as i64;
type B = Vec<u8>;

/// `DIR [SHARE FIRST]`: one of so many paths, from that on.
pub fn run(args: &[&str]) -> i32 {
    let number = |i: usize| args.get(i).map(|n| n.parse::<usize>().expect("a number"));
    let (dir, share, first) = (args[0], number(1).unwrap_or(1), number(2).unwrap_or(0));
    setup(dir);
    assert_eq!(sc!(SYS_chdir, c(dir.as_bytes()).as_ptr()), 0);
    let paths: Vec<_> = paths(dir).into_iter().skip(first).step_by(share).collect();
    for (label, p) in &paths {
        look(dir, label, p);
    }
    let fd = sc!(old::open, c(dir.as_bytes()).as_ptr(), O_RDONLY | O_DIRECTORY);
    for (label, p) in &paths {
        at(dir, label, p, fd);
        limits(label, p, fd);
    }
    for (label, p) in &paths {
        change(label, p);
    }
    sequences(dir);
    0
}

fn setup(dir: &str) {
    let d = |p: &str| c(format!("{dir}/{p}").as_bytes());
    for p in ["d", "d/sub", "d/sub/deep", "locked", "e"] {
        sc!(old::mkdir, d(p).as_ptr(), 0o755);
    }
    for p in ["f", "d/x", "d/sub/y", "locked/z", "exec"] {
        let fd = sc!(old::open, d(p).as_ptr(), O_CREAT | O_WRONLY, if p == "exec" { 0o755 } else { 0o644 });
        sc!(SYS_write, fd, b"data".as_ptr(), 4);
        sc!(SYS_close, fd);
    }
    let abs = |p: &str| format!("{dir}/{p}");
    let links = [
        ("f", "lf"),
        ("d", "ld"),
        ("d/", "lds"),
        ("nowhere", "dang"),
        ("loop", "loop"),
        ("../x", "d/sub/up"),
        (".", "dot"),
        ("..", "dotdot"),
        ("/", "root"),
        ("/proc/self", "self"),
        ("lf", "llf"),
        ("d/sub/../x", "via"),
    ];
    for (t, l) in links {
        sc!(old::symlink, c(t.as_bytes()).as_ptr(), d(l).as_ptr());
    }
    sc!(old::symlink, c(abs("f").as_bytes()).as_ptr(), d("abs").as_ptr());
    sc!(old::symlink, c(abs("d").as_bytes()).as_ptr(), d("absd").as_ptr());
    sc!(old::symlink, c(b"f").as_ptr(), d("c0").as_ptr());
    for i in 1..=40 {
        sc!(old::symlink, c(format!("c{}", i - 1).as_bytes()).as_ptr(), d(&format!("c{i}")).as_ptr());
    }
    sc!(SYS_mknodat, CWD, d("fifo").as_ptr(), S_IFIFO | 0o644, 0);
    sc!(old::chmod, d("locked").as_ptr(), 0);
}

fn paths(dir: &str) -> Vec<(String, B)> {
    let relative = "f d d/ f/ d/. f/. d/.. f/.. . .. ./ ../ ./. d/x d//x ./d/./x d/../d/x d/sub/../x d/sub/../../f d/x/.. \
        d/x/../x lf lf/ lf/. ld ld/ ld/. ld/.. ld/x ld/sub/../x lds lds/x dang dang/ dang/x loop loop/ loop/x abs abs/ absd \
        absd/ absd/x absd/../f absd/sub/up d/sub/up dot dot/f dotdot dotdot/. root root/ root/proc self self/cwd/f \
        self/cwd/../. missing missing/ missing/x missing/.. missing/../f f/x f/x/y locked locked/z locked/.. locked/nope \
        c39 c40 llf via exec fifo d/missing d/missing/ e";
    let mut all: Vec<(String, B)> = vec![];
    for r in relative.split_whitespace() {
        all.push((r.into(), r.into()));
        all.push((format!("$D/{r}"), format!("{dir}/{r}").into()));
    }
    for r in [
        "/",
        "//",
        "/.",
        "/..",
        "/../..",
        "/../proc",
        "/proc/self/cwd",
        "/proc/self/cwd/f",
        "/proc/self/cwd/",
        "/proc/self/root",
        "/proc/self/root/",
        "/proc/thread-self/cwd/d/x",
        "/proc/self/cwd/../.",
        "/proc/self/exe/x",
        "/proc/self",
        "/proc/self/",
        "/proc/thread-self",
        "/nonexistent",
        "/nonexistent/x",
        "/dev/null",
        "/dev/null/",
        "/dev/null/x",
    ] {
        all.push((r.into(), r.into()));
    }
    let long = |n: usize| vec![b'n'; n];
    for n in [255, 256] {
        all.push((format!("name{n}"), long(n)));
        all.push((format!("name{n}/x"), [long(n), b"/x".to_vec()].concat()));
        all.push((format!("d/name{n}"), [b"d/".to_vec(), long(n)].concat()));
        all.push((format!("missing/name{n}"), [b"missing/".to_vec(), long(n)].concat()));
    }
    for n in [4094, 4095, 4096, 4097] {
        let mut p = b"./".repeat(n / 2);
        p.truncate(n - 1);
        p.push(b'f');
        all.push((format!("len{n}"), p));
        all.push((format!("slashes{n}"), vec![b'/'; n]));
        let mut q = dir.as_bytes().to_vec();
        q.resize(n - 1, b'/');
        q.push(b'f');
        all.push((format!("abs-len{n}"), q));
    }
    all.push(("empty".into(), vec![]));
    all
}

fn show(dir: &str, text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(dir, "$D")
}

fn stat_line(r: i64, st: &stat) -> String {
    if r < 0 {
        return name(r);
    }
    let size = if st.st_mode & S_IFMT == S_IFREG { st.st_size } else { 0 };
    let links = if st.st_mode & S_IFMT == S_IFREG { st.st_nlink } else { 0 };
    format!("{:o} {size} {links}", st.st_mode & (S_IFMT | 0o777))
}

fn look(dir: &str, label: &str, p: &[u8]) {
    let p = c(p);
    let p = p.as_ptr();
    let mut st: stat = unsafe { std::mem::zeroed() };
    let mut out = vec![];
    let r = sc!(old::stat, p, &raw mut st);
    out.push(("stat", stat_line(r, &st)));
    let r = sc!(old::lstat, p, &raw mut st);
    out.push(("lstat", stat_line(r, &st)));
    for mode in [F_OK, R_OK, W_OK, X_OK] {
        out.push(("access", ok(sc!(old::access, p, mode))));
    }
    let mut buf = vec![0u8; 5000];
    // A pid is the run's own.
    let r = sc!(old::readlink, p, buf.as_mut_ptr(), buf.len());
    let text = if r < 0 { name(r) } else { show(dir, &buf[..r as usize]) };
    let mut masked = text.replace(|ch: char| ch.is_ascii_digit(), "#");
    while masked.contains("##") {
        masked = masked.replace("##", "#");
    }
    out.push(("readlink", masked));
    for (n, flags) in [
        ("open", O_RDONLY),
        ("open-dir", O_DIRECTORY),
        ("open-nofollow", O_NOFOLLOW),
        ("open-path", O_PATH),
        ("open-path-nofollow", O_PATH | O_NOFOLLOW),
        ("open-bad", O_PATH | O_TMPFILE),
    ] {
        let r = sc!(old::open, p, flags | O_NONBLOCK | O_CLOEXEC);
        let mut line = ok(r);
        if r >= 0 {
            let s = sc!(SYS_fstat, r, &raw mut st);
            line += &format!(" {}", stat_line(s, &st));
            let link = sc!(
                old::readlink,
                c(format!("/proc/self/fd/{r}").as_bytes()).as_ptr(),
                buf.as_mut_ptr(),
                5000
            );
            line +=
                &format!(" {}", show(dir, &buf[..link.max(0) as usize]).split("/proc/").next().unwrap_or(""));
            sc!(SYS_close, r);
        }
        out.push((n, line));
    }
    let r = sc!(SYS_statfs, p, buf.as_mut_ptr());
    out.push(("statfs", ok(r)));
    out.push(("getxattr", ok(sc!(SYS_getxattr, p, c"user.none".as_ptr(), buf.as_mut_ptr(), 10))));
    out.push(("llistxattr", ok(sc!(SYS_llistxattr, p, buf.as_mut_ptr(), 0))));
    let i = sc!(SYS_inotify_init1, 0);
    out.push(("inotify", ok(sc!(SYS_inotify_add_watch, i, p, IN_OPEN))));
    sc!(SYS_close, i);
    let r = sc!(SYS_chdir, p);
    let mut line = ok(r);
    if r == 0 {
        let n = sc!(SYS_getcwd, buf.as_mut_ptr(), buf.len());
        line +=
            &format!(" {}", show(dir, &buf[..(n.max(1) - 1) as usize]).split("/proc/").next().unwrap_or(""));
    }
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    out.push(("chdir", line));
    for (call, line) in out {
        println!("{label}: {call} -> {line}");
    }
}

fn at(dir: &str, label: &str, p: &[u8], fd: i64) {
    let p = c(p);
    let p = p.as_ptr();
    let mut st: stat = unsafe { std::mem::zeroed() };
    let file = sc!(old::open, c(format!("{dir}/f").as_bytes()).as_ptr(), O_RDONLY);
    for (n, d) in [("cwd", CWD), ("dir", fd), ("file", file), ("bad", 999)] {
        for flags in [0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x40] {
            let r = sc!(SYS_newfstatat, d, p, &raw mut st, flags);
            println!("{label}: newfstatat {n} {flags:#x} -> {}", stat_line(r, &st));
        }
        let mut buf = [0u8; 256];
        println!("{label}: statx {n} -> {}", ok(sc!(SYS_statx, d, p, 0, 0xfff, buf.as_mut_ptr())));
        println!("{label}: faccessat2 {n} -> {}", ok(sc!(SYS_faccessat2, d, p, R_OK, AT_SYMLINK_NOFOLLOW)));
        println!("{label}: faccessat {n} -> {}", ok(sc!(SYS_faccessat, d, p, R_OK)));
        let r = sc!(SYS_openat, d, p, O_RDONLY | O_NONBLOCK);
        println!("{label}: openat {n} -> {}", ok(r));
        sc!(SYS_close, r);
        let mut handle = [0u8; 140];
        handle[0] = 128;
        let mut mount = 0i32;
        let r = sc!(SYS_name_to_handle_at, d, p, handle.as_mut_ptr(), &raw mut mount, AT_SYMLINK_FOLLOW);
        println!("{label}: name_to_handle_at {n} -> {}", ok(r));
    }
    sc!(SYS_close, file);
}

fn limits(label: &str, p: &[u8], fd: i64) {
    let p = c(p);
    for resolve in [0u64, 1, 2, 4, 8, 16, 24, 64] {
        let how = [(O_RDONLY | O_NONBLOCK | O_CLOEXEC) as u64, 0, resolve];
        let r = crate::raw::openat2(fd, p.as_ptr(), &how);
        println!("{label}: openat2 {resolve} -> {}", ok(r));
        sc!(SYS_close, r);
    }
}

/// Calls that change something, in an order that leaves what the next path needs.
fn change(label: &str, p: &[u8]) {
    if label.starts_with("/") && label != "/nonexistent/x" {
        return;
    }
    let s: CString = c(p);
    let p = s.as_ptr();
    let say = |n: &str, r: i64| println!("{label}: {n} -> {}", ok(r));
    say("mkdir", sc!(SYS_mkdirat, CWD, p, 0o755));
    say("rmdir-if-new", if p_is_new(&s) { sc!(old::rmdir, p) } else { 0 });
    say("symlink", sc!(SYS_symlinkat, c"target".as_ptr(), CWD, p));
    say("mknod", sc!(SYS_mknodat, CWD, p, S_IFREG | 0o600, 0));
    say("creat-excl", {
        let r = sc!(SYS_openat, CWD, p, O_CREAT | O_EXCL | O_WRONLY, 0o600);
        sc!(SYS_close, r);
        r
    });
    say("link", sc!(SYS_linkat, CWD, p, CWD, c"linked".as_ptr(), 0));
    sc!(old::unlink, c"linked".as_ptr());
    say("link-follow", sc!(SYS_linkat, CWD, p, CWD, c"linked".as_ptr(), AT_SYMLINK_FOLLOW));
    sc!(old::unlink, c"linked".as_ptr());
    say("link-to", sc!(old::link, c"f".as_ptr(), p));
    say("rename-noreplace", sc!(SYS_renameat2, CWD, c"f".as_ptr(), CWD, p, RENAME_NOREPLACE));
    if sc!(old::access, c"f".as_ptr(), F_OK) < 0 {
        sc!(old::rename, p, c"f".as_ptr());
    }
    say("exchange-missing", sc!(SYS_renameat2, CWD, p, CWD, c"missing/q".as_ptr(), RENAME_EXCHANGE));
    say("chmod", sc!(old::chmod, p, 0o755));
    say("fchmodat2", sc!(old::fchmodat2, CWD, p, 0o755, AT_SYMLINK_NOFOLLOW));
    say("chown", sc!(old::chown, p, -1i64, -1i64));
    say("lchown", sc!(old::lchown, p, -1i64, -1i64));
    say("utimensat", sc!(SYS_utimensat, CWD, p, 0, AT_SYMLINK_NOFOLLOW));
    say("utimes", sc!(old::utimes, p, 0));
    say("truncate", sc!(SYS_truncate, p, 4));
    say("setxattr", sc!(SYS_setxattr, p, c"user.a".as_ptr(), c"b".as_ptr(), 1, 0));
    say("removexattr", sc!(SYS_removexattr, p, c"user.a".as_ptr()));
    say("chroot", sc!(SYS_chroot, p));
    say("unlink-dirs-only", sc!(SYS_unlinkat, CWD, p, 0x100));
    sc!(old::chmod, c"locked".as_ptr(), 0);
}

fn p_is_new(p: &CString) -> bool {
    let bytes = p.as_bytes();
    bytes.ends_with(b"missing") || bytes.ends_with(b"missing/") || bytes.ends_with(&[b'n'; 255])
}

fn sequences(dir: &str) {
    let mut buf = [0u8; 4096];
    let cwd = |buf: &mut [u8; 4096], len: usize| {
        let n = sc!(SYS_getcwd, buf.as_mut_ptr(), len);
        if n < 0 { name(n) } else { show(dir, &buf[..n as usize - 1]) }
    };
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    println!("getcwd exact -> {}", cwd(&mut buf, dir.len() + 1));
    println!("getcwd short -> {}", cwd(&mut buf, dir.len()));
    println!("getcwd zero -> {}", cwd(&mut buf, 0));
    println!("getcwd bad -> {}", name(sc!(SYS_getcwd, 8, 4096)));
    // The directory moves, then goes, under the feet.
    sc!(old::mkdir, c"m".as_ptr(), 0o755);
    sc!(SYS_chdir, c"m".as_ptr());
    let up = c(format!("{dir}/m").as_bytes());
    let to = c(format!("{dir}/n").as_bytes());
    println!("rename cwd -> {}", name(sc!(old::rename, up.as_ptr(), to.as_ptr())));
    println!("getcwd moved -> {}", cwd(&mut buf, 4096));
    println!("stat ../f -> {}", ok(sc!(old::access, c"../f".as_ptr(), F_OK)));
    println!("create in moved -> {}", ok(sc!(SYS_openat, CWD, c"new".as_ptr(), O_CREAT | O_WRONLY, 0o600)));
    sc!(old::unlink, c"new".as_ptr());
    println!("rmdir cwd -> {}", name(sc!(old::rmdir, to.as_ptr())));
    println!("getcwd gone -> {}", cwd(&mut buf, 4096));
    println!("create in gone -> {}", ok(sc!(SYS_openat, CWD, c"new".as_ptr(), O_CREAT | O_WRONLY, 0o600)));
    println!("open . in gone -> {}", ok(sc!(SYS_openat, CWD, c".".as_ptr(), O_RDONLY)));
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    // Threads share it until they do not.
    let (d, path) = (dir.to_owned(), c(b"d"));
    std::thread::spawn(move || sc!(SYS_chdir, path.as_ptr())).join().expect("the thread ends");
    println!("chdir in a thread -> {}", cwd(&mut buf, 4096));
    std::thread::spawn(move || {
        sc!(SYS_unshare, CLONE_FS);
        sc!(SYS_chdir, c(d.as_bytes()).as_ptr());
    })
    .join()
    .expect("the thread ends");
    println!("chdir after unshare -> {}", cwd(&mut buf, 4096));
    let child = sc!(old::fork);
    if child == 0 {
        println!("child -> {}", cwd(&mut buf, 4096));
        sc!(SYS_chdir, c"..".as_ptr());
        sc!(SYS_exit_group, 0);
    }
    sc!(SYS_wait4, child, 0, 0, 0);
    println!("after the child -> {}", cwd(&mut buf, 4096));
    let fd = sc!(SYS_openat, CWD, c"..".as_ptr(), O_RDONLY);
    println!("fchdir -> {} {}", name(sc!(SYS_fchdir, fd)), cwd(&mut buf, 4096));
    // Deeper than PATH_MAX.
    let deep = vec![b'x'; 250];
    let mut levels = 0;
    for _ in 0..20 {
        if sc!(old::mkdir, c(&deep).as_ptr(), 0o755) < 0 || sc!(SYS_chdir, c(&deep).as_ptr()) < 0 {
            break;
        }
        levels += 1;
    }
    println!("deep -> {levels} {}", ok(sc!(SYS_openat, CWD, c"leaf".as_ptr(), O_CREAT | O_WRONLY, 0o600)));
    println!("deep look -> {}", ok(sc!(old::access, c"./leaf".as_ptr(), F_OK)));
    println!("deep getcwd -> {}", cwd(&mut buf, 4096));
    sc!(old::unlink, c"leaf".as_ptr());
    for _ in 0..levels {
        sc!(SYS_chdir, c"..".as_ptr());
        sc!(old::rmdir, c(&deep).as_ptr());
    }
    println!("back -> {}", cwd(&mut buf, 4096));
    sc!(SYS_chdir, c(dir.as_bytes()).as_ptr());
    // A nameless file gets a name.
    let tmp = sc!(SYS_openat, CWD, c".".as_ptr(), O_TMPFILE | O_WRONLY, 0o600);
    let link = c(format!("/proc/self/fd/{tmp}").as_bytes());
    println!(
        "O_TMPFILE {} -> {}",
        ok(tmp),
        ok(sc!(SYS_linkat, CWD, link.as_ptr(), CWD, c"named".as_ptr(), AT_SYMLINK_FOLLOW))
    );
    println!("unlink named -> {}", ok(sc!(old::unlink, c"named".as_ptr())));
    // Pointers.
    for (n, at) in [("null", 0u64), ("low", 8), ("kernel", 0xffff_8000_0000_0000)] {
        println!("open {n} -> {}", name(sc!(old::open, at, O_RDONLY)));
        println!("rename {n} -> {}", name(sc!(old::rename, c"f".as_ptr(), at)));
        println!("execve {n} -> {}", name(sc!(SYS_execve, at, 0, 0)));
    }
    let page = sc!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1i64, 0) as u64;
    sc!(SYS_mprotect, page + 4096, 4096, PROT_NONE);
    let edge = page + 4096;
    unsafe { std::ptr::copy_nonoverlapping(b"f\0".as_ptr(), (edge - 2) as *mut u8, 2) };
    println!("path at a page's edge -> {}", ok(sc!(old::access, edge - 2, F_OK)));
    unsafe { *((edge - 1) as *mut u8) = b'g' };
    println!("path over the edge -> {}", name(sc!(old::access, edge - 2, F_OK)));
    // Programs that cannot be run.
    let argv = [c"x".as_ptr(), std::ptr::null()];
    for p in ["f", "d", "missing", "f/x", "dang", "loop", "exec", "fifo", "locked/z"] {
        println!("execve {p} -> {}", name(sc!(SYS_execve, c(p.as_bytes()).as_ptr(), argv.as_ptr(), 0)));
        println!(
            "execveat {p} -> {}",
            name(sc!(SYS_execveat, CWD, c(p.as_bytes()).as_ptr(), argv.as_ptr(), 0, AT_SYMLINK_NOFOLLOW))
        );
    }
    for (p, text) in [
        ("s1", "#!/nonexistent\n"),
        ("s2", "#!\n"),
        ("s3", "#! \t \n"),
        ("s4", "#!./f\n"),
        ("s5", "\x7fELF bad"),
    ] {
        let fd = sc!(SYS_openat, CWD, c(p.as_bytes()).as_ptr(), O_CREAT | O_WRONLY, 0o755);
        sc!(SYS_write, fd, text.as_ptr(), text.len());
        println!("execve busy {p} -> {}", name(sc!(SYS_execve, c(p.as_bytes()).as_ptr(), argv.as_ptr(), 0)));
        sc!(SYS_close, fd);
        println!("execve {p} -> {}", name(sc!(SYS_execve, c(p.as_bytes()).as_ptr(), argv.as_ptr(), 0)));
    }
    sockets(dir);
    for n in [SYS_io_uring_enter, 600, 0x4000_0002] {
        println!("call {n} runs -> {}", sc!(n, -1i64, -1i64, -1i64) >= 0);
    }
}

extern "C" fn nothing(_: i32) {}

/// More messages than the receiver's queue holds: sent without waiting, and waiting until a signal comes.
fn full(from: i64, to: i64, address: &[u8]) {
    let mut data = *b"x";
    let mut iov = iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 1 };
    let mut m: mmsghdr = unsafe { std::mem::zeroed() };
    (m.msg_hdr.msg_name, m.msg_hdr.msg_namelen) = (address.as_ptr() as *mut c_void, address.len() as u32);
    (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen) = (&raw mut iov, 1);
    let mut vector = vec![m; 600];
    // The signal has to find it waiting: a busy machine, which shows in what the first takes, is given longer.
    let mut patience = std::time::Duration::from_millis(300);
    for (label, flags, restart) in
        [("at once", MSG_DONTWAIT, 0), ("interrupted", 0, 0), ("restartable", 0, SA_RESTART)]
    {
        let arm = |time: std::time::Duration| unsafe {
            let t = timeval { tv_sec: time.as_secs() as _, tv_usec: time.subsec_micros() as _ };
            // Again and again: one that comes too early must not leave it waiting for ever.
            let it = itimerval { it_interval: t, it_value: t };
            setitimer(ITIMER_REAL, &raw const it, std::ptr::null_mut());
        };
        unsafe {
            let mut sa: sigaction = std::mem::zeroed();
            sa.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            sa.sa_flags = restart;
            sigaction(SIGALRM, &raw const sa, std::ptr::null_mut());
        }
        let start = std::time::Instant::now();
        if flags == 0 {
            arm(patience);
        }
        let r = sc!(SYS_sendmmsg, from, vector.as_mut_ptr(), vector.len(), flags);
        arm(std::time::Duration::ZERO);
        if flags != 0 {
            patience = patience.max(5 * start.elapsed().min(std::time::Duration::from_secs(2)));
        }
        println!("sendmmsg {label} -> {}", name(r));
        while sc!(SYS_recvfrom, to, data.as_mut_ptr(), 1, MSG_DONTWAIT, 0, 0) >= 0 {}
    }
}

fn sockets(dir: &str) {
    let long = format!("{dir}/{}", "d/../".repeat(12));
    for (label, p) in [
        ("relative", "sock".to_owned()),
        ("absolute", format!("{dir}/sock2")),
        ("link", "ld/sock3".into()),
        ("exists", "f".into()),
        ("missing", "missing/s".into()),
        ("long", format!("{long}sock4")[..107.min(long.len() + 5)].to_owned()),
    ] {
        let s = sc!(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        let mut addr = vec![AF_UNIX as u8, 0];
        addr.extend(p.as_bytes());
        addr.push(0);
        addr.truncate(110);
        println!("bind {label} -> {}", name(sc!(SYS_bind, s, addr.as_ptr(), addr.len())));
        println!("listen {label} -> {}", name(sc!(SYS_listen, s, 4)));
        let get = |nr: c_long, fd: i64| {
            let mut out = [0u8; 128];
            let mut len = 128u32;
            let r = sc!(nr, fd, out.as_mut_ptr(), &raw mut len, 0);
            if r < 0 {
                name(r)
            } else {
                format!("{len} {}", show(dir, &out[2..len as usize]).trim_end_matches('\0'))
                    .replace(&len.to_string(), "")
            }
        };
        println!("getsockname {label} -> {}", get(SYS_getsockname, s));
        let k = sc!(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        println!("connect {label} -> {}", name(sc!(SYS_connect, k, addr.as_ptr(), addr.len())));
        println!("getpeername {label} -> {}", get(SYS_getpeername, k));
        sc!(SYS_close, k);
        sc!(SYS_close, s);
        if label != "exists" {
            println!("unlink {label} -> {}", name(sc!(old::unlink, c(p.as_bytes()).as_ptr())));
        }
    }
    // Datagrams carry the sender's address.
    let pair = |p: &str| {
        let s = sc!(SYS_socket, AF_UNIX, SOCK_DGRAM, 0);
        let addr = [&[AF_UNIX as u8, 0], p.as_bytes(), b"\0"].concat();
        sc!(SYS_bind, s, addr.as_ptr(), addr.len());
        (s, addr)
    };
    let (a, _) = pair("dg-a");
    let (b, to) = pair(&format!("{dir}/dg-b"));
    println!("sendto -> {}", name(sc!(SYS_sendto, a, b"hi".as_ptr(), 2, 0, to.as_ptr(), to.len())));
    let mut from = [0u8; 110];
    let mut len = 110u32;
    let mut data = [0u8; 8];
    let r = sc!(SYS_recvfrom, b, data.as_mut_ptr(), 8, MSG_DONTWAIT, from.as_mut_ptr(), &raw mut len);
    println!("recvfrom -> {} {}", name(r), show(dir, &from[2..(len as usize).max(2)]));
    let mut iov = iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 2 };
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    (msg.msg_name, msg.msg_namelen) = (to.as_ptr() as *mut c_void, to.len() as u32);
    (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
    println!("sendmsg -> {}", name(sc!(SYS_sendmsg, a, &raw const msg, 0)));
    (msg.msg_name, msg.msg_namelen) = (from.as_mut_ptr().cast(), 110);
    let r = sc!(SYS_recvmsg, b, &raw mut msg, MSG_DONTWAIT);
    println!("recvmsg -> {} {}", name(r), show(dir, &from[2..(msg.msg_namelen as usize).max(2)]));
    let (e, relative) = pair("dg-c");
    let (d, deeper) = pair(&format!("{dir}/d/dg-d"));
    let missing = [&[AF_UNIX as u8, 0], format!("{dir}/missing/s").as_bytes(), b"\0"].concat();
    let unbound = [&[AF_UNIX as u8, 0, 0], b"prun-test-nobody".as_slice()].concat();
    let bad: Vec<u8> = vec![];
    let lists: [(&str, Vec<&Vec<u8>>); 7] = [
        ("three", vec![&to, &deeper, &relative]),
        ("same", vec![&to, &to, &to]),
        ("mixed", vec![&relative, &to, &relative, &relative, &deeper]),
        ("second missing", vec![&to, &missing, &deeper]),
        ("first missing", vec![&missing, &to]),
        ("abstract", vec![&to, &unbound, &to]),
        ("bad pointer", vec![&deeper, &bad, &to]),
    ];
    for (label, list) in lists {
        let mut data = *b"0123456789";
        let mut iovs: Vec<iovec> =
            (1..=list.len()).map(|n| iovec { iov_base: data.as_mut_ptr().cast(), iov_len: n }).collect();
        let mut vector: Vec<mmsghdr> = vec![];
        for (i, to) in list.iter().enumerate() {
            let mut m: mmsghdr = unsafe { std::mem::zeroed() };
            (m.msg_hdr.msg_name, m.msg_hdr.msg_namelen) = (to.as_ptr() as *mut c_void, to.len() as u32);
            if to.is_empty() {
                (m.msg_hdr.msg_name, m.msg_hdr.msg_namelen) = (8 as *mut c_void, 20);
            }
            (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen, m.msg_len) = (&raw mut iovs[i], 1, 77);
            vector.push(m);
        }
        let before: Vec<usize> = vector.iter().map(|m| m.msg_hdr.msg_name as usize).collect();
        let r = sc!(SYS_sendmmsg, a, vector.as_mut_ptr(), vector.len(), 0);
        let lengths: Vec<u32> = vector.iter().map(|m| m.msg_len).collect();
        let kept = vector.iter().map(|m| m.msg_hdr.msg_name as usize).eq(before);
        println!("sendmmsg {label} -> {} {lengths:?} {kept}", name(r));
        for (at, s) in [("b", b), ("d", d)] {
            let mut froms = [[0u8; 110]; 6];
            let mut buffers = [[0u8; 16]; 6];
            let mut iovs: Vec<iovec> =
                buffers.iter_mut().map(|b| iovec { iov_base: b.as_mut_ptr().cast(), iov_len: 16 }).collect();
            froms[5][..10].copy_from_slice(b"\x01\0/proc/1x");
            let mut vector: Vec<mmsghdr> = (0..6)
                .map(|i| {
                    let mut m: mmsghdr = unsafe { std::mem::zeroed() };
                    m.msg_hdr.msg_name = froms[i].as_mut_ptr().cast();
                    m.msg_hdr.msg_namelen = 110;
                    (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen) = (&raw mut iovs[i], 1);
                    m
                })
                .collect();
            let r = sc!(SYS_recvmmsg, s, vector.as_mut_ptr(), 6, MSG_DONTWAIT, 0);
            let got: Vec<String> = vector
                .iter()
                .zip(&froms)
                .map(|(m, from)| {
                    let len = (m.msg_hdr.msg_namelen as usize).clamp(2, 110);
                    format!("{}:{}", m.msg_len, show(dir, &from[2..len]).trim_end_matches('\0'))
                })
                .collect();
            println!("recvmmsg {at} after {label} -> {} {got:?}", name(r));
        }
        while sc!(SYS_recvfrom, e, data.as_mut_ptr(), 0, MSG_DONTWAIT, 0, 0) >= 0 {}
    }
    full(a, b, &to);
    for p in ["dg-a", "dg-b", "dg-c", "d/dg-d"] {
        sc!(old::unlink, c(p.as_bytes()).as_ptr());
    }
}
