//! The working directory: shared, inherited, renamed, removed, too deep.

use super::tree::Place;
use crate::raw::{in_child, wait_for};
use crate::show::{bytes, c, child, cwd, descriptor, empty, link, ok, result, stat};
use crate::sys;
use std::thread;

fn chdir(path: &str) -> String {
    let r = sys!(chdir, &*c(path));
    format!("{} now {}", ok(r), cwd())
}

pub fn run(place: &Place) {
    buffers(place);
    for path in ["dir", "sub", "..", "../dlink", ".", "./", "../up", "/", "..", "../.."] {
        println!("chdir {path} = {}", chdir(path));
    }
    place.rebuild();
    println!("/proc/self/cwd = {}", link(c"/proc/self/cwd"));
    descriptors();
    renamed(place);
    removed(place);
    deep(place);
    threads(place);
    processes(place);
}

/// getcwd(2): sizes around the exact one, and pointers.
fn buffers(place: &Place) {
    let exact = place.base.len() + 1;
    for size in [0, 1, 2, exact - 1, exact, exact + 1, 4095, 4096, 4097, 1 << 16] {
        let mut buf = vec![b'#'; 1 << 16];
        let r = sys!(getcwd, buf.as_mut_ptr(), size);
        // Bytes after the zero are as they were.
        let used = buf.iter().rposition(|b| *b != b'#').map_or(0, |n| n + 1);
        let name = if size.abs_diff(exact) <= 1 { format!("exact{:+}", size as i64 - exact as i64) } else { size.to_string() };
        println!("getcwd {name} = {} {}", if r == exact as i64 { "exact".into() } else { result(r) }, bytes(&buf[..used]));
    }
    println!("getcwd null = {}", result(sys!(getcwd, 0usize, 4096)));
    println!("getcwd null 0 = {}", result(sys!(getcwd, 0usize, 0)));
    println!("getcwd wild = {}", result(sys!(getcwd, 8usize, 4096)));
}

fn descriptors() {
    let dir = sys!(open, c"dir", libc::O_RDONLY | libc::O_DIRECTORY, 0);
    let path = sys!(open, c"dir/sub", libc::O_PATH, 0);
    let file = sys!(open, c"file", libc::O_RDONLY, 0);
    let locked = sys!(open, c"locked", libc::O_PATH, 0);
    for (name, fd) in [("dir", dir), ("path", path), ("file", file), ("locked", locked), ("bad", 99), ("cwd", -100)] {
        println!("fchdir {name} = {} now {}", ok(sys!(fchdir, fd)), cwd());
    }
    sys!(fchdir, path);
    println!("chdir .. = {}", chdir("../.."));
    for fd in [dir, path, file, locked] {
        sys!(close, fd);
    }
}

/// Another name for the directory, given by this process and by another one.
fn renamed(place: &Place) {
    place.rebuild();
    println!("chdir = {}", chdir("dir/sub"));
    println!("rename own = {} now {}", ok(sys!(rename, c"../sub", c"../other")), cwd());
    println!("look = {}", descriptor(sys!(open, c"deep", 0, 0)));
    println!("look up = {}", descriptor(sys!(open, c"../file", 0, 0)));
    println!("link of cwd = {}", link(c"/proc/self/cwd"));
    let base = place.base.clone();
    in_child(|| {
        sys!(chdir, &*c(&base));
        sys!(rename, c"dir", c"empty/moved") as i32
    });
    println!("moved by another = {}", cwd());
    println!("look = {}", descriptor(sys!(open, c"deep", 0, 0)));
    println!("look up = {}", descriptor(sys!(open, c"../file", 0, 0)));
    println!("look up twice = {}", descriptor(sys!(open, c"../../../file", 0, 0)));
    println!("chdir .. = {}", chdir(".."));
    println!("chdir .. = {}", chdir(".."));
    println!("chdir back = {}", chdir("moved/other"));
    // A new directory at the old name is another one.
    sys!(mkdir, &*c(place.at(b"dir")), 0o755);
    sys!(mkdir, &*c(place.at(b"dir/sub")), 0o755);
    println!("old name taken = {}", cwd());
    println!("make = {}", descriptor(sys!(open, c"made", libc::O_CREAT | libc::O_WRONLY, 0o600)));
}

/// A directory that is gone, and one that is gone and made again.
fn removed(place: &Place) {
    place.rebuild();
    println!("chdir = {}", chdir("empty"));
    let fd = sys!(open, c".", libc::O_RDONLY, 0);
    println!("remove = {}", ok(sys!(rmdir, c"../empty")));
    let look = |when: &str| {
        let mut st = empty();
        println!("{when}: getcwd {}", cwd());
        println!("{when}: stat . {} {}", ok(sys!(stat, c".", &raw mut st)), stat(&st));
        println!("{when}: stat .. {}", ok(sys!(stat, c"..", &raw mut st)));
        println!("{when}: stat ./. {}", ok(sys!(stat, c"./.", &raw mut st)));
        println!("{when}: open {}", ok(sys!(open, c"x", 0, 0)));
        println!("{when}: open ../file {}", descriptor(sys!(open, c"../file", 0, 0)));
        println!("{when}: creat {}", ok(sys!(creat, c"x", 0o600)));
        println!("{when}: mkdir {}", ok(sys!(mkdir, c"x", 0o700)));
        println!("{when}: symlink {}", ok(sys!(symlink, c"t", c"x")));
        println!("{when}: chdir . {}", chdir("."));
        println!("{when}: rmdir . {}", ok(sys!(rmdir, c".")));
        println!("{when}: link {}", link(c"/proc/self/cwd"));
        println!("{when}: stat link {}", ok(sys!(stat, c"/proc/self/cwd", &raw mut st)));
        println!("{when}: fd {}", link(&c(format!("/proc/self/fd/{fd}"))));
        println!("{when}: openat {}", ok(sys!(openat, fd, c"x", 0, 0)));
        println!("{when}: newfstatat . {}", ok(sys!(newfstatat, fd, c".", &raw mut st, 0)));
        println!("{when}: newfstatat .. {}", ok(sys!(newfstatat, fd, c"..", &raw mut st, 0)));
        println!("{when}: newfstatat empty {}", ok(sys!(newfstatat, fd, c"", &raw mut st, libc::AT_EMPTY_PATH)));
        println!("{when}: faccessat {}", ok(sys!(faccessat, fd, c"", 0)));
        println!("{when}: unlinkat {}", ok(sys!(unlinkat, fd, c"x", 0)));
        println!("{when}: chmod {}", ok(sys!(chmod, c".", 0o711)));
    };
    look("gone");
    sys!(mkdir, &*c(place.at(b"empty")), 0o755);
    drop(std::fs::write(super::tree::path(&place.at(b"empty/x")), "new"));
    look("made again");
    println!("chdir fd = {}", ok(sys!(fchdir, fd)));
    println!("chdir name = {}", chdir(&String::from_utf8_lossy(&place.at(b"empty"))));
    look("name again");
    sys!(close, fd);
}

/// A directory whose path is longer than any call takes.
fn deep(place: &Place) {
    place.rebuild();
    let name = c(vec![b'd'; 200]);
    for n in 0..25 {
        let made = sys!(mkdir, &*name, 0o755);
        let went = sys!(chdir, &*name);
        if made < 0 || went < 0 || n % 5 == 0 || n > 17 {
            println!("deep {n} = {} {} now {}", ok(made), ok(went), cwd());
        }
    }
    println!("creat = {}", ok(sys!(open, c"leaf", libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o600)));
    sys!(close, 3);
    let mut st = empty();
    println!("stat leaf = {} {}", ok(sys!(stat, c"leaf", &raw mut st)), stat(&st));
    println!("stat ./leaf = {}", ok(sys!(lstat, c"./leaf", &raw mut st)));
    println!("stat up = {}", ok(sys!(stat, &*c([b"../", name.to_bytes(), b"/leaf"].concat()), &raw mut st)));
    println!("rename = {}", ok(sys!(rename, c"leaf", c"../leaf")));
    println!("symlink = {}", ok(sys!(symlink, c"../leaf", c"l")));
    println!("open through link = {}", descriptor_without_place(sys!(open, c"l", 0, 0)));
    println!("link of cwd = {}", link(c"/proc/self/cwd"));
    println!("stat link of cwd = {}", ok(sys!(stat, c"/proc/self/cwd/l", &raw mut st)));
    println!("unlink = {}", ok(sys!(unlink, c"l")));
    println!("unlink = {}", ok(sys!(unlink, c"../leaf")));
    for n in 0..25 {
        let went = sys!(chdir, c"..");
        let gone = sys!(rmdir, &*name);
        if went < 0 || gone < 0 {
            println!("climb {n} = {} {}", ok(went), ok(gone));
        }
    }
    println!("out = {}", cwd());
}

fn descriptor_without_place(fd: i64) -> String {
    sys!(close, fd);
    ok(fd)
}

/// Threads share the directory until one of them unshares it (unshare(2), CLONE_FS).
fn threads(place: &Place) {
    place.rebuild();
    thread::spawn(|| println!("thread chdir = {}", chdir("dir"))).join().expect("thread");
    println!("after thread = {}", cwd());
    println!("look = {}", descriptor(sys!(open, c"sub/deep", 0, 0)));
    println!("/proc/thread-self/cwd = {}", link(c"/proc/thread-self/cwd"));
    let path = place.base.clone();
    thread::spawn(move || {
        println!("unshare = {}", ok(sys!(unshare, libc::CLONE_FS)));
        println!("unshared chdir = {}", chdir("sub"));
        println!("look = {}", descriptor(sys!(open, c"deep", 0, 0)));
        println!("own link = {}", link(c"/proc/thread-self/cwd"));
        println!("leader's link = {}", link(c"/proc/self/cwd"));
        println!("through own link = {}", descriptor(sys!(open, c"/proc/thread-self/cwd/deep", 0, 0)));
        println!("through leader's link = {}", descriptor(sys!(open, c"/proc/self/cwd/file", 0, 0)));
        thread::spawn(move || println!("its thread = {}", chdir(".."))).join().expect("thread");
        println!("after its thread = {}", cwd());
        sys!(chdir, &*c(path));
        println!("umask = {}", result(sys!(umask, 0o077)));
    })
    .join()
    .expect("thread");
    println!("after unshared thread = {}", cwd());
    println!("umask = {}", result(sys!(umask, 0o022)));
}

/// Children inherit a copy, or share with CLONE_FS.
fn processes(place: &Place) {
    place.rebuild();
    child("fork", || {
        println!("child = {}", cwd());
        println!("child chdir = {}", chdir("dir"));
        child("grandchild", || {
            println!("grandchild = {}", chdir("sub"));
            println!("look = {}", descriptor(sys!(open, c"deep", 0, 0)));
            0
        });
        println!("child after = {}", cwd());
        0
    });
    println!("parent after = {}", cwd());
    crate::raw::flush();
    for (name, flags) in [("sharing", libc::CLONE_FS), ("not sharing", 0), ("sharing files", libc::CLONE_FILES)] {
        let pid = sys!(clone, flags | libc::SIGCHLD, 0usize, 0usize, 0usize, 0usize);
        if pid == 0 {
            sys!(chdir, c"dir");
            sys!(exit_group, 0);
        }
        wait_for(pid as i32);
        println!("clone {name} = {}", cwd());
        println!("look = {}", descriptor(sys!(open, c"file", 0, 0)));
        sys!(chdir, &*c(&place.base));
    }
    // clone3(2) with the same flag.
    let mut args = [0u64; 11];
    args[0] = libc::CLONE_FS as u64;
    args[4] = libc::SIGCHLD as u64;
    let pid = sys!(clone3, args.as_mut_ptr(), 64);
    if pid == 0 {
        sys!(chdir, c"dir/sub");
        sys!(exit_group, 0);
    }
    println!("clone3 = {} {}", ok(pid), wait_for(pid as i32));
    println!("clone3 sharing = {}", cwd());
    println!("look = {}", descriptor(sys!(open, c"deep", 0, 0)));
    sys!(chdir, &*c(&place.base));
    // A child's link, seen from its parent.
    let mut pipe = [0i32; 2];
    sys!(pipe2, pipe.as_mut_ptr(), 0);
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        sys!(chdir, c"dir/sub");
        sys!(write, pipe[1], c"x", 1);
        sys!(pause);
        sys!(exit_group, 0);
    }
    let mut byte = 0u8;
    sys!(read, pipe[0], &raw mut byte, 1);
    println!("child's link = {}", link(&c(format!("/proc/{pid}/cwd"))));
    println!("child's file = {}", descriptor(sys!(open, &*c(format!("/proc/{pid}/cwd/deep")), 0, 0)));
    println!("child's up = {}", descriptor(sys!(open, &*c(format!("/proc/{pid}/cwd/../file")), 0, 0)));
    println!("child's root = {}", link(&c(format!("/proc/{pid}/root"))));
    sys!(kill, pid, libc::SIGKILL);
    wait_for(pid);
    sys!(close, pipe[0]);
    sys!(close, pipe[1]);
}
