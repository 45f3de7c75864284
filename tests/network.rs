//! Ports of the guest that are others of the host: `-p` and `-n`.

use crate::harness::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Two ports that nobody uses now, and nobody is given who asks for any: below those that the kernel gives, from which a
/// client that connects to its own port would hear itself.
fn ports() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let given: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32768);
    // Another process that runs these tests begins elsewhere.
    let begin = std::process::id() as u16 % 1000;
    let mut free = std::iter::repeat_with(|| given - 1 - (begin + NEXT.fetch_add(1, Relaxed)) % 2000)
        .take(2000)
        .filter(|&port| TcpListener::bind(("0.0.0.0", port)).is_ok());
    (free.next().expect("a free one"), free.next().expect("another"))
}

/// A server and a client in one guest, over TCP and UDP, IPv4 and IPv6: each sees the guest's port only.
const BOTH: &str = "import socket, sys\n\
port = int(sys.argv[1])\n\
for family, any, host in ((socket.AF_INET, '0.0.0.0', '127.0.0.1'), (socket.AF_INET6, '::1', '::1')):\n\
\x20 s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((any, port)); s.listen()\n\
\x20 assert s.getsockname()[1] == port, s.getsockname()\n\
\x20 c = socket.create_connection((host, port)); a, peer = s.accept()\n\
\x20 assert c.getpeername()[1] == port and a.getsockname()[1] == port and peer[1] == c.getsockname()[1]\n\
\x20 c.sendall(b'x'); assert a.recv(1) == b'x'\n\
\x20 u = socket.socket(family, socket.SOCK_DGRAM); u.bind((host, port)); v = socket.socket(family, socket.SOCK_DGRAM)\n\
\x20 v.sendto(b'ping', (host, port)); data, sender = u.recvfrom(9); assert data == b'ping'\n\
\x20 u.sendto(b'pong', sender); data, sender = v.recvfrom(9); assert (data, sender[1]) == (b'pong', port), sender\n\
\x20 v.sendmsg([b'more'], [], 0, (host, port)); data, _, _, sender = u.recvmsg(9); assert data == b'more'\n\
\x20 u.connect(sender); assert u.getpeername()[1] == sender[1]\n\
print('ok')";

#[test]
fn a_mapped_port_is_the_guests_inside_and_the_hosts_outside() {
    let (inner, outer) = ports();
    let (map, port) = (format!("{inner}:{outer}"), inner.to_string());
    for engine in ENGINES {
        let front = ["env", &format!("PRUN_ENGINE={engine}"), &prun()].map(str::to_owned);
        let mut argv: Vec<&str> = front.iter().map(String::as_str).collect();
        argv.extend(["-p", &map, "/usr/bin/python3", "-c", BOTH, &port]);
        assert_eq!(good(Who::User, &argv), "ok\n");
    }
    // From outside: the host's port, and nobody at the guest's.
    let script = format!(
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', {inner})); s.listen(); print('up', flush=True); c, _ = s.accept(); c.sendall(b'hello')"
    );
    let prun = prun();
    let mut child = command(Who::User, &[&prun, "-p", &map, "/usr/bin/python3", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "up\n");
    assert!(TcpStream::connect(("127.0.0.1", inner)).is_err());
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", outer)).expect("mapped").read_to_string(&mut text).expect("text");
    assert_eq!(text, "hello");
    assert!(child.wait().expect("ours").success());
}

/// As in termux's fork: an ordinary user's server at a port below 1024.
#[test]
fn low_ports_are_moved() {
    let free = (900..1024).find(|p| TcpListener::bind(("127.0.0.1", p + 2000)).is_ok()).expect("a free one");
    let script = format!(
        "import socket\ns = socket.socket(); s.bind(('127.0.0.1', {free})); s.listen(); assert s.getsockname()[1] == {free}\n\
         socket.create_connection(('127.0.0.1', {free})); print(open('/proc/net/tcp').read().count(':%04X ' % {}) > 0)",
        free + 2000
    );
    assert_eq!(under(Who::User, &["-p", "/usr/bin/python3", "-c", &script]), "True\n");
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim() == "1024" {
        let native = run(Who::User, &[&prun(), "/usr/bin/python3", "-c", &script]);
        assert!(!native.status.success(), "without -p it is denied");
    }
}

#[test]
fn two_sessions_have_servers_at_one_port() {
    let (port, _) = ports();
    // A server of its own at the port, its client in the same session; the first goes on while the second starts.
    let script = format!(
        "import socket, sys\ns = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen(); assert s.getsockname()[1] == {port}\n\
         t = socket.socket()\ntry: t.bind(('127.0.0.1', {port})); raise SystemExit('bound twice')\nexcept OSError as e: assert e.errno == 98, e\n\
         print('up', flush=True); sys.stdin.readline()\n\
         c = socket.create_connection(('127.0.0.1', {port})); a, _ = s.accept(); a.sendall(sys.argv[1].encode()); print(c.recv(9).decode())"
    );
    let prun = prun();
    let start = |name: &str| {
        command(Who::User, &[&prun, "-n", "/usr/bin/python3", "-c", &script, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let mut all: Vec<_> = ["one", "two"].into_iter().map(|name| (name, start(name))).collect();
    let mut outputs = vec![];
    for (_, child) in &mut all {
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert_eq!(line, "up\n");
        outputs.push(out);
    }
    for ((name, child), out) in all.iter_mut().zip(&mut outputs) {
        child.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), *name, "each client reaches its own session's server");
        assert!(child.wait().expect("ours").success());
    }
}
