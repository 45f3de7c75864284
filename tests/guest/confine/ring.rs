//! io_uring's operations on paths: the kernel takes them from memory, no call names them.

use super::*;

pub struct Op {
    pub name: &'static str,
    /// Number in `enum io_uring_op`.
    code: u8,
    /// What it is about in the folder outside.
    file: &'static str,
    /// Fills in the rest: entry, path, memory that lasts.
    fill: fn(&mut Entry, u64, &mut [u64; 64]),
}

/// `struct io_uring_sqe`.
#[derive(Default)]
#[repr(C)]
pub struct Entry {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

const AT: u32 = AT_FDCWD as u32;

pub const OPS: &[Op] = &[
    Op { name: "openat", code: 18, file: "marker", fill: |e, path, _| e.addr = path },
    Op {
        name: "openat2",
        code: 28,
        file: "marker",
        fill: |e, path, memory| {
            (e.addr, e.len, e.off) = (path, 24, memory.as_ptr() as u64);
        },
    },
    Op {
        name: "statx",
        code: 21,
        file: "marker",
        fill: |e, path, memory| {
            (e.addr, e.len, e.off) = (path, 0xfff, memory.as_ptr() as u64);
        },
    },
    Op {
        name: "renameat",
        code: 35,
        file: "marker",
        fill: |e, path, _| {
            (e.addr, e.len, e.off) = (path, AT, c"/tmp/stolen".as_ptr() as u64);
        },
    },
    Op { name: "unlinkat", code: 36, file: "marker", fill: |e, path, _| e.addr = path },
    Op { name: "mkdirat", code: 37, file: "new", fill: |e, path, _| (e.addr, e.len) = (path, 0o700) },
    Op {
        name: "symlinkat",
        code: 38,
        file: "new",
        fill: |e, path, _| {
            (e.addr, e.off) = (c"x".as_ptr() as u64, path);
        },
    },
    Op {
        name: "linkat",
        code: 39,
        file: "marker",
        fill: |e, path, _| {
            (e.addr, e.len, e.off) = (path, AT, c"/tmp/stolen".as_ptr() as u64);
        },
    },
    Op {
        name: "setxattr",
        code: 42,
        file: "marker",
        fill: |e, path, memory| {
            (e.addr, e.len, e.off) = (c"user.probe".as_ptr() as u64, 1, memory.as_ptr() as u64);
            e.rest[1] = path;
        },
    },
    Op {
        name: "getxattr",
        code: 44,
        file: "marker",
        fill: |e, path, memory| {
            (e.addr, e.len, e.off) = (c"user.mark".as_ptr() as u64, 64, memory.as_ptr() as u64);
            e.rest[1] = path;
        },
    },
    Op {
        name: "connect",
        code: 16,
        file: "sock",
        fill: |e, path, memory| {
            let text = unsafe { CStr::from_ptr(path as *const c_char) };
            let (to, len) = super::sockets::address(text.to_bytes());
            unsafe { memory.as_mut_ptr().cast::<sockaddr_un>().write(to) };
            e.fd = sc!(SYS_socket, AF_UNIX, SOCK_STREAM, 0) as i32;
            (e.addr, e.off) = (memory.as_ptr() as u64, len);
        },
    },
];

/// One operation in a ring of its own; the errno of the set-up where there is none.
fn submit(op: &Op, path: &CStr) -> Result<i64, i64> {
    let mut params = [0u32; 30];
    let ring = sc!(SYS_io_uring_setup, 4, params.as_mut_ptr());
    if ring < 0 {
        return Err(ring);
    }
    let map =
        |offset: u64| sc!(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
    let (queue, done, entries) = (map(0), map(0x800_0000), map(0x1000_0000));
    if queue < 0 || done < 0 || entries < 0 {
        return Err(queue.min(done).min(entries));
    }
    let mut memory = [0u64; 64];
    let mut entry = Entry { opcode: op.code, fd: AT_FDCWD, ..Entry::default() };
    (op.fill)(&mut entry, path.as_ptr() as u64, &mut memory);
    // struct io_sqring_offsets is at word 10 (tail is its second, array its seventh), io_cqring_offsets at 20.
    let word = |base: i64, offset: u32| (base + i64::from(offset)) as *mut u32;
    unsafe {
        (entries as *mut Entry).write(entry);
        word(queue, params[10 + 6]).write_volatile(0);
        word(queue, params[10 + 1]).write_volatile(1);
        let n = sc!(SYS_io_uring_enter, ring, 1, 1, 1, 0, 0);
        if n < 0 {
            return Err(n);
        }
        // struct io_uring_cqe: user data, result.
        let result = (done + i64::from(params[20 + 5]) + 8) as *const i32;
        Ok(i64::from(result.read_volatile()))
    }
}

pub fn run(world: &World, op: &Op) -> Verdict {
    match submit(op, &world.outside(op.file)) {
        Err(e) if e == -i64::from(ENOSYS) => Confined,
        Err(e) => Skip(format!("no ring: {}", name(e))),
        Ok(_) => differs(world, op.file, |path| submit(op, path).unwrap_or_else(|e| e)),
    }
}
