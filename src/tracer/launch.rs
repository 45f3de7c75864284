//! Starting a session: three processes.
//!
//! * The **front** is the process the user started. It stays the command's parent, so that job control, its exit
//!   status and its place in the process tree are those of any child of a shell; it only waits and passes signals.
//! * The **tracer** is its child in a session of its own, out of the terminal's reach. It builds the view, attaches to
//!   the command, and goes on after the command's end for daemons the command left. It dies with the front while the
//!   command runs, and whatever it traces dies with it (`PTRACE_O_EXITKILL`).
//! * The **command** waits until it is attached to, installs the filter and executes: the first call the tracer
//!   translates.
#![allow(unsafe_code)]

use super::placement::Placement;
use super::ptrace::{self, Resume, Status};
use super::{Engine, Tracer, Tracing, command, resident};
use crate::config::{Config, HardLinks, identity};
use crate::cost::{self, Kind};
use crate::doctor::{Capabilities, advice};
use crate::emulate::Emulation;
use crate::emulate::identity::Identity;
use crate::error::{CANNOT_START, Failure};
use crate::host::HostTree;
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::report;
use crate::resolve::{Follow, Last, Request, Resolver, Restrict};
use crate::session::{Counter, Session, Stats};
use crate::syscall::filter::{self, Needs};
use crate::trace::Trace;
use crate::tracee::region::Region;
use crate::tracee::{Fs, Mm, Shared, State, Task};
use crate::view::{StandIns, View};
use std::fs::File;
use std::io::{Error, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use syscalls::Errno;

/// The command, for the front's signal handler.
static COMMAND: AtomicI32 = AtomicI32::new(0);
static TERMS: AtomicI32 = AtomicI32::new(0);
/// The terminal has interrupted the front and, in the same process group, the command.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The command has died of that.
static DIED_OF_IT: AtomicBool = AtomicBool::new(false);

/// Runs the session and returns prun's exit status.
///
/// # Errors
/// When it could not be started.
pub fn run(config: &Config) -> Result<u8, Failure> {
    // First of all: whoever makes some of these calls is killed where a filter around prun does not like them.
    let found = Capabilities::of_calls();
    let region = Region::new().map_err(advice::no_region)?;
    let pipe = || {
        std::io::pipe().map_err(|e| {
            Failure::new("make a pipe", "", e)
                .hint("RLIMIT_NOFILE ('ulimit -n') is too low: prun needs a dozen descriptors")
        })
    };
    let (mut news, tell) = pipe()?; // tracer → front
    let (hear, here_i_am) = pipe()?; // command → tracer
    let (go, give_go) = pipe()?; // tracer → command
    let fork_failed = |e: nix::errno::Errno| {
        Failure::new("fork", "", Error::from(e)).hint(
            "prun needs two processes besides the command: RLIMIT_NPROC ('ulimit -u'), or the pids limit of the \
             container, is too low",
        )
    };
    // SAFETY: this process has one thread.
    let tracer = match unsafe { nix::unistd::fork() }.map_err(fork_failed)? {
        nix::unistd::ForkResult::Child => {
            drop((news, here_i_am, go));
            let status = trace(
                config,
                found,
                region,
                OwnedFd::from(hear),
                File::from(OwnedFd::from(give_go)),
                OwnedFd::from(tell),
            );
            std::process::exit(i32::from(status));
        }
        nix::unistd::ForkResult::Parent { child } => child,
    };
    drop((hear, give_go, tell));
    // SAFETY: this process has one thread.
    let command = match unsafe { nix::unistd::fork() }.map_err(fork_failed)? {
        nix::unistd::ForkResult::Child => {
            drop(news);
            let status = config.dialect.own_status(command::start(
                config,
                tracer.as_raw(),
                File::from(OwnedFd::from(here_i_am)),
                File::from(OwnedFd::from(go)),
            ));
            // SAFETY: ends this process without running what the front registered.
            unsafe { libc::_exit(i32::from(status)) }
        }
        nix::unistd::ForkResult::Parent { child } => child,
    };
    drop((go, here_i_am, region));
    COMMAND.store(command.as_raw(), Ordering::Relaxed);
    handle_signals();
    let status = wait_for(command);
    COMMAND.store(0, Ordering::Relaxed);
    // The tracer says when it has seen the end too, so that nothing it prints comes after prun's own end.
    let mut word = [0; 1];
    match news.read(&mut word) {
        Ok(1) if word[0] == OVER => {
            if DIED_OF_IT.load(Ordering::Relaxed) {
                // A shell goes on with its loop where a program has made something of Ctrl-C, and stops where one has
                // died of it: so does prun, which is 130 to the shell in both cases.
                // SAFETY: integers only; the session is over.
                unsafe {
                    libc::signal(libc::SIGINT, libc::SIG_DFL);
                    libc::raise(libc::SIGINT);
                }
            }
            Ok(status)
        }
        Ok(1) => Ok(word[0]),
        _ => Err(Failure::new("go on", "", Error::other("the tracer was killed, and the command with it"))
            .hint(advice::about_a_killed_tracer())),
    }
}

/// What the tracer tells the front: the command's end, or the status to end with.
const OVER: u8 = 0;

/// Waits for the command; stops when it stops, so that the shell sees it.
fn wait_for(command: nix::unistd::Pid) -> u8 {
    let mut failed = 0;
    loop {
        let mut raw = 0;
        // SAFETY: `raw` is writable. nix does not know real-time signals.
        let got = unsafe { libc::waitpid(command.as_raw(), &raw mut raw, libc::WUNTRACED) };
        if got < 0 {
            let e = crate::sys::errno();
            if e == Errno::EINTR {
                continue;
            }
            failed += 1;
            if e == Errno::ECHILD || failed > ptrace::RETRIES {
                report::say(format_args!("cannot wait for the command: {}", crate::sys::io(e)));
                return CANNOT_START;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        }
        if libc::WIFEXITED(raw) {
            return libc::WEXITSTATUS(raw) as u8;
        }
        if libc::WIFSIGNALED(raw) {
            let signal = libc::WTERMSIG(raw);
            let interrupted = signal == libc::SIGINT && INTERRUPTED.load(Ordering::Relaxed);
            DIED_OF_IT.store(interrupted, Ordering::Relaxed);
            return 128 + signal as u8;
        }
        if libc::WIFSTOPPED(raw) {
            if continued(command) {
                continue;
            }
            // SAFETY: stops this process until somebody continues it: the tracer, when the command goes on.
            unsafe { libc::raise(libc::SIGSTOP) };
            if !continued(command) {
                // Whoever continued the front means the command, which may be in another process group by now.
                ptrace::wake(command.as_raw());
            }
        }
    }
}

/// Whether the command has been continued since its last stop.
fn continued(command: nix::unistd::Pid) -> bool {
    // SAFETY: all-zero bytes are a valid siginfo, which is writable. Without WEXITED the command's end stays to be
    // waited for.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WCONTINUED | libc::WNOHANG;
        libc::waitid(libc::P_PID, command.as_raw() as libc::id_t, &raw mut info, flags) == 0
            && info.si_code == libc::CLD_CONTINUED
    }
}

extern "C" fn pass_on(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo; kill(2) is async-signal-safe.
    unsafe {
        // What the terminal sends (SI_KERNEL) reaches the command's process group by itself.
        if (*info).si_code > 0 && signal != libc::SIGHUP {
            INTERRUPTED.fetch_or(signal == libc::SIGINT, Ordering::Relaxed);
            return;
        }
        let command = COMMAND.load(Ordering::Relaxed);
        if command == 0 {
            // The command has ended, and prun waits for what it left: it dies of the signal, and that with it.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        }
        let again = signal == libc::SIGTERM && TERMS.fetch_add(1, Ordering::Relaxed) > 0;
        libc::kill(command, if again { libc::SIGKILL } else { signal });
    }
}

fn handle_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the handler only calls kill(2) and touches atomics.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut old);
            if old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction =
                pass_on as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, &raw const new, std::ptr::null_mut());
        }
    }
}

// ---- The tracer ----

fn trace(config: &Config, found: Capabilities, region: Region, hear: OwnedFd, go: File, tell: OwnedFd) -> u8 {
    // SAFETY: integers only. The tracer ends with the front as long as the command runs, and is out of the terminal.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        // A trace that has reached RLIMIT_FSIZE must not kill the guest: the write fails instead.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let keep = [region.fd(), hear.as_raw_fd(), go.as_raw_fd(), tell.as_raw_fd(), 2];
    let mut tell = File::from(tell);
    let status = match prepare(config, found, region, hear, go, &keep) {
        Ok(mut tracer) => {
            tracer.run(nix::unistd::getppid().as_raw(), config.leftovers, |stats| {
                if config.stats {
                    print_stats(stats);
                }
                // Daemons go on without the front, and without holding its descriptors.
                // SAFETY: integers only.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
                close_output();
                drop(tell.write_all(&[OVER]));
            });
            return 0;
        }
        Err(failure) => {
            report::say(format_args!("{failure}"));
            config.dialect.own_status(failure.exit_status())
        }
    };
    drop(tell.write_all(&[status]));
    status
}

/// Points the standard descriptors at /dev/null: a reader of the command's output must see its end.
fn close_output() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for fd in 0..=2 {
            // SAFETY: both are integers; the old descriptor is not used any more.
            unsafe { libc::dup2(null.as_raw_fd(), fd) };
        }
    }
}

/// Closes what the front has open and the tracer has no business with.
fn close_others(keep: &[i32]) {
    // A closing that fails is a panic in the standard library; this one's descriptor is among those closed below.
    let listed: Vec<i32> = std::fs::read_dir("/proc/self/fd").map_or_else(
        |_| (0..1024).collect(),
        |all| {
            let mut all = std::mem::ManuallyDrop::new(all);
            all.by_ref().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
        },
    );
    for fd in listed {
        if !keep.contains(&fd) {
            // SAFETY: nothing in this process uses a descriptor that is not in `keep`.
            unsafe { libc::close(fd) };
        }
    }
}

fn prepare(
    config: &Config,
    found: Capabilities,
    region: Region,
    hear: OwnedFd,
    mut go: File,
    keep: &[i32],
) -> Result<Tracer, Failure> {
    close_others(keep);
    let trace = match &config.trace {
        Some(file) => Some(Arc::new(Trace::to(file.as_deref())?)),
        None => None,
    };
    let found = found.with_tracing(&region);
    let engine = found.engine(config.engine)?;
    crate::note!(1, "the engine is {}, found in {} µs", engine.name(), found.spent.as_micros());
    raise_descriptor_limit();
    let calls = Counter::default();
    let mut stand_ins = StandIns::new();
    let view = View::new(&config.root, &config.bindings, &mut HostTree::bare(&calls), &mut stand_ins)?;
    if let Some(e) = crate::sys::unseen::take() {
        return Err(Failure::new("look at what is to be shown", "", crate::sys::io(e))
            .hint("the machine or this control group has no memory left, or its disk fails: see dmesg"));
    }
    // The stand-ins' inodes live as long as the tracer.
    std::mem::forget(stand_ins);
    let (cwd, host_cwd) = starting_directory(config, &view);
    let placement = Arc::new(Placement::new());
    // That code knows of no identity, and a trace has a line for each call, so there each has to stop; and who is not
    // trusted finds no door in the filter.
    let patches = prun_arch::resident::ANY
        && config.patches
        && engine == Engine::OneStop
        && config.identity == identity::Identity::Real
        && config.hard_links == HardLinks::Hosts
        && trace.is_none()
        && !config.confine;
    let emulation = Emulation::new(config);
    let complex = patches.then(|| resident::complex(&view, &emulation.kernel_files)).filter(|complex| {
        // Without room for it calls stop.
        region.set_resident(&prun_arch::resident::pages(complex)).is_ok()
    });
    let needs = Needs {
        merged: view.merges(),
        read_only: view.table.any_read_only(),
        placed: placement.useful(),
        renamed: config.kernel.is_some(),
        strict: config.strict,
        missing: found.missing,
        identity: config.identity != identity::Identity::Real,
        symlinks: config.hard_links != HardLinks::Hosts,
        prun: [std::process::id(), std::os::unix::process::parent_id()],
        resident: complex.is_some(),
        secret: (!config.confine).then(crate::sys::random),
    };
    let tracing = Tracing { engine, needs, order: found.order, code: found.code(), slots: found.slots() };
    let program = if engine == Engine::Plain { vec![] } else { filter::program(&needs) };

    let mut pid = [0; 4];
    File::from(hear).read_exact(&mut pid).map_err(not_started)?;
    let command = i32::from_ne_bytes(pid);
    ptrace::seize(command).map_err(|e| {
        Failure::new("trace the command", "ptrace(PTRACE_SEIZE)", crate::sys::io(e)).hint(
            "prun may trace a child of the tracer here, and not the tracer's sibling: with kernel.yama.ptrace_scope 1 \
             prctl(PR_SET_PTRACER) must be allowed by what is around prun (prun --doctor)",
        )
    })?;
    if engine == Engine::Plain {
        stop_at_calls(command).map_err(|e| not_started(crate::sys::io(e)))?;
    }
    let mut message = (program.len() as u32).to_ne_bytes().to_vec();
    for i in &program {
        message.extend(i.code.to_ne_bytes());
        message.extend([i.jt, i.jf]);
        message.extend(i.k.to_ne_bytes());
    }
    message.extend(&host_cwd);
    message.push(0);
    message.extend(pwd(&cwd, &host_cwd));
    go.write_all(&message).map_err(not_started)?;
    drop(go);

    let mut session = Session::new(view, region, tracing, placement);
    session.patches = complex;
    session.emulation = Arc::new(emulation);
    session.confine = config.confine;
    session.region.seal();
    session.trace = trace;
    session.strict = config.strict.then(Arc::default);
    session.identity = Identity::new(config.identity).map(Arc::new);
    let cred = session.identity.as_ref().map(|identity| identity.first());
    session.stats.host_calls.add(calls.get());
    let mut tracer = Tracer::new(session, command);
    let slot = tracer.new_slot().unwrap_or(0);
    let fs = Shared::new(Fs::new(cwd));
    let state = if engine == Engine::Plain { State::Starting } else { State::Running };
    let task = Task::new(fs, Shared::new(Mm::default()));
    tracer.begin(Task { tid: command, tgid: command, slot, state, cred, ..task });
    Ok(tracer)
}

fn not_started(why: Error) -> Failure {
    Failure::new("start the command", "", why)
        .hint(
            "the process that was to become the command was killed meanwhile, by somebody or by a filter around prun: \
             start it again, or outside that filter",
        )
}

/// From now on the command, which waits for the tracer's word, stops at each of its calls.
fn stop_at_calls(command: i32) -> Result<(), Errno> {
    ptrace::interrupt(command)?;
    loop {
        match ptrace::wait_for(command) {
            None | Some(Status::Ended) => return Err(Errno::ESRCH),
            Some(Status::Signal(signal)) => ptrace::resume(command, Resume::Run, signal)?,
            Some(_) => return ptrace::resume(command, Resume::ToExit, 0),
        }
    }
}

/// The tracer holds a descriptor per current directory; its own limit may be as high as the host allows.
fn raise_descriptor_limit() {
    // SAFETY: the structure is writable and valid.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Where the command starts: guest path, and the host path to go to (empty: stay).
fn starting_directory(config: &Config, view: &View) -> (GuestPath, Vec<u8>) {
    use std::os::unix::ffi::OsStrExt;
    let own = std::env::current_dir().ok().and_then(|dir| shown_at(view, dir.as_os_str().as_bytes()));
    let wanted = match (&config.cwd, &own) {
        (None, Some(own)) => return (own.clone(), vec![]),
        (None, None) => b"/".to_vec(),
        (Some(path), _) => path.clone(),
    };
    let base = own.unwrap_or_else(|| GuestPath::new(b"/"));
    let mut resolver = Resolver::new();
    let calls = Counter::default();
    let mut go = |path: &[u8]| -> Result<(GuestPath, Vec<u8>), Errno> {
        if path.is_empty() || path.len() >= PATH_MAX {
            return Err(Errno::ENOENT);
        }
        let request = Request {
            base: base.as_bytes(),
            path,
            follow: Follow::Yes,
            restrict: Restrict::default(),
            root: b"/",
        };
        let found = resolver.resolve(&view.table, &mut HostTree::bare(&calls), &request)?;
        let st = if found.void {
            return Err(Errno::ENOENT);
        } else {
            crate::sys::stat(resolver.host(), Last::Followed)?
        };
        if st.mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(Errno::ENOTDIR);
        }
        crate::sys::executable(resolver.host())?;
        let host = resolver.host();
        Ok((GuestPath::new(resolver.guest()), host[..host.len() - 1].to_vec()))
    };
    match go(&wanted) {
        Ok(found) => found,
        Err(e) => {
            crate::warning!(
                "cannot start in '{}': {}; starting in '/'",
                String::from_utf8_lossy(&wanted),
                crate::sys::io(e)
            );
            go(b"/").unwrap_or_else(|_| (GuestPath::new(b"/"), b"/".to_vec()))
        }
    }
}

/// What `PWD` has to be in the guest; nothing where the variable is right as it is.
fn pwd(guest: &GuestPath, moved_to: &[u8]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let stays = moved_to.is_empty()
        && std::env::var_os("PWD").is_some()
        && std::env::current_dir().is_ok_and(|dir| dir.as_os_str().as_bytes() == guest.as_bytes());
    if stays { vec![] } else { guest.as_bytes().to_vec() }
}

/// The guest path of a host directory: its own path where the guest finds it there, else one that shows it.
fn shown_at(view: &View, dir: &[u8]) -> Option<GuestPath> {
    let (mut resolver, calls) = (Resolver::new(), Counter::default());
    let request =
        Request { base: b"/", path: dir, follow: Follow::Yes, restrict: Restrict::default(), root: b"/" };
    let same = dir.len() < PATH_MAX
        && resolver.resolve(&view.table, &mut HostTree::bare(&calls), &request).is_ok_and(|f| !f.void)
        && resolver.host().strip_suffix(b"\0") == Some(dir);
    if same {
        return Some(GuestPath::new(dir));
    }
    let mut out = Buf::<PATH_MAX>::new();
    view.guest(dir, &mut out).then(|| GuestPath::new(out.as_bytes()))
}

fn print_stats(all: &[Arc<Stats>]) {
    let sum = |of: fn(&Stats) -> &Counter| all.iter().map(|s| of(s).get()).sum::<u64>();
    let requests = cost::total(Kind::Ptrace);
    report::say(format_args!(
        "stops: {} at calls, {} at their ends, {} others; ptrace requests: {requests}; host calls: {}",
        sum(|s| &s.stops),
        sum(|s| &s.exits),
        sum(|s| &s.events),
        sum(|s| &s.host_calls)
    ));
    report::say(format_args!(
        "paths: {} translated, {} of them as they were; programs: {}, {} by their interpreter; tasks: {}",
        sum(|s| &s.paths),
        sum(|s| &s.untouched),
        sum(|s| &s.execs),
        sum(|s| &s.carried),
        sum(|s| &s.tasks)
    ));
    report::say(format_args!(
        "the tracer's system calls: {} waits, {requests} ptrace, {} for memory, {} for files, {} for CPU affinity",
        cost::total(Kind::Wait),
        cost::total(Kind::Memory),
        cost::total(Kind::Files),
        cost::total(Kind::Cpu)
    ));
    report::say(format_args!(
        "tracer threads: {}; tasks that changed hands: {}, times a task was put on its tracer's CPU: {}",
        all.len(),
        sum(|s| &s.adopted),
        sum(|s| &s.pinned)
    ));
    let mut calls: Vec<(usize, u64)> = (0..crate::syscall::table::LEN)
        .map(|number| (number, all.iter().map(|s| s.calls[number].get()).sum()))
        .filter(|&(_, count)| count > 0)
        .collect();
    calls.sort_by_key(|&(number, count)| (std::cmp::Reverse(count), number));
    for (number, count) in calls {
        let name = prun_arch::Sysno::new(number).map_or("?", |s| s.name());
        report::say(format_args!("{count:>10} {name}"));
    }
}
