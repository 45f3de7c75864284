//! close_range(2) by close(2) and fcntl(2), copy_file_range(2) by sendfile(2).

use super::super::{Action, Again, Call, Exit};
use crate::resolve::Last;
use crate::sys;
use crate::tracee::memory;
use crate::tracer::ptrace;
use prun_arch::Sysno;
use syscalls::Errno;

/// Flags of close_range(2) (`<linux/close_range.h>`).
const UNSHARE: u32 = 2;
const CLOEXEC: u32 = 4;
/// Bytes that the kernel copies in one call at most: `MAX_RW_COUNT`.
fn copy_most() -> u64 {
    i32::MAX as u64 & !(sys::page_size() - 1)
}

/// A close_range(2) that is made in pieces: one call for each descriptor.
///
/// The kernel's own is not interrupted, so no signal is let in between the pieces either.
#[derive(Debug)]
pub struct Closing {
    /// The calls that are left, the last first.
    left: Vec<(Sysno, [u64; 4])>,
    /// Signals that the guest has blocked itself.
    mask: u64,
}

/// An open file.
struct Opened {
    flags: i32,
    position: u64,
}

impl Call<'_> {
    /// The next piece of a close_range(2).
    pub(super) fn close_range(&mut self) -> Result<Action, Errno> {
        if self.task.closing.is_none() {
            let left = self.to_close()?;
            if left.is_empty() {
                return Ok(Action::Return(0));
            }
            // Before Linux 3.11 signals cannot be held.
            let mask = ptrace::signal_mask(self.task.tid).map_err(|_| Errno::ENOSYS)?;
            ptrace::set_signal_mask(self.task.tid, u64::MAX)?;
            self.task.closing = Some(Box::new(Closing { left, mask }));
        }
        let next = self.task.closing.as_mut().and_then(|closing| closing.left.pop());
        let Some((call, args)) = next else { return Err(Errno::ENOSYS) };
        self.instead(call, args);
        Ok(Action::RunThen(Exit::Closed))
    }

    /// What is done to each descriptor of the range, and before that to the table.
    fn to_close(&self) -> Result<Vec<(Sysno, [u64; 4])>, Errno> {
        let (first, last, flags) = (self.args[0] as u32, self.args[1] as u32, self.args[2] as u32);
        if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
            return Err(Errno::EINVAL);
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.task.tid)).map_err(|_| Errno::ENOSYS)?;
        let mut open: Vec<u32> = open
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|fd| (first..=last).contains(fd))
            .collect();
        open.sort_unstable_by_key(|&fd| std::cmp::Reverse(fd));
        let mut all: Vec<(Sysno, [u64; 4])> = open
            .into_iter()
            .map(|fd| match flags & CLOEXEC {
                0 => (Sysno::close, [u64::from(fd), 0, 0, 0]),
                _ => {
                    let on = libc::FD_CLOEXEC as u64;
                    (Sysno::fcntl, [u64::from(fd), libc::F_SETFD as u64, on, 0])
                }
            })
            .collect();
        if flags & UNSHARE != 0 {
            all.push((Sysno::unshare, [libc::CLONE_FILES as u64, 0, 0, 0]));
        }
        Ok(all)
    }

    /// A piece has been done. What close(2) says is nobody's business, as in the kernel; that the table cannot be
    /// copied is an answer.
    pub(in crate::syscall) fn closed(&mut self) -> Option<Again> {
        let result = self.regs.result();
        let failed = self.regs.call() == Some(Sysno::unshare) && result < 0;
        match &self.task.closing {
            Some(closing) if !failed && !closing.left.is_empty() => return Some(Again),
            _ => {}
        }
        if let Some(closing) = self.task.closing.take() {
            // It fails only if the task has been killed.
            let _ = ptrace::set_signal_mask(self.task.tid, closing.mask);
        }
        self.regs.set_result(if failed { result } else { 0 });
        None
    }

    /// copy_file_range(2) where sendfile(2) does the same: between two files of one file system, to the position of the
    /// second. The kernel's checks come first, in its order (`fs/read_write.c`).
    pub(super) fn copy_file_range(&mut self) -> Result<Action, Errno> {
        let [from, from_at, to, to_at, len, flags] = self.args;
        let (from, to) = (from as i32, to as i32);
        let (source_open, target_open) = (self.open_file(from)?, self.open_file(to)?);
        let position = |at, opened: &Opened| match at {
            0 => Ok(opened.position),
            at => memory::word(self.task.tid, at),
        };
        let starts = [position(from_at, &source_open)?, position(to_at, &target_open)?];
        if flags as u32 != 0 {
            return Err(Errno::EINVAL);
        }
        let (source, target) = (self.stat_of(from)?, self.stat_of(to)?);
        let kind = |mode| mode & libc::S_IFMT;
        if [source.mode, target.mode].into_iter().any(|mode| kind(mode) == libc::S_IFDIR) {
            return Err(Errno::EISDIR);
        }
        if [source.mode, target.mode].into_iter().any(|mode| kind(mode) != libc::S_IFREG) {
            return Err(Errno::EINVAL);
        }
        let access = |opened: &Opened| opened.flags & libc::O_ACCMODE;
        if access(&source_open) == libc::O_WRONLY
            || access(&target_open) == libc::O_RDONLY
            || target_open.flags & libc::O_APPEND != 0
        {
            return Err(Errno::EBADF);
        }
        if source.id.0 != target.id.0 {
            return Err(Errno::EXDEV);
        }
        if starts.into_iter().any(|start| start.checked_add(len).is_none()) {
            return Err(Errno::EOVERFLOW);
        }
        // sendfile(2) writes at the file's own position, and does not look whether both ranges overlap.
        if to_at != 0 || source.id == target.id {
            return Err(Errno::ENOSYS);
        }
        self.instead(Sysno::sendfile, [to as u64, from as u64, from_at, len.min(copy_most())]);
        Ok(Action::Run)
    }

    /// What fdinfo of proc(5) says of a descriptor.
    fn open_file(&self, fd: i32) -> Result<Opened, Errno> {
        let tid = self.task.tid;
        let text = match std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")) {
            Ok(text) => text,
            Err(_) if std::fs::metadata(format!("/proc/{tid}/fd")).is_err() => return Err(Errno::ENOSYS),
            Err(_) => return Err(Errno::EBADF),
        };
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let flags = field("flags:").and_then(|octal| i32::from_str_radix(octal, 8).ok());
        let position = field("pos:").and_then(|number| number.parse().ok());
        match (flags, position) {
            (Some(flags), _) if flags & libc::O_PATH != 0 => Err(Errno::EBADF),
            (Some(flags), Some(position)) => Ok(Opened { flags, position }),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn stat_of(&self, fd: i32) -> Result<sys::Stat, Errno> {
        sys::stat(format!("/proc/{}/fd/{fd}\0", self.task.tid).as_bytes(), Last::Followed)
            .map_err(|_| Errno::ENOSYS)
    }
}
