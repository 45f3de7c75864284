//! Call sites that are answered in the tracee: see [`prun_arch::resident`] for the code and why it is exact.
//!
//! A site is changed when it has stopped [`OFTEN`] times for nothing in one program, and only while the program has
//! one thread: nobody else can be between the two instructions that are written over. It must lie in a private
//! mapping, so that what is written is this program's alone. `PRUN_PATCH=0` leaves every program's code as it is.

use crate::session::Session;
use crate::syscall::table::Row;
use crate::tracee::{Site, Task, memory};
use prun_arch::{Regs, resident};
use syscalls::Sysno;

/// Stops at one site before it is changed: changing it costs about as much as that many.
const OFTEN: u32 = 8;

/// A call has stopped and goes on as it was: perhaps its site need not stop again.
pub(super) fn consider(session: &Session, task: &mut Task, row: &Row, regs: &Regs) {
    let empty = row.call == Sysno::newfstatat
        && regs.args()[3] as u32 == libc::AT_EMPTY_PATH as u32
        && session.text[0] == 0;
    if !empty || !session.patches || task.private || resident::stub_of(regs).is_some() {
        return;
    }
    // The task and the directory know its memory; one more owner is another task.
    let alone = task.mm.owners() <= 2;
    let mut mm = task.mm.lock();
    let next = mm.sites.iter().filter(|s| s.stub.is_some()).count();
    let site = match mm.sites.iter_mut().position(|s| s.ret == regs.ip()) {
        Some(at) => &mut mm.sites[at],
        None if mm.sites.len() < resident::COUNT => {
            mm.sites.push(Site { ret: regs.ip(), calls: 0, stub: None });
            return;
        }
        None => return,
    };
    site.calls = site.calls.saturating_add(1);
    if site.calls == OFTEN && site.stub.is_none() {
        if alone && change(task.tid, regs.ip(), next) {
            site.stub = Some(next);
        } else if !alone {
            // Later, when the other threads have ended.
            site.calls = 0;
        }
    }
}

/// Lets stub `index` serve the site that returns to `ret`; false where something is not as it has to be.
fn change(tid: i32, ret: u64, index: usize) -> bool {
    let Some(site) = ret.checked_sub(resident::SITE.len() as u64) else { return false };
    let mut there = [0; resident::SITE.len()];
    let mut stub = [0; resident::CODE.len()];
    let ready = memory::read(tid, site, &mut there).is_ok()
        && there == resident::SITE
        && memory::read(tid, resident::AT, &mut stub).is_ok()
        && stub == resident::CODE
        && is_private(tid, site);
    ready
        && memory::poke(tid, resident::return_at(index), &ret.to_ne_bytes()).is_ok()
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
