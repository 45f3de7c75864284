//! Programs outside, by every way to execute one. They end with status 77.

use super::*;

fn ran(status: i32) -> Verdict {
    if status == 77 { Escapes("runs the program".into()) } else { Confined }
}

fn execute(path: &CStr) -> i32 {
    in_child(|| {
        let argv = [path.as_ptr(), c"confine-mark".as_ptr(), std::ptr::null()];
        sc!(SYS_execve, path.as_ptr(), argv.as_ptr(), 0);
        0
    })
}

fn execute_at(dir: i64, path: &CStr, flags: i32) -> i32 {
    in_child(|| {
        let argv = [c"x".as_ptr(), c"confine-mark".as_ptr(), std::ptr::null()];
        sc!(SYS_execveat, dir, path.as_ptr(), argv.as_ptr(), 0, flags);
        0
    })
}

fn write(path: &CStr, text: &[u8]) {
    sc!(old::unlink, path.as_ptr());
    let fd = sc!(old::open, path.as_ptr(), O_CREAT | O_WRONLY | O_TRUNC, 0o755);
    sc!(SYS_write, fd, text.as_ptr(), text.len());
    sc!(SYS_close, fd);
}

fn memory_file(text: &[u8]) -> i64 {
    let fd = sc!(SYS_memfd_create, c"probe".as_ptr(), 0);
    sc!(SYS_write, fd, text.as_ptr(), text.len());
    fd
}

fn script(world: &World) -> Vec<u8> {
    format!("#!{}/prog confine-mark\n", world.out).into_bytes()
}

/// This program with another interpreter: the text of `PT_INTERP` is written over, and its length.
fn elf(interpreter: &str) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read("/proc/self/exe").ok()?;
    let word = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().expect("8"));
    let (table, count) = (word(&bytes, 32) as usize, u16::from_le_bytes([bytes[56], bytes[57]]) as usize);
    let kind = |h: &usize| u32::from_le_bytes([bytes[*h], bytes[*h + 1], bytes[*h + 2], bytes[*h + 3]]);
    let headers = || (0..count).map(|i| table + 56 * i);
    // A static program has none: a note's place is taken (PT_INTERP is 3, PT_NOTE 4).
    let header = headers().find(|h| kind(h) == 3).or_else(|| headers().find(|h| kind(h) == 4))?;
    bytes[header] = 3;
    let text = [interpreter.as_bytes(), b"\0"].concat();
    // At the end of the file: any offset does.
    let at = bytes.len() as u64;
    bytes[header + 8..header + 16].copy_from_slice(&at.to_le_bytes());
    bytes[header + 32..header + 40].copy_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend(text);
    Some(bytes)
}

pub const PROBES: &[Probe] = &[
    Probe { name: "execve", run: |w| ran(execute(&w.outside("prog"))) },
    Probe { name: "execveat", run: |w| ran(execute_at(i64::from(AT_FDCWD), &w.outside("prog"), 0)) },
    Probe {
        name: "execveat from the root",
        run: |w| {
            let dir = sc!(old::open, c"/".as_ptr(), O_PATH);
            first([
                ran(execute_at(dir, &c(format!("..{}/prog", w.out).as_bytes()), 0)),
                ran(execute_at(dir, &w.outside("prog"), 0)),
            ])
        },
    },
    Probe {
        name: "through a link",
        run: |w| {
            sc!(old::unlink, c"/tmp/p".as_ptr());
            sc!(old::symlink, w.outside("prog").as_ptr(), c"/tmp/p".as_ptr());
            ran(execute(c"/tmp/p"))
        },
    },
    Probe {
        name: "through /proc/self/root",
        run: |w| ran(execute(&c(format!("/proc/self/root{}/prog", w.out).as_bytes()))),
    },
    Probe {
        name: "a script's interpreter",
        run: |w| {
            write(c"/tmp/script", &script(w));
            ran(execute(c"/tmp/script"))
        },
    },
    Probe {
        name: "a script's interpreter, relative",
        run: |w| {
            sc!(SYS_chdir, c"/tmp".as_ptr());
            write(
                c"/tmp/script2",
                format!("#!../../../../../../../..{}/prog confine-mark\n", w.out).as_bytes(),
            );
            ran(execute(c"/tmp/script2"))
        },
    },
    Probe {
        name: "a script's interpreter, a link",
        run: |w| {
            sc!(old::unlink, c"/tmp/i".as_ptr());
            sc!(old::symlink, w.outside("prog").as_ptr(), c"/tmp/i".as_ptr());
            write(c"/tmp/script3", b"#!/tmp/i confine-mark\n");
            ran(execute(c"/tmp/script3"))
        },
    },
    Probe {
        name: "a script of a script",
        run: |w| {
            write(c"/tmp/script4", &script(w));
            write(c"/tmp/script5", b"#!/tmp/script4\n");
            ran(execute(c"/tmp/script5"))
        },
    },
    Probe {
        name: "a script in memory",
        run: |w| ran(execute_at(memory_file(&script(w)), c"", AT_EMPTY_PATH)),
    },
    Probe {
        name: "a script in memory, by /proc",
        run: |w| {
            let fd = memory_file(&script(w));
            ran(execute(&c(format!("/proc/self/fd/{fd}").as_bytes())))
        },
    },
    Probe {
        name: "an interpreter of ELF",
        run: |w| match elf(&format!("{}/interp", w.out)) {
            Some(bytes) => {
                write(c"/tmp/elf", &bytes);
                ran(execute(c"/tmp/elf"))
            }
            None => Skip("not this program".into()),
        },
    },
    Probe {
        name: "an interpreter of ELF, relative",
        run: |w| match elf(&format!("../../../../../../..{}/interp", w.out)) {
            Some(bytes) => {
                sc!(SYS_chdir, c"/".as_ptr());
                write(c"/tmp/elf2", &bytes);
                ran(execute(c"/tmp/elf2"))
            }
            None => Skip("not this program".into()),
        },
    },
    Probe {
        name: "an interpreter of ELF in memory",
        run: |w| match elf(&format!("{}/interp", w.out)) {
            Some(bytes) => ran(execute_at(memory_file(&bytes), c"", AT_EMPTY_PATH)),
            None => Skip("not this program".into()),
        },
    },
    Probe {
        name: "an interpreter of ELF, a link",
        run: |w| match elf("/tmp/interp") {
            Some(bytes) => {
                sc!(old::unlink, c"/tmp/interp".as_ptr());
                sc!(old::symlink, w.outside("interp").as_ptr(), c"/tmp/interp".as_ptr());
                write(c"/tmp/elf3", &bytes);
                ran(execute(c"/tmp/elf3"))
            }
            None => Skip("not this program".into()),
        },
    },
    Probe {
        name: "a program and its paths in memory",
        run: |w| {
            // After fexecve(3) of itself, paths are translated as before.
            let Ok(own) = std::fs::read("/proc/self/exe") else { return Skip("not this program".into()) };
            let fd = memory_file(&own);
            let marker = w.outside("marker");
            let status = in_child(|| {
                let argv = [c"x".as_ptr(), c"confine-read".as_ptr(), marker.as_ptr(), std::ptr::null()];
                sc!(SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), 0, AT_EMPTY_PATH);
                0
            });
            ran(status)
        },
    },
    Probe {
        name: "the runtime's own program",
        run: |_| {
            let parent = sc!(SYS_getppid);
            let mut text = [0u8; 4];
            let fd = sc!(old::open, c(format!("/proc/{parent}/exe").as_bytes()).as_ptr(), O_RDONLY);
            let n = sc!(SYS_read, fd, text.as_mut_ptr(), 4);
            if n == 4 { Escapes("reads the program of its parent".into()) } else { Confined }
        },
    },
    Probe {
        name: "exec by a thread",
        run: |w| {
            let path = w.outside("prog");
            ran(in_child(|| {
                std::thread::spawn(move || {
                    let argv = [path.as_ptr(), c"confine-mark".as_ptr(), std::ptr::null()];
                    sc!(SYS_execve, path.as_ptr(), argv.as_ptr(), 0)
                })
                .join()
                .map_or(1, |_| 0)
            }))
        },
    },
    Probe {
        name: "vfork and exec",
        run: |w| {
            let path = w.outside("prog");
            let argv = [path.as_ptr(), c"confine-mark".as_ptr(), std::ptr::null()];
            // A child with the memory of its parent, as vfork(2) makes one, on a stack of its own.
            let pid = sc!(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
            if pid == 0 {
                sc!(SYS_execve, path.as_ptr(), argv.as_ptr(), 0);
                sc!(SYS_exit_group, 0);
            }
            ran(ended(pid))
        },
    },
];
