//! Programs: what they can tell of how they were started, and every way of starting them.

use crate::harness::*;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Natively and under prun, line by line.
fn same(argv: &[&str]) {
    let native = run(Who::User, argv);
    let prun = prun();
    let ours = run(Who::User, &[&[prun.as_str(), "--"], argv].concat());
    let status = native.status.code().or(native.status.signal().map(|s| 128 + s));
    assert_eq!((text(&native), status), (text(&ours), ours.status.code()), "{argv:?}");
}

#[test]
fn a_program_sees_what_it_would_natively() {
    let guest = guest();
    same(&[&guest, "self"]);
    same(&[&guest, "busy"]);
    same(&[&guest, "clone3"]);
    same(&[&guest, "fexec", &guest]);
    same(&[&guest, "thread-exec", &guest, "7"]);
    same(&["sh", "-c", "exit 9"]);
    same(&["sh", "-c", "kill -TERM $$"]);
}

#[test]
fn other_abis_do_not_slip_past() {
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "").expect("ours");
    let bind = format!("{}:/nix", dir.path().display());
    for engine in ENGINES {
        for (path, result) in [("/nix/f", "0"), ("/nix/none", "-ENOENT")] {
            let argv = [&prun(), "-b", &bind, &guest(), "foreign", path];
            let out = command(Who::User, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
            let narrow = format!("int 0x80 -> {result}\nit looks native -> refused\n");
            let narrow =
                if prun_arch::ABIS.contains(&prun_arch::abi::Abi::I386) { narrow } else { String::new() };
            let rest = "garbage in the high half -> 0\nx32 -> -ENOSYS\nio_uring_setup -> -ENOSYS\n";
            assert_eq!(text(&out), narrow + rest, "{engine}");
        }
    }
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    write_program(&path, text, 0o755);
}

#[test]
fn scripts_run_as_the_kernel_runs_them() {
    let dir = folder(Who::User);
    let d = dir.path();
    script(d, "s1", "#!/bin/sh -e\necho s1 \"$0\" \"$@\"; cat /proc/$$/comm\n");
    script(d, "s2", &format!("#!{}/s1 one two\nbody\n", d.display()));
    std::os::unix::fs::symlink("s2", d.join("l")).expect("ours");
    for name in ["s1", "s2", "l"] {
        same(&[&d.join(name).display().to_string(), "a", "b c"]);
    }
    let bind = format!("{}:/opt", d.display());
    assert_eq!(under(Who::User, &["-b", &bind, "/opt/s1", "x"]), "s1 /opt/s1 x\ns1\n");
}

/// First lines of every length, and what ends them: the arguments that come out, or the errno.
#[test]
fn first_lines_are_cut_where_the_kernel_cuts_them() {
    let dir = folder(Who::User);
    let d = dir.path();
    let (guest, name) = (guest(), d.join("e"));
    std::os::unix::fs::symlink(&guest, &name).expect("ours");
    let e = name.display().to_string();
    // Slashes bring the interpreter's path to a length.
    let to = |n: usize| format!("#!{}{}", "/".repeat(n - 2 - e.len()), e);
    let lines = [
        format!("#!{e} {}", "a".repeat(300)),
        format!("#!{e} {}\n", "a".repeat(252 - e.len())),
        format!("#!{e} {}\n", "a".repeat(253 - e.len())),
        format!("#!{e} {} \nx", "a".repeat(250 - e.len())),
        format!("#!{e} x\0y z\nq"),
        format!("#!{e}\0y z\nq"),
        format!("#!{e} \t\n"),
        format!("#!\0{e}\n"),
        format!("#! \0{e}\n"),
        "#!\n".into(),
        "#!".into(),
        "#! \t".into(),
        format!("#!{e} \0 b\n"),
        format!("#!{e}"),
        format!("#!{e} "),
        format!("#!{e} b "),
        format!("#! {e}\tb c\r\n"),
        to(253) + " b",
        to(254) + " b",
        to(255) + " b",
        to(256) + " b",
        to(257) + " b",
        to(254),
        to(255),
        to(256),
        to(256) + "\n",
        to(255) + "\n",
    ];
    for (i, line) in lines.iter().enumerate() {
        script(d, &format!("s{i}"), line);
    }
    same(&[&guest, "execs", &d.display().to_string(), &lines.len().to_string()]);
}

/// Programs with an interpreter of no name, or one that is no file.
#[test]
fn a_program_with_a_bad_interpreter_is_refused() {
    let dir = folder(Who::User);
    let d = dir.path();
    for (i, name) in [&b"\0"[..], b".", b"/", b"/dev/null", b"x"].iter().enumerate() {
        let mut file = vec![0; 64 + 2 * 56];
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file[16..24].copy_from_slice(&[3, 0, prun_arch::ELF_MACHINE as u8, 0, 1, 0, 0, 0]);
        file[32] = 64;
        file[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
        let mut header = |at: usize, kind: u32, words: [u64; 6]| {
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 4] = 5;
            for (i, word) in words.iter().enumerate() {
                file[at + 8 + 8 * i..at + 16 + 8 * i].copy_from_slice(&word.to_le_bytes());
            }
        };
        let len = name.len() as u64 + 1;
        header(64, 3, [176, 176, 176, len, len, 1]);
        header(120, 1, [0, 0, 0, 180, 180, 4096]);
        file.extend_from_slice(name);
        file.push(0);
        let path = d.join(format!("s{i}"));
        write_program(&path, &file, 0o755);
    }
    same(&[&guest(), "execs", &d.display().to_string(), "5"]);
}

/// The interpreter that a program of the host names.
pub(crate) fn interpreter(program: &str) -> String {
    let said = good(Who::Me, &["env", "LC_ALL=C", "readelf", "-l", program]);
    let (_, rest) = said.split_once("program interpreter: ").expect("it is dynamic");
    rest.split(']').next().expect("a name").to_owned()
}

/// A dynamic program whose interpreter is only in the guest: as every program of nix.
#[test]
fn a_program_may_have_its_interpreter_in_the_guest_only() {
    let dir = folder(Who::User);
    let d = dir.path();
    let source = d.join("m.c");
    std::fs::write(
        &source,
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/auxv.h>\n#include <unistd.h>\n\
         static char big[1 << 20]; int main(int c, char **v) { char b[999] = \"\"; readlink(\"/proc/self/exe\", b, 998);\n\
         for (int i = 0; i < 1 << 20; i++) if (big[i]) return 3; void *p = sbrk(1 << 20); memset(p, 1, 1 << 20);\n\
         printf(\"%s %s %s %d\\n\", v[0], b, (char *)getauxval(AT_EXECFN), getauxval(AT_BASE) != 0); return 42; }\n",
    )
    .expect("ours");
    std::fs::create_dir(d.join("ld")).expect("ours");
    copy_program(interpreter("/bin/cat"), d.join("ld/ld.so"));
    for (flags, name) in [("-pie", "pie"), ("-no-pie", "fixed")] {
        let out = d.join(name).display().to_string();
        good(
            Who::Me,
            &[
                "gcc",
                "-O",
                flags,
                "-Wl,--dynamic-linker=/guest/ld/ld.so",
                "-o",
                &out,
                &source.display().to_string(),
            ],
        );
        assert_ne!(run(Who::User, &[&out]).status.code(), Some(42), "the host has no /guest");
        let (prun, bind, path) = (prun(), format!("{}:/guest", d.display()), format!("/guest/{name}"));
        for engine in ENGINES {
            let output = command(Who::User, &[&prun, "-b", &bind, &path]).env("PRUN_ENGINE", engine).output();
            let output = output.expect("it starts");
            assert_eq!(
                text(&output),
                format!("{path} {path} {path} 1\n"),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(output.status.code(), Some(42));
        }
    }
}

/// Programs that the kernel begins to execute and cannot map: the task dies, there is nobody left to return an error to.
#[test]
fn a_program_that_cannot_be_mapped_dies_as_natively() {
    let dir = folder(Who::User);
    let d = dir.path();
    std::fs::write(d.join("m.c"), "int main(void) { return 0; }\n").expect("ours");
    let host = interpreter("/bin/cat");
    copy_program(&host, d.join("ld.so"));
    let (source, bind) = (d.join("m.c").display().to_string(), format!("{}:/guest", d.display()));
    // What becomes of the last segment's offset, address, file size and memory size.
    type Spoil = fn(&mut [u64; 4]);
    const CUT: &str = "cut off before the page where memory without a file begins";
    let spoils: [(&str, Spoil); 6] = [
        ("nothing", |_| {}),
        (CUT, |_| {}),
        ("offset", |w| w[0] += 16),
        ("address", |w| w[1] += 16),
        ("less memory than file", |w| w[3] = 1),
        ("too high", |w| w[1] += u64::MAX << 47),
    ];
    for (n, (what, spoil)) in spoils.iter().enumerate() {
        let mut statuses = vec![];
        for (name, linker) in [("native", host.as_str()), ("guest", "/guest/ld.so")] {
            let path = d.join(format!("{name}{n}"));
            let linker = format!("-Wl,--dynamic-linker={linker}");
            good(Who::Me, &["gcc", "-pie", &linker, "-o", &path.display().to_string(), &source]);
            let mut file = std::fs::read(&path).expect("ours");
            let word =
                |file: &[u8], at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight"));
            let (table, entries) = (word(&file, 32) as usize, usize::from(file[56]));
            let last = (0..entries).map(|i| table + 56 * i).rfind(|&at| file[at..at + 4] == [1, 0, 0, 0]);
            let last = last.expect("a segment");
            // p_paddr is between the two.
            let places = [8, 16, 32, 40];
            let mut words = places.map(|p| word(&file, last + p));
            spoil(&mut words);
            for (p, w) in places.iter().zip(words) {
                file[last + p..last + p + 8].copy_from_slice(&w.to_le_bytes());
            }
            if *what == CUT {
                let end = words[0] + words[2];
                assert!(end % 4096 != 0 && words[3] > words[2], "{words:?}");
                file.truncate((end - end % 4096) as usize);
            }
            write_program(&path, file, 0o755);
            let (path, prun) = (path.display().to_string(), prun());
            if name == "native" {
                let status = run(Who::User, &[&path]).status;
                statuses.push(status.code().or(status.signal().map(|s| 128 + s)));
                continue;
            }
            for engine in ENGINES {
                let argv = [&prun, "-b", &bind, &format!("/guest/guest{n}")];
                let out = command(Who::User, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
                statuses.push(out.status.code());
            }
        }
        let native = if n == 0 { 0 } else { 139 };
        assert_eq!(statuses[0], Some(native), "{what}, natively");
        assert!(statuses.iter().all(|s| *s == statuses[0]), "{what}: {statuses:?}");
    }
}

#[test]
fn programs_of_every_kind_run_in_a_synthetic_root() {
    let root = folder(Who::User);
    let work = folder(Who::User);
    let (r, w) = (root.path().display().to_string(), format!("{}:/work", work.path().display()));
    let prun = prun();
    let mut front = vec![prun.as_str(), "-r", &r, "-b", &w, "-w", "/work"];
    front.extend(bound(&system()));
    front.extend(bound(&["/etc", "/dev", "/proc", "/tmp"]));
    let sh = |script: &str| {
        let envs = ["env", "HOME=/work", "PATH=/usr/bin:/bin", "sh", "-euc", script];
        good(Who::User, &[front.as_slice(), envs.as_slice()].concat())
    };
    assert_eq!(
        sh(
            "echo 'int main(){return 0;}' > a.c; printf 'a: a.c\\n\\tgcc -o a a.c\\n' > Makefile; make -s; ./a; echo built"
        ),
        "built\n"
    );
    let git = "git init -q r; cd r; echo x > f; git add f; git -c user.name=t -c user.email=t@example.org commit -qm m; git status --short; cd ..; git clone -q --local r s; cat s/f";
    assert_eq!(sh(git), "x\n");
    assert_eq!(
        sh(
            "/usr/bin/python3 -c 'import json, subprocess, tempfile; print(subprocess.check_output([\"pwd\"]).decode().strip())'"
        ),
        "/work\n"
    );
    assert_eq!(
        sh("perl -e 'opendir D, \"/\"; print join(\" \", sort grep { !/^\\./ } readdir D), \"\\n\"'"),
        listed(&["dev", "etc", "proc", "tmp", "work"]).join(" ") + "\n"
    );
    assert_eq!(
        sh(
            "mkdir t; ln -s /work/a t/l; echo y > t/f; tar cf t.tar t; mkdir u; tar xf t.tar -C u; readlink u/t/l; cat u/t/f"
        ),
        "/work/a\ny\n"
    );
    assert_eq!(sh("bash -c 'cat <<< \"$(ls -d /w*)\"'"), "/work\n");
    assert_eq!(sh("busybox ls -d /work"), "/work\n");
    // The guest program is a static Rust program.
    let bin = guest();
    copy_program(bin, work.path().join("guest"));
    assert!(sh("./guest listing / 65536").starts_with(". .. bin dev"));
}

/// Nobody but the kernel can read these; an ordinary user's tracer neither.
#[test]
fn a_program_may_be_executable_only() {
    let dir = folder(Who::User);
    let d = dir.path();
    std::fs::create_dir(d.join("data")).expect("ours");
    std::fs::write(d.join("data/f"), "data").expect("ours");
    for (from, name) in [("/bin/cat", "cat"), (guest().as_str(), "guest")] {
        copy_program(from, d.join(name));
        std::fs::set_permissions(d.join(name), PermissionsExt::from_mode(0o111)).expect("ours");
    }
    let own = d.join("guest").display().to_string();
    // By way of env: setpriv still has root's capabilities when it executes.
    same(&["env", &own, "exit", "7"]);
    same(&["env", &own, "dumpable"]);
    same(&["env", &own, "thread-exec", &own, "3"]);
    let bind = format!("{}:/mnt", d.display());
    for engine in ENGINES {
        for argv in [&["/mnt/cat", "/mnt/data/f"][..], &["/mnt/guest", "cat", "/mnt/data/f"]] {
            let prun = prun();
            let output = command(Who::User, &[&[prun.as_str(), "-b", &bind], argv].concat())
                .env("PRUN_ENGINE", engine)
                .output()
                .expect("it starts");
            assert_eq!(
                text(&output),
                "data",
                "{engine} {argv:?} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// What prun does with root's rights must not be more than its guest may, once that is somebody else.
#[test]
fn a_guest_of_root_has_its_own_rights() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = folder(Who::Me);
    let d = dir.path();
    for (name, mode) in [("locked", 0o700), ("open", 0o755)] {
        std::fs::create_dir(d.join(name)).expect("ours");
        std::fs::set_permissions(d.join(name), PermissionsExt::from_mode(mode)).expect("ours");
    }
    std::fs::write(d.join("open/x"), "x").expect("ours");
    std::os::unix::fs::symlink("../open", d.join("locked/l")).expect("ours");
    script(d, "s", "#!/bin/sh -e\necho \"$0\" \"$@\"\n");
    script(d, "secret", "#!/bin/sh\necho secret\n");
    std::fs::set_permissions(d.join("secret"), PermissionsExt::from_mode(0o700)).expect("ours");
    let drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let path = |name: &str| d.join(name).display().to_string();
    let prun = prun();
    for (argv, status) in [
        (&["cat", &path("locked/l/x")][..], 1),
        (&[&path("s"), "a", "b"], 0),
        (&["env", &path("s"), "a", "b"], 0),
        (&["env", &path("locked/l/../s")], 126),
        (&["env", &path("secret")], 126),
    ] {
        let argv = [&drop[..], argv].concat();
        let native = run(Who::Me, &argv);
        let ours = run(Who::Me, &[&[prun.as_str(), "--"], argv.as_slice()].concat());
        assert_eq!((text(&native), native.status.code()), (text(&ours), ours.status.code()), "{argv:?}");
        assert_eq!(ours.status.code(), Some(status), "{argv:?}");
    }
}

/// A handler may leave by siglongjmp(3), and be interrupted by another, wherever the call was. Each signal is ordered
/// after the one before has been handled: faster ones would leave no time for anything else on a busy machine. Where
/// the jump comes after the open, its descriptor is closed behind it: thousands would reach the limit.
#[test]
fn handlers_may_jump_out_of_calls() {
    let dir = folder(Who::User);
    let d = dir.path();
    std::fs::write(
        d.join("j.c"),
        "#include <fcntl.h>\n#include <setjmp.h>\n#include <signal.h>\n#include <stdio.h>\n#include <sys/stat.h>\n#include <sys/time.h>\n#include <unistd.h>\n\
         static sigjmp_buf env; static volatile int jumps, nested, armed;\n\
         static void usr1(int s) { struct stat st; (void)s; if (stat(\"/mnt/f\", &st) == 0 && st.st_size == 4) nested++; }\n\
         static void alrm(int s) { struct stat st; (void)s; raise(SIGUSR1); if (stat(\"/mnt/none\", &st) == 0) _exit(9); if (armed) { armed = 0; jumps++; siglongjmp(env, 1); } }\n\
         static void soon(int i) { struct itimerval t = {{0, 0}, {0, 20 + i * 37 % 400}}; setitimer(ITIMER_REAL, &t, 0); }\n\
         int main(void) { struct sigaction a = {.sa_handler = alrm, .sa_flags = SA_RESTART}, b = {.sa_handler = usr1}; sigaction(SIGALRM, &a, 0); sigaction(SIGUSR1, &b, 0);\n\
         volatile int bad = 0, i;\n\
         for (i = 0; i < 40000 && jumps < 1500; i++) { if (sigsetjmp(env, 1)) { close(3); continue; } armed = 1; soon(i); struct stat st; int r = stat(\"/mnt/f\", &st);\n\
         int fd = open(\"/mnt/f\", O_RDONLY); armed = 0; char c[5] = \"\"; if (r != 0 || st.st_size != 4 || fd < 0 || read(fd, c, 4) != 4 || c[0] != 'd') bad++; if (fd >= 0) close(fd); }\n\
         struct itimerval off = {{0, 0}, {0, 0}}; setitimer(ITIMER_REAL, &off, 0); printf(\"jumps %d nested %d bad %d\\n\", jumps > 99, nested > 99, bad); return bad != 0; }\n",
    )
    .expect("ours");
    std::fs::write(d.join("f"), "data").expect("ours");
    let (source, program) = (d.join("j.c").display().to_string(), d.join("j").display().to_string());
    good(Who::Me, &["gcc", "-O1", "-Wno-clobbered", "-o", &program, &source]);
    let (prun, bind) = (prun(), format!("{}:/mnt", d.display()));
    for engine in ENGINES {
        let output = command(Who::User, &[&prun, "-b", &bind, &program]).env("PRUN_ENGINE", engine).output();
        let output = output.expect("it starts");
        assert_eq!(
            text(&output),
            "jumps 1 nested 1 bad 0\n",
            "{engine} {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
