//! Call sites that are answered in the tracee: see [`prun_arch::resident`] for the code and why it is exact.
//!
//! A site is changed when it has stopped [`OFTEN`] times for nothing in one program, and only while the program has
//! one thread: nobody else can be between the two instructions that are written over. It must lie in a private
//! mapping, so that what is written is this program's alone. `PRUN_PATCH=0` leaves every program's code as it is.
//!
//! Which names are simple follows from the view: no binding is called so, nor a file that names the kernel where that has
//! another name (`-k`), there is no made-up directory and nothing read-only (`Call::is_local` in [`crate::syscall`] says the same of a call that has stopped).

use crate::emulate::uname::KernelFiles;
use crate::session::Session;
use crate::tracee::{Site, Task, memory};
use crate::view::View;
use prun_arch::resident::{Complex, add};
use prun_arch::{Regs, resident};

/// Stops at one site before it is changed: changing it costs about as much as that many.
const OFTEN: u32 = 8;

/// What the tracer has to look at in this view.
pub fn complex(view: &View, kernel: &KernelFiles) -> Complex {
    let mut all = Complex::default();
    if view.table.any_placeholder() || view.table.any_read_only() {
        all.names = [u64::MAX; 4];
    }
    view.table.names().filter_map(|name| name.first()).for_each(|&byte| add(&mut all.names, byte));
    kernel.initials().for_each(|byte| add(&mut all.names, byte));
    view.merged_inodes().for_each(|inode| add(&mut all.listings, inode as u8));
    all
}

/// A call has stopped and goes on as it was: perhaps its site need not stop again.
pub(super) fn consider(session: &Session, task: &mut Task, regs: &Regs) {
    let Some(complex) =
        session.patches.as_ref().filter(|_| !task.home.private && regs.abi() == prun_arch::ABI)
    else {
        return;
    };
    let path = &session.text[..];
    let path = &path[..memchr::memchr(0, path).unwrap_or(0)];
    if !resident::serves(regs.number(), &regs.args(), path, complex) || resident::stub_of(regs).is_some() {
        return;
    }
    // The task and the directory know its memory; one more owner is another task.
    let alone = task.mm.owners() <= 2;
    let mut mm = task.mm.lock();
    let next = mm.sites.iter().filter(|s| s.number == regs.number() && s.stub.is_some()).count();
    let Some(site) = mm.sites.iter_mut().find(|s| s.ret == regs.ip()) else {
        if (0..resident::COUNT).contains(&mm.sites.len()) {
            mm.sites.push(Site { ret: regs.ip(), number: regs.number(), calls: 0, stub: None });
        }
        return;
    };
    site.calls = site.calls.saturating_add(1);
    if site.calls != OFTEN || site.stub.is_some() {
        return;
    }
    if !alone {
        // Later, when the other threads have ended.
        site.calls = 0;
    } else if let Some(stub) = resident::stub(regs.number(), next)
        && change(task.tid, regs, stub)
    {
        site.stub = Some(stub);
    }
}

/// Lets stub `index` serve the site that a call came from; false where something is not as it has to be.
fn change(tid: i32, regs: &Regs, index: usize) -> bool {
    let Some(site) = regs.ip().checked_sub(resident::SITE_LEN as u64) else { return false };
    let (at, code) = resident::code(index);
    let mut there = [0; resident::SITE_LEN];
    let mut stub = vec![0; code.len()];
    let ready = memory::read(tid, site, &mut there).is_ok()
        && Some(there) == resident::site(regs.number())
        && memory::read(tid, at, &mut stub).is_ok()
        && stub == code
        && is_private(tid, site);
    ready
        && memory::poke(tid, resident::return_at(index), &regs.ip().to_ne_bytes()).is_ok()
        && memory::poke(tid, site, &resident::jump(index)).is_ok()
}

/// Whether an address lies in a private mapping of code: `r-xp` in `/proc/PID/maps`.
fn is_private(tid: i32, at: u64) -> bool {
    let Ok(maps) = std::fs::read_to_string(format!("/proc/{tid}/maps")) else { return false };
    maps.lines().any(|line| {
        let Some((range, rest)) = line.split_once(' ') else { return false };
        let Some((from, to)) = range.split_once('-') else { return false };
        let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
        (number(from)..number(to)).contains(&at) && rest.starts_with("r-xp")
    })
}

/// Registers of a task that a signal finds in a stub become its own; true where the signal is the stub's affair.
pub(super) fn fix_up(task: &Task, regs: &mut Regs, signal: i32) -> bool {
    let Some(index) = resident::stub_of(regs) else { return false };
    let ret = task.mm.lock().sites.iter().find(|s| s.stub == Some(index)).map(|s| s.ret);
    let Some(ret) = ret else { return false };
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) && resident::sidestep(regs) {
        return true;
    }
    resident::fix_up(regs, ret);
    false
}
