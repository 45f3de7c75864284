//! Descriptors that come from outside, and what can be done with those that were opened inside.

use super::*;

/// The descriptor of the folder outside that the runtime inherited and passes on.
const INHERITED: i64 = 8;
/// One of the guest's /sub/deep.
const INSIDE: i64 = 9;

fn open(path: &CStr, flags: i32) -> i64 {
    sc!(old::open, path.as_ptr(), flags)
}

/// A descriptor sent by whoever listens on /tmp/helper, a process outside.
fn received() -> Result<i64, String> {
    let socket = super::sockets::connected(b"/tmp/helper")?;
    let mut data = [0u8; 8];
    let mut control = [0u64; 8];
    let mut part = iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 64);
    let n = sc!(SYS_recvmsg, socket, &raw mut message, 0);
    // struct cmsghdr: length, level and type, then the descriptor.
    if n <= 0 || control[0] < 20 {
        Err(format!("nothing received: {n}"))
    } else {
        Ok(control[2] as i32 as i64)
    }
}

pub const PROBES: &[Probe] = &[
    Probe {
        name: "inherited, of a folder outside",
        run: |_| opened(sc!(SYS_openat, INHERITED, c"marker".as_ptr(), O_RDONLY)),
    },
    Probe {
        name: "inherited, of a folder inside, and ..",
        run: |w| {
            let up = c(format!("../../../../../../../../../../..{}/marker", w.out).as_bytes());
            first([
                opened(sc!(SYS_openat, INSIDE, c"../../../outside/marker".as_ptr(), O_RDONLY)),
                opened(sc!(SYS_openat, INSIDE, up.as_ptr(), O_RDONLY)),
            ])
        },
    },
    Probe {
        name: "received, of a folder outside",
        run: |_| match received() {
            Ok(fd) => opened(sc!(SYS_openat, fd, c"marker".as_ptr(), O_RDONLY)),
            Err(why) => Skip(why),
        },
    },
    Probe {
        name: "received, and ..",
        run: |_| match received() {
            Ok(fd) => first([
                opened(sc!(SYS_openat, fd, c"../outside/marker".as_ptr(), O_RDONLY)),
                opened(sc!(SYS_openat, fd, c"dir/../../outside/marker".as_ptr(), O_RDONLY)),
            ]),
            Err(why) => Skip(why),
        },
    },
    Probe {
        name: "received, entered, and ..",
        run: |_| match received() {
            Ok(fd) => {
                sc!(SYS_fchdir, fd);
                first([reaches(c"../outside/marker"), reaches(c"dir/../../outside/marker")])
            }
            Err(why) => Skip(why),
        },
    },
    Probe {
        name: "O_PATH opened again",
        run: |w| {
            let fd = sc!(old::open, w.outside("marker").as_ptr(), O_PATH);
            reaches(&c(format!("/proc/self/fd/{fd}").as_bytes()))
        },
    },
    Probe {
        name: "O_PATH of a link",
        run: |w| {
            sc!(old::unlink, c"/tmp/o-path".as_ptr());
            sc!(old::symlink, w.outside("marker").as_ptr(), c"/tmp/o-path".as_ptr());
            let fd = open(c"/tmp/o-path", O_PATH | O_NOFOLLOW);
            let path = c(format!("/proc/self/fd/{fd}").as_bytes());
            first([reaches(&path), opened(sc!(SYS_openat, fd, c"".as_ptr(), O_RDONLY))])
        },
    },
    Probe {
        name: "handles: by name, and back by number",
        run: |_| {
            let mut handle = vec![0u32; 64];
            let mut mount = 0;
            handle[0] = 128;
            let r =
                sc!(SYS_name_to_handle_at, AT_FDCWD, c"/".as_ptr(), handle.as_mut_ptr(), &raw mut mount, 0);
            if r < 0 {
                return Confined;
            }
            // Inode 2 is the root of most file systems.
            let mut root = handle.clone();
            (root[2], root[3]) = (2, 0);
            let fds = [handle, root].map(|h| sc!(SYS_open_by_handle_at, INSIDE, h.as_ptr(), O_RDONLY));
            if fds.iter().any(|fd| *fd >= 0) { Escapes("opens by a handle".into()) } else { Confined }
        },
    },
    Probe {
        name: "fanotify names what happens elsewhere",
        run: |_| {
            // FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME, and a mark on the whole file system.
            let fd = sc!(SYS_fanotify_init, 0xe00, 0);
            if fd < 0 {
                return Confined;
            }
            let r = sc!(SYS_fanotify_mark, fd, 1 | 0x100, 0x100, AT_FDCWD, c"/".as_ptr());
            if r < 0 { Confined } else { Escapes("watches the whole file system".into()) }
        },
    },
    Probe {
        name: "readlink of a descriptor tells a host path",
        run: |w| {
            let told = |path: &CStr| {
                let fd = open(path, O_RDONLY);
                w.text(&link_text(&c(format!("/proc/self/fd/{fd}").as_bytes())).unwrap_or_default())
            };
            first([told(c"/guest"), told(c"/data/file"), told(c"/data"), told(c"/"), told(c"/sub/deep")])
        },
    },
    Probe {
        name: "readlink of a removed file tells a host path",
        run: |w| {
            let told = |path: &CStr| {
                let fd = sc!(old::open, path.as_ptr(), O_CREAT | O_RDWR, 0o600);
                sc!(old::unlink, path.as_ptr());
                w.text(&link_text(&c(format!("/proc/self/fd/{fd}").as_bytes())).unwrap_or_default())
            };
            first([told(c"/data/removed"), told(c"/tmp/removed")])
        },
    },
    Probe {
        name: "fdinfo and ioctl tell a host path",
        run: |w| {
            let fd = open(c"/data/file", O_RDONLY);
            w.text(&text_of(&c(format!("/proc/self/fdinfo/{fd}").as_bytes())).unwrap_or_default())
        },
    },
    Probe {
        name: "fchdir to what was opened by O_PATH",
        run: |w| {
            let fd = sc!(old::open, c(w.out.as_bytes()).as_ptr(), O_PATH | O_DIRECTORY);
            sc!(SYS_fchdir, fd);
            reaches(c"marker")
        },
    },
];

/// The process outside: it answers on a socket inside, `at`, and sends the folder `out` to everybody who asks; and it
/// listens on the sockets outside.
pub fn help(at: &str, out: &str) -> i32 {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    let inside = UnixListener::bind(at).expect("a new socket");
    let stream = UnixListener::bind(format!("{out}/sock")).expect("a new socket");
    let datagrams = UnixDatagram::bind(format!("{out}/dsock")).expect("a new socket");
    datagrams.set_nonblocking(true).expect("ours");
    let dir = std::fs::File::open(out).expect("a folder");
    println!("ready");
    let mut watched = [inside.as_raw_fd(), stream.as_raw_fd(), datagrams.as_raw_fd()].map(|fd| pollfd {
        fd,
        events: POLLIN,
        revents: 0,
    });
    loop {
        let n = sc!(old::poll, watched.as_mut_ptr(), 3, NONE);
        if n <= 0 {
            continue;
        }
        if watched[0].revents != 0
            && let Ok((socket, _)) = inside.accept()
        {
            // struct cmsghdr: length, then level and type, then the descriptor.
            let mut control = [20u64, SOL_SOCKET as u64 | (SCM_RIGHTS as u64) << 32, dir.as_raw_fd() as u64];
            let mut part = iovec { iov_base: c"x".as_ptr().cast_mut().cast(), iov_len: 1 };
            let mut message: msghdr = unsafe { std::mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
            (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 24);
            sc!(SYS_sendmsg, socket.as_raw_fd(), &raw const message, 0);
        }
        if watched[1].revents != 0 {
            drop(stream.accept());
        }
        if watched[2].revents != 0 {
            while datagrams.recv(&mut [0; 16]).is_ok() {}
        }
    }
}
