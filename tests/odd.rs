//! Odd input and odd moments: the same natively and under prun, on each engine. What else is odd is elsewhere:
//! restarted calls, pointers to nowhere, a working directory deeper than `PATH_MAX` in `differential`; links and
//! directories swapped while they are used in `scale`; tracees killed at every stop in `faults`.

use crate::harness::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

/// A folder with `f` and `g`, and a server of the host's at `s`.
fn place() -> (tempfile::TempDir, UnixListener, String) {
    let top = folder(Who::User);
    std::fs::write(top.path().join("f"), "data").expect("new");
    std::fs::write(top.path().join("g"), "more").expect("new");
    let server = UnixListener::bind(top.path().join("s")).expect("new");
    std::fs::set_permissions(top.path().join("s"), Permissions::from_mode(0o777)).expect("ours");
    let dir = top.path().display().to_string();
    (top, server, dir)
}

/// A job of the guest natively in a folder, and under prun in that folder shown at another place.
fn same(job: &str) {
    let (guest, less) = (guest(), slow().to_string());
    let (_top, _server, dir) = place();
    let native = good(Who::User, &[&guest, "odd", job, &dir, &less]);
    assert!(!native.is_empty());
    for engine in ENGINES {
        let (_top, _server, dir) = place();
        let (prun, bind) = (prun(), format!("{dir}:/mnt"));
        let output = command(Who::User, &[&prun, "-b", &bind, &guest, "odd", job, "/mnt", &less])
            .env("PRUN_ENGINE", engine)
            .output()
            .expect("it starts");
        let (ours, error) = (text(&output), String::from_utf8_lossy(&output.stderr).into_owned());
        for (a, b) in native.lines().zip(ours.lines()) {
            assert_eq!(a, b, "{engine} {job}\n{error}");
        }
        assert_eq!(native, ours, "{engine} {job}: {}\n{error}", output.status);
    }
}

#[test]
fn paths_and_buffers_in_memory_of_every_kind() {
    same("memory");
}

#[test]
fn stacks_that_are_none() {
    same("stacks");
}

#[test]
fn signals_by_the_hundred() {
    same("signals");
}

#[test]
fn an_exec_among_32_threads() {
    same("exec");
}

#[test]
fn addresses_in_buffers_of_every_length() {
    same("addresses");
}

#[test]
fn every_thread_has_its_turn() {
    same("turns");
}

/// All on one CPU, where somebody has always news: who makes a thread has his as well. That took half a minute, not a tenth of
/// a second, as long as the tracer waited for him by asking for any.
#[test]
fn threads_begin_while_others_are_busy() {
    let (_top, _server, dir) = place();
    let (guest, prun, bind) = (guest(), prun(), format!("{dir}:/mnt"));
    let limit = (10 * slow()).to_string();
    for engine in ENGINES {
        let job = [
            "timeout",
            &limit,
            "taskset",
            "-c",
            &one_cpu(),
            &prun,
            "-b",
            &bind,
            &guest,
            "odd",
            "turns",
            "/mnt",
            "50",
        ];
        let output = command(Who::User, &job).env("PRUN_ENGINE", engine).output().expect("it starts");
        assert_eq!(text(&output), "everybody had a turn true\n", "{engine}: {}", output.status);
    }
}

/// The number of a CPU that the tests may run on.
fn one_cpu() -> String {
    let all = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("it is known");
    let cpu = (0..nix::sched::CpuSet::count()).find(|&cpu| all.is_set(cpu).is_ok_and(|set| set));
    cpu.expect("one at least").to_string()
}

#[test]
fn ten_thousand_descriptors() {
    same("descriptors");
}

#[test]
fn working_directories_of_many_threads() {
    same("cwds");
}

/// What a thread does to the path in order to get out is a matter of `confine`.
#[test]
fn a_path_that_changes_while_it_is_read() {
    same("changing");
}

/// A user of its own, so that nobody else's processes count.
#[test]
fn forks_to_the_limit_of_processes() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (_top, _server, dir) = place();
    let (guest, prun, bind) = (guest(), prun(), format!("{dir}:/mnt"));
    let user = ["setpriv", "--reuid=61234", "--regid=61234", "--clear-groups", "prlimit", "--nproc=60"];
    for engine in ENGINES {
        let all = [&user[..], &[&prun, "-b", &bind, &guest, "odd", "forks", "/mnt", "1"]].concat();
        let output = command(Who::Me, &all).env("PRUN_ENGINE", engine).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text(&output), "forks true refused -EAGAIN works ok failed 0\n", "{engine}: {error}");
    }
}

/// A million names (fewer on a slow machine), of which one is hidden by a binding, and one more that only the binding has.
#[test]
fn a_directory_of_a_million_entries_with_a_binding_in_it() {
    let shm = std::path::Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::Builder::new().prefix("prun-million").tempdir_in(place).expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let first = dir.path().join("n0");
    std::fs::write(&first, "").expect("new");
    let mut made = 1u64;
    for i in 1..u64::from(times(1_000_000)) {
        // A file system without room for a million: as many as there can be.
        if std::fs::hard_link(&first, dir.path().join(format!("n{i}"))).is_err() {
            break;
        }
        made += 1;
    }
    assert!(made > 10_000, "only {made} entries");
    let d = dir.path().display().to_string();
    let (over, new) = (format!("/usr:{d}/n77"), format!("/usr:{d}/new"));
    let count = "find \"$1\" -mindepth 1 -maxdepth 1 -printf '%f %y\\n' | \
                 awk '{ n++; seen[$1]++; if (seen[$1] > 1) twice++; if ($2 == \"d\") dirs = dirs \" \" $1 } END { print n, twice + 0, dirs }'";
    let out = under(Who::User, &["-b", &over, "-b", &new, "sh", "-c", count, "sh", &d]);
    let words: Vec<&str> = out.split_whitespace().collect();
    let total = (made + 1).to_string();
    assert_eq!(words[..2], [total.as_str(), "0"], "{out}");
    let mut dirs = words[2..].to_vec();
    dirs.sort_unstable();
    assert_eq!(dirs, ["n77", "new"]);
}
