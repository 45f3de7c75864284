//! What a call costs, counted: stops, and the system calls that the tracer makes itself. A change that adds one to a
//! call fails here, on a machine of any speed; one that saves some says so, and its table is made better.

use crate::harness::*;
use std::path::Path;

/// Per call, from `--stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    /// Stops of the tracee: at calls, at their ends, and for signals, new tasks and programs.
    stops: [i64; 3],
    /// Of the tracer: wait4, ptrace, for memory of the tracee, for files.
    calls: [i64; 4],
}

const fn cost(stops: [i64; 3], calls: [i64; 4]) -> Cost {
    Cost { stops, calls }
}

/// The numbers of the line of `text` that begins with `prun: ` and `name`.
fn numbers<const N: usize>(text: &str, name: &str) -> [i64; N] {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("prun: ")?.strip_prefix(name))
        .unwrap_or_else(|| panic!("no line {name:?} in:\n{text}"));
    let mut all = line.split(|c: char| !c.is_ascii_digit()).filter_map(|w| w.parse().ok());
    std::array::from_fn(|_| all.next().unwrap_or_else(|| panic!("{N} numbers: {line}")))
}

fn counted(engine: &str, options: &[&str], kind: &str, count: i64, path: &str) -> Cost {
    let (prun, guest, count) = (prun(), guest(), count.to_string());
    let argv = [&[prun.as_str(), "--stats"], options, &[&guest, "bench", kind, &count, "1", path]].concat();
    let output = command(Who::User, &argv).env("PRUN_ENGINE", engine).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{argv:?}: {}\n{said}", output.status);
    cost(numbers(&said, "stops: "), numbers(&said, "the tracer's system calls: "))
}

/// The cost of one call: of two runs of different length the difference, so that start and end cancel out. Rounded,
/// since now and then a timer of the tracer's adds a call that belongs to none of the guest's.
fn each(engine: &str, options: &[&str], kind: &str, path: &str) -> Cost {
    let (short, long) = if kind == "exec" { (20, 120) } else { (times(500).into(), times(2500).into()) };
    let a = counted(engine, options, kind, short, path);
    let b = counted(engine, options, kind, long, path);
    let per = |a: i64, b: i64| ((b - a) as f64 / (long - short) as f64).round() as i64;
    cost(
        std::array::from_fn(|i| per(a.stops[i], b.stops[i])),
        std::array::from_fn(|i| per(a.calls[i], b.calls[i])),
    )
}

/// A folder with what the loops want, and the binding that shows it elsewhere.
fn files() -> (tempfile::TempDir, String) {
    let dir = folder(Who::User);
    let tree = dir.path().join("tree");
    for path in ["at", "tree/4/5/6/7/8/9"] {
        std::fs::create_dir_all(dir.path().join(path)).expect("ours");
    }
    for path in ["f", "4/5/6/7/8/9/f"] {
        std::fs::write(tree.join(path), "text").expect("ours");
    }
    std::os::unix::fs::symlink("f", tree.join("link")).expect("ours");
    copy_program(guest(), tree.join("guest"));
    let binding = format!("{}:{}", tree.display(), dir.path().join("at").display());
    (dir, binding)
}

fn check(engine: &str, bound: &[(&str, &str, Cost)], identity: &[(&str, &str, Cost)]) {
    let (dir, binding) = files();
    let mut wrong = vec![];
    for (options, place, rows) in [(vec!["-b", &binding], "at", bound), (vec![], "tree", identity)] {
        for (kind, file, expected) in rows {
            // The guest program's C library starts programs by calls of its own choice; glibc's are counted.
            if *kind == "exec" && cfg!(not(target_env = "gnu")) {
                continue;
            }
            let path = Path::new(dir.path()).join(place).join(file);
            let found = each(engine, &options, kind, &path.display().to_string());
            if found != *expected {
                wrong.push(format!("{kind} {place}/{file}: {found:?}, the table says {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{engine}:\n{}", wrong.join("\n"));
}

const DEEP: &str = "4/5/6/7/8/9/f";

/// A call that is skipped, or becomes another one, has its number set by a request of its own where that is no register.
const APART: i64 = prun_arch::NUMBER_APART as i64;

/// A program that starts asks for the CPUs it may run on: a stop, where there are several.
fn asks_for_cpus() -> i64 {
    i64::from(std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1))
}

/// No stop, nothing made.
const FREE: Cost = cost([0, 0, 0], [0, 0, 0, 0]);

#[test]
fn with_one_stop() {
    // Registers read and set, go on; the path read; one question to the host. Where the path's register is not put back
    // by the call itself there is a second stop, with registers read and set.
    let at_end = i64::from(!prun_arch::ONE_STOP[1]);
    let [translated, linked, read] = [(1, 1), (5, 1), (0, 1)]
        .map(|(files, memory)| cost([1, at_end, 0], [1 + at_end, 3 + 3 * at_end, memory, files]));
    let asked = asks_for_cpus();
    // The answer is written by the tracer, and the call skipped.
    let answered = cost([1, 0, 0], [1, 3 + APART, 1, 1]);
    // The kernel gets the path as it is: no registers to set.
    let passed_on = cost([1, 0, 0], [1, 2, 1, 1]);
    // A name without a slash in a folder without bindings: nothing to ask.
    let in_folder = cost([1, 0, 0], [1, 2, 1, 0]);
    check(
        "one-stop",
        &[
            ("stat", "f", translated),
            ("stat", DEEP, translated),
            // The answer "there is a link" comes first, then a walk from the binding.
            ("stat", "link", linked),
            ("open", "f", translated),
            ("open", DEEP, translated),
            ("readlink", "link", read),
            ("name", "f", in_folder),
            ("empty", "f", in_folder),
            // The folder opened and read twice; the one with the place of the binding in it shows more than the host's.
            ("list", ".", cost([3, at_end, 0], [3 + at_end, 7 + 3 * at_end, 1, 2])),
            ("list", "..", cost([5, 4 + at_end, 0], [9 + at_end, 27 + 3 * at_end + 3 * APART, 4, 23])),
            ("getcwd", "f", answered),
            ("getppid", "f", FREE),
            // Of these one wipes out what the loader knew.
            ("exec", "guest", cost([6 + asked, 0, 4], [11 + asked, 26 + 2 * asked, 18, 13])),
        ],
        &[
            ("stat", "f", passed_on),
            ("stat", DEEP, passed_on),
            ("stat", "link", cost([1, at_end, 0], [1 + at_end, 3 + 3 * at_end, 1, 6])),
            ("open", "f", passed_on),
            ("open", DEEP, passed_on),
            ("readlink", "link", passed_on),
            ("name", "f", in_folder),
            ("empty", "f", in_folder),
            ("list", ".", cost([1, 0, 0], [1, 2, 1, 2])),
            ("getcwd", "f", answered),
            ("getppid", "f", FREE),
            // A child of vfork(2) shares its memory: its path is copied.
            ("exec", "guest", cost([6 + asked, 0, 4], [11 + asked, 26 + 2 * asked, 18, 13])),
        ],
    );
}

#[test]
fn with_two_stops() {
    let asked = asks_for_cpus();
    let translated = cost([1, 1, 0], [2, 6, 1, 1]);
    let passed_on = cost([1, 0, 0], [1, 2, 1, 1]);
    check(
        "two-stop",
        &[
            ("stat", "f", translated),
            ("stat", "link", cost([1, 1, 0], [2, 6, 1, 5])),
            ("open", "f", translated),
            ("readlink", "link", cost([1, 1, 0], [2, 6, 1, 0])),
            ("name", "f", cost([1, 0, 0], [1, 2, 1, 0])),
            ("list", ".", cost([3, 1, 0], [4, 10, 1, 2])),
            ("list", "..", cost([5, 5, 0], [10, 30 + 3 * APART, 4, 23])),
            // Answered at the first stop.
            ("getcwd", "f", cost([1, 0, 0], [1, 3 + APART, 1, 1])),
            ("getppid", "f", FREE),
            ("exec", "guest", cost([6 + asked, 1, 4], [12 + asked, 29 + 2 * asked, 18, 13])),
        ],
        &[("stat", "f", passed_on), ("open", "f", passed_on), ("getppid", "f", FREE)],
    );
}
