//! Files of /proc that name host paths, or show processes outside.

use super::*;

/// Whether a file of /proc tells a host path, with a file of /data and the program mapped.
fn tells(world: &World, path: &str) -> Verdict {
    let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
    sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    match text_of(&c(path.as_bytes())) {
        Ok(text) => world.text(&text),
        Err(e) => Skip(format!("{path}: {}", name(e))),
    }
}

fn link_tells(world: &World, path: &str) -> Verdict {
    match link_text(&c(path.as_bytes())) {
        Ok(text) => world.text(&text),
        Err(_) => Confined,
    }
}

fn thread(file: &str) -> String {
    format!("/proc/self/task/{}/{file}", sc!(SYS_gettid))
}

/// In pieces of a few bytes, and again from the middle.
fn in_pieces(world: &World, path: &CStr) -> Verdict {
    let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
    sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    let fd = sc!(old::open, path.as_ptr(), O_RDONLY);
    let mut all = vec![];
    let mut piece = [0u8; 7];
    loop {
        let n = sc!(SYS_read, fd, piece.as_mut_ptr(), piece.len());
        if n <= 0 {
            break;
        }
        all.extend_from_slice(&piece[..n as usize]);
    }
    let mut rest = vec![0u8; 1 << 16];
    let n = sc!(SYS_pread64, fd, rest.as_mut_ptr(), rest.len(), 100);
    rest.truncate(n.max(0) as usize);
    if !all.is_empty() && !all[100.min(all.len())..].starts_with(&rest[..rest.len().min(50)]) {
        return Escapes("another text when it is read again".into());
    }
    first([world.text(&all), world.text(&rest)])
}

/// `AT_EXECFN`, whose text the kernel puts on the stack.
fn execfn(world: &World) -> Verdict {
    let Ok(vector) = text_of(c"/proc/self/auxv") else { return Skip("no auxv".into()) };
    let word = |b: &[u8]| u64::from_ne_bytes(b.try_into().expect("8 bytes"));
    let at = vector.chunks_exact(16).find(|e| word(&e[..8]) == 31).map_or(0, |e| word(&e[8..]));
    if at == 0 {
        return Confined;
    }
    world.text(unsafe { CStr::from_ptr(at as *const c_char) }.to_bytes())
}

/// All of the initial stack: what the kernel and the runtime have left there.
fn stack(world: &World) -> Verdict {
    let Ok(maps) = text_of(c"/proc/self/maps") else { return Skip("no maps".into()) };
    let maps = String::from_utf8_lossy(&maps).into_owned();
    let Some(line) = maps.lines().find(|l| l.ends_with("[stack]")) else { return Skip("no stack".into()) };
    let (from, to) = line.split_once(' ').and_then(|l| l.0.split_once('-')).expect("a range");
    let number = |t| u64::from_str_radix(t, 16).expect("an address");
    let (from, to) = (number(from), number(to));
    // The paths that this program was given on its command line do not count: the strings of argv.
    let text = unsafe { std::slice::from_raw_parts(from as *const u8, (to - from) as usize) }.to_vec();
    let found = text.split(|b| *b == 0).filter(|s| {
        world.is_told_by(s)
            && ![&world.out, &world.root, &world.data].iter().any(|own| s.ends_with(own.as_bytes()))
    });
    match found.into_iter().find(|s| s.starts_with(world.root.as_bytes()) || s.starts_with(b"/proc/")) {
        Some(s) => Escapes(format!("the stack holds {}", shown(s))),
        None => Confined,
    }
}

/// A script's or a program's own name and command line; `what` is a file of /proc/self.
fn of_a_program(world: &World, program: &'static CStr, file: &'static str) -> Verdict {
    let to = c(b"/tmp/told");
    let status = in_child(|| {
        let fd = sc!(old::open, to.as_ptr(), O_CREAT | O_TRUNC | O_WRONLY, 0o600);
        sc!(old::dup2, fd, 1);
        let (a, b, path) = (c(b"x"), c(b"cat"), c(file.as_bytes()));
        let argv = [a.as_ptr(), b.as_ptr(), path.as_ptr(), std::ptr::null()];
        sc!(SYS_execve, program.as_ptr(), argv.as_ptr(), 0);
        99
    });
    match text_of(&to) {
        Ok(text) if status == 0 => {
            // The bound program is called so on the host only.
            if memchr_str(&text, b"host-name") {
                return Escapes(format!("tells {}", shown(&text)));
            }
            world.text(&text)
        }
        _ => Skip(format!("it ends with {status}")),
    }
}

/// Texts of every process in /proc by this name.
fn of_any(world: &World, file: &str) -> Verdict {
    let Ok(all) = std::fs::read_dir("/proc") else { return Skip("no /proc".into()) };
    let own = std::process::id();
    let pids = all.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    first(pids.filter(|p| *p != own).map(|pid| {
        let path = c(format!("/proc/{pid}/{file}").as_bytes());
        // Opening what a link leads to could wait for ever.
        let text =
            link_text(&path).or_else(|e| if e == -i64::from(EINVAL) { text_of(&path) } else { Err(e) });
        let text = text.unwrap_or_default();
        match world.text(&text) {
            Escapes(what) => Escapes(format!("process {pid} {what}")),
            other => other,
        }
    }))
}

pub const PROBES: &[Probe] = &[
    Probe { name: "exe", run: |w| first([link_tells(w, "/proc/self/exe"), link_tells(w, &thread("exe"))]) },
    Probe {
        name: "cwd",
        run: |w| {
            sc!(SYS_chdir, c"/data/sub".as_ptr());
            first([link_tells(w, "/proc/self/cwd"), link_tells(w, &thread("cwd"))])
        },
    },
    Probe {
        name: "root",
        run: |w| first([link_tells(w, "/proc/self/root"), link_tells(w, &thread("root"))]),
    },
    Probe { name: "maps", run: |w| tells(w, "/proc/self/maps") },
    Probe { name: "maps of a thread", run: |w| tells(w, &thread("maps")) },
    Probe { name: "maps of thread-self", run: |w| tells(w, "/proc/thread-self/maps") },
    Probe { name: "maps in pieces", run: |w| in_pieces(w, c"/proc/self/maps") },
    Probe {
        name: "maps by an open folder",
        run: |w| {
            let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
            sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
            let dir = sc!(old::open, c"/proc/self".as_ptr(), O_PATH | O_DIRECTORY);
            let fd = sc!(SYS_openat, dir, c"maps".as_ptr(), O_RDONLY | O_NOFOLLOW);
            w.text(&text_of(&c(format!("/proc/self/fd/{fd}").as_bytes())).unwrap_or_default())
        },
    },
    Probe {
        name: "maps by the current directory",
        run: |w| {
            sc!(SYS_chdir, c"/proc/self".as_ptr());
            tells(w, "maps")
        },
    },
    Probe {
        name: "maps by openat2",
        run: |w| {
            let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
            sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
            let path = c(format!("/proc/{}/maps", sc!(SYS_getpid)).as_bytes());
            let all = [0, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS].map(|resolve| {
                let fd = sc!(SYS_openat2, AT_FDCWD, path.as_ptr(), [0, 0, resolve].as_ptr(), 24);
                if fd < 0 {
                    return Escapes(format!("{resolve}: {}, though it is there", name(fd)));
                }
                let mut text = vec![0u8; 1 << 16];
                let n = sc!(SYS_read, fd, text.as_mut_ptr(), text.len());
                w.text(&text[..n.max(0) as usize])
            });
            first(all)
        },
    },
    Probe {
        name: "maps by a descriptor opened again",
        run: |w| {
            let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
            sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
            let fd = sc!(old::open, c"/proc/self/maps".as_ptr(), O_PATH);
            w.text(&text_of(&c(format!("/proc/self/fd/{fd}").as_bytes())).unwrap_or_default())
        },
    },
    Probe { name: "smaps", run: |w| tells(w, "/proc/self/smaps") },
    Probe { name: "smaps_rollup", run: |w| tells(w, "/proc/self/smaps_rollup") },
    Probe { name: "numa_maps", run: |w| tells(w, "/proc/self/numa_maps") },
    Probe {
        name: "map_files",
        run: |w| {
            let fd = sc!(old::open, c"/data/file".as_ptr(), O_RDONLY);
            sc!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
            match std::fs::read_dir("/proc/self/map_files") {
                Ok(all) => first(all.flatten().map(|e| link_tells(w, &e.path().display().to_string()))),
                Err(e) => Skip(e.to_string()),
            }
        },
    },
    Probe { name: "mountinfo", run: |w| tells(w, "/proc/self/mountinfo") },
    Probe { name: "mounts", run: |w| first([tells(w, "/proc/self/mounts"), tells(w, "/proc/mounts")]) },
    Probe { name: "mountstats", run: |w| tells(w, "/proc/self/mountstats") },
    Probe { name: "auxv and the name of the program", run: execfn },
    Probe { name: "the stack", run: stack },
    Probe { name: "environ", run: |w| tells(w, "/proc/self/environ") },
    Probe { name: "cmdline of a script", run: |w| of_a_program(w, c"/data/script", "/proc/self/cmdline") },
    Probe {
        name: "cmdline of a bound program",
        run: |w| of_a_program(w, c"/data/guest", "/proc/self/cmdline"),
    },
    Probe { name: "comm of a program", run: |w| of_a_program(w, c"/data/guest", "/proc/self/comm") },
    Probe { name: "comm of a script", run: |w| of_a_program(w, c"/data/script", "/proc/self/comm") },
    Probe { name: "stat of a program", run: |w| of_a_program(w, c"/data/guest", "/proc/self/stat") },
    Probe { name: "maps of a program", run: |w| of_a_program(w, c"/data/guest", "/proc/self/maps") },
    Probe {
        name: "exe of a program",
        run: |w| {
            let pid = sc!(old::fork);
            if pid == 0 {
                sc!(old::alarm, 5);
                let argv = [c"x".as_ptr(), c"confine-wait".as_ptr(), std::ptr::null()];
                sc!(SYS_execve, c"/data/guest".as_ptr(), argv.as_ptr(), 0);
                sc!(SYS_exit_group, 1);
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            let told = first(["exe", "cwd", "root", "maps", "mountinfo", "fd/0", "fd/1"].map(|file| {
                let path = format!("/proc/{pid}/{file}");
                // What a link leads to is not read: a pipe would wait for ever.
                match link_text(&c(path.as_bytes())) {
                    Ok(text) => w.text(&text),
                    Err(_) => w.text(&text_of(&c(path.as_bytes())).unwrap_or_default()),
                }
            }));
            sc!(SYS_kill, pid, SIGKILL);
            ended(pid);
            told
        },
    },
    Probe {
        name: "TracerPid",
        run: |_| {
            let status = text_of(c"/proc/self/status").unwrap_or_default();
            let text = String::from_utf8_lossy(&status).into_owned();
            match text.lines().find(|l| l.starts_with("TracerPid:")) {
                Some(line) if !line.ends_with("\t0") => Escapes(line.replace('\t', " ")),
                Some(_) => Confined,
                None => Skip("no status".into()),
            }
        },
    },
    Probe {
        name: "wchan, stack and syscall",
        run: |w| {
            first(["wchan", "stack", "syscall", "limits", "sched", "cgroup", "timers"].map(|f| {
                match tells(w, &format!("/proc/self/{f}")) {
                    Skip(_) => Confined,
                    other => other,
                }
            }))
        },
    },
    Probe { name: "cmdline of any process", run: |w| of_any(w, "cmdline") },
    Probe { name: "environ of any process", run: |w| of_any(w, "environ") },
    Probe { name: "maps of any process", run: |w| of_any(w, "maps") },
    Probe { name: "cwd of any process", run: |w| of_any(w, "cwd") },
    Probe { name: "exe of any process", run: |w| of_any(w, "exe") },
    Probe { name: "mountinfo of any process", run: |w| of_any(w, "mountinfo") },
    Probe {
        name: "descriptors of any process",
        run: |w| first((0..12).map(|fd| of_any(w, &format!("fd/{fd}")))),
    },
];

/// Waits to be looked at.
pub fn wait() -> i32 {
    sc!(old::alarm, 5);
    sc!(old::pause);
    0
}

/// The text of a file: what a script's interpreter does here.
pub fn cat(path: &str) -> i32 {
    let text = text_of(&c(path.as_bytes())).unwrap_or_default();
    sc!(SYS_write, 1, text.as_ptr(), text.len());
    0
}
