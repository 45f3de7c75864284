//! File systems without room: what the guest writes there fails as it does natively, and prun itself goes on, or says
//! what it could not write.

use crate::harness::*;
use std::process::Output;

/// A shell script, natively or with `$PRUN`, as an ordinary user in a mount namespace of its own where /mnt is a small file
/// system in memory. Root can have one that runs out of inodes too.
fn small(script: &str, variables: &[(&str, &str)]) -> Output {
    let script = format!("PRUN='{}' GUEST='{}'; export PRUN GUEST; {script}", prun(), guest());
    let mut command = if nix::unistd::geteuid().is_root() {
        let mount = "mount -t tmpfs -o size=64k,nr_inodes=12,mode=1777 tmpfs /mnt && \
                     exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -c \"$0\"";
        command(Who::Me, &["unshare", "-m", "bash", "-c", mount, &script])
    } else {
        command(
            Who::Me,
            &["bwrap", "--dev-bind", "/", "/", "--size", "65536", "--tmpfs", "/mnt", "bash", "-c", &script],
        )
    };
    command.envs(variables.iter().copied()).output().expect("it starts")
}

/// What a program can do in a full file system, a line each; then what becomes possible when a file goes.
const PROGRAM: &str = r#"
import os, sys, errno, socket
d = sys.argv[1]
p = lambda n: os.path.join(d, n)
def t(name, f):
    try: r = f()
    except OSError as e: r = errno.errorcode[e.errno]
    print(name, r if isinstance(r, (str, int)) else 'ok')
def make(n, flags=0):
    fd = os.open(p(n), os.O_CREAT | os.O_RDWR | flags, 0o644)
    try: return os.write(fd, b'x' * 8192)
    finally: os.close(fd)
def bound(n):
    s = socket.socket(socket.AF_UNIX)
    s.bind(p(n))
keep = os.open(p('keep'), os.O_CREAT | os.O_RDWR)
os.write(keep, b'here')
os.mkdir(p('d'))
def fill():
    fd = os.open(p('big'), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    total = 0
    try:
        while True: total += os.write(fd, b'x' * 4096)
    finally:
        print('room for more than nothing', total > 0)
        os.close(fd)
t('fill', fill)
t('write', lambda: make('w'))
t('append', lambda: make('keep', os.O_APPEND))
t('over', lambda: os.pwrite(keep, b'HERE', 0))
t('fallocate', lambda: os.posix_fallocate(keep, 0, 1 << 20))
t('hole', lambda: os.truncate(p('keep'), 1 << 20))
t('tmpfile', lambda: os.open(d, os.O_TMPFILE | os.O_RDWR))
t('copy', lambda: os.copy_file_range(os.open(p('big'), os.O_RDONLY), os.open(p('w'), os.O_CREAT | os.O_RDWR), 8192))
t('xattr', lambda: os.setxattr(p('keep'), 'user.x', b'y' * 2000))
def inodes():
    for i in range(1000): os.close(os.open(p('d/%d' % i), os.O_CREAT | os.O_WRONLY))
if len(sys.argv) > 2:
    t('inodes', inodes)
    t('mkdir', lambda: os.mkdir(p('n')))
    t('symlink', lambda: os.symlink('l' * 2000, p('n')))
    t('fifo', lambda: os.mkfifo(p('n')))
    t('bind', lambda: bound('n'))
    t('link', lambda: os.link(p('keep'), p('n')))
    t('create', lambda: make('n2'))
    t('open2', lambda: make('d/../n3', os.O_EXCL))
    t('xattr', lambda: os.setxattr(p('keep'), 'user.x', b'y' * 20000))
t('rename', lambda: os.rename(p('keep'), p('kept')))
t('chmod', lambda: os.chmod(p('kept'), 0o600))
t('room', lambda: os.unlink(p('big')))
t('again', lambda: os.pwrite(keep, b'x' * 8192, 0))
"#;

#[test]
fn what_the_guest_writes_fails_as_it_does_natively() {
    let dir = folder(Who::User);
    let program = dir.path().join("full.py");
    std::fs::write(&program, PROGRAM).expect("ours");
    let file = program.display();
    let inodes = if nix::unistd::geteuid().is_root() {
        "inodes"
    } else {
        eprintln!("only root can mount a file system that runs out of inodes: left out");
        ""
    };
    let native = small(&format!("python3 {file} /mnt {inodes}"), &[]);
    let expected = text(&native);
    assert!(native.status.success(), "{}", error(&native));
    for line in ["fill ENOSPC", "write ENOSPC", "fallocate ENOSPC", "over 4", "rename ok", "room ok"] {
        assert!(expected.lines().any(|l| l == line), "no {line:?} in\n{expected}");
    }
    if !inodes.is_empty() {
        for line in ["mkdir ENOSPC", "symlink ENOSPC", "create ENOSPC", "bind ENOSPC"] {
            assert!(expected.lines().any(|l| l == line), "no {line:?} in\n{expected}");
        }
    }
    for engine in ENGINES {
        for options in ["", "-0", "--trace=/mnt/trace"] {
            if options.starts_with("--trace") && !inodes.is_empty() {
                // The trace takes an inode itself.
                continue;
            }
            let script = format!("$PRUN {options} -b /mnt:/home/full python3 {file} /home/full {inodes}");
            let ours = small(&script, &[("PRUN_ENGINE", engine)]);
            assert_eq!(text(&ours), expected, "{engine} {options}: {}", error(&ours));
        }
    }
}

/// Everything that prun writes itself, where there is no room for it.
#[test]
fn prun_goes_on_or_says_what_it_could_not_write() {
    const FILL: &str = "head -c 1M /dev/zero >/mnt/big 2>/dev/null;";
    for engine in ENGINES {
        let engine = [("PRUN_ENGINE", engine)];
        // The trace: the file can be made, and not be written to.
        let output = small(&format!("{FILL} $PRUN --trace=/mnt/trace ls -d /usr"), &engine);
        assert_eq!((text(&output).as_str(), output.status.code()), ("/usr\n", Some(0)), "{}", error(&output));
        assert_eq!(
            error(&output).matches("the trace loses lines: No space left").count(),
            1,
            "{}",
            error(&output)
        );
        // No file for memory: neither memfd_create(2) nor a folder with room.
        let script = format!(
            "{FILL} export TMPDIR=/mnt; $GUEST hostile memfd_create=38 bwrap --dev-bind / / --ro-bind /usr /dev/shm \
             $PRUN -v -b /usr:/home/full sh -c 'cd /home/full && ls -d bin/env /home/full/bin/env; (exit 7)'"
        );
        let output = small(&script, &engine);
        assert_eq!(
            (text(&output).as_str(), output.status.code()),
            ("/home/full/bin/env\nbin/env\n", Some(7)),
            "{}",
            error(&output)
        );
        assert!(error(&output).contains(engine[0].1), "{}", error(&output));
    }
    // What is said goes nowhere, and the command's status counts.
    for script in
        ["$PRUN --stats true 2>/dev/full", "$PRUN --trace true 2>/dev/full", "$PRUN -v true 2>/dev/full"]
    {
        assert!(small(script, &[]).status.success(), "{script}");
    }
    let closed = small("$PRUN --doctor >/dev/full", &[]);
    assert_eq!(closed.status.code(), Some(125));
    assert!(error(&closed).contains("No space left"), "{}", error(&closed));
}

/// What is made or remembered on the disk, where not even an inode is left.
#[test]
fn without_an_inode() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can mount a file system that runs out of inodes: left out");
        return;
    }
    const FILL: &str =
        "touch /mnt/f; mkdir /mnt/d; i=0; while touch /mnt/$i 2>/dev/null; do i=$((i + 1)); done;";
    let output = small(&format!("{FILL} $PRUN --trace=/mnt/trace true"), &[]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        error(&output).contains("cannot write the trace to '/mnt/trace': No space left"),
        "{}",
        error(&output)
    );
    let output = small(&format!("{FILL} $PRUN --nix=/mnt/nix true"), &[]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        error(&output).contains("cannot make the nix store's folder '/mnt/nix/store': No space left"),
        "{}",
        error(&output)
    );
    // Owners: remembered for the session, and where they are to stay, ENOSPC is the answer and the owner is the old one.
    let chown =
        "chown 5:6 /mnt/f; stat -c %u:%g /mnt/f; chmod 4711 /mnt/d 2>&1 | head -c 0; stat -c %u /mnt/d";
    let output = small(&format!("{FILL} $PRUN -0 sh -c '{chown}'"), &[]);
    assert_eq!(text(&output), "5:6\n0\n", "{}", error(&output));
    let output = small(&format!("{FILL} $PRUN -0 --persist sh -c '{chown}'"), &[]);
    let refused = error(&output).contains("No space left on device") && text(&output) == "0:0\n0\n";
    // Before Linux 6.6 attributes in memory were not counted.
    assert!(refused || text(&output) == "5:6\n0\n", "{}{}", text(&output), error(&output));
}
