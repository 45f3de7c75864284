//! A host that refuses: a filter around a command and all that it starts, for calls by name.

use crate::raw::c;
use libc::*;
use prun_arch::Sysno;
use prun_arch::abi::number;
use std::io::{Read, Write};
use std::str::FromStr;

/// Calls newer than Linux 3.10, some of which prun makes by older ones.
const NEW: &str = "openat2=38,statx=38,faccessat2=38,fchmodat2=38,renameat2=38,execveat=38,getrandom=38,close_range=38,\
                   memfd_create=38,copy_file_range=38,clone3=38,rseq=38,pidfd_open=38,preadv2=38,pwritev2=38,io_uring_setup=38,\
                   mlock2=38,membarrier=38,pkey_mprotect=38,epoll_pwait2=38,futex_waitv=38,cachestat=38,landlock_create_ruleset=38";

fn verdict(action: &str) -> u32 {
    match action {
        "kill" => SECCOMP_RET_KILL_PROCESS,
        "trap" => SECCOMP_RET_TRAP,
        number => SECCOMP_RET_ERRNO | number.parse::<u32>().expect("an errno"),
    }
}

/// Filters that do nothing, as many as a task may have but for some: what a process can have is found out in another.
fn crowd(left: u32) {
    let mut program = [sock_filter { code: BPF_RET as u16, jt: 0, jf: 0, k: SECCOMP_RET_ALLOW }; 60];
    let prog = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let install = || unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const prog) } == 0;
    let (mut hear, mut say) = std::io::pipe().expect("descriptors");
    unsafe {
        if fork() == 0 {
            let mut most = 0u32;
            while install() {
                most += 1;
            }
            say.write_all(&most.to_ne_bytes()).expect("it is read");
            _exit(0);
        }
    }
    let mut most = [0; 4];
    hear.read_exact(&mut most).expect("the child says it");
    for _ in 0..u32::from_ne_bytes(most) - left {
        assert!(install());
    }
}

/// `hostile RULES COMMAND…`: RULES are `call=errno`, `call=kill` or `call=trap`, with commas; `call.N` is the call with
/// that first argument. `filter` stands for installing a seccomp filter, `crowd=N` leaves room for N filters of 60
/// instructions, `old-kernel` alone stands for all that is newer than Linux 3.10.
pub fn run(rest: &[&str]) -> i32 {
    let rules = if rest[0] == "old-kernel" { NEW } else { rest[0] };
    let ins = |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, ret) = (BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET);
    let mut program = vec![ins(load, 0, 0, 0)];
    for rule in rules.split(',').map(str::trim) {
        let (name, action) = rule.split_once('=').expect("call=action");
        if name == "crowd" {
            unsafe { assert_eq!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0) };
            crowd(action.parse().expect("a number"));
            continue;
        }
        let verdict = verdict(action);
        if name == "filter" {
            program.extend([
                ins(equal, 0, 1, SYS_seccomp as u32),
                ins(ret, 0, 0, verdict),
                ins(equal, 0, 4, SYS_prctl as u32),
                ins(load, 0, 0, 16),
                ins(equal, 0, 1, PR_SET_SECCOMP as u32),
                ins(ret, 0, 0, verdict),
                ins(load, 0, 0, 0),
            ]);
            continue;
        }
        if let Some((name, first)) = name.split_once('.') {
            let call = Sysno::from_str(name).expect("a call");
            program.extend([
                ins(equal, 0, 4, number(call)),
                ins(load, 0, 0, 16),
                ins(equal, 0, 1, first.parse().expect("an argument")),
                ins(ret, 0, 0, verdict),
                ins(load, 0, 0, 0),
            ]);
            continue;
        }
        let call = Sysno::from_str(name).expect("a call");
        program.extend([ins(equal, 0, 1, number(call)), ins(ret, 0, 0, verdict)]);
    }
    program.push(ins(ret, 0, 0, SECCOMP_RET_ALLOW));
    let prog = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let words: Vec<_> = rest[1..].iter().map(|w| c(w.as_bytes())).collect();
    let argv: Vec<*const c_char> = words.iter().map(|w| w.as_ptr()).chain([std::ptr::null()]).collect();
    unsafe {
        assert_eq!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const prog), 0);
        execvp(argv[0], argv.as_ptr());
    }
    eprintln!("{}: {}", rest[1], std::io::Error::last_os_error());
    126
}
