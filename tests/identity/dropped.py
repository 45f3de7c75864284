# Root makes a tree of files of several owners and modes, becomes user 7 with groups 7 and 9, and tries every call on every
# file; prints what each answers, and afterwards what root sees of the tree. The same natively, by real root, and under
# `prun -0`, by an ordinary user: the two outputs are compared. `DIRECTORY ONE-OF [OPERATION...]`: in one of so many of the
# tree's directories, in others with each new tree.
import ctypes, errno, hashlib, os, shutil, signal, socket, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
base = os.path.realpath(sys.argv[1])
os.chdir(base)
os.umask(0)
ME, GROUPS, OTHER = 7, [7, 9], 8
# Name, owner, group, mode.
DIRECTORIES = [("open", 0, 0, 0o777), ("common", 0, 0, 0o755), ("shut", 0, 0, 0o700), ("pass", 0, 0, 0o711), ("list", 0, 0, 0o744), ("mine", 7, 7, 0o700),
               ("read", 7, 7, 0o500), ("none", 7, 7, 0), ("sticky", 0, 0, 0o1777), ("group", 0, 9, 0o770), ("against", 8, 7, 0o707), ("other", 8, 8, 0o755),
               ("own-sticky", 7, 7, 0o1777)]
FILES = [("root", 0, 0, 0o644), ("secret", 0, 0, 0o600), ("all", 0, 0, 0o666), ("own", 7, 7, 0o644), ("locked", 7, 7, 0), ("reads", 7, 7, 0o400),
         ("others", 8, 8, 0o600), ("grouped", 0, 9, 0o660), ("not-mine", 8, 7, 0o606), ("run", 0, 0, 0o711), ("set", 7, 7, 0o4755)]


def place(path, uid, gid, mode):
    os.chown(path, uid, gid, follow_symlinks=False)
    os.chmod(path, mode)


def tree(directories):
    # The listing of what is there is closed to nobody yet.
    for name, uid, gid, mode in directories:
        os.mkdir(name)
        for file in FILES:
            with open(f"{name}/{file[0]}", "w") as f:
                f.write("text")
            place(f"{name}/{file[0]}", *file[1:])
        for d, du, dm in [("dir", 0, 0o755), ("own-dir", 7, 0o755), ("other-dir", 8, 0o700)]:
            os.mkdir(f"{name}/{d}")
            open(f"{name}/{d}/in", "w").close()
            os.chown(f"{name}/{d}/in", du, du)
            place(f"{name}/{d}", du, du, dm)
        for link, to, owner in [("link", "own", 0), ("own-link", "../shut/all", 7), ("up", "../mine/own", 0)]:
            os.symlink(to, f"{name}/{link}")
            os.chown(f"{name}/{link}", owner, owner, follow_symlinks=False)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(f"{name}/socket")
        place(f"{name}/socket", 0, 9, 0o660)
        sockets.append(s)
    for name, uid, gid, mode in directories:
        place(name, uid, gid, mode)


def drop():
    os.setgroups(GROUPS)
    os.setresgid(ME, ME, ME)
    os.setresuid(ME, ME, ME)


def opened(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


def sends(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(path)
        s.send(b"x", socket.MSG_DONTWAIT)


def binds(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path + "+")


def executes(path):
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(path, [path])
        except OSError as e:
            os._exit(e.errno)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, "")


def chdirs(path):
    try:
        os.chdir(path)
        return os.listdir(".") and "lists"
    finally:
        os.fchdir(top)


def watches(path):
    fd = libc.inotify_init1(0)
    r = libc.inotify_add_watch(fd, path.encode(), 2)
    e = ctypes.get_errno()
    os.close(fd)
    if r < 0:
        raise OSError(e, "")


def seen(path, follow=True):
    st = os.stat(path, follow_symlinks=follow)
    return f"{st.st_uid}:{st.st_gid}:{oct(st.st_mode)}"


OPERATIONS = {
    "stat": seen, "lstat": lambda p: seen(p, False), "readlink": os.readlink,
    "read": lambda p: opened(p, os.O_RDONLY), "write": lambda p: opened(p, os.O_WRONLY), "both": lambda p: opened(p, os.O_RDWR),
    "append": lambda p: opened(p, os.O_WRONLY | os.O_APPEND), "cut": lambda p: opened(p, os.O_WRONLY | os.O_TRUNC), "cut-read": lambda p: opened(p, os.O_RDONLY | os.O_TRUNC),
    "path": lambda p: opened(p, os.O_PATH), "noatime": lambda p: opened(p, os.O_RDONLY | os.O_NOATIME), "directory": lambda p: opened(p, os.O_RDONLY | os.O_DIRECTORY),
    "nofollow": lambda p: opened(p, os.O_RDONLY | os.O_NOFOLLOW), "create": lambda p: opened(p, os.O_RDWR | os.O_CREAT), "new": lambda p: opened(p + "+", os.O_RDWR | os.O_CREAT, 0o600),
    "exclusive": lambda p: opened(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "nameless": lambda p: opened(p, os.O_RDWR | os.O_TMPFILE), "list": lambda p: len(os.listdir(p)),
    "chdir": chdirs, "access-r": lambda p: os.access(p, os.R_OK), "access-w": lambda p: os.access(p, os.W_OK), "access-x": lambda p: os.access(p, os.X_OK),
    "exists": lambda p: os.access(p, os.F_OK), "truncate": lambda p: os.truncate(p, 2), "touch": lambda p: os.utime(p), "times": lambda p: os.utime(p, (1, 2)),
    "times-link": lambda p: os.utime(p, (1, 2), follow_symlinks=False), "chmod": lambda p: os.chmod(p, 0o640), "chown": lambda p: os.chown(p, ME, -1),
    "chgrp": lambda p: os.chown(p, -1, 9), "lchown": lambda p: os.lchown(p, -1, 7), "set": lambda p: os.setxattr(p, "user.x", b"1"), "get": lambda p: os.getxattr(p, "user.x"),
    "names": lambda p: len(os.listxattr(p)), "unset": lambda p: os.removexattr(p, "user.x"), "unlink": os.unlink, "rmdir": os.rmdir, "rename": lambda p: os.rename(p, p + "+"),
    "rename-over": lambda p: os.rename(base + "/stock/file", p), "move": lambda p: os.rename(p, base + "/open/" + p.replace("/", "-")), "link": lambda p: os.link(p, base + "/open/" + p.replace("/", "=")),
    "link-into": lambda p: os.link(base + "/stock/file", p + "+"), "symlink": lambda p: os.symlink("x", p + "+"), "mkdir": lambda p: os.mkdir(p + "+"), "mkdir-there": os.mkdir,
    "mkfifo": lambda p: os.mkfifo(p + "+"), "mknod": lambda p: os.mknod(p + "+", 0o600 | stat.S_IFREG), "device": lambda p: os.mknod(p + "+", 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
    "execute": executes, "send": sends, "bind": binds, "statfs": lambda p: os.statvfs(p) and None, "watch": watches, "chroot": os.chroot,
    "below": lambda p: seen(p + "/in"), "into": lambda p: opened(p + "/new", os.O_WRONLY | os.O_CREAT), "remove-below": lambda p: os.unlink(p + "/in"), "up": lambda p: seen(p + "/../own"),
    "dot": lambda p: seen(p + "/."), "slash": lambda p: seen(p + "/"), "missing": lambda p: seen(p + "-not"), "unlink-missing": lambda p: os.unlink(p + "-not"),
    "rename-missing": lambda p: os.rename(p + "-not", p),
}


def show(what):
    try:
        value = what()
        return "ok" if value is None else str(value)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))


def state():
    all = []
    for dir, dirs, files in os.walk("."):
        dirs.sort()
        for name in sorted(dirs + files):
            path = os.path.join(dir, name)
            st = os.lstat(path)
            size = st.st_size if stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode) else 0
            nlink = st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0
            all.append(f"{path} {st.st_uid}:{st.st_gid} {oct(st.st_mode)} {size} {nlink} {st.st_mtime if st.st_mtime < 10 else ''}")
    return all


def in_child(body):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException as e:
            print("died", repr(e))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def clear():
    for s in sockets:
        s.close()
    sockets.clear()
    for name in os.listdir("."):
        shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)


# They leave everything as it is, so the next one finds it so.
LOOKING = {"stat", "lstat", "readlink", "read", "path", "noatime", "directory", "nofollow", "list", "chdir", "access-r", "access-w", "access-x", "exists", "get", "names",
           "statfs", "watch", "chroot", "below", "up", "dot", "slash", "missing", "unlink-missing"}
sockets = []
top = os.open(".", os.O_PATH)
names = [f[0] for f in FILES] + ["dir", "own-dir", "other-dir", "link", "own-link", "up", "socket", "absent"]
one_of, wanted = int(sys.argv[2]), sys.argv[3:] or [*OPERATIONS, "changes", "descriptors", "signals"]
for turn, operation in enumerate(wanted):
    if operation not in OPERATIONS:
        continue
    if not sockets:
        # What is moved and linked goes to the first.
        here = [d for i, d in enumerate(DIRECTORIES) if i == 0 or (i + turn) % one_of == 0]
        tree(here)
        os.mkdir("stock", 0o755)
        place("stock", 7, 7, 0o755)
        with open("stock/file", "w") as f:
            f.write("stock")
        place("stock/file", 7, 7, 0o644)

    def every():
        drop()
        do = OPERATIONS[operation]
        print(f"{operation}: " + " ".join(f"{d[0]}={show(lambda: do(d[0]))}" for d in here if operation not in ("unlink", "rename", "rename-over", "move", "chmod", "chown", "chgrp")))
        for d in here:
            print(f"{operation} {d[0]}: " + " ".join(f"{f}={show(lambda: do(d[0] + '/' + f))}" for f in names))
            # From within, where its rights allow that at all.
            if operation in ("stat", "read", "below", "readlink", "exists", "write"):
                there = show(lambda: os.chdir(d[0]))
                print(f"{operation} in {d[0]}: {there} " + " ".join(f"{f}={show(lambda: do(f))}" for f in names))
                os.fchdir(top)
    in_child(every)
    after = state()
    print(f"{operation} leaves {hashlib.sha1(chr(10).join(after).encode()).hexdigest()[:12]}")
    if os.environ.get("STATES"):
        print("\n".join(after))
    if operation not in LOOKING:
        clear()


def descriptors():
    tree(DIRECTORIES)
    all = {n: os.open(n, os.O_PATH) for n in ["shut", "mine", "common", "none", "other"]}
    files = {n: os.open(f"open/{n}", os.O_RDWR) for n in [f[0] for f in FILES]}
    dirs = {n: os.open(n, os.O_RDONLY) for n in ["shut", "mine", "common", "other"]}
    os.chdir("shut")
    drop()
    print("cwd:", " ".join(show(lambda: seen(p)) for p in ["all", ".", "..", "../mine/own", "dir/in"]), os.getcwd() == base + "/shut")
    for n, fd in all.items():
        print(f"at {n}:", " ".join(show(lambda: os.stat(f, dir_fd=fd) and "ok") for f in ["all", "own", "dir/in", ".", ".."]), show(lambda: os.fchdir(fd)))
    for n, fd in files.items():
        print(f"fd {n}:", show(lambda: os.fchmod(fd, 0o644)), show(lambda: os.fchown(fd, -1, 9)), show(lambda: os.utime(fd)), show(lambda: os.utime(fd, (1, 2))), show(lambda: os.ftruncate(fd, 1)),
              show(lambda: os.setxattr(fd, "user.y", b"1")), show(lambda: os.getxattr(fd, "user.y")), show(lambda: os.fstat(fd).st_uid))
    for n, fd in dirs.items():
        print(f"dir {n}:", show(lambda: os.fchdir(fd)), show(lambda: len(os.listdir(fd))), show(lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd) and "made"))


def changes():
    # What root changes, the user sees at once.
    os.makedirs("a/b/c")
    open("a/b/c/f", "w").close()
    os.mkdir("closed", 0o700)
    open("closed/f", "w").close()
    steps = [lambda: None, lambda: os.chmod("a/b", 0o700), lambda: os.chmod("a/b", 0o711), lambda: os.chown("a/b", 8, 8), lambda: os.chmod("a", 0o640), lambda: os.chmod("a", 0o755),
             lambda: (os.rename("a/b", "a/x"), os.rename("closed", "a/b")), lambda: os.chmod("a/b", 0o755), lambda: (os.unlink("a/b/f"), os.rmdir("a/b"), os.mkdir("a/b", 0o700)),
             lambda: os.chown("a/b", ME, -1), lambda: os.rename("a/x", "a/b/c"), lambda: (os.rename("a/b", "a/y"), os.symlink("y", "a/b")), lambda: os.chmod("a/y", 0)]
    (ask, asked), (tell, told) = os.pipe(), os.pipe()
    sys.stdout.flush()
    if os.fork() == 0:
        os.close(asked)
        drop()
        while os.read(ask, 1):
            os.write(told, " ".join(show(lambda: os.stat(p) and "ok") for p in ["a/b", "a/b/c", "a/b/c/f", "a/b/f", "a/b/c/c/f", "closed/f", "a/y/c"] * 2).encode())
        os._exit(0)
    os.close(ask)
    for i, step in enumerate(steps):
        try:
            step()
        except OSError as e:
            print("step", i, errno.errorcode[e.errno])
        os.write(asked, b"x")
        print(f"changes {i}:", os.read(tell, 4096).decode())
    os.close(asked)
    os.wait()


def signals():
    def child(uid, group=None):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            if group is not None:
                os.setpgid(0, group)
            signal.signal(signal.SIGTERM, lambda *a: os._exit(99))
            if uid:
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.write(w, b"x")
            while True:
                signal.pause()
        os.read(r, 1)
        os.close(r), os.close(w)
        return pid

    def ends(pid):
        status = os.waitpid(pid, os.WNOHANG)
        if status[0] == 0:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return "lives"
        return "ended"
    targets = {u: child(u) for u in (0, ME, OTHER)}
    groups = {u: child(u, 0) for u in (0, ME, OTHER)}
    # A group with processes of two users.
    mixed = child(0, 0)
    two = child(ME, mixed)

    def user():
        import time
        drop()
        for u, pid in targets.items():
            # A process that has changed its user without execve(2) is nobody's to read: not dumpable.
            print(f"memory {u}:", show(lambda: peek(pid)) if u != ME else "")
            print(f"priority {u}:", show(lambda: os.setpriority(os.PRIO_PROCESS, pid, 5)), show(lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))))
        for u, pid in targets.items():
            fd = os.pidfd_open(pid)
            print(f"kill {u}:", show(lambda: os.kill(pid, 0)), show(lambda: os.kill(pid, signal.SIGWINCH)), show(lambda: os.kill(pid, signal.SIGCONT)), show(lambda: signal.pidfd_send_signal(fd, 0)),
                  show(lambda: tgkill(pid)), show(lambda: os.kill(pid, 65)), show(lambda: os.kill(pid, signal.SIGTERM)))
        for u, pid in groups.items():
            print(f"group {u}:", show(lambda: os.killpg(pid, 0)), show(lambda: os.killpg(pid, signal.SIGTERM)))
        print("mixed:", show(lambda: os.killpg(mixed, 0)), show(lambda: os.killpg(mixed, signal.SIGTERM)))
        print("none:", show(lambda: os.kill(0x3fffff, 0)), show(lambda: os.killpg(0x3fffff, 0)), show(lambda: os.kill(os.getpid(), 0)), show(lambda: os.kill(os.getpid(), 99)))
        time.sleep(0.1)

    def peek(pid):
        word = ctypes.create_string_buffer(8)
        there = ctypes.addressof(word)
        vector = (ctypes.c_size_t * 2)(there, 8)
        if libc.process_vm_readv(pid, vector, 1, vector, 1, 0) < 0:
            raise OSError(ctypes.get_errno(), "")

    def tgkill(pid):
        if libc.tgkill(pid, pid, 0) < 0:
            raise OSError(ctypes.get_errno(), "")
    in_child(user)
    print("left:", " ".join(ends(p) for p in [*targets.values(), *groups.values(), mixed, two]))


clear()
if "descriptors" in wanted:
    in_child(descriptors)
    clear()
if "changes" in wanted:
    in_child(changes)
    clear()
if "signals" in wanted:
    in_child(signals)
