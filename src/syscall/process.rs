//! Calls on other processes. Prun's own processes belong to the guest's user, so the kernel would let the guest stop,
//! read or starve them; to the guest they are another user's (`EPERM`) or, for new descriptors, not there.

use super::{Action, Call};
use crate::sys;
use prun_arch::Sysno;
use prun_arch::abi::number;
use syscalls::Errno;

/// What a call does to the process that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Sends a signal, argument 1 or, for tgkill(2) and rt_tgsigqueueinfo(2), 2.
    Signals,
    /// Opens it: pidfd_open(2).
    Opens,
    /// ptrace(2), process_vm_writev(2), prlimit64(2) and others: argument N is the process.
    Alters(u8),
    /// kcmp(2): two processes.
    Compares,
}

/// Signals that the front passes to the command, and those that do nothing to a process without a handler.
const HARMLESS: [i32; 9] = [
    0,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
];

impl Call<'_> {
    /// A call on another process.
    pub(super) fn reaches(&mut self, deed: Deed) -> Result<Action, Errno> {
        let pid = |arg: usize| self.args[arg] as i32;
        match deed {
            Deed::Signals => return self.sends_signal(),
            Deed::Opens if self.is_prun(pid(0)) => return Err(Errno::ESRCH),
            Deed::Alters(arg) if self.is_prun(pid(arg.into())) => return Err(Errno::EPERM),
            Deed::Compares if self.is_prun(pid(0)) || self.is_prun(pid(1)) => return Err(Errno::EPERM),
            Deed::Opens | Deed::Alters(_) | Deed::Compares => {}
        }
        Ok(Action::Run)
    }

    /// kill(2) and its kin. `kill -TERM $PPID` reaches the command by way of the front, as if a user had sent it.
    fn sends_signal(&mut self) -> Result<Action, Errno> {
        let nr = self.regs.number();
        let threads = [Sysno::tgkill, Sysno::rt_tgsigqueueinfo].into_iter().any(|call| number(call) == nr);
        let (pid, signal) = (self.args[0] as i32, self.args[if threads { 2 } else { 1 }] as i32);
        if pid == -1 && nr == number(Sysno::kill) {
            return self.signal_session(signal);
        }
        // The tracer leads a process group of its own. The front's is the command's: a job, as any other.
        let target = if pid < 0 { pid.wrapping_neg() } else { pid };
        let own = pid == self.session.front as i32;
        if (own && !HARMLESS.contains(&signal))
            || (!own && self.is_prun(target) && pid != -(self.session.front as i32))
        {
            return Err(Errno::EPERM);
        }
        Ok(Action::Run)
    }

    /// A signal to everybody means the session's processes: prun's own must not be among those that get it, and what it
    /// would end beside the session is none of the guest's business.
    fn signal_session(&mut self, signal: i32) -> Result<Action, Errno> {
        if !(0..=64).contains(&signal) {
            return Ok(Action::Run);
        }
        let mut sent = Err(Errno::ESRCH);
        for pid in self.tasks.processes() {
            if pid != self.task.tgid && sys::signal(pid, signal).is_ok() {
                sent = Ok(Action::Return(0));
            }
        }
        sent
    }

    /// Whether the guest means one of prun's own processes by a number.
    fn is_prun(&self, pid: i32) -> bool {
        self.session.is_prun(pid) && same_pid_space(self.task.tid)
    }

    /// setns(2): a mount name space of its own brings the host's root with it, in which relative paths lead anywhere.
    pub(super) fn setns(&mut self) -> Result<Action, Errno> {
        let (fd, kind) = (self.args[0] as i32, self.args[1] as i32);
        let path = format!("/proc/{}/fd/{fd}", self.task.tid);
        let mounts = match std::fs::read_link(path) {
            Ok(text) => {
                let text = text.to_string_lossy();
                // A pidfd takes the name spaces that are asked for; of anything else it is the descriptor's.
                text.starts_with("mnt:[") || (text.contains("pidfd") && kind & libc::CLONE_NEWNS != 0)
            }
            Err(_) => kind & libc::CLONE_NEWNS != 0,
        };
        if mounts { Err(Errno::EPERM) } else { Ok(Action::Run) }
    }
}

/// Whether a task counts processes as prun does: in a name space of its own the same numbers are others'.
fn same_pid_space(tid: i32) -> bool {
    let space = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/pid"));
    match (space(&tid.to_string()), space("self")) {
        (Ok(theirs), Ok(own)) => theirs == own,
        // Before Linux 3.8 there is only one; and without /proc one is as good as another.
        _ => true,
    }
}
