//! A fake identity: `-0`, `-i` and `--persist`, by scripts that say what a guest sees.

use crate::harness::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A shell script under `prun -0`, in a folder of its own.
fn root(script: &str) -> String {
    let dir = folder(Who::User);
    session(&["-0"], dir.path(), script)
}

fn session(options: &[&str], dir: &Path, script: &str) -> String {
    let dir = dir.display().to_string();
    let prun = prun();
    good(Who::User, &[&[prun.as_str()], options, &["-w", dir.as_str(), "bash", "-euc", script]].concat())
}

/// A Python program under `prun -0`: what it prints.
fn python(program: &str) -> String {
    let dir = folder(Who::User);
    let file = dir.path().join("x.py");
    std::fs::write(&file, program).expect("ours");
    session(&["-0"], dir.path(), "python3 x.py")
}

#[test]
fn the_guest_is_whom_it_was_told_to_be() {
    assert_eq!(root("id -u; id -g; id -G; echo $UID $EUID"), "0\n0\n0\n0 0\n");
    let dir = folder(Who::User);
    assert_eq!(
        session(&["-i", "1234:55"], dir.path(), "id -u; id -g; touch f; stat -c '%u %g' f"),
        "1234\n55\n1234 55\n"
    );
}

#[test]
fn without_one_nothing_changes_and_nothing_more_stops() {
    let dir = folder(Who::User);
    let (shown, stats) = {
        let prun = prun();
        let dir = dir.path().display().to_string();
        let output = run(
            Who::User,
            &[
                &prun,
                "--stats",
                "-w",
                &dir,
                "python3",
                "-c",
                "import os\nfor i in range(5000): os.getuid(); os.fstat(0)\nprint(os.getuid())",
            ],
        );
        (text(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let own = good(Who::User, &["id", "-u"]);
    assert_eq!(shown, own);
    for call in ["getuid", "fstat", "getgroups", "capget"] {
        assert!(!stats.lines().any(|l| l.ends_with(&format!(" {call}"))), "{call} stopped:\n{stats}");
    }
}

#[test]
fn owners_and_modes_are_remembered() {
    let seen = root(
        "touch f; chown 5:60 f; chmod 0 f; stat -c '%u %g %a' f; cat f; echo x >f; stat -c '%u %g %a %s' f
         mkdir d; chown 7 d; chmod 2070 d; touch d/g; stat -c '%u %g %a' d d/g; ln -s f l; chown -h 9:9 l; stat -c '%u' l f
         chmod 4755 f; chown 0 f; stat -c '%u %a' f
         find . -uid 7; stat -c %u:%g - <f",
    );
    assert_eq!(seen, "5 60 0\n5 60 0 2\n7 0 2070\n0 0 644\n9\n5\n0 755\n./d\n0:60\n");
}

#[test]
fn the_hosts_modes_let_the_user_in() {
    let dir = folder(Who::User);
    session(
        &["-0"],
        dir.path(),
        "touch f; chmod 0 f; mkdir d; chmod 0 d; (umask 777; :); install -m 111 /dev/null e",
    );
    let mode = |name: &str| {
        std::fs::symlink_metadata(dir.path().join(name)).expect("made").permissions().mode() & 0o7777
    };
    assert_eq!((mode("f"), mode("d"), mode("e")), (0o600, 0o700, 0o711));
}

#[test]
fn a_new_file_has_no_old_ones_owner() {
    let seen = root(
        "for i in $(seq 50); do touch f; chown 5 f; rm f; touch f; stat -c %u f; rm f; done | sort | uniq -c | tr -s ' '
         touch a b; chown 6 b; mv a b; stat -c %u b; touch c; stat -c %u c; chown 8 c; ln c d; rm c; stat -c %u d",
    );
    assert_eq!(seen, " 50 0\n0\n0\n8\n");
}

#[test]
fn credentials_follow_the_kernels_rules() {
    let seen = python(
        "import os
def show(): print(os.getresuid(), os.getresgid(), os.getgroups())
def fails(f, *a):
    try: f(*a)
    except PermissionError: return 'EPERM'
    except OSError as e: return e.errno
    return 'works'
os.chmod('.', 0o777); os.setgroups([7, 3]); os.setresgid(20, 21, 22); os.setresuid(-1, 1000, -1); show()
print(fails(os.setuid, 5), fails(os.setgroups, []), fails(os.seteuid, 0)); show()
if os.fork() == 0:
    os.setgid(30); os.setuid(1000); show()
    print(fails(os.setuid, 0), fails(os.setgid, 0), fails(os.chown, 'x.py', 0, 0))
    print([l.split()[1:] for l in open('/proc/self/status') if l[:4] in ('Uid:', 'Gid:', 'CapE')])
    open('mine', 'w'); s = os.stat('mine'); print(s.st_uid, s.st_gid)
    os._exit(0)
os.wait(); show()
import threading, ctypes
libc = ctypes.CDLL(None)
t = threading.Thread(target=lambda: (libc.syscall(105, 55), print(libc.syscall(102)))); t.start(); t.join(); print(os.getuid())
",
    );
    assert_eq!(
        seen,
        "(0, 1000, 0) (20, 21, 22) [3, 7]\nEPERM EPERM works\n(0, 0, 0) (20, 21, 22) [3, 7]\n".to_owned()
            + "(1000, 1000, 1000) (30, 30, 30) [3, 7]\nEPERM EPERM EPERM\n"
            + "[['1000', '1000', '1000', '1000'], ['30', '30', '30', '30'], ['0000000000000000']]\n1000 30\n"
            + "(0, 0, 0) (20, 21, 22) [3, 7]\n55\n0\n"
    );
}

#[test]
fn set_user_id_programs_are_their_owner() {
    let seen = root(
        "cp $(which id) i; chmod 4755 i; mkdir m; chmod 777 . m
         setpriv --reuid 1000 --regid 1000 --clear-groups ./i -u; chown 77 i; chmod 4755 i
         setpriv --reuid 1000 --regid 1000 --clear-groups ./i -u
         setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs ./i -u
         chmod 700 i; setpriv --reuid 1000 --regid 1000 --clear-groups sh -c './i -u 2>/dev/null || echo $?'",
    );
    assert_eq!(seen, "0\n77\n1000\n126\n");
}

#[test]
fn who_gave_root_up_is_held_to_owners_and_modes() {
    let seen = root(
        "chmod 755 .; echo s >secret; chmod 600 secret; mkdir shut; chmod 700 shut; mkdir -m 1777 t; touch t/r
         cat >u <<'END'
cat secret 2>/dev/null || echo no read
test -r secret || echo no access
touch made 2>/dev/null || echo no entry
rm secret 2>/dev/null || echo no removal
chmod 644 secret 2>/dev/null || echo no mode
touch t/mine; rm t/mine; rm -f t/r 2>/dev/null || echo sticky
END
         setpriv --reuid 1000 --regid 1000 --clear-groups sh u",
    );
    assert_eq!(seen, "no read\nno access\nno entry\nno removal\nno mode\nsticky\n");
}

#[test]
fn devices_are_remembered() {
    let seen = root(
        "mknod null c 1 3; mknod -m 640 disk b 8 1; mkfifo p; stat -c '%F %t:%T %a' null disk p
         echo x >null; stat -c %s null; cat disk 2>&1 | sed 's/.*: //'; tar c null disk | tar tv | cut -c1-10",
    );
    assert_eq!(
        seen,
        "character special file 1:3 644\nblock special file 8:1 640\nfifo 0:0 644\n0\nNo such device or address\ncrw-r--r--\nbrw-r-----\n"
    );
}

#[test]
fn file_capabilities_are_remembered_and_granted() {
    let seen = python(
        "import os, subprocess, shutil
shutil.copy('/bin/grep', 'g'); os.chmod('g', 0o755); os.chmod('.', 0o755)
v = bytes.fromhex('0100000200200000') + bytes(12)
os.setxattr('g', 'security.capability', v)
print(os.getxattr('g', 'security.capability') == v, os.listxattr('g'))
os.setxattr('g', 'trusted.x', b'y'); print(os.listxattr('g'))
def user(): os.setgid(1000); os.setuid(1000)
print(subprocess.run(['./g', 'CapEff', '/proc/self/status'], preexec_fn=user, capture_output=True, text=True).stdout.strip())
os.chown('g', 0, 0); print(os.listxattr('g'))
os.removexattr('g', 'trusted.x'); print(os.listxattr('g'))
",
    );
    assert_eq!(
        seen,
        "True ['security.capability']\n['security.capability', 'trusted.x']\nCapEff:\t0000000000002000\n['trusted.x']\n[]\n"
    );
}

#[test]
fn peers_have_the_ids_the_guest_knows() {
    let seen = python(
        "import os, socket, struct
a, b = socket.socketpair(socket.AF_UNIX)
def cred(s): return struct.unpack('3i', s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
print(cred(a)[1:])
b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
def got():
    data, anc, _, _ = b.recvmsg(10, 1000)
    return [struct.unpack('3i', d)[1:] for l, t, d in anc if t == socket.SCM_CREDENTIALS]
a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack('3i', os.getpid(), 0, 0))]); print(got())
a.send(b'x'); print(got())
l = socket.socket(socket.AF_UNIX); l.bind('s'); os.chmod('s', 0o777); os.chmod('.', 0o777); l.listen()
if os.fork() == 0:
    os.setgid(1001); os.setuid(1000); m = socket.socket(socket.AF_UNIX); m.bind('m'); os.chmod('m', 0o700)
    print(os.stat('m').st_uid, os.stat('m').st_gid, flush=True); c = socket.socket(socket.AF_UNIX); c.connect('s'); c.recv(1); os._exit(0)
s, _ = l.accept(); print(cred(s)[1:]); s.send(b'x'); os.wait()
",
    );
    assert_eq!(seen, "(0, 0)\n[(0, 0)]\n[(0, 0)]\n1000 1001\n(1000, 1001)\n");
}

#[test]
fn owners_outlive_the_session_in_attributes() {
    // tmpfs has user attributes only since Linux 6.6.
    let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
    give(dir.path(), Who::User);
    let options = ["-0", "--persist"];
    session(
        &options,
        dir.path(),
        "touch f g; chown 1000:5 f; chown 3 g; chown 0 g; mkdir d; chown 8 d; mknod n c 1 5; chmod 0 f",
    );
    assert_eq!(
        session(&options, dir.path(), "stat -c '%n %u %g %a' f g d; stat -c %F n"),
        "f 1000 5 0\ng 0 0 644\nd 8 0 755\ncharacter special file\n"
    );
    let value = |name: &str| {
        let path = dir.path().join(name).display().to_string();
        let script = "import os, sys\ntry: print(os.getxattr(sys.argv[1], 'user.rootlesscontainers').hex())\nexcept OSError as e: print(e.errno)";
        good(Who::Me, &["python3", "-c", script, &path])
    };
    assert!(
        value("f").starts_with("08e8071005"),
        "the protobuf message of rootlesscontainers: {}",
        value("f")
    );
    assert_eq!((value("g"), value("d")), ("61\n".into(), "0808\n".into()));
    assert_eq!(session(&options, dir.path(), "python3 -c 'import os; print(os.listxattr(\"f\"))'"), "[]\n");
    assert!(dir.path().join("f").metadata().expect("made").uid() != 1000);
}

#[test]
fn archives_keep_owners() {
    let seen = root(
        "mkdir a; touch a/x a/y; chown 5:6 a/x; chown 1000:1000 a; chmod 4711 a/y; ln -s x a/l; chown -h 3 a/l; ln a/x a/h
         tar c a >t; mkdir b; tar x --same-owner -p -C b <t
         (cd a; stat -c '%n %u %g %a' . *) >1; (cd b/a; stat -c '%n %u %g %a' . *) >2; cmp 1 2; cat 2",
    );
    assert_eq!(seen, ". 1000 1000 755\nh 5 6 644\nl 3 0 777\nx 5 6 644\ny 0 0 4711\n");
}

#[test]
fn other_peoples_files_stay_theirs() {
    let dir = folder(Who::Me);
    std::fs::write(dir.path().join("f"), "").expect("ours");
    if dir.path().metadata().expect("made").uid() != 0 {
        return;
    }
    std::os::unix::fs::chown(dir.path().join("f"), Some(12345), Some(12345)).expect("root may");
    let seen = session(
        &["-0"],
        dir.path(),
        "stat -c '%u %g' f; chown 5 f 2>/dev/null || echo no; chown 12345 f && echo same; chmod 600 f 2>/dev/null || echo no",
    );
    assert_eq!(seen, "12345 12345\nno\nsame\nno\n");
}
