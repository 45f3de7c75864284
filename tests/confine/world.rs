//! A root with a folder outside of it, and the runtimes that show it.

use super::Row;
use crate::harness::*;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What shows the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Prun,
    /// prun --confine.
    Confined,
    Proot,
    /// A real chroot with bind mounts, as the same user.
    Chroot,
}

/// `root`, the guest's, and beside it `data`, which it sees at /data, and `outside`, which it does not see. A process
/// outside, of the same user, listens on sockets in both.
pub(super) struct World {
    base: tempfile::TempDir,
    helper: Child,
}

/// What /data and the root hold: all else is a probe's, and removed after it.
const DATA: [&str; 4] = ["file", "sub", "script", "guest"];

fn put(path: &Path, text: &[u8], mode: u32) {
    if mode & 0o111 == 0 {
        std::fs::write(path, text).expect("ours");
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    } else {
        write_program(path, text, mode);
    }
    give(path, Who::User);
}

fn folder(path: &Path) {
    std::fs::create_dir_all(path).expect("ours");
    give(path, Who::User);
}

impl World {
    pub(super) fn new() -> Self {
        // Short, so that the paths of sockets fit into an address.
        let base =
            tempfile::Builder::new().prefix("cf").rand_bytes(4).tempdir_in("/var/tmp").expect("a folder");
        std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        give(base.path(), Who::User);
        let at = |name: &str| base.path().join(name);
        for dir in
            ["root", "root/tmp", "root/proc", "root/dev", "root/data", "root/sub/deep", "data", "data/sub"]
        {
            folder(&at(dir));
        }
        give(&at("root/sub"), Who::User);
        // It is static, and needs no library there.
        let program = std::fs::read(guest()).expect("the guest program");
        put(&at("root/guest"), &program, 0o755);
        put(&at("host-name"), &program, 0o755);
        put(&at("data/file"), b"data\n", 0o644);
        put(&at("data/guest"), b"", 0o755);
        put(&at("data/script"), b"#!/guest confine-cat\n", 0o755);
        symlink(at("outside/marker"), at("root/host-link")).expect("ours");
        symlink(at("outside"), at("root/host-dir")).expect("ours");
        symlink("../outside/marker", at("data/host-link")).expect("ours");
        Self::make_outside(base.path());
        let (socket, out) = (at("root/tmp/helper"), at("outside"));
        let mut helper = helper(&[&guest(), "confine-helper", &text_of(&socket), &text_of(&out)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut ready = String::new();
        let output = helper.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut ready).expect("it says so");
        assert_eq!(ready, "ready\n");
        Self { base, helper }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn make_outside(base: &Path) {
        let at = |name: &str| base.join("outside").join(name);
        folder(&base.join("outside"));
        folder(&at("dir"));
        put(&at("marker"), b"MARKER\n", 0o644);
        good(Who::Me, &["setfattr", "-n", "user.mark", "-v", "x", &text_of(&at("marker"))]);
        put(&at("prog"), &std::fs::read(guest()).expect("the guest program"), 0o755);
        // What is executed in place of an interpreter gets the arguments of the program.
        put(&at("interp"), &std::fs::read(guest()).expect("the guest program"), 0o755);
        symlink("marker", at("link")).expect("ours");
    }

    /// Everything outside that a probe could change.
    fn outside(&self) -> Vec<String> {
        let mut all = vec![];
        let mut todo = vec![self.at("outside")];
        while let Some(path) = todo.pop() {
            let Ok(meta) = path.symlink_metadata() else { continue };
            if meta.is_dir() {
                todo.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
            }
            let time = (meta.ctime(), meta.ctime_nsec());
            all.push(format!("{} {} {:o} {time:?}", path.display(), meta.ino(), meta.mode()));
        }
        all.sort();
        all
    }

    fn clean(&self) {
        for (dir, kept) in [("root/tmp", &["helper"][..]), ("data", &DATA[..])] {
            for entry in std::fs::read_dir(self.at(dir)).expect("ours").flatten() {
                if kept.iter().any(|name| entry.file_name() == *name) {
                    continue;
                }
                let path = entry.path();
                let gone = if path.is_dir() && !path.is_symlink() {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                gone.unwrap_or_else(|e| panic!("remove {}: {e}", path.display()));
            }
        }
        put(&self.at("root/tmp/mine"), b"", 0o644);
    }

    /// Whether this machine lets the tests make a chroot.
    pub(super) fn chroot_works(&self) -> bool {
        let argv = self.argv(Runtime::Chroot, "list");
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        run(Who::Me, &argv).status.success()
    }

    fn argv(&self, runtime: Runtime, probe: &str) -> Vec<String> {
        let at = |name: &str| text_of(&self.at(name));
        let (root, data, program) = (at("root"), at("data"), at("host-name"));
        // A folder outside and one inside are passed on, as a user may.
        let passing = format!("exec 8<{} 9<{root}/sub/deep; exec \"$@\"", at("outside"));
        let mut argv = vec!["sh".into(), "-c".into(), passing, "sh".into()];
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match runtime {
            Runtime::Prun | Runtime::Confined | Runtime::Proot => {
                let name = match runtime {
                    Runtime::Prun => prun(),
                    Runtime::Confined => format!("{} --confine", prun()),
                    _ => "proot".into(),
                };
                argv.extend(words(&format!(
                    "{name} -r {root} -b /proc -b /dev -b {data}:/data -b {program}:/data/guest -w /"
                )));
            }
            Runtime::Chroot => {
                argv.extend(words("unshare -m sh -c"));
                argv.push(format!(
                    "mount --bind /proc {root}/proc && mount --bind /dev {root}/dev && \
                     mount --bind {data} {root}/data && mount --bind {program} {root}/data/guest && exec \"$@\""
                ));
                argv.extend(words(&format!("sh chroot --userspec=65534:65534 --groups= {root}")));
            }
        }
        argv.extend(words("/guest confine"));
        argv.push(probe.into());
        argv.extend([at("outside"), root, data]);
        argv
    }

    /// Runs one probe, and looks at what is outside afterwards.
    pub(super) fn probe(&self, runtime: Runtime, name: &str) -> Row {
        self.clean();
        let before = self.outside();
        let argv = self.argv(runtime, name);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let who = if runtime == Runtime::Chroot { Who::Me } else { Who::User };
        let mut command = limited(who, &argv);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        if name.starts_with("tracer") {
            let pids = if runtime == Runtime::Chroot { Some("none".into()) } else { tracer_of(child.id()) };
            put(&self.at("root/tmp/pids"), pids.unwrap_or_default().as_bytes(), 0o644);
        }
        let mut output = String::new();
        drop(child.stdout.take().expect("piped").read_to_string(&mut output));
        drop(child.wait());
        let after = self.outside();
        let changed = after
            .iter()
            .find(|line| !before.contains(line))
            .or_else(|| before.iter().find(|line| !after.contains(line)));
        let changed = changed.map(|line| line.split(' ').next().unwrap_or_default().to_owned());
        if changed.is_some() {
            self.restore();
        }
        Row::of(&output, changed)
    }

    /// The folder outside as it was, but for the sockets that the helper has there.
    fn restore(&self) {
        for entry in std::fs::read_dir(self.at("outside")).expect("ours").flatten() {
            let path = entry.path();
            match entry.file_name().to_str() {
                Some("sock" | "dsock") => {}
                Some("dir") => std::fs::remove_dir_all(&path).expect("ours"),
                _ if path.is_dir() && !path.is_symlink() => std::fs::remove_dir_all(&path).expect("ours"),
                _ => std::fs::remove_file(&path).expect("ours"),
            }
        }
        Self::make_outside(self.base.path());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.helper.kill());
        drop(self.helper.wait());
    }
}

fn text_of(path: &Path) -> String {
    path.display().to_string()
}

/// A program of the same user outside, without the time limit of others: it is killed in the end.
fn helper(argv: &[&str]) -> Command {
    let mut all = vec![];
    if nix::unistd::geteuid().is_root() {
        all.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    all.extend(argv);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir("/");
    command
}

/// A probe ends by itself after 10 seconds; where its runtime keeps it from that, it is ended.
fn limited(who: Who, argv: &[&str]) -> Command {
    let mut all = vec!["timeout", "-s", "KILL", "15"];
    if who == Who::User && nix::unistd::geteuid().is_root() {
        all.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    all.extend(argv);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir("/").env_remove("PRUN_ENGINE");
    command
}

fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Front and tracer of the runtime that `timeout`, with this number, has started: the tracer is prun's first child,
/// and PRoot's first process itself.
fn tracer_of(timeout: u32) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Some(&front) = children(timeout).first() {
            let comm = std::fs::read_to_string(format!("/proc/{front}/comm")).unwrap_or_default();
            match (comm.trim(), children(front).first()) {
                ("prun", Some(tracer)) => return Some(format!("{front} {tracer}")),
                ("proot", Some(_)) => return Some(format!("{front} {front}")),
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
