//! Bad luck: every system call of the tracer and the front fails in turn, or is where a process is killed.
//!
//! The guest program's job `inject` stands outside and counts the calls of a short session (`work`, which says of each
//! step whether it was done). Whatever call is hit: the session ends, nothing is left of it, nobody panics, what was
//! said to be done is done and nothing else, and nothing leads out of the view. Here each call meets one of six kinds
//! of bad luck, calls that change files all six (on a slow machine one of many calls); with `PRUN_FAULTS=all` each meets all of them (an hour).

use crate::harness::*;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const ERRNOS: [(&str, &str); 4] = [("12", "ENOMEM"), ("24", "EMFILE"), ("11", "EAGAIN"), ("5", "EIO")];
const LUCK: [&str; 6] = ["12", "24", "11", "5", "kill", "kill-tracee"];

/// A folder with what `work` needs.
struct Place {
    top: tempfile::TempDir,
}

const OLD: [&str; 16] = [
    "e", "escape", "far", "old1", "old2", "old3", "old4", "old5", "old6", "old7", "old8", "olddir", "script",
    "tied", "u", "v",
];

/// Whether a record is in the file's attribute.
fn recorded(path: &Path) -> bool {
    matches!(xattr::get(path, "user.rootlesscontainers"), Ok(Some(_)))
}

impl Place {
    fn new() -> Self {
        let top = folder(Who::User);
        let d = top.path().join("d");
        for dir in ["d", "d/olddir", "d/u", "d/v", "hidden", "empty"] {
            std::fs::create_dir(top.path().join(dir)).expect("new");
        }
        for i in 1..9 {
            std::fs::write(d.join(format!("old{i}")), format!("data{i}")).expect("new");
        }
        std::fs::write(top.path().join("hidden/secret"), "secret").expect("new");
        write_program(&d.join("script"), "#!/mnt/e exit\n", 0o755);
        std::fs::hard_link(guest(), d.join("e")).unwrap_or_else(|_| copy_program(guest(), d.join("e")));
        symlink("old1", d.join("tied")).expect("new");
        symlink("/mnt/old1", d.join("far")).expect("new");
        symlink(top.path().join("hidden/secret"), d.join("escape")).expect("new");
        let mode = |name: &str, mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(d.join(name), mode).expect("ours");
        };
        mode("old5", 0o600);
        for name in [".", "olddir"].into_iter().chain(OLD.into_iter().filter(|n| n.starts_with("old"))) {
            give(&d.join(name), Who::User);
        }
        mode("old8", 0o4755);
        Self { top }
    }

    /// The options that show it.
    fn options(&self) -> Vec<String> {
        let t = self.top.path().display();
        let bind = |text: String| ["-b".to_owned(), text];
        [bind(format!("{t}/d:/mnt")), bind("/usr:/made/up".into()), bind(format!("{t}/empty:{t}/hidden"))]
            .concat()
    }

    /// What is there must be what the guest was told; `persist`: owners are in attributes.
    fn check(&self, said: &str, persist: bool) -> Result<(), String> {
        let d = self.top.path().join("d");
        // None: the guest does not know, because it was killed.
        let told = |step: &str| {
            said.lines().find_map(|l| l.strip_prefix(step)?.strip_prefix(' ')).map(|result| result == "ok")
        };
        let here = |name: &str| std::fs::symlink_metadata(d.join(name)).ok();
        let holds = |name: &str, text: &str| std::fs::read_to_string(d.join(name)).is_ok_and(|t| t == text);
        let inode = |name: &str| here(name).map(|m| m.ino());
        let steps = [
            ("mkdir", here("new-dir").is_some()),
            ("create", here("new-file").is_some()),
            ("symlink", std::fs::read_link(d.join("new-link")).is_ok_and(|to| to == Path::new("old1"))),
            ("link", here("hard").is_some() && inode("hard") == inode("old1")),
            ("rename", here("old2").is_none() && holds("moved", "data2")),
            ("unlink", here("old3").is_none()),
            ("rmdir", here("olddir").is_none()),
            ("truncate", holds("old4", "")),
            ("chmod", here("old5").is_some_and(|m| m.mode() & 0o777 == 0o640)),
            ("mknod", here("fifo").is_some()),
            ("exchange", holds("old6", "data7") && holds("old7", "data6")),
            ("bind", here("socket").is_some()),
        ];
        for (step, done) in steps {
            if told(step).is_some_and(|told| told != done) {
                return Err(format!("{step}: the guest was told another thing than is so: done is {done}"));
            }
        }
        let undone = [
            ("rename", here("moved").is_none() && holds("old2", "data2")),
            ("truncate", holds("old4", "data4")),
            ("exchange", holds("old6", "data6") && holds("old7", "data7")),
            ("unlink", holds("old3", "data3")),
        ];
        for (step, undone) in undone {
            let done = steps.iter().any(|&(name, done)| name == step && done);
            if done == undone {
                return Err(format!("{step} is half done"));
            }
        }
        let undone = [
            ("give", here("old8").is_some_and(|m| m.mode() & 0o7777 == 0o4755)),
            ("device", here("device").is_none()),
        ];
        for ((step, undone), file) in undone.into_iter().zip(["old8", "device"]) {
            let as_told = match told(step) {
                Some(true) => !persist || recorded(&d.join(file)),
                Some(false) => undone && !recorded(&d.join(file)),
                None => true,
            };
            if !as_told {
                return Err(format!("{step}: the guest was told {:?}, undone is {undone}", told(step)));
            }
        }
        if told("escape") == Some(true) || told("escape by name") == Some(true) {
            return Err("a link led out of the view".into());
        }
        let new = ["device", "fifo", "hard", "moved", "new-dir", "new-file", "new-link", "socket"];
        let may: BTreeSet<&str> = OLD.into_iter().chain(new).collect();
        let all = std::fs::read_dir(&d).expect("it is there").flatten();
        match all.map(|e| e.file_name()).find(|name| !name.to_str().is_some_and(|n| may.contains(n))) {
            Some(name) => Err(format!("{} was left behind", name.display())),
            None => Ok(()),
        }
    }
}

/// What a session with bad luck must come to.
fn judge(what: &str, place: &Place, options: &[&str], output: &std::process::Output) -> Result<(), String> {
    let (said, error) = (text(output), String::from_utf8_lossy(&output.stderr).into_owned());
    let (last, messages): (Vec<&str>, Vec<&str>) = error.lines().partition(|l| l.starts_with("inject: "));
    let wrong = |why: &str| Err(format!("{why}\n{said}{error}"));
    if !last.iter().any(|l| l.ends_with("left []")) {
        return wrong("it hangs, or leaves somebody behind");
    }
    if error.contains("panicked") || error.contains("core dumped") {
        return wrong("a panic");
    }
    let status = output.status.code().unwrap_or(-1);
    let whole = said.ends_with("last ok\n");
    // Whoever is not served to the end is told why, in a line that begins with prun's name.
    let explained = messages.iter().any(|m| m.starts_with("prun: "))
        // The word itself was hit.
        || last.iter().any(|l| l.contains(" hit write [2,"));
    if !what.starts_with("kill") && (status != 0 || !whole) && !explained {
        return wrong(&format!("status {status} without a word"));
    }
    if status == 0 && !whole {
        return wrong("status 0 of a session that did not reach its end");
    }
    // A step that failed did so with the errno of the call that failed, or with that of a call in its place. Whoever
    // was killed because his stop could not be handled is reported so, and prun has said why.
    if let Some((_, name)) = ERRNOS.iter().find(|(number, _)| *number == what) {
        let odd = said.lines().filter(|l| !l.starts_with("escape")).find(|l| {
            l.rsplit_once(" -").is_some_and(|(_, errno)| match errno {
                "ENOMEM" | "EAGAIN" | "EFAULT" | "EIO" => false,
                "EOWNERDEAD" => !explained,
                // What the kernel too says of a program whose headers it cannot read.
                "ENOEXEC" => false,
                // What fcntl(2) means by it of a lease.
                "ETXTBSY" => *name != "EAGAIN",
                // What only an identity lets a user do.
                "EPERM" if l.starts_with("give ") || l.starts_with("device ") => options.contains(&"-0"),
                // There is no socket where bind(2) has failed.
                "ENOENT" if l.starts_with("connect ") => !said.contains("\nbind -"),
                errno => errno != *name,
            })
        });
        if let Some(odd) = odd {
            return wrong(&format!("an errno that nobody has ordered: {odd}"));
        }
    }
    place.check(&said, options.contains(&"--persist")).or_else(|why| wrong(&why))
}

fn session(who: &str, call: u64, what: &str, engine: &str, options: &[&str]) -> (Result<(), String>, String) {
    let place = Place::new();
    let (prun, guest, number) = (prun(), guest(), call.to_string());
    let shown = place.options();
    let mut argv = vec![guest.as_str(), "inject", who, &number, what, &prun];
    argv.extend(shown.iter().map(String::as_str));
    argv.extend(options);
    argv.extend([guest.as_str(), "work", "/mnt"]);
    let output = command(Who::User, &argv)
        .env("PRUN_ENGINE", engine)
        .env("TMPDIR", place.top.path().join("d"))
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = error.lines().find(|l| l.starts_with("inject: calls")).unwrap_or_default().to_owned();
    (judge(what, &place, options, &output), line)
}

/// Every `stride`-th call meets a kind of bad luck.
fn every(who: &str, engine: &str, options: &[&str], stride: u64) {
    every_kind(who, engine, options, stride, &LUCK);
}

/// The same with some kinds only.
fn every_kind(who: &str, engine: &str, options: &[&str], stride: u64, luck: &[&str]) {
    let all = std::env::var("PRUN_FAULTS").is_ok_and(|v| v == "all");
    let (fine, line) = session(who, 0, "5", engine, options);
    fine.unwrap_or_else(|why| panic!("without any bad luck: {why}"));
    let count = line.split(' ').nth(2).and_then(|n| n.parse::<u64>().ok()).expect("a number of calls");
    assert!(count > if who == "changes" { 20 } else { 30 }, "{who} {engine}: only {count} calls");
    let what = format!("{who} {engine} {options:?} {luck:?}");
    let calls = chosen(count, if all { 1 } else { stride }, 2 * luck.len(), &what);
    let next = AtomicUsize::new(0);
    let bad = Mutex::new(vec![]);
    let hit = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Relaxed);
                    let Some(&call) = calls.get(turn) else { break };
                    let kinds = if all { luck } else { &luck[(turn + 1) % luck.len()..][..1] };
                    for what in kinds {
                        let (result, line) = session(who, call, what, engine, options);
                        hit.fetch_add(usize::from(!line.contains("hit nothing")), Relaxed);
                        if let Err(why) = result {
                            let found =
                                format!("{who} {engine} {options:?} call {call} {what}: {line}\n{why}");
                            // At once too: a whole round takes long.
                            eprintln!("{found}\n");
                            bad.lock().expect("nobody panics with it").push(found);
                        }
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().expect("nobody panics with it");
    assert!(hit.load(Relaxed) * 10 > (calls.len() - 1) * 9, "{who} {engine}: too few calls were hit");
    assert!(bad.is_empty(), "{who}: {} of {count} calls:\n\n{}", bad.len(), bad.join("\n\n"));
}

/// Every `stride`-th of the calls 1 to `count`; on a slow machine one of each `slow()` of those, but at least `least`: in each
/// such block another one, and others for another `what`, as the calls of a tracer repeat themselves.
fn chosen(count: u64, stride: u64, least: usize, what: &str) -> Vec<u64> {
    let one_of = u64::from(slow()).min(count / stride / least as u64).max(1);
    let within = |first: u64| drawn((first, what)) % one_of * stride;
    let blocks = (1..=count).step_by((stride * one_of) as usize);
    blocks.map(|first| first + within(first)).filter(|&call| call <= count).collect()
}

#[test]
fn each_call_of_the_tracer_has_bad_luck() {
    every("tracer", "one-stop", &[], 1);
}

#[test]
fn calls_of_the_tracer_have_bad_luck_on_other_engines() {
    every("tracer", "two-stop", &[], 7);
    every("tracer", "plain", &[], 11);
    every("tracer", "one-stop", &["-0"], 7);
}

/// Owners are kept in attributes of the files: a second change for one of the guest's.
#[test]
fn calls_under_an_identity_that_remembers_have_bad_luck() {
    // All kinds of it where a file is half changed.
    let rounds = LUCK.map(|kind| {
        std::panic::catch_unwind(|| every_kind("changes", "one-stop", &["-0", "--persist"], 1, &[kind]))
    });
    assert!(rounds.iter().all(Result::is_ok));
    every("tracer", "one-stop", &["-0", "--persist"], 5);
}

#[test]
fn each_call_of_the_front_has_bad_luck() {
    every("front", "one-stop", &[], 1);
}

/// Tasks that run, sleep, are born, execute and change hands when it happens.
#[test]
fn a_tracer_killed_amid_a_crowd_leaves_nobody() {
    let (guest, prun) = (guest(), prun());
    let dir = folder(Who::User);
    let bind = format!("{}:/mnt", dir.path().display());
    let script = format!(
        "(while :; do /bin/true; done) & (while :; do (:) & wait; done) & sleep 100 & {guest} crowd /mnt/. 3 300000"
    );
    let rounds = times(12).max(3) as usize;
    for (round, engine) in ENGINES.iter().cycle().take(rounds).enumerate() {
        let call = (1500 + 1777 * round).to_string();
        let argv = [&guest, "inject", "tracer", &call, "kill", &prun, "-b", &bind, "bash", "-c", &script];
        let output = command(Who::User, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("left []\n") && !error.contains("hit nothing"), "{engine} {call}: {error}");
        assert_eq!(output.status.code(), Some(125), "{engine} {call}: {error}");
        assert!(error.contains("the tracer was killed"), "{engine} {call}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("ours").count(), 0);
}

/// Two sessions show one folder, and the host changes it beneath them: nobody loses anything.
#[test]
fn two_sessions_and_the_host_share_a_folder() {
    let rounds = times(60).max(6) as usize;
    let dir = folder(Who::User);
    let d = dir.path();
    std::fs::create_dir(d.join("x")).expect("new");
    let bind = format!("{}:/mnt", d.display());
    // A look at two names, of which one is there, may find neither, when it changes in between; many in a row do not.
    let script = |who: &str| {
        format!(
            "cd /mnt; for i in $(seq {rounds}); do echo {who}$i >>log; mkdir d{who}$i && mv d{who}$i e{who}$i && \
             echo $i >/mnt/e{who}$i/f && ln -s e{who}$i/f l{who}$i && read r <l{who}$i && [ $r = $i ] || echo bad $i; \
             n=0; until [ -d x -o -d y ]; do n=$((n + 1)); [ $n -lt 300 ] || {{ echo lost $i; break; }}; done; rm l{who}$i; done; echo done"
        )
    };
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut there = ["x", "y"];
            while !over.load(Relaxed) {
                std::fs::rename(d.join(there[0]), d.join(there[1])).expect("ours");
                there.reverse();
                std::fs::write(d.join("host"), "text").expect("ours");
                std::fs::remove_file(d.join("host")).expect("ours");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let sessions = ["a", "b"].map(|who| {
            let (bind, script, prun) = (&bind, script(who), prun());
            threads.spawn(move || good(Who::User, &[&prun, "-b", bind, "bash", "-c", &script]))
        });
        let said = sessions.map(|s| s.join().expect("it does not panic"));
        over.store(true, Relaxed);
        assert_eq!(said, ["done\n", "done\n"]);
    });
    let log = std::fs::read_to_string(d.join("log")).expect("it is there");
    let lines: BTreeSet<&str> = log.lines().collect();
    assert_eq!((log.lines().count(), lines.len()), (2 * rounds, 2 * rounds));
    for who in ["a", "b"] {
        for i in 1..=rounds {
            let text = std::fs::read_to_string(d.join(format!("e{who}{i}/f"))).expect("it is there");
            assert_eq!(text, format!("{i}\n"));
        }
    }
    let left = std::fs::read_dir(d).expect("ours").flatten().map(|e| e.file_name());
    assert_eq!(left.filter(|n| n.to_string_lossy().starts_with(['l', 'd', 'h'])).count(), 1, "the log only");
}
