//! Signals to tasks of other users, and the other calls that ask who another task is (`kernel/signal.c`,
//! `kernel/sys.c`, `kernel/sched/syscalls.c`): for the kernel all tasks of a session are one user's.

use super::super::table::Row;
use super::super::{Action, Call};
use crate::emulate::identity::{Cap, Cred, Identity};
use crate::sys;
use nix::unistd::{Pid, getpgid, getsid};
use prun_arch::Sysno;
use syscalls::Errno;

/// `_NSIG`: signals are numbered from 1 on, and 0 only asks.
const LAST_SIGNAL: i32 = 64;
/// `IOPRIO_WHO_PROCESS` of ioprio_set(2).
const IOPRIO_WHO_PROCESS: u64 = 1;

impl Call<'_> {
    /// kill(2) and its kin. `None` where the kernel says the right thing.
    pub(super) fn signals(&mut self, identity: &Identity, row: &Row) -> Result<Option<Action>, Errno> {
        let [a, b, c, ..] = self.args.map(|arg| arg as i32);
        let (pid, signal) = match row.call {
            Sysno::tgkill | Sysno::rt_tgsigqueueinfo => (b, c),
            Sysno::pidfd_send_signal => match self.process_of(a) {
                Some(pid) => (pid, b),
                None => return Ok(None),
            },
            _ => (a, b),
        };
        let group = row.call == Sysno::kill;
        if !(0..=LAST_SIGNAL).contains(&signal) || pid == i32::MIN {
            return Ok(None);
        }
        let cred = self.cred(identity);
        match pid {
            -1 if group => self.signal_all(identity, &cred, signal).map(Some),
            1.. => match self.may_signal(identity, &cred, pid, signal) {
                true => Ok(None),
                false => Err(Errno::EPERM),
            },
            _ if group && !cred.can(Cap::Kill) => self.signal_group(identity, &cred, -pid, signal),
            _ => Ok(None),
        }
    }

    /// The process of a pidfd, from its fdinfo.
    fn process_of(&self, fd: i32) -> Option<i32> {
        let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.task.tid)).ok()?;
        let field = text.lines().find_map(|l| l.strip_prefix("Pid:"))?;
        field.trim().parse().ok().filter(|&pid| pid > 0)
    }

    /// `check_kill_permission()`.
    fn may_signal(&self, identity: &Identity, cred: &Cred, pid: i32, signal: i32) -> bool {
        if cred.can(Cap::Kill) || pid == self.task.tid || pid == self.task.tgid {
            return true;
        }
        let Some(target) = identity.of(pid) else {
            // None of the session's: what there is of prun's user belongs to whom the session began as.
            return cred.uid.real == identity.wanted.uid || sys::signal(pid, 0) == Err(Errno::ESRCH);
        };
        let (me, it) = (&cred.uid, &target.uid);
        let own = [me.effective, me.real].iter().any(|id| *id == it.saved || *id == it.real);
        let session = |pid| getsid(Some(Pid::from_raw(pid))).ok();
        own || self.tasks.process(pid) == Some(self.task.tgid)
            || (signal == libc::SIGCONT && session(pid) == session(self.task.tgid))
    }

    /// A process group: it is enough if one of its processes may be signalled. Where not all may, the tracer sends, so
    /// that the receiver is told of another sender.
    fn signal_group(
        &self,
        identity: &Identity,
        cred: &Cred,
        group: i32,
        signal: i32,
    ) -> Result<Option<Action>, Errno> {
        let group_of = |pid| getpgid(Some(Pid::from_raw(pid))).map_or(-1, Pid::as_raw);
        let group = if group == 0 { group_of(self.task.tgid) } else { group };
        let members: Vec<i32> =
            self.tasks.processes().into_iter().filter(|&p| group_of(p) == group).collect();
        let (may, not): (Vec<i32>, Vec<i32>) =
            members.into_iter().partition(|&pid| self.may_signal(identity, cred, pid, signal));
        if not.is_empty() {
            // The kernel's to do; a group of strangers is another user's.
            let strangers = may.is_empty() && sys::signal(-group, 0) != Err(Errno::ESRCH);
            return if strangers && cred.uid.real != identity.wanted.uid {
                Err(Errno::EPERM)
            } else {
                Ok(None)
            };
        }
        if self.send(&may, signal)? { Ok(Some(Action::Return(0))) } else { Err(Errno::EPERM) }
    }

    /// kill(-1, …): all that there is are the session's processes, as in a container; the caller is left out.
    fn signal_all(&self, identity: &Identity, cred: &Cred, signal: i32) -> Result<Action, Errno> {
        let others: Vec<i32> =
            self.tasks.processes().into_iter().filter(|&pid| pid != self.task.tgid).collect();
        if others.is_empty() {
            return Err(Errno::ESRCH);
        }
        let may: Vec<i32> =
            others.into_iter().filter(|&pid| self.may_signal(identity, cred, pid, signal)).collect();
        self.send(&may, signal)?;
        Ok(Action::Return(0))
    }

    /// Whether any got it.
    fn send(&self, to: &[i32], signal: i32) -> Result<bool, Errno> {
        let mut sent = false;
        for &pid in to {
            match sys::signal(pid, signal) {
                Ok(()) => sent = true,
                // It has ended meanwhile.
                Err(Errno::ESRCH) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Calls that change how another task is scheduled, or look into its memory.
    ///
    /// # Errors
    /// `EPERM` for another user's.
    pub(super) fn reaches_another(&mut self, identity: &Identity, row: &Row) -> Result<(), Errno> {
        use Sysno as S;
        let pid = match row.call {
            S::setpriority if i64::from(self.args[0] as i32) != i64::from(libc::PRIO_PROCESS) => {
                return Ok(());
            }
            S::ioprio_set if self.args[0] != IOPRIO_WHO_PROCESS => return Ok(()),
            S::setpriority | S::ioprio_set => self.args[1] as i32,
            _ => self.args[0] as i32,
        };
        let cred = self.cred(identity);
        let Some(target) = identity.of(pid).filter(|_| pid != self.task.tid) else { return Ok(()) };
        let it = &target.uid;
        let allowed = match row.call {
            S::process_vm_readv | S::process_vm_writev => {
                let same = |me: u32, it: &crate::emulate::identity::Ids| {
                    me == it.real && me == it.effective && me == it.saved
                };
                cred.can(Cap::SysPtrace)
                    || (same(cred.uid.fs, it) && same(cred.gid.fs, &target.gid))
                    || self.tasks.process(pid) == Some(self.task.tgid)
            }
            _ => {
                cred.can(Cap::SysNice) || cred.uid.effective == it.effective || cred.uid.effective == it.real
            }
        };
        if allowed { Ok(()) } else { Err(Errno::EPERM) }
    }
}
