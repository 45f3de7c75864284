//! One system call of a guest: what its row of the [`table`] says, done.
//!
//! A handler looks at the arguments, changes them through [`Call`], and says with an [`Action`] what should happen;
//! how it happens (one stop, two stops) is the engine's business ([`crate::tracer`]).

pub mod dirents;
pub mod filter;
pub mod socket;
pub mod table;

mod cwd;
mod identity;
mod inet;
mod kept;
mod link;
mod nameless;
mod newer;
mod open;
mod paths;
pub mod process;
mod readonly;
mod socketcall;
mod symlinked;
mod text;

use crate::exec;
use crate::session::Session;
use crate::tracee::region::{Home, Slot};
use crate::tracee::{Directory, Task, memory};
use prun_arch::Regs;
use prun_arch::Sysno;
use prun_arch::abi::Form;
use prun_arch::abi::stat::high_id;
use syscalls::Errno;
use table::{Row, Touch, When, Work};

pub(crate) use paths::{Named, text_at};

pub use dirents::Listing;
pub use identity::Later;
pub use newer::Closing;
pub use socket::Received;

/// What should happen to the call.
#[derive(Debug)]
pub enum Action {
    /// Run it; arguments that were changed are put back afterwards.
    Run,
    /// Run it, then do more work with its result.
    RunThen(Exit),
    /// Do not run it; it returns this.
    Return(i64),
}

/// Work that needs a result.
#[derive(Debug)]
pub enum Exit {
    /// Nothing but putting the arguments back: the two-stop engine.
    Restore,
    /// The current directory is now this.
    Chdir(crate::path::GuestPath),
    /// The current directory is now that of a descriptor.
    Fchdir,
    /// The task's [`crate::tracee::Fs`] is its own now.
    Unshare,
    /// A merged listing.
    Listing(Listing),
    /// Addresses that the kernel wrote.
    Received(Received),
    /// Messages of a call that is made in pieces.
    Sent(socket::Piece),
    /// A descriptor of a call that is made in pieces.
    Closed,
    /// prun's memory for 32-bit calls was made in place of the call.
    Low,
    /// Names of the kernel.
    Uname,
    /// newfstatat(2) in place of statx(2).
    Statx,
    /// A permission to write that the kernel grants and a read-only mount does not.
    Asked,
    /// Names that stand for hard links.
    Names(Box<symlinked::After>),
    /// What a fake identity has to do with the result.
    Identity(Box<Later>),
}

/// A call that is being worked on.
pub struct Call<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// All tasks.
    pub tasks: &'a Directory,
    /// The caller.
    pub task: &'a mut Task,
    /// Its registers when it stopped.
    pub regs: &'a mut Regs,
    /// The arguments the kernel will see.
    pub args: [u64; 6],
    /// Memory for what replaces them.
    pub slot: Slot,
    /// The number the kernel will see, where it is another call.
    pub number: Option<Sysno>,
    /// The binding of every path has to be known: two of them are compared.
    pub compares: bool,
    /// The path is that of a file that prun has made up.
    made_up: bool,
    /// A path leads through a descriptor of the tracer.
    pinned: bool,
    /// That path is one of something that is not there yet: no link may be followed that appears.
    made_new: bool,
    /// The call that socketcall(2) makes.
    inner: Option<Sysno>,
    /// What a fake identity does with the result, if the call runs.
    then: Option<Later>,
}

impl<'a> Call<'a> {
    /// The call that `task` is stopped at.
    pub fn new(
        session: &'a mut Session,
        tasks: &'a Directory,
        task: &'a mut Task,
        regs: &'a mut Regs,
    ) -> Self {
        let slot = Slot::new(task.tid, task.slot, task.home_for(regs.abi()).unwrap_or(task.home));
        let args = regs.args();
        // Names that stand for hard links are found by their host paths.
        let compares = session.emulation.symlinks();
        Self {
            session,
            tasks,
            task,
            regs,
            args,
            slot,
            number: None,
            compares,
            made_up: false,
            pinned: false,
            made_new: false,
            inner: None,
            then: None,
        }
    }

    /// Which call it is.
    fn call(&self) -> Option<Sysno> {
        self.inner.or_else(|| self.regs.call())
    }

    /// Which form of it.
    fn form(&self) -> Form {
        self.regs.abi().form(self.regs.number())
    }

    /// Whether ids have 16 bits in the call.
    fn has_low_ids(&self) -> bool {
        self.regs.abi().word() == 4 && self.form() == Form::Plain
    }

    /// An argument that is an id.
    fn id(&self, arg: u64) -> u32 {
        if self.has_low_ids() { high_id(arg as u32) } else { arg as u32 }
    }

    /// Where the call finds prun's memory.
    pub fn home(&self) -> Home {
        self.task.home_for(self.regs.abi()).unwrap_or(self.task.home)
    }

    /// Does what the table says.
    ///
    /// # Errors
    /// What the call shall return instead of being run.
    pub fn enter(&mut self, row: &'static Row) -> Result<Action, Errno> {
        self.task.held.clear();
        if row.work == Work::Socketcall {
            return self.socketcall();
        }
        if self.copies() {
            self.keep_arguments(row)?;
        }
        if self.session.identity.is_some() {
            return self.enter_as_another(row);
        }
        self.enter_plainly(row)
    }

    fn enter_plainly(&mut self, row: &'static Row) -> Result<Action, Errno> {
        if self.session.tracing.needs.missing.has(row.call) {
            let action = self.by_an_older(row);
            if let (Err(Errno::ENOSYS), Some(strict)) = (&action, &self.session.strict) {
                strict.refused(self.regs.abi(), self.regs.number(), Errno::ENOSYS);
            }
            return action;
        }
        self.work(row)
    }

    fn work(&mut self, row: &'static Row) -> Result<Action, Errno> {
        match row.work {
            // Only where it is missing.
            Work::Newer => Ok(Action::Run),
            Work::Paths(touch) if self.session.emulation.symlinks() => self.paths_or_symlinks(row, touch),
            Work::Rename if self.session.emulation.symlinks() => self.rename_or_symlink(row),
            Work::HardLink if self.session.emulation.symlinks() => self.link_or_symlink(row),
            Work::Fstat => Ok(self.fstat_or_symlink()),
            Work::Paths(touch) => self.translate(row, touch),
            Work::Open(flags) => self.open(row, flags),
            Work::Creat => self.creat(row),
            Work::Open2 => self.open2(),
            Work::Rename => self.rename(row),
            Work::HardLink => self.hard_link(row),
            Work::Chdir => self.chdir(),
            Work::Fchdir => Ok(Action::RunThen(Exit::Fchdir)),
            Work::Getcwd => self.getcwd(),
            Work::Readlink(at) => self.readlink(row, at as usize),
            Work::Getdents(layout) => self.getdents(layout),
            Work::Exec(at) => exec::enter(self, at as usize),
            Work::Unshare => {
                self.new_user_space()?;
                Ok(Action::RunThen(Exit::Unshare))
            }
            Work::Clone => {
                self.new_user_space()?;
                self.args[0] &= !u64::from(libc::CLONE_UNTRACED as u32);
                Ok(Action::Run)
            }
            Work::Clone3 => self.clone3(),
            Work::AddrIn(at) => self.addr_in(at as usize),
            Work::AddrOut(at) => self.addr_out(at as usize),
            Work::SendMsg => self.sendmsg(),
            Work::SendMmsg => self.sendmmsg(),
            Work::RecvMsg => self.recvmsg(),
            Work::RecvMmsg => self.recvmmsg(),
            Work::Affinity => {
                let tid = self.args[0] as i32;
                if row.call == Sysno::sched_setaffinity {
                    self.reaches(process::Deed::Alters(0))?;
                }
                self.session.placement.hand_back(if tid == 0 { self.task.tid } else { tid });
                Ok(Action::Run)
            }
            Work::Reaches(deed) => self.reaches(deed),
            Work::Setns => self.setns(),
            Work::Dumpable => self.dumpable(),
            Work::FdChange => self.fd_change(),
            Work::Uname => Ok(Action::RunThen(Exit::Uname)),
            // Socketcall: another call, which has a row of its own.
            Work::Identity | Work::Socketcall => Ok(Action::Run),
            Work::Refuse(errno) => {
                // Bad arguments first, in the kernel's order: a path that cannot be looked up is its own error.
                if let (false, Some(e)) = (row.args.is_empty(), self.lookup_error(row)) {
                    return Err(e);
                }
                if row.when == When::Always
                    && let Some(strict) = &self.session.strict
                {
                    strict.refused(self.regs.abi(), self.regs.number(), errno);
                }
                if row.when == When::Always && self.session.names_refusals() {
                    crate::note!(1, "{} is refused: {}", row.call.name(), crate::sys::io(errno));
                }
                Err(errno)
            }
        }
    }

    /// Finishes a call at its exit stop; `regs` holds its result, `args` what the kernel was given.
    pub fn leave(&mut self, exit: Exit) -> Option<Again> {
        match exit {
            Exit::Restore => None,
            Exit::Low => {
                let made = crate::tracer::low::made(self.regs.result());
                self.task.mm.lock().low = made;
                // `ENOMEM` is as good an answer to the call itself.
                made.map(|_| Again)
            }
            Exit::Chdir(guest) => {
                if self.regs.result() == 0 {
                    self.set_cwd(guest);
                }
                None
            }
            Exit::Fchdir => {
                if self.regs.result() == 0 {
                    self.fchdir_done();
                }
                None
            }
            Exit::Unshare => {
                if self.regs.result() == 0 {
                    self.unshare_fs();
                }
                None
            }
            Exit::Listing(listing) => self.listed(listing),
            Exit::Received(received) => {
                self.received(&received);
                None
            }
            Exit::Sent(piece) => self.sent(&piece),
            Exit::Closed => self.closed(),
            Exit::Asked => {
                if self.regs.result() == 0 {
                    self.regs.set_result(-i64::from(Errno::EROFS.into_raw()));
                }
                None
            }
            Exit::Names(after) => {
                self.after_names(&after);
                None
            }
            Exit::Identity(later) => {
                self.later(*later);
                None
            }
            Exit::Statx => {
                if self.regs.result() == 0 {
                    self.stat_done();
                }
                None
            }
            Exit::Uname => {
                self.renamed();
                None
            }
        }
    }

    /// uname(2) has filled the structure: some names are others for the guest.
    fn renamed(&mut self) {
        let at = self.args[0];
        let Some(names) = self.session.emulation.kernel.as_ref().filter(|_| self.regs.result() == 0) else {
            return;
        };
        for (offset, field) in crate::emulate::uname::changes(names, self.form()) {
            // The kernel has just written there; it fails only if another thread has unmapped it since.
            if memory::write(self.task.tid, at.wrapping_add(offset), &field).is_err() {
                self.regs.set_result(-i64::from(Errno::EFAULT.into_raw()));
            }
        }
    }

    /// `PR_SET_DUMPABLE` and `PR_GET_DUMPABLE` of prctl(2). A task that is not dumpable can neither be read nor be
    /// attached to by an ordinary user (`ptrace_may_access()`), its tracer included, so its paths could not be
    /// translated: the kernel's value stays, and the guest's is remembered.
    fn dumpable(&mut self) -> Result<Action, Errno> {
        let mut mm = self.task.mm.lock();
        if self.args[0] as i32 == libc::PR_SET_DUMPABLE {
            match self.args[1] {
                value @ (0 | 1) => mm.dumpable = Some(value as i32),
                _ => return Err(Errno::EINVAL),
            }
            return Ok(Action::Return(0));
        }
        Ok(mm.dumpable.map_or(Action::Run, |value| Action::Return(i64::from(value))))
    }

    /// Whoever has a user name space of its own is shown no descriptor of the tracer; and a chroot refuses them too.
    fn new_user_space(&self) -> Result<(), Errno> {
        let refused = self.session.confine && self.args[0] & libc::CLONE_NEWUSER as u64 != 0;
        if refused { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// clone3(2): the flag that hides the child from its tracer is taken out of a copy of the structure.
    fn clone3(&mut self) -> Result<Action, Errno> {
        let mut bytes = [0; 512];
        let size = self.args[1] as usize;
        if size < 8
            || size > bytes.len()
            || memory::read(self.task.tid, self.args[0], &mut bytes[..size]).is_err()
        {
            return Ok(Action::Run);
        }
        let untraced = u64::from(libc::CLONE_UNTRACED as u32);
        let flags = u64::from_ne_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        if self.session.confine && flags & libc::CLONE_NEWUSER as u64 != 0 {
            return Err(Errno::EPERM);
        }
        if flags & untraced != 0 {
            bytes[..8].copy_from_slice(&(flags & !untraced).to_ne_bytes());
            self.args[0] = self.slot.push(&bytes[..size])?;
        }
        Ok(Action::Run)
    }
}

/// The call's instruction has to run once more with the guest's own arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again;
