//! 32-bit programs, and 32-bit calls of 64-bit ones: natively (where the root differs, in bubblewrap) and under prun.

use crate::differential::paths_in;
use crate::harness::*;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where every user finds programs.
fn bin() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| folder(Who::Me)).path()
}

/// Compiles `tests/guest/narrow/SOURCE.c` once, where every user finds it.
fn program(source: &str, name: &str, flags: &[&str]) -> String {
    let out = bin().join(name).display().to_string();
    if !Path::new(&out).exists() {
        let source = format!("{}/tests/guest/narrow/{source}.c", env!("CARGO_MANIFEST_DIR"));
        // Tests that need the same one may run at the same time.
        let own = format!("{out}.{:?}", std::thread::current().id());
        let compiler = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", &own, &source];
        good(Who::Me, &[&compiler, flags].concat());
        std::fs::rename(&own, &out).expect("ours");
    }
    out
}

/// The ways of making a 32-bit call: the vdso of a 32-bit program, its own `int 0x80`, and that of a 64-bit program.
fn doors() -> [String; 3] {
    [
        program("calls", "calls-vdso", &["-m32", "-DVDSO"]),
        program("calls", "calls-int", &["-m32", "-static"]),
        program("calls", "calls-64", &["-static", "-no-pie"]),
    ]
}

/// The guest program's suites, built for 32 bits.
pub(crate) fn suite() -> String {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let target = "i686-unknown-linux-musl";
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("narrow");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--target", target, "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/narrow/suite/Cargo.toml"))
            .arg("--target-dir")
            .arg(&to)
            .env("CARGO_TARGET_I686_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")
            .status();
        assert!(built.is_ok_and(|s| s.success()), "needs `rustup target add {target}`");
        let program = bin().join("narrow");
        copy_program(to.join(target).join("debug/narrow"), &program);
        program.display().to_string()
    });
    program.clone()
}

/// A folder `w` with some of everything.
fn tree(dir: &Path) -> PathBuf {
    let w = dir.join("w");
    std::fs::create_dir_all(w.join("d")).expect("ours");
    for (name, text) in [("f", "data"), ("d/x", "x")] {
        std::fs::write(w.join(name), text).expect("ours");
    }
    for (name, to) in [("l", "f"), ("dangling", "nothing"), ("loop", "loop")] {
        std::os::unix::fs::symlink(to, w.join(name)).expect("ours");
    }
    let w_text = w.display().to_string();
    good(Who::Me, &["mkfifo", "-m", "644", &format!("{w_text}/fifo")]);
    good(Who::Me, &["truncate", "-s", "5G", &format!("{w_text}/large")]);
    if nix::unistd::geteuid().is_root() {
        good(Who::Me, &["chown", "-hR", "65534:65534", &w_text]);
    }
    w
}

fn out(who: Who, engine: &str, argv: &[&str]) -> (String, Option<i32>) {
    let output = command(who, argv).env("PRUN_ENGINE", engine).output().expect("it starts");
    (text(&output) + &String::from_utf8_lossy(&output.stderr), output.status.code())
}

/// `argv` in a root with `dir` at /mnt: natively and under every engine; `read_only` binds it so.
fn same(dir: impl Fn() -> PathBuf, read_only: bool, argv: &[&str]) -> usize {
    let mut lines = 0;
    for engine in ENGINES {
        let made = dir().display().to_string();
        let bind = if read_only { "--ro-bind" } else { "--bind" };
        let native =
            out(Who::User, engine, &[&["bwrap", "--dev-bind", "/", "/", bind, &made, "/mnt"], argv].concat());
        let made = dir().display().to_string();
        let bind = format!("{made}:/mnt{}", if read_only { ":ro" } else { "" });
        let ours = out(Who::User, engine, &[&[prun().as_str(), "-b", &bind], argv].concat());
        for (a, b) in native.0.lines().zip(ours.0.lines()) {
            assert_eq!(a, b, "{engine}: {argv:?}");
        }
        assert_eq!(native, ours, "{engine}: {argv:?}");
        lines = native.0.lines().count();
    }
    lines
}

/// The suite of [`crate::differential`], by `int 0x80`.
#[test]
fn every_path_in_every_call() {
    let guest = suite();
    for engine in ENGINES {
        let dir = folder(Who::User);
        paths_in(&guest, &dir, engine, |_| vec![prun(), "--".into()], |_| vec![], None);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        paths_in(
            &guest,
            &dir,
            engine,
            |w| [vec![prun()], words(&format!("-b {w}:/mnt"))].concat(),
            |w| words(&format!("bwrap --dev-bind / / --bind {w} /mnt")),
            Some("/mnt"),
        );
    }
}

#[test]
fn calls_that_look() {
    let dir = folder(Who::User);
    // One tree for all, so that inodes and times are the same.
    let w = tree(dir.path());
    for door in doors() {
        assert!(same(|| w.clone(), false, &[&door, "look", "/mnt"]) > 300);
    }
}

/// `--link2symlink`, where the host refuses hard links: files of another user.
#[test]
fn names_that_symbolic_links_stand_for_are_counted() {
    let setting = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    if !nix::unistd::geteuid().is_root() || setting.is_ok_and(|v| v.trim() == "0") {
        eprintln!("not run: here the host makes hard links of every file");
        return;
    }
    for door in doors() {
        let (native, ours) = (folder(Who::User), folder(Who::User));
        for dir in [&native, &ours] {
            std::fs::write(dir.path().join("f"), "text").expect("ours");
        }
        std::fs::hard_link(native.path().join("f"), native.path().join("g")).expect("root may");
        let counted = good(Who::User, &[&door, "names", &native.path().display().to_string()]);
        assert!(counted.lines().filter(|line| *line == "2").count() >= 16, "{counted}");
        let at = ours.path().display().to_string();
        let script = format!("cd {at}; ln f g; exec {door} names {at}");
        assert_eq!(under(Who::User, &["-l", "sh", "-ec", &script]), counted, "{door}");
    }
}

/// statx(2) is answered by the tracer where it is missing: byte for byte as the kernel does it.
#[test]
fn statx_on_a_kernel_without_it() {
    let dir = folder(Who::User);
    let w = tree(dir.path());
    std::fs::File::options()
        .write(true)
        .open(w.join("d/x"))
        .and_then(|file| {
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5_000_000_000))
        })
        .expect("a time that 32 bits do not hold");
    let (w, prun) = (w.display().to_string(), prun());
    let bind = format!("{w}:/mnt");
    let seen =
        |text: &str| text.lines().filter(|l| l.starts_with("statx")).map(str::to_owned).collect::<Vec<_>>();
    for door in doors() {
        let look = [door.as_str(), "look", "/mnt"];
        let native = [&["bwrap", "--dev-bind", "/", "/", "--bind", &w, "/mnt"], &look[..]].concat();
        let native = seen(&out(Who::User, "", &native).0);
        assert!(native.len() > 10, "{native:?}");
        for engine in ["one-stop", "two-stop"] {
            let ours = [&["env", "PRUN_MISSING=statx", &prun, "-b", &bind], &look[..]].concat();
            assert_eq!(native, seen(&out(Who::User, engine, &ours).0), "{engine} {door}");
        }
    }
}

#[test]
fn calls_that_change() {
    for read_only in [false, true] {
        for door in doors() {
            let dirs = std::cell::RefCell::new(vec![]);
            let fresh = || {
                dirs.borrow_mut().push(folder(Who::User));
                tree(dirs.borrow().last().expect("just made").path())
            };
            assert!(same(fresh, read_only, &[&door, "change", "/mnt"]) > 200);
        }
    }
}

/// readdir(2), getdents(2) and getdents64(2), each of which has records of its own, of directories that list more than the
/// host's.
#[test]
fn listings_of_every_kind() {
    let dir = folder(Who::User);
    for i in 0..3000 {
        std::fs::write(dir.path().join(format!("file-{i}")), "").expect("ours");
    }
    let (d, prun) = (dir.path().display().to_string(), prun());
    for door in doors() {
        let native = good(Who::User, &[&door, "list", &d]);
        let names = native.lines().nth(1).expect("a list").to_owned();
        assert_eq!(names.split_whitespace().count(), 3002);
        assert_eq!(native, format!("open {d} 1\n{names}\nend 0 bad 0\n").repeat(3));
        let more = names.replacen("file-", "a-new one file-", 1).replace("a-new one", "a-new");
        for engine in ENGINES {
            let bind = format!("/usr:{d}/a-new/usr");
            let ours = out(Who::User, engine, &[&prun, "-b", &bind, &door, "list", &d]);
            assert_eq!(
                ours,
                (format!("open {d} 1\n{more}\nend 0 bad 0\n").repeat(3), Some(0)),
                "{engine} {door}"
            );
            let made_up = format!("{d}/a-new");
            let ours = out(Who::User, engine, &[&prun, "-b", &bind, &door, "list", &made_up]);
            let expected = format!("open {made_up} 1\n. .. usr \nend 0 bad 0\n").repeat(3);
            assert_eq!(ours, (expected, Some(0)), "{engine} {door}");
        }
    }
}

/// Ids of 16 and of 32 bits, and the three kinds of stat(2) that tell them: root against who believes to be root.
#[test]
fn ids_of_16_bits() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can do natively what is compared");
        return;
    }
    for door in doors() {
        let native = folder(Who::Me);
        let native = good(Who::Me, &[&door, "ids", &native.path().display().to_string()]);
        assert!(native.lines().count() > 100);
        for engine in ENGINES {
            let dir = folder(Who::User);
            let d = dir.path().display().to_string();
            let ours = out(Who::User, engine, &[&prun(), "-0", &door, "ids", &d]);
            assert_eq!(ours, (native.clone(), Some(0)), "{engine} {door}");
        }
    }
}

#[test]
fn sockets() {
    let dir = folder(Who::User);
    let d = dir.path().to_owned();
    for (name, flags) in [("sockets", &["-m32"][..]), ("sockets-static", &["-m32", "-static"])] {
        let program = program("sockets", name, flags);
        assert!(same(|| d.clone(), false, &[&program, "/mnt/s"]) > 25);
    }
}

/// Makes the program header of that type one of none.
fn without_gnu_stack(program: &Path) {
    const PT_GNU_STACK: [u8; 4] = 0x6474_e551u32.to_le_bytes();
    let mut bytes = std::fs::read(program).expect("ours");
    let at = bytes[..2048].windows(4).position(|word| word == PT_GNU_STACK).expect("gcc's have it");
    bytes[at..at + 4].fill(0);
    write_program(program, bytes, 0o755);
}

/// From 64 to 32 bits and back, through scripts, by interpreters that only the guest has.
#[test]
fn programs_of_both_kinds_start_each_other() {
    let dir = folder(Who::Me);
    let d = dir.path();
    let put = |name: &str, flags: &[&str]| {
        copy_program(program("own", name, flags), d.join(name));
    };
    put("own64", &[]);
    put("own32", &["-m32"]);
    put("own32s", &["-m32", "-static"]);
    // The loader of these is in the guest only: prun maps them.
    put("own32c", &["-m32", "-Wl,--dynamic-linker=/mnt/ld.so"]);
    put("own32n", &["-m32", "-no-pie", "-Wl,--dynamic-linker=/mnt/ld.so"]);
    // Where prun's memory would be in other 32-bit programs.
    put("own32l", &["-m32", "-static", "-Wl,-Ttext-segment=0x1800000"]);
    put("own32m", &["-m32", "-no-pie", "-Wl,-Ttext-segment=0x400000", "-Wl,--dynamic-linker=/mnt/ld.so"]);
    put("own32o", &["-m32", "-no-pie", "-Wl,-Ttext-segment=0x70800000"]);
    // Older than PT_GNU_STACK, which compilers have written since 2004: every page that can be read can be executed.
    for (name, from) in
        [("own32x", "own32"), ("own32cx", "own32c"), ("own32sx", "own32s"), ("own64x", "own64")]
    {
        copy_program(d.join(from), d.join(name));
        without_gnu_stack(&d.join(name));
    }
    put("own32e", &["-m32", "-Wl,-z,execstack,--dynamic-linker=/mnt/ld.so"]);
    copy_program("/lib/ld-linux.so.2", d.join("ld.so"));
    let script = |name: &str, line: &str| write_program(&d.join(name), format!("#!{line}\n"), 0o755);
    // A script's program gets the script's name and would start it again.
    script("s32", "/bin/sh\nexec /mnt/own32 /mnt/own32c");
    script("ss", "/mnt/s32 two");
    script("e32", "/mnt/own32s /bin/true");
    for entry in std::fs::read_dir(d).expect("ours").flatten() {
        std::fs::set_permissions(entry.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    }
    for line in [
        "/mnt/own32",
        "/mnt/own32s",
        "/mnt/own32c",
        "/mnt/own32n",
        "/mnt/own64 /mnt/own32 /mnt/own64 /mnt/own32s /mnt/own32c /mnt/s32",
        "/mnt/own32 /mnt/own32c /mnt/own32n /mnt/own64 /mnt/own32c /mnt/ss",
        "/mnt/own32l /mnt/own32m /mnt/own32o",
        "/mnt/own32x /mnt/own32cx /mnt/own32c /mnt/own32sx /mnt/own64x /mnt/own32e",
        "/mnt/own32cx /mnt/own32e /mnt/own32 /mnt/own64",
        "/mnt/own32 /mnt/none",
        "/mnt/own32c /mnt",
        "/mnt/e32",
    ] {
        let argv: Vec<&str> = line.split(' ').collect();
        assert!(same(|| d.to_owned(), false, &[&["timeout", "100"], &argv[..]].concat()) > 5, "{line}");
    }
}

/// A program that may be executed only, which prun cannot read before its first call.
#[test]
fn a_32_bit_program_may_be_executable_only() {
    let dir = folder(Who::Me);
    for (name, flags) in [("own32", &["-m32"][..]), ("own32s", &["-m32", "-static"])] {
        let locked = dir.path().join(name);
        copy_program(program("own", name, flags), &locked);
        std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o111)).expect("ours");
        for engine in ENGINES {
            let path = format!("/mnt/{name}");
            let bind = format!("{}:/mnt", dir.path().display());
            let (text, status) = out(Who::User, engine, &[&prun(), "-b", &bind, &path]);
            assert!(
                text.starts_with("32 bits") && text.contains(&format!("exe {} {path},", path.len())),
                "{text}"
            );
            assert_eq!(status, Some(4));
        }
    }
}

/// Path calls of four threads under a timer, the vdso's and `int 0x80`: no register, no flag is touched.
#[test]
fn nothing_is_left_in_registers() {
    let program = program("torture", "torture", &["-m32"]);
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "data").expect("ours");
    let bind = format!("{}:/mnt", dir.path().display());
    for engine in ENGINES {
        let ours = out(Who::User, engine, &[&prun(), "-b", &bind, &program, "/mnt", "5000"]);
        assert_eq!(ours, ("handlers 1 bad 0 strange 0\n".into(), Some(0)), "{engine}");
    }
}

/// Calls of the 32-bit ABI take one stop, as others do.
#[test]
fn a_call_costs_one_stop() {
    let program = program("torture", "torture", &["-m32"]);
    let dir = folder(Who::User);
    std::fs::write(dir.path().join("f"), "data").expect("ours");
    let bind = format!("{}:/mnt", dir.path().display());
    let (text, _) = out(Who::User, "one-stop", &[&prun(), "--stats", "-b", &bind, &program, "/mnt", "2000"]);
    let line = text.lines().find_map(|l| l.strip_prefix("prun: stops: ")).expect("a line");
    let number =
        |i: usize| line.split_whitespace().nth(i).and_then(|w| w.parse::<u64>().ok()).expect("a number");
    let (stops, exits) = (number(0), number(3));
    assert!(stops > 8000 && exits * 100 < stops, "{line}");
}
