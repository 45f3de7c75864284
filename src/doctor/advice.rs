//! Why something is missing on this host, and what to do about it: what /proc says of the things that usually are to
//! blame. The experiments say *whether*; nothing here decides anything.

use super::{Answer, Capabilities, Probe};
use crate::error::Failure;
use crate::sys;
use crate::tracer::Engine;

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
    fn about_ptrace(&self) -> String {
        if let Some((pid, name)) = &self.tracer {
            return format!(
                "prun itself is traced, by process {pid} ({name}), and a task has one tracer: prun does not run inside \
                 prun, strace or gdb. Add the bindings to the outer prun, or start this one outside"
            );
        }
        match (self.ptrace_scope, self.seccomp, self.container) {
            (Some(scope @ 2..), ..) => format!(
                "kernel.yama.ptrace_scope is {scope}: nobody may trace{}. Ask the administrator for \
                 'sysctl kernel.yama.ptrace_scope=1'{}",
                if scope == 2 { " without CAP_SYS_PTRACE" } else { "" },
                if scope > 2 { ", which takes a restart" } else { "" }
            ),
            (_, Some(1..), container) => format!(
                "a seccomp filter is around prun{}: it has to allow ptrace(2), as docker's own has since Linux 4.8 \
                 (else --security-opt seccomp=unconfined, or --cap-add SYS_PTRACE)",
                container.map_or_else(String::new, |c| format!(", set by {c}"))
            ),
            (_, _, Some(container)) => format!(
                "the profile of this container ({container}) denies ptrace(2): start it with --cap-add SYS_PTRACE"
            ),
            _ => match &self.profile {
                Some(profile) => format!(
                    "the security profile '{profile}' denies ptrace(2): ask the administrator to allow it \
                     (SELinux: setsebool deny_ptrace 0)"
                ),
                None => "a security module denies ptrace(2); ask the administrator to allow it".into(),
            },
        }
    }

    fn about_filters(&self) -> String {
        match (self.seccomp, self.container) {
            (Some(1..), container) => format!(
                "the seccomp filter around prun{} refuses or kills that; allow prctl(PR_SET_SECCOMP) in it. Until then \
                 every call stops, which is slower and as right",
                container.map_or_else(String::new, |c| format!(", set by {c},"))
            ),
            _ => "the kernel has no CONFIG_SECCOMP_FILTER (Linux 3.5): every call stops, which is slower and as right".into(),
        }
    }

    /// The cause of a probe's failure on this host, and the cure.
    pub fn about(&self, probe: Probe, found: &Capabilities) -> String {
        let no_proc = self.proc == Present::No;
        match probe {
            Probe::Seize | Probe::CallStops | Probe::Registers => self.about_ptrace(),
            Probe::Filter | Probe::Trace => self.about_filters(),
            Probe::SignalMask => "Linux before 3.11: tasks stay with one tracer thread".into(),
            Probe::CallInfo => "Linux before 5.3: the code is read instead where that matters".into(),
            Probe::ReadMemory | Probe::WriteMemory => {
                "the kernel has no CONFIG_CROSS_MEMORY_ATTACH, or a filter refuses it: /proc/PID/mem or PTRACE_PEEKDATA is \
                 used, which is slower"
                    .into()
            }
            Probe::MemFile | Probe::MemFileText if no_proc => {
                "there is no /proc: mount it, or bind it into the container".into()
            }
            Probe::MemFile | Probe::MemFileText => match &self.force_override {
                Some(value) => format!("the kernel was started with proc_mem.force_override={value}: PTRACE_POKEDATA is used"),
                None => "a security module forbids it: PTRACE_PEEKDATA and PTRACE_POKEDATA are used".into(),
            },
            Probe::Peek | Probe::PokeText => self.about_ptrace(),
            Probe::Trampoline if !found.works(Probe::Trace) => "needs filters".into(),
            Probe::Trampoline => {
                "memory that is shared may not be executed here, or registers do not survive: two stops a call".into()
            }
            Probe::Skip => "calls cannot be answered by a tracer: every call stops instead".into(),
            Probe::Memfd => "Linux before 3.17, or a filter: a file in /dev/shm or $TMPDIR that is deleted at once".into(),
            Probe::SharedFile if no_proc => {
                "there is no /proc: each task gets memory of its own, which is slower; mount /proc".into()
            }
            Probe::SharedFile => match &self.hidepid {
                Some(value) => format!("/proc is mounted with hidepid={value}: each task gets memory of its own"),
                None => "each task gets memory of its own, which is slower".into(),
            },
            Probe::SharedCode => "the file is on a noexec mount, or SELinux forbids it (execmem): two stops a call".into(),
            Probe::Openat2 => "Linux before 5.6, or a filter: links are looked for one component at a time".into(),
            Probe::Random => "Linux before 3.17, or a filter: AT_RANDOM is used".into(),
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
            .hint(host.about_ptrace());
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
