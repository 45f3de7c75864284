//! A fake identity: `-0`, `-i` and `--persist`, by scripts that say what a guest sees.

use crate::harness::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A shell script under `prun -0`, in a folder of its own, on each engine: what it prints on all of them.
fn root(script: &str) -> String {
    on_each_engine("", script)
}

/// The same with a file `x.py` in the folder.
fn on_each_engine(program: &str, script: &str) -> String {
    let mut all = ENGINES.map(|engine| {
        let dir = folder(Who::User);
        std::fs::write(dir.path().join("x.py"), program).expect("ours");
        if program.is_empty() {
            std::fs::remove_file(dir.path().join("x.py")).expect("ours");
        }
        run_in(&["-0"], dir.path(), script, engine)
    });
    assert!(all[0] == all[1] && all[1] == all[2], "not the same on {ENGINES:?}: {all:#?}");
    std::mem::take(&mut all[0])
}

fn session(options: &[&str], dir: &Path, script: &str) -> String {
    run_in(options, dir, script, ENGINES[0])
}

fn run_in(options: &[&str], dir: &Path, script: &str, engine: &str) -> String {
    let dir = dir.display().to_string();
    let prun = prun();
    let argv = [&[prun.as_str()], options, &["-w", dir.as_str(), "bash", "-euc", script]].concat();
    let output = command(Who::User, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{argv:?} {engine}: {}\n{}{error}", output.status, text(&output));
    text(&output)
}

/// Whether two lines about an executed program may differ by the kernel's age. Before Linux 6.16, whose rules are modelled,
/// ids that are not the real ones counted as given by the program, and ones that it gave did not where they were the real
/// ones (`cap_bprm_creds_from_file()`): what it has then beside real ids, and whether it is secure, is another thing.
fn by_older_rules(native: &str, ours: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut version = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    let real = |line: &str| {
        let ids = line.strip_prefix("exec secure ")?.split_once('[')?.1.split_once(']')?.0;
        let ids: Vec<u32> = ids.split(", ").map_while(|id| id.parse().ok()).collect();
        Some((*ids.first()?, *ids.get(2)?))
    };
    version < (6, 16) && real(native).is_some() && real(native) == real(ours)
}

/// Random calls by root about credentials and files, natively and under each engine. Native root has to have what the
/// guest believes to have; what it lacks beside that is not shown.
#[test]
fn as_the_kernel_does_it() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:")).expect("a line");
    let mask = u64::from_str_radix(caps.trim(), 16).expect("a number");
    let needed = [0, 1, 2, 3, 4, 6, 7, 8, 21, 27, 31];
    if needed.iter().any(|bit| mask >> bit & 1 == 0) {
        eprintln!("not run: only root can do natively what is compared");
        return;
    }
    let sequences = times(60).max(8) as usize;
    for (seed, engine) in (1..).zip(ENGINES) {
        let once = |who, front: &[&str]| {
            let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
            give(dir.path(), who);
            let (guest, dir) = (guest(), dir.path().display().to_string());
            let (seed, count, mask) = (format!("{seed}"), format!("{sequences}"), format!("{mask}"));
            let argv = [front, &[guest.as_str(), "identity", &dir, &seed, &count, &mask]].concat();
            let output = command(who, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            text(&output)
        };
        let native = once(Who::Me, &[]);
        let ours = once(Who::User, &[&prun(), "-0"]);
        assert!(native.lines().count() * 60 > 1000 * sequences, "it has run: {native}");
        let (mut executed, mut older) = (0usize, 0);
        for (native, ours) in native.lines().zip(ours.lines()) {
            executed += usize::from(native.starts_with("exec secure "));
            if native != ours && by_older_rules(native, ours) {
                older += 1;
                continue;
            }
            assert_eq!(native, ours, "{engine}: natively, and under prun");
        }
        assert!(
            executed * 6 > sequences && older * 3 < executed,
            "{engine}: {older} of {executed} programs by older rules"
        );
        assert_eq!(native.lines().count(), ours.lines().count());
    }
}

/// A Python program under `prun -0`: what it prints, on each engine.
fn python(program: &str) -> String {
    // What is in a buffer when it forks would be printed by the child too.
    on_each_engine(program, "python3 -u x.py")
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

/// A program that another thread than the leader executes has that one's number, and the credentials it had.
#[test]
fn a_program_of_a_thread_is_whom_it_was() {
    let program = "\
import os, threading, time
os.setgid(55); os.setuid(1234)
see = ['stat', '-L', '-c', '%u %g', '/proc/self']
threading.Thread(target=lambda: os.execvp('stat', see)).start()
time.sleep(1000)";
    assert_eq!(python(program), "1234 55\n");
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
    let rounds = times(50);
    let seen = root(&format!(
        "for i in $(seq {rounds}); do touch f; chown 5 f; rm f; touch f; stat -c %u f; rm f; done | sort | uniq -c | tr -s ' '
         touch a b; chown 6 b; mv a b; stat -c %u b; touch c; stat -c %u c; chown 8 c; ln c d; rm c; stat -c %u d"
    ));
    assert_eq!(seen, format!(" {rounds} 0\n0\n0\n8\n"));
}

#[test]
fn credentials_follow_the_kernels_rules() {
    let seen = python(
        &"import os
work = os.getcwd()
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
    d = os.open('/proc/self', os.O_RDONLY); os.chdir('/proc')
    beside = [os.fdopen(os.open('status', os.O_RDONLY | f, dir_fd=d)).read() for f in (0, os.O_NOFOLLOW)] + [open(f'{os.getpid()}/status').read()]
    print([[l.split()[1] for l in text.splitlines() if l[:4] in ('Uid:', 'Gid:')] for text in beside]); os.chdir(work)
    open('mine', 'w'); s = os.stat('mine'); print(s.st_uid, s.st_gid)
    os._exit(0)
os.wait(); show()
import threading, ctypes
libc = ctypes.CDLL(None)
t = threading.Thread(target=lambda: (libc.syscall(SETUID, 55), print(libc.syscall(GETUID)))); t.start(); t.join(); print(os.getuid())
"
        .replace("SETUID", &libc::SYS_setuid.to_string())
        .replace("GETUID", &libc::SYS_getuid.to_string()),
    );
    assert_eq!(
        seen,
        "(0, 1000, 0) (20, 21, 22) [3, 7]\nEPERM EPERM works\n(0, 0, 0) (20, 21, 22) [3, 7]\n".to_owned()
            + "(1000, 1000, 1000) (30, 30, 30) [3, 7]\nEPERM EPERM EPERM\n"
            + "[['1000', '1000', '1000', '1000'], ['30', '30', '30', '30'], ['0000000000000000']]\n[['1000', '30'], ['1000', '30'], ['1000', '30']]\n1000 30\n"
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
fn many_messages_carry_the_ids_the_guest_knows() {
    let seen = python(
        "import ctypes, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def message(control):
    data = ctypes.create_string_buffer(b'x', 8); iov = struct.pack('PN', ctypes.addressof(data), 1)
    iov = ctypes.create_string_buffer(iov); ctl = ctypes.create_string_buffer(control, len(control))
    keep.append((data, iov, ctl))
    return struct.pack('PIxxxxPNPNixxxxIxxxx', 0, 0, ctypes.addressof(iov), 1, ctypes.addressof(ctl), len(control), 0, 0)
def cred(pid, uid, gid): return struct.pack('Nii3ixxxx', 28, socket.SOL_SOCKET, socket.SCM_CREDENTIALS, pid, uid, gid)
keep = []
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
def send(creds):
    vector = ctypes.create_string_buffer(b''.join(message(c) for c in creds))
    n = libc.sendmmsg(a.fileno(), vector, len(creds), 0)
    return n, ctypes.get_errno() if n < 0 else [struct.unpack_from('I', vector.raw, 64 * i + 56)[0] for i in range(len(creds))]
me = os.getpid(); r, w = os.pipe(); r2, w2 = os.pipe()
print(send([cred(me, 0, 0), b'', cred(me, 5, 6), b'']))
if os.fork() == 0:
    os.setgid(1001); os.setuid(1000)
    print(send([cred(os.getpid(), 1000, 1001), cred(os.getpid(), 0, 0)]), send([cred(os.getpid(), 0, 0)]), flush=True)
    os.write(w, b'x'); os.read(r2, 1); os._exit(0)
os.read(r, 1)
vector = ctypes.create_string_buffer(b''.join(message(bytes(64)) for _ in range(5)))
n = libc.recvmmsg(b.fileno(), vector, 5, socket.MSG_DONTWAIT, None)
print(n, [struct.unpack('3i', keep[-5 + i][2].raw[16:28])[1:] for i in range(n)])
os.write(w2, b'x'); os.wait()
",
    );
    // A claim that is not the task's own is shown as what its sender is.
    assert_eq!(
        seen,
        "(4, [1, 1, 1, 1])\n(1, [1, 0]) (-1, 1)\n5 [(0, 0), (0, 0), (0, 0), (0, 0), (1000, 1001)]\n"
    );
}

#[test]
fn attributes_beside_a_directory() {
    // setxattrat(2) and its kin, since Linux 6.13.
    let seen = python(
        "import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
def call(n, *a):
    r = libc.syscall(n, *[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
    return r if r >= 0 else -ctypes.get_errno()
def args(value, flags=0):
    keep.append(value); return struct.pack('QII', ctypes.addressof(value), len(value), flags)
keep = []
os.mkdir('d'); open('d/f', 'w'); os.symlink('f', 'd/l'); d = os.open('d', os.O_RDONLY); f = os.open('d/f', os.O_RDWR)
def put(fd, path, flags, name, value, how=0):
    v = ctypes.create_string_buffer(value, len(value)); return call(463, fd, path, flags, name, args(v, how), 16)
def get(fd, path, flags, name, how=0):
    v = ctypes.create_string_buffer(64); n = call(464, fd, path, flags, name, args(v, how), 16)
    return v.raw[:n] if n >= 0 else n
def names(fd, path, flags):
    v = ctypes.create_string_buffer(256); n = call(465, fd, path, flags, v, 256); return v.raw[:n] if n >= 0 else n
if call(465, d, b'f', 0, None, 0) == -38: print('none'); raise SystemExit
print(put(d, b'l', 0, b'trusted.a', b'1'), put(d, b'', 0x1000, b'trusted.b', b'2'), put(f, b'', 0x1000, b'trusted.c', b'3'))
print(get(d, b'f', 0, b'trusted.a'), get(d, b'l', 0x100, b'trusted.a'), get(d, b'', 0x1000, b'trusted.b'), os.getxattr('d/f', 'trusted.c'))
print(put(d, b'f', 0, b'trusted.a', b'1', 1), put(d, b'f', 0, b'trusted.x', b'1', 2), put(d, b'f', 64, b'trusted.x', b'1'))
print(get(d, b'f', 0, b'trusted.a', 1), get(d, b'f', 0, b'trusted.none'), names(d, b'f', 0))
print(call(466, d, b'f', 0, b'trusted.a'), call(466, d, b'f', 0, b'trusted.a'), names(d, b'l', 0))
caps = bytes.fromhex('0100000200200000') + bytes(12)
print(put(d, b'f', 0, b'security.capability', caps), os.getxattr('d/f', 'security.capability') == caps)
os.chmod('.', 0o755); os.setuid(1000)
print(put(d, b'f', 0, b'trusted.z', b'1'), get(d, b'f', 0, b'trusted.c'), names(d, b'f', 0))
",
    );
    if seen == "none\n" {
        return;
    }
    assert_eq!(
        seen,
        "0 0 0\nb'1' -61 b'2' b'3'\n-17 -61 -22\n-22 -61 b'trusted.a\\x00trusted.c\\x00'\n0 -61 b'trusted.c\\x00'\n".to_owned()
            + "0 True\n-1 -61 b'security.capability\\x00'\n"
    );
}

#[test]
fn a_kernel_without_audit_is_shown() {
    let seen = python(
        "import errno, socket
for protocol in 9, 0:
    try: print(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).family)
    except OSError as e: print(errno.errorcode[e.errno])
",
    );
    assert_eq!(seen, "EPROTONOSUPPORT\n16\n");
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

/// The message as <https://github.com/rootless-containers/proto> defines it, for a reader and writer that is not ours.
#[test]
fn other_tools_read_and_write_owners() {
    let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
    give(dir.path(), Who::User);
    let message = "syntax = \"proto3\"; package rootlesscontainers; message Resource { uint32 uid = 1; uint32 gid = 2; }";
    std::fs::write(dir.path().join("r.proto"), message).expect("ours");
    let options = ["-0", "--persist"];
    let script = "touch a b c d; chown 1000:5 a; chown 4000000000 b; chown :7 c; chmod 0 c; chown 0:9 d; mkdir e; chown 65534:65534 e";
    session(&options, dir.path(), script);
    let path = dir.path().display().to_string();
    let get = "import os, sys; sys.stdout.buffer.write(os.getxattr(sys.argv[1], 'user.rootlesscontainers'))";
    let set = "import os, sys; os.setxattr(sys.argv[1], 'user.rootlesscontainers', sys.stdin.buffer.read())";
    let decode = |name: &str| {
        let script = format!(
            "python3 -c \"$1\" {path}/{name} | protoc --proto_path={path} --decode=rootlesscontainers.Resource r.proto"
        );
        good(Who::Me, &["bash", "-o", "pipefail", "-euc", &script, "-", get])
    };
    assert_eq!(decode("a"), "uid: 1000\ngid: 5\n");
    assert_eq!(decode("b"), "uid: 4000000000\n");
    assert!(decode("c").starts_with("gid: 7\n100: "), "{}", decode("c"));
    assert_eq!((decode("d"), decode("e")), ("gid: 9\n".into(), "uid: 65534\ngid: 65534\n".into()));
    // A tool that knows of the two ids only.
    let script = format!(
        "for w in 'f uid:33,gid:44' 'g gid:4294967295,uid:5' 'h'; do touch {path}/${{w%% *}}; chown --reference={path} {path}/${{w%% *}}
         echo \"${{w#*[fgh]}}\" | protoc --proto_path={path} --encode=rootlesscontainers.Resource r.proto | python3 -c \"$1\" {path}/${{w%% *}}; done"
    );
    good(Who::Me, &["bash", "-o", "pipefail", "-euc", &script, "-", set]);
    assert_eq!(
        session(&options, dir.path(), "stat -c '%n %u %g %a' f g h; chown 1 f; stat -c '%u %g' f"),
        "f 33 44 644\ng 5 0 644\nh 0 0 644\n1 44\n"
    );
    assert_eq!(decode("f"), "uid: 1\ngid: 44\n");
}

/// A shell under prun that is asked one thing after another.
struct Shell(std::process::Child, std::io::BufReader<std::process::ChildStdout>);

impl Shell {
    fn new(dir: &Path) -> Self {
        let (prun, dir) = (prun(), dir.display().to_string());
        let mut command = command(Who::User, &[&prun, "-0", "--persist", "-w", &dir, "bash"]);
        let piped = || std::process::Stdio::piped();
        let mut child = command.stdin(piped()).stdout(piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("piped");
        Self(child, std::io::BufReader::new(out))
    }

    fn ask(&mut self, script: &str) -> String {
        use std::io::{BufRead, Write};
        let stdin = self.0.stdin.as_mut().expect("piped");
        writeln!(stdin, "echo $({{ {script}; }} 2>&1)").expect("it reads");
        let mut line = String::new();
        self.1.read_line(&mut line).expect("it answers");
        line.trim_end().to_owned()
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("ours").success());
    }
}

#[test]
fn two_sessions_have_one_tree() {
    let dir = tempfile::Builder::new().tempdir_in("/var/tmp").expect("a folder");
    give(dir.path(), Who::User);
    let (mut a, mut b) = (Shell::new(dir.path()), Shell::new(dir.path()));
    assert_eq!(a.ask("touch f g; chown 5:6 f; chmod 600 f; stat -c %u:%g:%a f g"), "5:6:600 0:0:644");
    assert_eq!(b.ask("stat -c %u:%g:%a f g; chown 7 f; chmod 2711 f; chown :8 g"), "5:6:600 0:0:644");
    assert_eq!(a.ask("stat -c %u:%g:%a f g; chown 9 g"), "7:6:2711 0:8:644");
    assert_eq!(b.ask("stat -c %u:%g:%a f g; setfattr -n trusted.x -v 1 g || python3 -c 'import os; os.setxattr(\"g\", \"trusted.x\", b\"1\")'; rm f; touch f").lines().next(), Some("7:6:2711 9:8:644"));
    assert_eq!(
        a.ask("stat -c %u:%g:%a f; python3 -c 'import os; print(os.getxattr(\"g\", \"trusted.x\"))'"),
        "0:0:644 b'1'"
    );
    assert_eq!(a.ask("chown 0:0 g; mknod n c 1 3; chown 3 n; echo hello >n"), "");
    assert_eq!(
        b.ask("stat -c '%u:%g %F %s' g n; cat n; mv n m; chown 4 m"),
        "0:0 regular empty file 0 3:0 character special file 0"
    );
    assert_eq!(a.ask("stat -c '%u %F' m; chmod 4755 g"), "4 character special file");
    // Who has given up root writes to it in the other session: the kernel takes the bit, and both see that.
    let write = "chown 1000 . g; setpriv --reuid=1000 --clear-groups sh -c 'echo x >g'; stat -c %a g";
    assert_eq!(a.ask("chmod 4755 g; stat -c %a g"), "4755");
    assert_eq!(b.ask(write), "755");
    assert_eq!(a.ask("stat -c %u:%a g"), "1000:755");
    a.end();
    b.end();
    let seen = session(&["-0", "--persist"], dir.path(), "stat -c '%n %u %g %a' g m f");
    assert_eq!(seen, "g 1000 0 755\nm 4 0 644\nf 0 0 644\n");
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
