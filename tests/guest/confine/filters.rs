//! The guest's own seccomp filters, and other ways to have calls looked past.

use super::*;

const OPEN: u32 = old::open as u32;

fn ins(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// A filter that answers open(2) with `verdict`, installed by seccomp(2) with `flags`.
fn install(verdict: u32, flags: u64) -> i64 {
    let mut program = [
        ins(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        ins(BPF_JMP | BPF_JEQ, 0, 1, OPEN),
        ins(BPF_RET, 0, 0, verdict),
        ins(BPF_RET, 0, 0, SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: 4, filter: program.as_mut_ptr() };
    sc!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sc!(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)
}

fn open(path: &CStr) -> Verdict {
    opened(sc!(old::open, path.as_ptr(), O_RDONLY))
}

/// The listener's side: lets the call that waits go on as it was.
fn go_on(listener: i64) {
    let mut notice = [0u64; 10];
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    if sc!(SYS_ioctl, listener, RECEIVE, notice.as_mut_ptr()) == 0 {
        let mut answer = [notice[0], 0, 1 << 32];
        sc!(SYS_ioctl, listener, SEND, answer.as_mut_ptr());
    }
}

fn by_a_listener(world: &World, flags: u64) -> Verdict {
    const LISTENER: u64 = 8;
    let listener = install(SECCOMP_RET_USER_NOTIF, LISTENER | flags);
    if listener < 0 {
        return Confined;
    }
    let path = world.outside("marker");
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| open(&path));
        go_on(listener);
        reader.join().unwrap_or(Confined)
    })
}

/// Calls made with `SIGSYS` dispatch on, from a range that it allows.
fn dispatched(world: &World) -> Verdict {
    const PR_SET_SYSCALL_USER_DISPATCH: u64 = 59;
    let selector = Box::leak(Box::new(0u8));
    let r = sc!(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0x7fff_ffff_f000u64, selector as *mut u8);
    if r < 0 {
        return Skip(name(r));
    }
    let verdict = open(&world.outside("marker"));
    sc!(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
    verdict
}

pub const PROBES: &[Probe] = &[
    Probe { name: "a listener that lets calls go on", run: |w| by_a_listener(w, 0) },
    Probe { name: "a listener, with other flags", run: |w| by_a_listener(w, 2 | 4) },
    Probe {
        name: "a filter that allows",
        run: |w| {
            install(SECCOMP_RET_ALLOW, 0);
            open(&w.outside("marker"))
        },
    },
    Probe {
        name: "a filter that logs",
        run: |w| {
            install(SECCOMP_RET_LOG, 2);
            open(&w.outside("marker"))
        },
    },
    Probe {
        name: "a filter that traces",
        run: |w| {
            install(SECCOMP_RET_TRACE | 7, 0);
            open(&w.outside("marker"))
        },
    },
    Probe {
        name: "a filter that answers 0",
        run: |w| {
            // Descriptor 0 instead of the file.
            install(SECCOMP_RET_ERRNO, 0);
            sc!(SYS_close, 0);
            open(&w.outside("marker"))
        },
    },
    Probe {
        name: "a filter that traps, and the handler",
        run: |w| {
            extern "C" fn handler(_: i32, _: *mut siginfo_t, _: *mut c_void) {}
            unsafe {
                let mut action: sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as extern "C" fn(i32, *mut siginfo_t, *mut c_void) as usize;
                action.sa_flags = SA_SIGINFO;
                libc::sigaction(SIGSYS, &raw const action, std::ptr::null_mut());
            }
            install(SECCOMP_RET_TRAP, 0);
            first([open(&w.outside("marker")), reaches(&w.outside("marker"))])
        },
    },
    Probe {
        name: "a filter for all threads",
        run: |w| {
            install(SECCOMP_RET_ALLOW, 1);
            open(&w.outside("marker"))
        },
    },
    Probe {
        name: "strict mode and back",
        run: |w| {
            let path = w.outside("marker");
            let status = in_child(|| {
                sc!(SYS_prctl, PR_SET_SECCOMP, 1);
                if matches!(open(&path), Escapes(_)) { 77 } else { 0 }
            });
            if status == 77 { Escapes("reads the marker".into()) } else { Confined }
        },
    },
    Probe { name: "dispatch to the program itself", run: dispatched },
    Probe {
        name: "not dumpable",
        run: |w| {
            sc!(SYS_prctl, PR_SET_DUMPABLE, 0);
            first([open(&w.outside("marker")), reaches(&w.outside("marker"))])
        },
    },
    Probe {
        name: "no new privileges, and another tracer allowed",
        run: |w| {
            sc!(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            sc!(SYS_prctl, PR_SET_PTRACER, -1i64);
            open(&w.outside("marker"))
        },
    },
];
