# Sequences of calls around chroot(2), each in a process of its own; prints what a root sees. The same natively, by real
# root, and under `prun -0`, by an ordinary user: the two outputs are compared.
import ctypes, errno, os, random, shutil, socket, struct, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
base = os.path.realpath(sys.argv[1])
os.chdir(base)
os.umask(0o022)
RESOLVE = {"no_xdev": 1, "no_magic": 2, "no_links": 4, "beneath": 8, "in_root": 16}


# By name: x86_64, aarch64.
NUMBERS = {"chroot": (161, 51), "getcwd": (79, 17), "unshare": (272, 97), "capget": (125, 90), "capset": (126, 91), "openat2": (437, 437),
           "inotify_init1": (294, 26), "inotify_add_watch": (254, 27)}


def call(name, *args):
    r = libc.syscall(ctypes.c_long(NUMBERS[name][os.uname().machine == "aarch64"]), *args)
    if r < 0:
        raise OSError(ctypes.get_errno(), "")
    return r


def openat2(dir, path, limits):
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, sum(RESOLVE[l] for l in limits))
    return call("openat2", ctypes.c_long(dir), path.encode(), how, ctypes.c_long(24))


def unshare(flags):
    call("unshare", ctypes.c_long(flags))


def tree(top):
    for d in ["jail/a/b/c", "jail/d", "jail/etc", "out/x", "etc"]:
        os.makedirs(f"{top}/{d}")
    for f in ["jail/f", "jail/a/f", "jail/a/b/f", "jail/d/f", "jail/etc/name", "out/f", "out/x/f", "etc/name", "f"]:
        open(f"{top}/{f}", "w").write(f)
    for link, to in [("jail/abs", "/a/b"), ("jail/a/abs", "/d"), ("jail/up", "../.."), ("jail/a/up", "../../../.."), ("jail/a/b/top", "/"),
                     ("jail/esc", "../../../../../../../../etc/name"), ("jail/loop", "loop"), ("jail/d/in", "../abs/../f"),
                     ("jail/gone", "/nothing"), ("out/in", "../jail/abs"), ("out/abs", "/a"), ("jail/d/real", base + "/out")]:
        os.symlink(to, f"{top}/{link}")


tree(".")
names = {}
for dir, dirs, files in os.walk(base):
    for name in dirs + files + ["."]:
        path = os.path.normpath(os.path.join(dir, name))
        names[os.lstat(path).st_ino] = os.path.relpath(path, base)
names[os.stat("/").st_ino] = "ROOT"


def where(path, dir=None, follow=True):
    ino = os.stat(path, dir_fd=dir, follow_symlinks=follow).st_ino
    return names.get(ino, "elsewhere")


def hide(text):
    return str(text).replace(base, "BASE").replace(os.path.basename(base), "NAME").replace(str(os.getpid()), "PID")


def show(what):
    try:
        value = what()
    except OSError as e:
        value = errno.errorcode[e.errno]
    return hide(value)


def case(name, body):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            for line in body():
                print(f"{name}: {hide(line)}")
        except OSError as e:
            print(f"{name}: died of {errno.errorcode[e.errno]}")
        except Exception as e:
            print(f"{name}: died of {hide(repr(e))}")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def raw_getcwd():
    buffer = ctypes.create_string_buffer(4096)
    call("getcwd", buffer, ctypes.c_long(4096))
    return buffer.value.decode()


def wheres(*paths, dir=None):
    return " ".join(f"{p}={show(lambda: where(p, dir))}" for p in paths)


def errors():
    for path in ["jail/f", "nothing", "jail/loop", "jail/gone", "x" * 256, "y/" * 2500, "", "jail/f/"]:
        yield f"{path[:12]} {show(lambda: os.chroot(path))}"
    yield show(lambda: call("chroot", ctypes.c_void_p(8)))
    os.mkdir("shut", 0o700)
    os.setresgid(7, 7, 7)
    os.setresuid(7, 7, 7)
    for path in ["jail/f", "nothing", "shut", "jail", "."]:
        yield f"user {path} {show(lambda: os.chroot(path))}"


def capability():
    # capset(2) of everything but CAP_SYS_CHROOT.
    header, sets = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    call("capget", header, sets)
    words = list(struct.unpack("6I", sets.raw))
    words[0] &= ~(1 << 18)
    call("capset", header, struct.pack("6I", *words))
    yield show(lambda: os.chroot("jail"))
    yield show(lambda: os.chroot("jail/f"))


def kept():
    libc.prctl(8, 1, 0, 0, 0)
    os.setresuid(7, 7, 7)
    yield show(lambda: os.chroot("jail"))
    call("capset", struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 1 << 18, 1 << 18, 0, 0, 0, 0))
    yield show(lambda: os.chroot("jail"))
    yield wheres("/", "/f", "/..")


def inside():
    os.chroot("jail")
    yield show(raw_getcwd)
    os.chdir("/")
    yield show(raw_getcwd)
    yield wheres("/", "/.", "/..", "/../..", "..", ".", "f", "/f", "a/../..", "/../../f", "abs", "/abs/f", "a/abs", "up", "a/up", "esc", "a/b/top", "loop",
                 "gone", "d/in", "d/real", base, "/a/b/top/../../d/f", "a/b/c/../../../../../f", "/f/", "/f/..", "/nothing/..", "//", "/./..//f")
    os.chdir("/a/b")
    yield show(raw_getcwd)
    yield show(lambda: os.readlink("/abs")) + " " + " ".join(sorted(os.listdir("/")))
    os.chdir("../../../..")
    yield show(raw_getcwd) + " " + wheres(".")


def changing():
    os.chroot("jail")
    os.chdir("/a")
    os.mkdir("/new")
    open("/new/f", "w").write("x")
    os.rename("/new/f", "../new/g")
    os.link("/../new/g", "/d/g")
    os.symlink("/new", "/new/self")
    os.truncate("/new/self/g", 1)
    os.chmod("/new/self/../new/g", 0o640)
    os.utime("/new/g", (1, 2))
    yield " ".join(sorted(os.listdir("/new"))) + f" {os.stat('/d/g').st_nlink} {oct(os.stat('/new/g').st_mode)} {os.access('/new/g', os.W_OK)}"
    yield show(lambda: os.rename("/", "/x")) + show(lambda: os.rmdir("/")) + show(lambda: os.rmdir("/..")) + show(lambda: os.unlink("/new"))
    yield show(lambda: os.rename("/new", "/new/in")) + show(lambda: os.statvfs("/new/g") and "vfs")
    os.unlink("/new/self"), os.unlink("/new/g"), os.rmdir("/new"), os.unlink("/d/g")
    yield show(lambda: os.mkdir("/")) + show(lambda: os.mkdir("/..")) + show(lambda: os.mkdir("/../a"))


def outside():
    top, out = os.open(".", os.O_PATH), os.open("out", os.O_RDONLY)
    os.chroot("jail")
    yield wheres(".", "..", "jail", "jail/..", "jail/../f", "jail/../a/f", "jail/a/../..", "jail/a/../../f", "jail/abs", "out/in", "out/abs", "out/../f")
    os.chdir("/")
    yield wheres("f", "../f", "/f", "x/f", "in", "abs", "..", "../..", "../jail/..", "../jail/../f", "../jail/abs", dir=out)
    yield wheres("f", "jail/f", "jail", "jail/..", "..", "../" * 30, dir=top)
    os.fchdir(out)
    yield show(raw_getcwd) + " " + wheres(".", "/", "x", "../f", "../../..")
    yield show(lambda: os.getcwd())
    os.chdir("x")
    yield show(raw_getcwd)
    os.chdir("../../jail/a")
    yield show(raw_getcwd)


def escape():
    os.chdir("jail")
    os.chroot("a")
    for _ in range(60):
        os.chdir("..")
    yield show(raw_getcwd) + " " + wheres(".")
    os.chroot(".")
    yield show(raw_getcwd) + " " + wheres("/", base + "/f", ".")


def nested():
    os.chroot("jail")
    os.chdir("/a")
    os.chroot("b")
    yield show(raw_getcwd) + " " + wheres("/", "/..", "..", "../..", "../../..", "b/..", "b/../..", "abs", "b/top")
    os.chroot("/")
    yield wheres("/", "/c", ".")
    os.chroot("..")
    yield wheres("/", "/a", ".")
    yield show(lambda: os.chroot(base))


def inherited():
    os.chroot("jail")
    os.chdir("/")
    pid = os.fork()
    if pid == 0:
        print("inherited: child", wheres("/", "/..", "/abs"))
        os.chroot("a")
        print("inherited: child", wheres("/", "/.."))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    yield wheres("/", "/abs")

    def run(body):
        t = threading.Thread(target=body)
        t.start()
        t.join()
    run(lambda: os.chroot("a"))
    yield "thread " + wheres("/", "/..", "/b")

    def parted():
        unshare(0x200)
        os.chroot("/b")
        print("inherited: parted", wheres("/", "/.."))
    run(parted)
    yield "thread " + wheres("/", "/..", "/b")


def moved():
    os.makedirs("m/one/two")
    open("m/one/two/f", "w").close()
    os.chroot("m/one")
    os.rename("m/one", "m/other")
    names[os.stat("m/other").st_ino] = "other"
    yield wheres("/") + " " + show(lambda: sorted(os.listdir("/two")))
    os.mkdir("m/one")
    yield wheres("/") + " " + show(lambda: sorted(os.listdir("/")))
    os.rename("m/other", "jail/inner")
    yield wheres("/", "/..") + " " + show(lambda: sorted(os.listdir("/")))
    os.chdir("/")
    yield show(raw_getcwd)
    os.rename("/two", "/three")
    yield show(lambda: sorted(os.listdir("..")))
    os.unlink("/three/f"), os.rmdir("/three")


def proc():
    # /proc is outside: only what was open leads there.
    top = os.open("/proc", os.O_PATH)
    out = os.open("out", os.O_PATH)
    os.chroot("jail")
    link = lambda name: show(lambda: os.readlink(name, dir_fd=top))
    yield f"{link('self/root')} {link('self/cwd')} {link(f'self/fd/{out}')} {link('1/nothing')}"
    yield wheres("self/root", "self/root/", "self/root/f", "self/root/..", "self/root/abs", "self/cwd", "self/cwd/..", "self/cwd/jail/..", f"self/fd/{out}",
                 f"self/fd/{out}/f", f"self/fd/{out}/..", f"self/fd/{out}/abs", f"self/fd/{out}/../jail/../f", f"self/fd/{out}/in", "self/cwd/f/..", dir=top)
    os.chdir("/a")
    yield f"{link('self/root')} {link('self/cwd')} {link('thread-self/root')}"
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.chroot("b")
        print("proc: child", hide(link(f"{parent}/root")), hide(link("self/root")), wheres(f"{parent}/root/f", "self/root/f", f"{parent}/root/abs/f", dir=top).replace(str(parent), "PARENT"))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    exe = os.open("self/exe", os.O_RDONLY, dir_fd=top)
    yield str(os.read(exe, 4)) + " " + show(lambda: os.chroot(f"/proc/self/fd/{out}"))
    os.fchdir(top)
    yield show(lambda: os.chroot(f"self/fd/{out}")) + " " + wheres("/", "/..", "/f", "/abs", "/in")


def limits():
    here, out = os.open(".", os.O_PATH), os.open("out", os.O_PATH)
    os.chroot("jail")
    os.chdir("/a")

    def at(dir, path, *limits):
        def do():
            fd = openat2(dir, path, limits)
            ino = os.fstat(fd).st_ino
            os.close(fd)
            return names.get(ino, "elsewhere")
        return f"{path}/{'+'.join(limits)}={show(do)}"
    for dir, tag in [(-100, "cwd"), (here, "here"), (out, "out")]:
        for path in ["/", "/f", "/abs/f", "..", "../..", "f", "abs", "b/top/f", "in", "jail/../f", "jail/abs", "up"]:
            yield tag + " " + " ".join(at(dir, path, *l) for l in [[], ["in_root"], ["beneath"], ["no_links"], ["no_magic"], ["no_xdev"]])


def sockets():
    outer = socket.socket(socket.AF_UNIX)
    outer.bind(base + "/outer")
    outer.listen()
    os.chroot("jail")
    os.chdir("/d")
    s = socket.socket(socket.AF_UNIX)
    s.bind("/s")
    s.listen()
    yield show(s.getsockname)
    c = socket.socket(socket.AF_UNIX)
    c.connect("../../s")
    yield show(c.getpeername) + show(lambda: s.accept()[1])
    yield show(lambda: socket.socket(socket.AF_UNIX).connect(base + "/outer")) + show(lambda: socket.socket(socket.AF_UNIX).connect("/outer"))
    d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    d.bind("dgram")
    e = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    e.sendto(b"x", "/d/dgram")
    yield str(d.recv(1)) + show(lambda: e.sendto(b"x", "/dgram"))
    os.unlink("/s"), os.unlink("dgram")


def drop():
    # As sshd(8) does it: a closed directory of root's, then another user for good.
    os.mkdir("empty", 0o755)
    os.chroot("empty")
    os.chdir("/")
    os.setgroups([7])
    os.setresgid(7, 7, 7)
    os.setresuid(7, 7, 7)
    yield show(lambda: os.listdir("/")) + show(lambda: open("/x", "w")) + show(lambda: os.chroot("/")) + show(lambda: open("/etc/passwd"))


def programs():
    # A shell with its libraries, a script, and what has no interpreter there.
    shell = os.path.realpath("/bin/sh")
    libraries = [w for w in subprocess.run(["ldd", shell], capture_output=True, text=True).stdout.split() if w.startswith("/")]
    bare = os.open(shell, os.O_RDONLY)
    for file in [shell] + libraries:
        os.makedirs(os.path.dirname("prog/" + file), exist_ok=True)
        shutil.copy(file, "prog/" + file)
    os.rename("prog/" + shell, "prog/own-shell")
    os.makedirs("bare")
    shutil.copy(shell, "bare/sh")
    for name, text in [("prog/script", "#!/own-shell -e\necho script $0 $1\n"), ("prog/lost", "#!/bin/python3\n"), ("prog/up", "#!../../own-shell\necho up $0\n")]:
        open(name, "w").write(text)
        os.chmod(name, 0o755)
    os.symlink("/script", "prog/link")
    top = os.open(".", os.O_PATH)

    def run(path, *args, fd=None):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(w, 1)
            try:
                os.execve(path if fd is None else fd, [path, *args], {"PATH": "/"})
            except OSError as e:
                os.write(1, errno.errorcode[e.errno].encode())
            os._exit(0)
        os.close(w)
        text = b""
        while more := os.read(r, 4096):
            text += more
        os.waitpid(pid, 0)
        return f"{path} {text}"
    pid = os.fork()
    if pid == 0:
        os.chroot("bare")
        print("programs:", run("/sh", "-c", "echo no"))
        print("programs:", run("sh", "-c", "echo no", fd=bare))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    os.chroot("prog")
    os.chdir("/")
    yield run("/own-shell", "-c", "cd /; pwd; echo *; cd ..; pwd; exec /link deep")
    yield run("/own-shell", "-c", "exec 3</script; read l <&3; echo $l; cd /lib* && pwd -P")
    for path in ["/script", "./script", "../../link", "/lost", "/up", "/nothing", "/", "/script/"]:
        yield run(path, "x")
    yield run("by descriptor", "-c", "echo *", fd=bare)
    script = os.open("script", os.O_RDONLY)
    yield run("script", fd=script)
    os.fchdir(top)
    yield run("prog/script") + run("./prog/own-shell", "-c", "pwd -P")


def watched():
    os.chroot("jail")
    watch = call("inotify_init1", ctypes.c_long(0))
    yield show(lambda: call("inotify_add_watch", ctypes.c_long(watch), b"/a/abs", ctypes.c_long(0x100)))
    os.close(os.open("/d/touched", os.O_CREAT | os.O_WRONLY))
    yield str(len(os.read(watch, 4096)))
    os.unlink("/d/touched")


def orders():
    # What the two outputs compare in numbers: random walks, each from a random place.
    r = random.Random(int(sys.argv[2]))
    # What there is to go on with, by where it goes on; and now and then what there is not.
    ways = {"": ["jail", "out", "etc", "f", "a", "abs", "up", "d", "b", "esc"], "jail": ["a", "abs", "up", "d", "f", "esc", "loop", "gone"],
            "a": ["b", "abs", "up", "f"], "b": ["c", "top", "f"], "d": ["f", "in", "real"], "out": ["x", "f", "in", "abs"], "abs": ["c", "top", "f"],
            "top": ["a", "abs", "d", "esc"], "up": ["a", "abs", "jail", "out"], "x": ["f"]}
    every = sorted(set(sum(ways.values(), [])))

    def some(length):
        parts = [""]
        while len(parts) <= length:
            n = r.randrange(10)
            parts.append("..") if n < 3 else parts.append(r.choice(every)) if n == 3 else parts.append(r.choice(ways.get(parts[-1], every)))
        return "/".join(parts[1:])
    dirs = [os.open(d, os.O_PATH) for d in [".", "jail", "jail/a/b", "out", "out/x", "jail/d", "/"]]
    for _ in range(int(sys.argv[3])):
        kind = r.randrange(12)
        path = some(r.randrange(1, 7))
        if r.randrange(2):
            path = "/" + path
        path = path or "/"
        if kind == 0:
            yield f"chroot {path} {show(lambda: os.chroot(path))}"
        elif kind == 1:
            yield f"chdir {path} {show(lambda: os.chdir(path))} {show(raw_getcwd)}"
        elif kind == 2:
            n = r.randrange(len(dirs))
            yield f"fchdir {n} {show(lambda: os.fchdir(dirs[n]))} {show(raw_getcwd)}"
        elif kind == 3 and r.randrange(3) == 0:
            # Out again: from where only a descriptor leads.
            os.fchdir(dirs[-1]), os.chroot(".")
            yield "out"
        elif kind < 8:
            n = r.randrange(len(dirs))
            yield f"at {n} {path} {show(lambda: where(path, dirs[n], r.randrange(2)))}"
        else:
            yield f"stat {path} {show(lambda: where(path, None, r.randrange(2)))}"


for body in [errors, capability, kept, inside, changing, outside, escape, nested, inherited, moved, proc, limits, sockets, drop, programs, watched, orders]:
    case(body.__name__, body)
