//! Paths that climb: `..`, symbolic links, links of /proc, directories that move.

use super::*;

/// Far above every root.
const UP: &str = "../../../../../../../../../../../../../../../../../../../../../../..";

fn by(world: &World, prefix: &str) -> Verdict {
    reaches(&c(format!("{prefix}{}/marker", world.out).as_bytes()))
}

/// By a link at /tmp/NAME with this text, made anew.
fn by_link(text: &str, link: &str, path: &str) -> Verdict {
    let link = c(format!("/tmp/{link}").as_bytes());
    sc!(old::unlink, link.as_ptr());
    sc!(old::symlink, c(text.as_bytes()).as_ptr(), link.as_ptr());
    reaches(&c(path.as_bytes()))
}

/// Every process that /proc lists, by this name in its folder.
fn by_processes(world: &World, name: &str) -> Verdict {
    let Ok(all) = std::fs::read_dir("/proc") else { return Skip("no /proc".into()) };
    let own = std::process::id();
    first(
        all.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).filter(|p| *p != own).map(
            |pid| match by(world, &format!("/proc/{pid}/{name}")) {
                Escapes(what) => Escapes(format!("{what} by process {pid}")),
                other => other,
            },
        ),
    )
}

fn openat(dir: i64, path: &str) -> Verdict {
    opened(sc!(SYS_openat, dir, c(path.as_bytes()).as_ptr(), O_RDONLY))
}

fn directory(path: &CStr) -> i64 {
    sc!(SYS_openat, AT_FDCWD, path.as_ptr(), O_RDONLY | O_DIRECTORY)
}

fn chdir(path: &str) -> i64 {
    sc!(SYS_chdir, c(path.as_bytes()).as_ptr())
}

pub const PROBES: &[Probe] = &[
    Probe { name: "many ..", run: |w| by(w, &format!("/{UP}")) },
    Probe {
        name: ".. from the current directory",
        run: |w| {
            chdir("/sub/deep");
            by(w, UP)
        },
    },
    Probe {
        name: ".. one at a time by chdir",
        run: |w| {
            chdir("/sub/deep");
            (0..40).for_each(|_| {
                chdir("..");
            });
            by(w, ".")
        },
    },
    Probe {
        name: ".. one at a time by descriptors",
        run: |w| {
            let mut dir = directory(c"/sub/deep");
            (0..40).for_each(|_| dir = sc!(SYS_openat, dir, c"..".as_ptr(), O_RDONLY | O_DIRECTORY));
            openat(dir, &format!(".{}/marker", w.out))
        },
    },
    Probe {
        name: ".. from a directory's descriptor",
        run: |w| openat(directory(c"/sub/deep"), &format!("{UP}{}/marker", w.out)),
    },
    Probe {
        name: ".. from the binding",
        run: |w| {
            chdir("/data");
            first([
                reaches(c"../outside/marker"),
                by(w, UP),
                openat(directory(c"/data"), "../outside/marker"),
            ])
        },
    },
    Probe { name: ".. behind a file", run: |w| by(w, &format!("/data/file/{UP}")) },
    Probe {
        name: ".. behind a link in the binding",
        run: |_| {
            sc!(old::symlink, c"../data".as_ptr(), c"/data/there".as_ptr());
            first([reaches(c"/data/there/../outside/marker"), reaches(c"/data/sub/../../outside/marker")])
        },
    },
    Probe {
        name: "an absolute link",
        run: |w| by_link(&format!("{}/marker", w.out), "absolute", "/tmp/absolute"),
    },
    Probe {
        name: "a relative link",
        run: |w| by_link(&format!("{UP}{}/marker", w.out), "relative", "/tmp/relative"),
    },
    Probe { name: "a link on the way", run: |w| by_link(&w.out, "way", "/tmp/way/marker") },
    Probe {
        name: "a chain of links",
        run: |w| {
            by_link(&w.out, "chain0", "/");
            (1..20).for_each(|i| drop(by_link(&format!("chain{}", i - 1), &format!("chain{i}"), "/")));
            reaches(c"/tmp/chain19/marker")
        },
    },
    Probe {
        name: "a link in the binding",
        run: |w| {
            sc!(old::unlink, c"/data/up".as_ptr());
            sc!(old::symlink, c(format!("{}/marker", w.out).as_bytes()).as_ptr(), c"/data/up".as_ptr());
            let absolute = reaches(c"/data/up");
            sc!(old::unlink, c"/data/up".as_ptr());
            sc!(old::symlink, c"../outside/marker".as_ptr(), c"/data/up".as_ptr());
            first([absolute, reaches(c"/data/up")])
        },
    },
    Probe {
        name: "a link that was there before",
        run: |_| first([reaches(c"/data/host-link"), reaches(c"/host-link"), reaches(c"/host-dir/marker")]),
    },
    Probe {
        name: "a link with a slash behind it",
        run: |w| {
            by_link(&w.out, "slash", "/");
            let (there, dir) = (directory(c"/tmp/slash/"), sc!(old::open, c"/tmp/slash/.".as_ptr(), O_PATH));
            first([openat(there, "marker"), openat(dir, "marker")])
        },
    },
    Probe {
        name: "a link that is made by open",
        run: |w| {
            let path = c(b"/tmp/dangling");
            by_link(&format!("{}/made", w.out), "dangling", "/");
            sc!(SYS_close, sc!(old::open, path.as_ptr(), O_CREAT | O_WRONLY, 0o600));
            // The folder outside is looked at afterwards.
            Confined
        },
    },
    Probe {
        name: "/proc/self/root",
        run: |w| {
            first([by(w, "/proc/self/root"), by(w, "/proc/self/root/.."), by(w, "/proc/self/root/../..")])
        },
    },
    Probe {
        name: "/proc/self/cwd",
        run: |w| {
            chdir("/sub");
            first([by(w, "/proc/self/cwd/.."), by(w, "/proc/self/cwd/../.."), by(w, "/proc/self/cwd")])
        },
    },
    Probe {
        name: "/proc/self/fd",
        run: |w| {
            let dir = directory(c"/");
            first([
                by(w, &format!("/proc/self/fd/{dir}")),
                by(w, &format!("/proc/self/fd/{dir}/..")),
                by(w, &format!("/dev/fd/{dir}/..")),
            ])
        },
    },
    Probe { name: "/proc/self/task", run: |w| by(w, &format!("/proc/self/task/{}/root", sc!(SYS_gettid))) },
    Probe {
        name: "/proc/thread-self/root",
        run: |w| first([by(w, "/proc/thread-self/root"), by(w, "/proc/thread-self/cwd")]),
    },
    Probe {
        name: "/proc/self/root as a descriptor",
        run: |w| {
            let dir = sc!(old::open, c"/proc/self/root".as_ptr(), O_PATH | O_DIRECTORY);
            first([openat(dir, &format!(".{}/marker", w.out)), openat(dir, &format!("..{}/marker", w.out))])
        },
    },
    Probe {
        name: "/proc/self/root, openat2",
        run: |w| {
            let path = c(format!("/proc/self/root{}/marker", w.out).as_bytes());
            first([0u64, RESOLVE_IN_ROOT, RESOLVE_NO_XDEV].map(|resolve| {
                opened(sc!(SYS_openat2, AT_FDCWD, path.as_ptr(), [0, 0, resolve].as_ptr(), 24))
            }))
        },
    },
    Probe {
        name: "openat2 in a root",
        run: |w| {
            let path = c(format!("{UP}{}/marker", w.out).as_bytes());
            first([directory(c"/"), directory(c"/data")].map(|dir| {
                opened(sc!(SYS_openat2, dir, path.as_ptr(), [0, 0, RESOLVE_IN_ROOT].as_ptr(), 24))
            }))
        },
    },
    Probe {
        name: "chdir through /proc",
        run: |w| {
            chdir("/proc/self/root");
            first([by(w, ".."), by(w, ".")])
        },
    },
    Probe { name: "the root of any process", run: |w| by_processes(w, "root") },
    Probe {
        name: "the cwd of any process",
        run: |w| first([by_processes(w, "cwd"), by_processes(w, "cwd/..")]),
    },
    Probe { name: "the task folder of any process", run: |w| by_processes(w, "task/../root") },
    Probe {
        name: "the cwd is removed",
        run: |w| {
            sc!(old::mkdir, c"/tmp/gone".as_ptr(), 0o700);
            chdir("/tmp/gone");
            sc!(old::rmdir, c"/tmp/gone".as_ptr());
            first([by(w, ".."), by(w, UP), by(w, ".")])
        },
    },
    Probe {
        name: "the cwd is renamed",
        run: |w| {
            sc!(old::mkdir, c"/tmp/before".as_ptr(), 0o700);
            chdir("/tmp/before");
            sc!(old::rename, c"/tmp/before".as_ptr(), c"/after".as_ptr());
            let found = first([by(w, ".."), by(w, UP), by(w, ".")]);
            sc!(old::rmdir, c"/after".as_ptr());
            found
        },
    },
    Probe {
        name: "a directory moves up while it is open",
        run: |w| {
            // The way out of a chroot: what was deep is at the top, and `..` leads above what it was.
            for dir in [c"/tmp/a", c"/tmp/a/b", c"/tmp/a/b/c"] {
                sc!(old::mkdir, dir.as_ptr(), 0o700);
            }
            let dir = directory(c"/tmp/a/b/c");
            sc!(old::rename, c"/tmp/a/b/c".as_ptr(), c"/tmp/moved".as_ptr());
            let found = openat(dir, &format!("{UP}{}/marker", w.out));
            sc!(old::rmdir, c"/tmp/moved".as_ptr());
            found
        },
    },
    Probe {
        name: "a directory moves out of the binding",
        run: |_| {
            sc!(old::mkdir, c"/data/moves".as_ptr(), 0o700);
            let dir = directory(c"/data/moves");
            sc!(old::rename, c"/data/moves".as_ptr(), c"/tmp/moves".as_ptr());
            let found = first([openat(dir, "../outside/marker"), openat(dir, "../../outside/marker")]);
            sc!(old::rmdir, c"/data/moves".as_ptr());
            sc!(old::rmdir, c"/tmp/moves".as_ptr());
            found
        },
    },
    Probe {
        name: "a cwd deeper than PATH_MAX",
        run: |w| {
            let long = c([b'd'; 250].as_slice());
            chdir("/tmp");
            for _ in 0..20 {
                sc!(old::mkdir, long.as_ptr(), 0o700);
                sc!(SYS_chdir, long.as_ptr());
            }
            sc!(old::symlink, c(w.out.as_bytes()).as_ptr(), c"out".as_ptr());
            sc!(old::symlink, c(format!("{UP}{}", w.out).as_bytes()).as_ptr(), c"up".as_ptr());
            first([reaches(c"out/marker"), reaches(c"up/marker"), by(w, UP)])
        },
    },
    Probe {
        name: "chroot and .. above it",
        run: |w| {
            sc!(old::mkdir, c"/tmp/jail".as_ptr(), 0o700);
            let dir = directory(c"/");
            if sc!(SYS_chroot, c"/tmp/jail".as_ptr()) < 0 {
                return Confined;
            }
            sc!(SYS_fchdir, dir);
            (0..40).for_each(|_| {
                chdir("..");
            });
            by(w, ".")
        },
    },
    Probe {
        name: "getcwd tells the host's path",
        run: |w| {
            let tell = |dir: &CStr| {
                sc!(SYS_chdir, dir.as_ptr());
                let mut text = vec![0u8; 4096];
                let n = sc!(SYS_getcwd, text.as_mut_ptr(), 4096);
                w.text(&text[..n.max(0) as usize])
            };
            first([tell(c"/sub/deep"), tell(c"/data/sub"), tell(c"/")])
        },
    },
    Probe {
        name: "listings tell what is outside",
        run: |w| {
            first(["/..", "/data/..", "/proc/self/root/.."].map(|dir| {
                let names =
                    std::fs::read_dir(dir).map(|all| all.flatten().any(|e| e.file_name() == "outside"));
                if matches!(names, Ok(true)) { Escapes(format!("{dir} lists {}", w.out)) } else { Confined }
            }))
        },
    },
    Probe {
        name: "a path of 4095 bytes",
        run: |w| {
            let tail = format!("{}/marker", w.out);
            first([by(w, &"/..".repeat((4094 - tail.len()) / 3)), by(w, &"/".repeat(4094 - tail.len()))])
        },
    },
];
