//! Why something is missing on this host, and what to do about it: what /proc says of the things that usually are to
//! blame. The experiments say *whether*; nothing here decides anything.

use super::{Answer, Capabilities, Probe};
use crate::error::Failure;
use crate::sys;
use crate::tracer::Engine;
use std::borrow::Cow;

/// What the host says of itself.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `kernel.yama.ptrace_scope`.
    pub ptrace_scope: Option<u32>,
    /// `Seccomp:` of /proc/self/status; 0: none, 1: strict, 2: filters.
    pub seccomp: Option<u32>,
    /// `NoNewPrivs:` of the same.
    pub no_new_privs: Option<u32>,
    /// The process that traces prun itself, and its name.
    pub tracer: Option<(i32, String)>,
    /// What looks like a container.
    pub container: Option<&'static str>,
    /// A security module's profile.
    pub profile: Option<String>,
    /// `user.max_user_namespaces`.
    pub user_namespaces: Option<u64>,
    /// `hidepid` of /proc, where it hides anything.
    pub hidepid: Option<String>,
    /// /proc is there.
    pub proc: Present,
    /// Folders of temporary files that may not hold programs.
    pub noexec: Vec<String>,
    /// Name and value of limits that are tight.
    pub limits: Vec<(&'static str, u64)>,
    /// `proc_mem.force_override`, where it restricts writing through /proc/PID/mem.
    pub force_override: Option<String>,
}

/// Why something is missing here, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The likely cause, as the host tells it, and what prun does meanwhile.
    pub cause: Cow<'static, str>,
    /// The cure.
    pub cure: Cow<'static, str>,
}

impl Advice {
    fn new(cause: impl Into<Cow<'static, str>>, cure: impl Into<Cow<'static, str>>) -> Self {
        Self { cause: cause.into(), cure: cure.into() }
    }
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause, self.cure)
    }
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Present {
    /// It is.
    #[default]
    Yes,
    /// It is not.
    No,
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Whether this is a guest of prun: the memory that a tracer shares with it can only be read here.
fn inside_prun() -> bool {
    let maps = read("/proc/self/maps").unwrap_or_default();
    maps.lines().any(|line| line.contains("/memfd:prun") && line.contains(" r--s "))
}

impl Host {
    /// Looks around.
    pub fn look() -> Self {
        let status = read("/proc/self/status");
        let field = |name: &str| {
            let line = status.as_deref()?.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim().parse::<u32>().ok()
        };
        let tracer = field("TracerPid:").filter(|&pid| pid > 0).map(|pid| {
            let name = read(&format!("/proc/{pid}/comm")).unwrap_or_else(|| "a program".into());
            (pid as i32, name)
        });
        // Prun's guests are not told who traces them.
        let tracer = tracer.or_else(|| inside_prun().then(|| (0, "prun".into())));
        let mounts = read("/proc/self/mountinfo").unwrap_or_default();
        let command_line = read("/proc/cmdline").unwrap_or_default();
        Self {
            ptrace_scope: read("/proc/sys/kernel/yama/ptrace_scope").and_then(|t| t.parse().ok()),
            seccomp: field("Seccomp:"),
            no_new_privs: field("NoNewPrivs:"),
            tracer,
            container: container(),
            profile: read("/proc/self/attr/current")
                .map(|t| t.trim_end_matches('\0').to_owned())
                .filter(|t| !t.is_empty() && !t.starts_with("unconfined") && t != "kernel"),
            user_namespaces: read("/proc/sys/user/max_user_namespaces").and_then(|t| t.parse().ok()),
            hidepid: options_of(&mounts, "/proc")
                .and_then(|o| o.split(',').find_map(|o| o.strip_prefix("hidepid=")).map(str::to_owned))
                .filter(|v| v != "0" && v != "off"),
            proc: if status.is_some() { Present::Yes } else { Present::No },
            noexec: noexec(&mounts),
            limits: limits(),
            force_override: command_line
                .split(' ')
                .find_map(|w| w.strip_prefix("proc_mem.force_override="))
                .filter(|v| *v != "always")
                .map(str::to_owned),
        }
    }

    /// Why ptrace(2) is refused, and the cure.
    fn about_ptrace(&self) -> Advice {
        if let Some((pid, name)) = &self.tracer {
            let by = if *pid == 0 { format!("an outer {name}") } else { format!("process {pid} ({name})") };
            return Advice::new(
                format!(
                    "prun itself is traced, by {by}, and a task has one tracer: prun does not run inside \
                     prun, strace or gdb"
                ),
                "add the bindings to the outer prun, or start this one outside",
            );
        }
        match (self.ptrace_scope, self.seccomp, self.container) {
            (Some(scope @ 2..), ..) => Advice::new(
                format!(
                    "kernel.yama.ptrace_scope is {scope}: nobody may trace{}",
                    if scope == 2 { " without CAP_SYS_PTRACE" } else { "" }
                ),
                format!(
                    "ask the administrator for 'sysctl kernel.yama.ptrace_scope=1'{}",
                    if scope > 2 { ", which takes a restart" } else { "" }
                ),
            ),
            (_, Some(1..), _) => Advice::new(
                format!("a seccomp filter is around prun{}", self.by_whom()),
                "it has to allow ptrace(2), as docker's own has since Linux 4.8 (else --security-opt seccomp=unconfined, or \
                 --cap-add SYS_PTRACE)",
            ),
            (_, _, Some(container)) => Advice::new(
                format!("the profile of this container ({container}) denies ptrace(2)"),
                "start it with --cap-add SYS_PTRACE",
            ),
            _ => match &self.profile {
                Some(profile) => Advice::new(
                    format!("the security profile '{profile}' denies ptrace(2)"),
                    "ask the administrator to allow it (SELinux: setsebool deny_ptrace 0)",
                ),
                None => {
                    Advice::new("a security module denies ptrace(2)", "ask the administrator to allow it")
                }
            },
        }
    }

    /// Who is likely to have set the filter around prun.
    fn by_whom(&self) -> String {
        self.container.map_or_else(String::new, |c| format!(", set by {c}"))
    }

    /// A call that prun can do without: a filter's doing where one is around prun, else the kernel's age.
    fn about_a_call(&self, since: &str, instead: &str, call: &str) -> Advice {
        match self.seccomp {
            Some(1..) => Advice::new(
                format!(
                    "the seccomp filter around prun{} refuses it, or the kernel is before {since}: {instead}",
                    self.by_whom()
                ),
                format!("allow {call} in that filter, or use {since} or later"),
            ),
            _ => Advice::new(
                format!("the kernel is before {since}: {instead}"),
                format!("use {since} or later"),
            ),
        }
    }

    /// The cause of a probe's failure on this host, and the cure.
    pub fn about(&self, probe: Probe, found: &Capabilities) -> Advice {
        const SLOWER: &str = "every call stops, which is slower and as right";
        const MOUNT: &str = "mount /proc, or bind it into the container";
        let no_proc = self.proc == Present::No;
        match probe {
            Probe::Seize | Probe::CallStops | Probe::Registers | Probe::Peek | Probe::PokeText => {
                self.about_ptrace()
            }
            Probe::Filter | Probe::Trace if matches!(self.seccomp, Some(1..)) => Advice::new(
                format!("the seccomp filter around prun{} refuses or kills that: {SLOWER}", self.by_whom()),
                "allow prctl(PR_SET_SECCOMP) in it",
            ),
            Probe::Filter | Probe::Trace => Advice::new(
                format!("the kernel has no CONFIG_SECCOMP_FILTER: {SLOWER}"),
                "use a kernel with it (Linux 3.5 or later, as distributions build it)",
            ),
            Probe::SignalMask => {
                self.about_a_call("Linux 3.11", "tasks stay with one tracer thread", "ptrace(2)")
            }
            Probe::CallInfo => {
                self.about_a_call("Linux 5.3", "the code is read instead where that matters", "ptrace(2)")
            }
            Probe::ReadMemory | Probe::WriteMemory => {
                const INSTEAD: &str = "/proc/PID/mem or PTRACE_PEEKDATA is used, which is slower";
                let (call, option) =
                    ("process_vm_readv(2) and process_vm_writev(2)", "CONFIG_CROSS_MEMORY_ATTACH");
                match self.seccomp {
                    Some(1..) => Advice::new(
                        format!("the seccomp filter around prun{} refuses it: {INSTEAD}", self.by_whom()),
                        format!("allow {call} in it"),
                    ),
                    _ => {
                        Advice::new(format!("the kernel has no {option}: {INSTEAD}"), "use a kernel with it")
                    }
                }
            }
            Probe::MemFile | Probe::MemFileText if no_proc => Advice::new("there is no /proc", MOUNT),
            Probe::MemFile | Probe::MemFileText => match &self.force_override {
                Some(value) => Advice::new(
                    format!(
                        "the kernel was started with proc_mem.force_override={value}: PTRACE_POKEDATA is used"
                    ),
                    "nothing has to be done; 'ptrace' or 'always' there would be faster",
                ),
                None => Advice::new(
                    "a security module forbids it: PTRACE_PEEKDATA and PTRACE_POKEDATA are used",
                    "nothing has to be done; it is faster where the administrator allows it",
                ),
            },
            Probe::Trampoline | Probe::Skip if !found.works(Probe::Trace) => {
                Advice::new("it needs stops at the calls a filter chooses", "see what is said of those")
            }
            Probe::Trampoline => Advice::new(
                "memory that is shared may not be executed here, or registers do not survive: two stops a call",
                "nothing has to be done; it is faster where /dev/shm is mounted exec and execmem is allowed",
            ),
            Probe::Skip => Advice::new(
                format!("calls cannot be answered by a tracer: {SLOWER}"),
                "nothing has to be done; it is faster on a kernel that does not emulate another's calls",
            ),
            Probe::Memfd => self.about_a_call(
                "Linux 3.17",
                "a file in /dev/shm or $TMPDIR is used that is deleted at once",
                "memfd_create(2)",
            ),
            Probe::SharedFile if no_proc => {
                Advice::new("there is no /proc: each task gets memory of its own, which is slower", MOUNT)
            }
            Probe::SharedFile => match &self.hidepid {
                Some(value) => Advice::new(
                    format!(
                        "/proc is mounted with hidepid={value}: each task gets memory of its own, which is slower"
                    ),
                    "ask the administrator for hidepid=0 or 2, which show own processes",
                ),
                None => Advice::new(
                    "/proc/PID/fd of one's own process cannot be opened, or there was no memory: each task gets memory of \
                     its own, which is slower",
                    "free memory, or ask the administrator what guards /proc",
                ),
            },
            Probe::SharedCode => Advice::new(
                "the file is on a noexec mount, or SELinux forbids it (execmem): two stops a call",
                "allow memfd_create(2), or set PRUN_TMP_DIR to a folder that is mounted exec",
            ),
            Probe::Openat2 => {
                self.about_a_call("Linux 5.6", "links are looked for one component at a time", "openat2(2)")
            }
            Probe::Random => self.about_a_call("Linux 3.17", "AT_RANDOM is used", "getrandom(2)"),
        }
    }
}

fn container() -> Option<&'static str> {
    let there = |path: &str| std::path::Path::new(path).exists();
    if there("/.dockerenv") {
        return Some("docker");
    }
    if there("/run/.containerenv") {
        return Some("podman");
    }
    if there("/.singularity.d") {
        return Some("apptainer");
    }
    let group = read("/proc/1/cgroup").unwrap_or_default();
    for (word, name) in [("kubepods", "kubernetes"), ("docker", "docker"), ("lxc", "lxc")] {
        if group.contains(word) {
            return Some(name);
        }
    }
    read("/proc/1/comm").filter(|name| name == "bwrap").map(|_| "bubblewrap")
}

/// Mount and file system options of the mount that is at a path (proc(5), `mountinfo`).
fn options_of(mounts: &str, at: &str) -> Option<String> {
    let line = mounts.lines().rev().find(|l| l.split(' ').nth(4) == Some(at))?;
    let own = line.split(' ').nth(5)?;
    Some(format!("{own},{}", line.rsplit(' ').next()?))
}

fn noexec(mounts: &str) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut all: Vec<String> = vec!["/tmp".into(), "/dev/shm".into(), home];
    all.retain(|dir| options_of(mounts, dir).is_some_and(|o| o.split(',').any(|o| o == "noexec")));
    all
}

/// Limits that have stopped prun or its guests somewhere, where they are tight.
fn limits() -> Vec<(&'static str, u64)> {
    use nix::sys::resource::{Resource, getrlimit};
    let tight = [
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 256),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC, 64),
        ("RLIMIT_AS", Resource::RLIMIT_AS, 1 << 30),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK, 256 << 10),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE, 1 << 30),
    ];
    tight
        .into_iter()
        .filter_map(|(name, resource, enough)| Some((name, getrlimit(resource).ok()?.1, enough)))
        .filter(|&(_, value, enough)| value < enough)
        .map(|(name, value, _)| (name, value))
        .collect()
}

/// The memory that is shared with tracees could not be had.
pub fn no_region(why: std::io::Error) -> Failure {
    let host = Host::look();
    if host.tracer.is_some() {
        // An outer prun has its own memory at that address.
        return Failure::new("trace a child", "ptrace", std::io::Error::from_raw_os_error(libc::EPERM))
            .hint(host.about_ptrace().to_string());
    }
    Failure::new("map memory to share with the guest", "", why).hint(
        "prun needs 200 MiB of addresses, not of memory: RLIMIT_AS ('ulimit -v') must leave them, and a file of memory \
         (memfd_create), or one in /dev/shm or $TMPDIR",
    )
}

/// What may have killed the tracer, and what to do.
pub fn about_a_killed_tracer() -> String {
    match Host::look().seccomp {
        Some(1..) => "a seccomp filter is around prun, and kills who makes a call that it does not allow: have it refuse \
                      with an error instead, or start prun outside; prun --doctor tells what it may do"
            .into(),
        _ => "by a signal, or by the kernel for want of memory (dmesg tells); start the command again".into(),
    }
}

/// No engine can run, or not the one that was asked for.
pub fn failure(found: &Capabilities, wanted: Option<Engine>) -> Failure {
    let host = Host::look();
    let why = |probe: Probe| match found.answer(probe) {
        Answer::Refused(e) => sys::io(e),
        answer => std::io::Error::other(answer.to_string()),
    };
    let hint = |probe| format!("{}\n      prun --doctor tries everything", host.about(probe, found));
    let missing = |probes: &[Probe]| probes.iter().copied().find(|&p| !found.works(p));
    if let Some(probe) = missing(&[Probe::Seize, Probe::Registers]) {
        return Failure::new("trace a child", "ptrace", why(probe)).hint(hint(probe));
    }
    let needed = match wanted {
        Some(Engine::Plain) | None => &[Probe::CallStops][..],
        Some(_) => &[Probe::Filter, Probe::Trace, Probe::Skip, Probe::Trampoline, Probe::SharedCode],
    };
    if let (Some(engine), Some(probe)) = (wanted, missing(needed)) {
        return Failure::new("use the engine", engine.name(), why(probe))
            .hint(format!("{}; without PRUN_ENGINE prun takes the best that runs here", hint(probe)));
    }
    let memory = [Probe::ReadMemory, Probe::MemFileText, Probe::PokeText];
    let probe = missing(needed).or_else(|| missing(&memory)).unwrap_or(Probe::PokeText);
    Failure::new("trace a child", probe.title().1, why(probe)).hint(hint(probe))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts that differ in what advice looks at.
    fn hosts() -> Vec<Host> {
        let mut all = vec![Host::default()];
        let mut add = |change: &dyn Fn(&mut Host)| {
            for container in [None, Some("docker")] {
                let mut host = Host { container, ..Host::default() };
                change(&mut host);
                all.push(host);
            }
        };
        add(&|_| {});
        for scope in 0..=3 {
            add(&|host| host.ptrace_scope = Some(scope));
        }
        add(&|host| host.seccomp = Some(2));
        add(&|host| host.tracer = Some((7, "gdb".into())));
        add(&|host| host.profile = Some("confined_t".into()));
        add(&|host| host.hidepid = Some("4".into()));
        add(&|host| host.proc = Present::No);
        add(&|host| host.force_override = Some("never".into()));
        all
    }

    /// Whatever is missing, on whatever host: a cause and a cure, each a sentence's worth. And every advice in the source
    /// is somebody's.
    #[test]
    fn all_advice_can_be_given_and_has_cause_and_cure() {
        let mut given = String::new();
        for host in hosts() {
            for probe in Probe::ALL {
                for traces in [Answer::Works, Answer::Wrong] {
                    let mut found = Capabilities::default();
                    found.set(Probe::Trace, traces);
                    let advice = host.about(probe, &found);
                    assert!(advice.cause.len() > 10 && advice.cure.len() > 10, "{probe:?}: {advice}");
                    given += &format!("{advice}\n");
                }
            }
        }
        // The texts of the functions that give advice, in pieces between what is filled in.
        let source = include_str!("advice.rs");
        let start = source.find("    /// Why ptrace(2) is refused").expect("there");
        let end = source.find("fn container()").expect("there");
        let mut pieces = 0;
        for (i, text) in source[start..end].split('"').enumerate().filter(|(i, _)| i % 2 == 1) {
            let text: String = text.split("\\\n").map(str::trim_start).collect();
            for piece in text.split(['{', '}']).step_by(2).map(str::trim).filter(|p| p.len() > 12) {
                pieces += 1;
                assert!(given.contains(piece), "nobody is told {piece:?} ({i})");
            }
        }
        assert!(pieces > 40, "{pieces}");
    }
}
