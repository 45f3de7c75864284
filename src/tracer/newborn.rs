//! New tasks: the creator's event says what the child shares, the child's first stop may come before or after it.
//!
//! The creator can be killed before its event is looked at. Then nobody says what the child shares, and what it has
//! is read off /proc instead.

use super::plain::say_abi;
use super::ptrace;
use super::{Tracer, onward};
use crate::path::{Buf, GuestPath, PATH_MAX};
use crate::sys;
use crate::tracee::region::Home;
use crate::tracee::{Fs, Mm, Shared, Task, memory};
use prun_arch::Sysno;
use syscalls::Errno;

impl Tracer {
    /// fork, vfork or clone has succeeded in the task `tid`: what the child shares follows from the flags.
    pub(super) fn new_task(&mut self, tid: i32, event: i32) -> Result<(), Errno> {
        let Some(parent) = self.tasks.get(&tid) else { return Err(Errno::ESRCH) };
        let child = ptrace::message(tid)? as i32;
        if self.tasks.contains_key(&child) {
            // It was taken for an orphan.
            return ptrace::resume(tid, onward(&self.session, parent), 0);
        }
        let mut regs = ptrace::regs(tid)?;
        say_abi(tid, &mut regs);
        let flags = match (event, regs.call()) {
            (_, Some(Sysno::clone)) => regs.args()[0],
            (_, Some(Sysno::clone3)) => memory::word(tid, regs.args()[0]).unwrap_or(0),
            (libc::PTRACE_EVENT_VFORK, _) => libc::CLONE_VM as u64,
            _ => 0,
        };
        let has = |flag: i32| flags & flag as u32 as u64 != 0;
        let fs = if has(libc::CLONE_FS) {
            parent.fs.clone()
        } else {
            let copy: Fs = parent.fs.lock().clone();
            Shared::new(copy)
        };
        let mm = if has(libc::CLONE_VM) {
            parent.mm.clone()
        } else {
            let copy: Mm = parent.mm.lock().clone();
            Shared::new(copy)
        };
        let tgid = if has(libc::CLONE_THREAD) { parent.tgid } else { child };
        let onward = onward(&self.session, parent);
        let pin = parent.pin.as_ref().and_then(|pin| self.team.placement.inherit(child, pin));
        if pin.is_some() {
            self.team.watch();
        }
        let heat = parent.heat;
        let home = parent.home;
        let cred = parent.cred.clone();
        let unborn = self.unborn.remove(&child).is_some();
        if self.strangers && !unborn && !ptrace::is_ours(child) {
            // Killed, and its end heard of, before this: nothing more will be.
            self.strangers = false;
            if let Some(pin) = pin {
                self.team.placement.forget(&pin);
            }
            return ptrace::resume(tid, onward, 0);
        }
        self.born(Task { tid: child, tgid, home, cred, ..Task::new(fs, mm) })?;
        if let Some(new) = self.tasks.get_mut(&child) {
            (new.pin, new.heat) = (pin, heat);
        }
        if unborn && let Err(e) = self.go(child) {
            self.give_up(child, e);
        }
        ptrace::resume(tid, onward, 0)
    }

    fn born(&mut self, task: Task) -> Result<(), Errno> {
        let tid = task.tid;
        let Some(slot) = self.new_slot() else {
            crate::note!(
                0,
                "task {tid} is killed: a session has at most {} tasks, and without memfd_create(2) fewer where /dev/shm and \
                 $TMPDIR are full; free room there, or start what it is for in a session of its own",
                prun_arch::layout::SLOT_COUNT
            );
            ptrace::kill(tid);
            return Ok(());
        };
        self.begin(Task { slot, ..task });
        Ok(())
    }

    /// Takes the unborn tasks whose creator is no more as they are.
    pub(super) fn take_in_orphans(&mut self) {
        let waiting: Vec<i32> = self.unborn.keys().copied().collect();
        for tid in waiting {
            match self.take_in_orphan(tid) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => self.give_up(tid, e),
            }
        }
    }

    fn take_in_orphan(&mut self, tid: i32) -> Result<(), Errno> {
        let Some((tgid, parent)) = origin(tid) else { return Ok(()) };
        // A thread's creator is of its own process; a child's is its parent, or has its parent.
        let creator = if tgid == tid { parent } else { tgid };
        if self.team.directory.memory(creator).is_some() {
            return Ok(());
        }
        self.unborn.remove(&tid);
        let mut text = [0; PATH_MAX];
        let mut guest = Buf::<PATH_MAX>::new();
        let shown = match sys::readlink(format!("/proc/{tid}/cwd\0").as_bytes(), &mut text) {
            Ok(n) => self.session.view.guest(&text[..n], &mut guest),
            Err(_) => false,
        };
        let cwd = GuestPath::new(if shown { guest.as_bytes() } else { b"/" });
        let fs = Shared::new(Fs::new(cwd));
        let maps = std::fs::read_to_string(format!("/proc/{tid}/maps")).unwrap_or_default();
        // Where it has prun's memory: at one of few places.
        let windows = [&[prun_arch::WINDOW][..], &prun_arch::LOW_WINDOWS].concat();
        let home = windows.into_iter().find_map(|window| {
            let starts = [window, window + prun_arch::layout::SLOTS].map(|at| format!("{at:x}-"));
            let is_it = |l: &&str| starts.iter().any(|s| l.trim_start_matches('0').starts_with(s));
            let line = maps.lines().find(is_it)?;
            Some(Home { window, private: !line.contains("memfd:") })
        });
        // Its creator has ended, and so nobody says what it was; what the session began with is the safe answer
        // only as long as nobody has given anything up, so its host parent's is preferred.
        let cred = self.session.identity.as_ref().map(|i| i.of(creator).unwrap_or_else(|| i.first()));
        self.born(Task {
            tid,
            tgid,
            home: home.unwrap_or_default(),
            cred,
            ..Task::new(fs, Shared::new(Mm::default()))
        })?;
        self.go(tid)
    }

    fn go(&self, tid: i32) -> Result<(), Errno> {
        match ptrace::resume(tid, self.session.tracing.engine.onward(), 0) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Thread group and parent of a task, from `/proc/PID/status`.
fn origin(tid: i32) -> Option<(i32, i32)> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((field("Tgid:")?, field("PPid:")?))
}
