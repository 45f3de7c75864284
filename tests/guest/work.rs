//! A short session with something of everything: each step says whether it was done, so that who looks at the folder
//! afterwards knows what has to be there.

use crate::raw::{c, ok, old, sys};
use crate::sc;
use libc::*;

fn say(step: &str, r: i64) {
    let line = format!("{step} {}\n", ok(r));
    // One write a line: whoever is killed has said all that he did.
    sc!(SYS_write, 1, line.as_ptr(), line.len());
}

/// The child's exit status as a result: 0, or the errno.
fn reaped(child: i64) -> i64 {
    let mut status = 0i32;
    if child < 0 {
        return child;
    }
    sc!(SYS_wait4, child, &raw mut status, 0, 0);
    if WIFSIGNALED(status) { -i64::from(EOWNERDEAD) } else { -i64::from(WEXITSTATUS(status)) }
}

fn child(work: impl Fn() -> i64) -> i64 {
    let pid = sc!(old::fork);
    if pid == 0 {
        sc!(SYS_exit_group, -work());
    }
    reaped(pid)
}

fn list(path: &str) -> i64 {
    let fd = sc!(old::open, c(path.as_bytes()).as_ptr(), O_RDONLY | O_DIRECTORY);
    if fd < 0 {
        return fd;
    }
    let mut buf = [0u64; 512];
    let mut r;
    loop {
        r = sc!(SYS_getdents64, fd, buf.as_mut_ptr(), 4096);
        if r <= 0 {
            break;
        }
    }
    sc!(SYS_close, fd);
    r
}

fn unix(path: &str) -> (sockaddr_un, u64) {
    let mut a: sockaddr_un = unsafe { std::mem::zeroed() };
    a.sun_family = AF_UNIX as u16;
    for (to, from) in a.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as c_char;
    }
    (a, 2 + path.len() as u64 + 1)
}

/// `dir` holds `old1` … `old8`, `olddir`, `tied` → old1, `far` → old1 by its path in the guest, `escape` → a file that
/// only the host has, `script` and `e`, this program.
pub fn run(dir: &str) -> i32 {
    let p = |name: &str| c(format!("{dir}/{name}").as_bytes());
    let cwd = AT_FDCWD;
    let mut st = [0u64; 64];
    let st = st.as_mut_ptr();
    say("mkdir", sc!(old::mkdir, p("new-dir").as_ptr(), 0o755));
    let fd = sc!(old::open, p("new-file").as_ptr(), O_CREAT | O_EXCL | O_WRONLY, 0o600);
    say("create", fd);
    sc!(SYS_close, fd);
    say("symlink", sc!(old::symlink, c"old1".as_ptr(), p("new-link").as_ptr()));
    say("link", sc!(old::link, p("old1").as_ptr(), p("hard").as_ptr()));
    say("rename", sc!(old::rename, p("old2").as_ptr(), p("moved").as_ptr()));
    say("unlink", sc!(old::unlink, p("old3").as_ptr()));
    say("rmdir", sc!(old::rmdir, p("olddir").as_ptr()));
    say("truncate", sc!(SYS_truncate, p("old4").as_ptr(), 0));
    say("chmod", sc!(old::chmod, p("old5").as_ptr(), 0o640));
    say("mknod", sc!(old::mknod, p("fifo").as_ptr(), S_IFIFO | 0o600, 0));
    let swap = sc!(SYS_renameat2, cwd, p("old6").as_ptr(), cwd, p("old7").as_ptr(), RENAME_EXCHANGE);
    say("exchange", swap);
    say("chown", sc!(old::chown, p("old1").as_ptr(), sc!(SYS_getuid), sc!(SYS_getgid)));
    // What only an identity lets an ordinary user do.
    say("give", sc!(old::chown, p("old8").as_ptr(), 1234, 1234));
    say("device", sc!(old::mknod, p("device").as_ptr(), S_IFCHR | 0o600, makedev(1, 3)));
    let s = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    let (address, len) = unix(&format!("{dir}/socket"));
    say("bind", sc!(SYS_bind, s, &raw const address, len));
    sc!(SYS_listen, s, 1);
    let to = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    say("connect", sc!(SYS_connect, to, &raw const address, len).min(0));
    say("stat", sc!(old::stat, p("tied").as_ptr(), st));
    say("lstat", sc!(old::lstat, p("tied").as_ptr(), st));
    let how = [O_RDONLY as u64, 0, 0];
    say("absolute", sc!(old::stat, p("far").as_ptr(), st));
    say("escape", sc!(old::open, p("escape").as_ptr(), O_RDONLY));
    say("escape by name", sc!(SYS_newfstatat, cwd, p("escape/../secret").as_ptr(), st, 0));
    say("openat2", sc!(SYS_openat2, cwd, p("tied").as_ptr(), how.as_ptr(), 24));
    say("merged", list("/"));
    say("list", list(dir));
    say("chdir", sc!(SYS_chdir, c(dir.as_bytes()).as_ptr()));
    let mut text = [0u8; 4096];
    say("getcwd", sc!(SYS_getcwd, text.as_mut_ptr(), 4096));
    say("relative", sc!(old::stat, c"./tied".as_ptr(), st));
    say("up", sc!(old::stat, c"../usr/.".as_ptr(), st));
    say("cwd", sc!(old::readlink, c"/proc/self/cwd".as_ptr(), text.as_mut_ptr(), 4096));
    say("exe", sc!(old::readlink, c"/proc/self/exe".as_ptr(), text.as_mut_ptr(), 4096));
    for i in 0..40 {
        // Looked at, found simple, and answered in the program from then on.
        sc!(SYS_newfstatat, cwd, c"old1".as_ptr(), st, i % 2 * AT_SYMLINK_NOFOLLOW);
    }
    say("child", child(|| sc!(old::stat, p("old1").as_ptr(), st)));
    let thread = std::thread::Builder::new().spawn({
        let path = p("old1");
        move || {
            let mut st = [0u64; 64];
            sc!(old::stat, path.as_ptr(), st.as_mut_ptr())
        }
    });
    say("thread", thread.map_or(-i64::from(EAGAIN), |t| t.join().expect("it does not panic")));
    for (name, program) in [("exec", "e"), ("script", "script")] {
        let (path, exit, zero) = (p(program), c(b"exit"), c(b"0"));
        let argv = [path.as_ptr(), exit.as_ptr(), zero.as_ptr(), std::ptr::null()];
        let done = child(|| sys(SYS_execve, crate::raw::pad(&[path.as_ptr() as u64, argv.as_ptr() as u64])));
        say(name, done);
    }
    // A signal whose handler makes a path call.
    extern "C" fn handler(_: i32) {
        sc!(old::access, c"/usr".as_ptr(), F_OK);
    }
    unsafe { signal(SIGUSR1, handler as extern "C" fn(i32) as usize) };
    say("signal", sc!(SYS_kill, sc!(SYS_getpid), SIGUSR1));
    say("last", 0);
    0
}
