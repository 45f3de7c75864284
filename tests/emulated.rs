//! `-q`: programs of another machine. A Debian root for arm64, made once by `tests/foreign-root`, is entered with qemu.

use crate::harness::*;
use std::process::Command;
use std::sync::OnceLock;

/// The root, kept between runs.
fn root() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let dir = std::env::var("PRUN_ARM64").unwrap_or_else(|_| "/var/tmp/prun-arm64".into());
        let script = format!("{}/tests/foreign-root", env!("CARGO_MANIFEST_DIR"));
        let made = Command::new(&script).arg(&dir).output().expect("bash runs it");
        assert!(made.status.success(), "{script} {dir}: {}", String::from_utf8_lossy(&made.stderr));
        format!("{dir}/root")
    })
}

/// A shell of the root runs `script` in a folder of its own at /w.
fn inside(emulator: &str, script: &str) -> std::process::Output {
    let work = folder(Who::User);
    let bind = format!("{}:/w", work.path().display());
    let prun = prun();
    run(
        Who::User,
        &[
            &prun,
            "-r",
            root(),
            "-b",
            "/proc",
            "-b",
            "/dev",
            "-b",
            &bind,
            "-q",
            emulator,
            "-w",
            "/w",
            "/bin/sh",
            "-euc",
            script,
        ],
    )
}

fn out(script: &str) -> String {
    let output = inside("qemu-aarch64-static", script);
    assert!(
        output.status.success(),
        "{script}: {}{}",
        text(&output),
        String::from_utf8_lossy(&output.stderr)
    );
    text(&output)
}

#[test]
fn programs_find_themselves_and_each_other() {
    assert_eq!(
        out("uname -m; busybox uname -m; pwd; ls -d /host-rootfs/usr"),
        "aarch64\naarch64\n/w\n/host-rootfs/usr\n"
    );
    assert_eq!(
        out("readlink /proc/self/exe; cd /usr/bin; ./readlink /proc/self/exe"),
        "/usr/bin/readlink\n/usr/bin/readlink\n"
    );
    assert_eq!(out("bash -c 'exec -a other sh -c \"echo \\$0\"'; cat /proc/self/comm"), "other\ncat\n");
    assert_eq!(out("env -i /usr/bin/env | wc -l; sh -c 'exit 7' || echo $?"), "0\n7\n");
    let output = inside("qemu-aarch64-static", "kill -TERM $$");
    assert_eq!(output.status.code(), Some(143));
}

#[test]
fn scripts() {
    let script = "printf '#!/bin/sh -e\\necho s1 \"$0\" \"$@\"\\n' > s1; printf '#!/w/s1 one two\\n' > s2; chmod +x s1 s2; \
        ./s1 a 'b c'; ./s2 x; PATH=/w:$PATH s1 y; /w/../w/s1";
    assert_eq!(out(script), "s1 ./s1 a b c\ns1 /w/s1 one two ./s2 x\ns1 /w/s1 y\ns1 /w/../w/s1\n");
}

#[test]
fn a_compiler_and_what_it_makes() {
    let script = "cat > a.c <<'E'\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
        int main(int c, char **v) { char b[99] = \"\"; readlink(\"/proc/self/exe\", b, 98); printf(\"%s %s %s\\n\", v[0], b, getenv(\"LD_X\"));\n\
        fflush(stdout); return c == 1 ? execl(v[0], \"again\", \"x\", NULL) : 42; }\nE\n\
        printf 'a: a.c\\n\\tgcc -o a a.c\\n' > Makefile; make -s; LD_X=1 ./a || echo $?";
    assert_eq!(out(script), "./a /w/a 1\nagain /w/a 1\n42\n");
}

/// A dynamic emulator finds its libraries on the host, and what is meant for the guest's linker does not reach its own.
#[test]
fn an_emulator_may_be_dynamic() {
    let dir = folder(Who::User);
    let d = dir.path();
    let source = d.join("e.c");
    std::fs::write(
        &source,
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\nextern char **environ;\n\
         int main(int c, char **v) { for (int i = 0; i < c; i++) printf(\"%s|\", v[i]);\n\
         for (char **e = environ; *e; e++) if (!strncmp(*e, \"LD_\", 3)) printf(\"%.30s|\", *e);\n\
         printf(\"%d\\n\", (int)floor(c + 0.5) == c); return 0; }\n",
    )
    .expect("ours");
    let emulator = d.join("emulator").display().to_string();
    good(Who::Me, &["gcc", "-fno-builtin", "-o", &emulator, &source.display().to_string(), "-lm"]);
    let prun = prun();
    let q = format!("{emulator} -option");
    let argv = [&prun, "-r", root(), "-q", &q, "-w", "/", "/bin/echo", "a", "b c"];
    let plain = command(Who::User, &argv).env_remove("LD_LIBRARY_PATH").output().expect("it starts");
    let own = |out: &str| out.contains("LD_LIBRARY_PATH=/host-rootfs/");
    let seen = text(&plain);
    assert!(
        seen.starts_with(&format!("{emulator}|-option|-U|LD_LIBRARY_PATH|-0|/bin/echo|/bin/echo|a|b c|")),
        "{seen}"
    );
    assert!(own(&seen) && seen.ends_with("|1\n"), "{seen}");
    let output = command(Who::User, &argv)
        .env("LD_LIBRARY_PATH", "/guest")
        .env("LD_PRELOAD", "/guest.so")
        .output()
        .expect("it starts");
    let seen = text(&output);
    for part in ["|-E|LD_LIBRARY_PATH=/guest|", "|-E|LD_PRELOAD=/guest.so|"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(own(&seen) && !seen.contains("|-U|"), "{seen}");
}

#[test]
fn without_an_emulator_it_is_said() {
    let prun = prun();
    let output = run(Who::User, &[&prun, "-v", "1", "-r", root(), "-w", "/", "/bin/echo"]);
    assert_eq!(output.status.code(), Some(126));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("another machine"), "{error}");
    for bad in ["no-such-emulator", "/etc/passwd", " "] {
        let output = run(Who::User, &[&prun, "-q", bad, "true"]);
        assert_eq!(output.status.code(), Some(125), "{bad}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("qemu-aarch64-static"));
    }
}

/// apt-get, dpkg and what they start, all of another machine, as a fake root in a copy of the root.
#[test]
fn packages_are_installed() {
    let dir = tempfile::Builder::new().prefix("prun-arm64").tempdir_in("/var/tmp").expect("a folder");
    let copy = format!("{}/root", dir.path().display());
    good(Who::Me, &["cp", "-a", root(), &copy]);
    let owner = if nix::unistd::geteuid().is_root() {
        "65534:65534".into()
    } else {
        format!("{}", nix::unistd::getuid())
    };
    good(Who::Me, &["chown", "-R", "-h", &owner, &dir.path().display().to_string()]);
    let script = "exec </dev/null; export DEBIAN_FRONTEND=noninteractive
        apt-get -qq -o Acquire::Languages=none update; apt-get -qq install -y --no-install-recommends hello >/dev/null
        hello; dpkg -s hello | grep ^Status; stat -c '%u:%g' /usr/bin/hello; apt-get -qq purge -y hello >/dev/null; hello || echo gone
        printf 'int main(){return 0;}' >/tmp/c.c; printf 'c: c.c\\n\\tgcc -o $@ $<\\n' >/tmp/Makefile; make -s -C /tmp; /tmp/c && echo made";
    let prun = prun();
    let options =
        ["-0", "-q", "qemu-aarch64-static", "-b", "/proc", "-b", "/dev", "-b", "/etc/resolv.conf", "-w", "/"];
    let argv = [
        &[prun.as_str(), "-r", &copy],
        &options[..],
        &["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "/bin/bash", "-c", script],
    ]
    .concat();
    let output = run(Who::User, &argv);
    assert_eq!(
        text(&output),
        "Hello, world!\nStatus: install ok installed\n0:0\ngone\nmade\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
