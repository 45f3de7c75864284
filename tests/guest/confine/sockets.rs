//! Sockets of the file system, in every call that takes or gives an address.

use super::*;

pub fn address(path: &[u8]) -> (sockaddr_un, u64) {
    let mut to: sockaddr_un = unsafe { std::mem::zeroed() };
    to.sun_family = AF_UNIX as u16;
    for (to, from) in to.sun_path.iter_mut().zip(path) {
        *to = *from as c_char;
    }
    (to, 2 + path.len() as u64 + 1)
}

fn socket(kind: i32) -> i64 {
    sc!(SYS_socket, AF_UNIX, kind | SOCK_CLOEXEC, 0)
}

pub fn connected(path: &[u8]) -> Result<i64, String> {
    let (to, len) = address(path);
    let fd = socket(SOCK_STREAM);
    let r = sc!(SYS_connect, fd, &raw const to, len);
    if r < 0 { Err(format!("connect: {}", name(r))) } else { Ok(fd) }
}

/// The names of a socket outside, short enough for an address: by its path, and up from here.
fn names(world: &World, name: &str) -> [Vec<u8>; 2] {
    let path = format!("{}/{name}", world.out).into_bytes();
    [path.clone(), [b"../../../../../../..".as_slice(), &path].concat()]
}

fn reached(world: &World, name: &str, call: impl Fn(i64, &[u8]) -> i64, kind: i32) -> Verdict {
    first(names(world, name).map(|path| {
        let r = call(socket(kind), &path);
        if r >= 0 { Escapes("reaches the socket".into()) } else { Confined }
    }))
}

/// A message with a name.
fn message(to: &mut sockaddr_un, len: u64, part: &mut iovec) -> msghdr {
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    (message.msg_name, message.msg_namelen) = (std::ptr::from_mut(to).cast(), len as u32);
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    message
}

fn part() -> iovec {
    iovec { iov_base: c"probe".as_ptr().cast_mut().cast(), iov_len: 5 }
}

/// What a call wrote of an address.
fn told(world: &World, call: impl FnOnce(*mut sockaddr_un, *mut u32) -> i64) -> Verdict {
    let mut who: sockaddr_un = unsafe { std::mem::zeroed() };
    let mut len = size_of::<sockaddr_un>() as u32;
    let r = call(&raw mut who, &raw mut len);
    if r < 0 {
        return Skip(format!("no address: {}", name(r)));
    }
    let bytes: Vec<u8> = who.sun_path.iter().map(|b| b.to_ne_bytes()[0]).collect();
    world.text(&bytes)
}

fn bound(kind: i32, path: &CStr) -> i64 {
    sc!(old::unlink, path.as_ptr());
    let fd = socket(kind);
    let (to, len) = address(path.to_bytes());
    sc!(SYS_bind, fd, &raw const to, len);
    fd
}

/// Two sockets with names, the second sends to the first.
fn pair() -> i64 {
    let (to, from) = (bound(SOCK_DGRAM, c"/data/to"), bound(SOCK_DGRAM, c"/data/from"));
    let (at, len) = address(b"/data/to");
    sc!(SYS_sendto, from, c"x".as_ptr(), 1, 0, &raw const at, len);
    to
}

/// `struct unix_diag_req` behind a netlink header: all sockets, with their names.
fn diagnosed() -> Result<Vec<u8>, i64> {
    const SOCK_DIAG_BY_FAMILY: u32 = 20;
    let fd = sc!(SYS_socket, AF_NETLINK, SOCK_RAW, 4);
    let mut request = [0u32; 10];
    (request[0], request[1]) = (40, SOCK_DIAG_BY_FAMILY | 0x301 << 16);
    (request[4], request[5], request[7]) = (AF_UNIX as u32, u32::MAX, 1);
    let r = sc!(SYS_sendto, fd, request.as_ptr(), 40, 0, 0, 0);
    if r < 0 {
        return Err(r);
    }
    let mut all = vec![];
    let mut buffer = vec![0u8; 1 << 16];
    for _ in 0..50 {
        let n = sc!(SYS_recvfrom, fd, buffer.as_mut_ptr(), buffer.len(), MSG_DONTWAIT, 0, 0);
        if n <= 0 {
            break;
        }
        all.extend_from_slice(&buffer[..n as usize]);
    }
    // `NLMSG_ERROR` with an errno: the kernel has no such table.
    if let [_, _, _, _, 2, 0, ..] = all[..]
        && let Some(&[a, b, c, d]) = all.get(16..20)
        && let errno @ ..0 = i32::from_ne_bytes([a, b, c, d])
    {
        return Err(errno.into());
    }
    Ok(all)
}

/// connect(2) or bind(2).
fn by_address(w: &World, file: &str, call: c_long) -> Verdict {
    let make = |fd: i64, path: &[u8]| {
        let (to, len) = address(path);
        sc!(call, fd, &raw const to, len)
    };
    reached(w, file, make, SOCK_STREAM)
}

pub const PROBES: &[Probe] = &[
    Probe { name: "connect", run: |w| by_address(w, "sock", SYS_connect) },
    Probe {
        name: "connect, through a link",
        run: |w| {
            sc!(old::unlink, c"/tmp/s".as_ptr());
            sc!(old::symlink, w.outside("sock").as_ptr(), c"/tmp/s".as_ptr());
            if connected(b"/tmp/s").is_ok() { Escapes("reaches the socket".into()) } else { Confined }
        },
    },
    Probe {
        name: "connect, through /proc",
        run: |_| {
            // Too long for an address by a whole path: from the folder of a process.
            let all = ["self", "1", &sc!(SYS_getppid).to_string()].map(|pid| {
                sc!(SYS_chdir, c(format!("/proc/{pid}/cwd").as_bytes()).as_ptr());
                if connected(b"../outside/sock").is_ok() {
                    Escapes(format!("by the cwd of {pid}"))
                } else {
                    Confined
                }
            });
            first(all)
        },
    },
    Probe {
        name: "sendto",
        run: |w| {
            reached(
                w,
                "dsock",
                |fd, path| {
                    let (to, len) = address(path);
                    sc!(SYS_sendto, fd, c"probe".as_ptr(), 5, 0, &raw const to, len)
                },
                SOCK_DGRAM,
            )
        },
    },
    Probe {
        name: "sendmsg",
        run: |w| {
            reached(
                w,
                "dsock",
                |fd, path| {
                    let ((mut to, len), mut part) = (address(path), part());
                    let message = message(&mut to, len, &mut part);
                    sc!(SYS_sendmsg, fd, &raw const message, 0)
                },
                SOCK_DGRAM,
            )
        },
    },
    Probe {
        name: "sendmmsg",
        run: |w| {
            reached(
                w,
                "dsock",
                |fd, path| {
                    let ((mut to, len), mut part) = (address(path), part());
                    let mut all = mmsghdr { msg_hdr: message(&mut to, len, &mut part), msg_len: 0 };
                    sc!(SYS_sendmmsg, fd, &raw mut all, 1, 0)
                },
                SOCK_DGRAM,
            )
        },
    },
    Probe { name: "bind", run: |w| by_address(w, "bound", SYS_bind) },
    Probe {
        name: "getsockname tells a host path",
        run: |w| {
            let fd = bound(SOCK_STREAM, c"/data/s1");
            told(w, |who, len| sc!(SYS_getsockname, fd, who, len))
        },
    },
    Probe {
        name: "getpeername tells a host path",
        run: |w| {
            sc!(SYS_listen, bound(SOCK_STREAM, c"/data/s2"), 4);
            let Ok(fd) = connected(b"/data/s2") else { return Skip("no connection".into()) };
            told(w, |who, len| sc!(SYS_getpeername, fd, who, len))
        },
    },
    Probe {
        name: "accept tells a host path",
        run: |w| {
            let listener = bound(SOCK_STREAM, c"/data/s3");
            sc!(SYS_listen, listener, 4);
            let client = bound(SOCK_STREAM, c"/data/s4");
            let (to, len) = address(b"/data/s3");
            sc!(SYS_connect, client, &raw const to, len);
            told(w, |who, len| sc!(SYS_accept4, listener, who, len, 0))
        },
    },
    Probe {
        name: "recvfrom tells a host path",
        run: |w| {
            let fd = pair();
            let mut byte = 0u8;
            told(w, |who, len| sc!(SYS_recvfrom, fd, &raw mut byte, 1, 0, who, len))
        },
    },
    Probe {
        name: "recvmsg tells a host path",
        run: |w| {
            let fd = pair();
            let mut part = part();
            let mut buffer = [0u8; 8];
            part.iov_base = buffer.as_mut_ptr().cast();
            told(w, |who, len| {
                let mut message: msghdr = unsafe { std::mem::zeroed() };
                (message.msg_name, message.msg_namelen) = (who.cast(), unsafe { *len });
                (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
                sc!(SYS_recvmsg, fd, &raw mut message, 0)
            })
        },
    },
    Probe {
        name: "recvmmsg tells a host path",
        run: |w| {
            let fd = pair();
            let mut part = part();
            let mut buffer = [0u8; 8];
            part.iov_base = buffer.as_mut_ptr().cast();
            told(w, |who, len| {
                let mut all: mmsghdr = unsafe { std::mem::zeroed() };
                (all.msg_hdr.msg_name, all.msg_hdr.msg_namelen) = (who.cast(), unsafe { *len });
                (all.msg_hdr.msg_iov, all.msg_hdr.msg_iovlen) = (&raw mut part, 1);
                sc!(SYS_recvmmsg, fd, &raw mut all, 1, 0, 0)
            })
        },
    },
    Probe {
        name: "/proc/net/unix tells a host path",
        run: |w| {
            let _fd = bound(SOCK_STREAM, c"/data/s5");
            match text_of(c"/proc/net/unix") {
                Ok(text) => w.text(&text),
                Err(e) => Skip(name(e)),
            }
        },
    },
    Probe {
        name: "sock_diag tells a host path",
        run: |w| {
            let _fd = bound(SOCK_STREAM, c"/data/s6");
            match diagnosed() {
                Ok(text) => w.text(&text),
                Err(e) => Skip(name(e)),
            }
        },
    },
];
