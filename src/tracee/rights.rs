//! Looking at the host's files with the guest's rights.
//!
//! A tracer that root started could pass directories that its guest cannot, once the guest has become another user.
//! Where the kernel itself walks the path that prun gives it, it checks the guest's rights; where prun follows links
//! by itself, it must have no other rights than the guest. setfsuid(2), setfsgid(2) and setgroups(2) are, as system
//! calls, a thread's own affair, and leaving fsuid 0 takes the capabilities that override permissions along
//! (capabilities(7)).
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::OnceLock;

/// While it lives, this thread looks at files as the guest does.
#[derive(Debug)]
pub struct AsGuest {
    borrowed: bool,
    uid: u32,
    /// Rights are the thread's: this must not go to another.
    thread: PhantomData<*const ()>,
}

/// File system ids and groups.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    /// Supplementary groups.
    groups: Vec<u32>,
    /// `CAP_DAC_OVERRIDE` is effective: permissions do not matter.
    overrides: bool,
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| nix::unistd::geteuid().is_root())
}

fn own_groups() -> &'static [u32] {
    static OWN: OnceLock<Vec<u32>> = OnceLock::new();
    OWN.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        parse(&status).map_or_else(Vec::new, |ids| ids.groups)
    })
}

impl AsGuest {
    /// Takes on the rights of task `tid`, where they are not the tracer's anyway.
    pub fn of(tid: i32) -> Self {
        let own = |uid: u32| Self { borrowed: false, uid, thread: PhantomData };
        if !is_root() {
            return own(nix::unistd::geteuid().as_raw());
        }
        let Ok(status) = crate::sys::read_text(&format!("/proc/{tid}/status")) else { return own(0) };
        match parse(&status) {
            Some(ids) if ids.uid != 0 && !ids.overrides => {
                // The thread's own must be known before they are given up.
                own_groups();
                take(&ids.groups, ids.gid, ids.uid);
                Self { borrowed: true, uid: ids.uid, thread: PhantomData }
            }
            ids => own(ids.map_or(0, |ids| ids.uid)),
        }
    }
}

impl AsGuest {
    /// Whether the guest's rights are others than the tracer's.
    pub fn borrowed(&self) -> bool {
        self.borrowed
    }

    /// The guest's file system user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for AsGuest {
    fn drop(&mut self) {
        if self.borrowed {
            // SAFETY: integers only. First the user, which gives the capabilities back.
            unsafe { libc::syscall(libc::SYS_setfsuid, 0) };
            take(own_groups(), nix::unistd::getegid().as_raw(), 0);
        }
    }
}

/// But for want of memory none of these can fail for root, which has `CAP_SETUID` and `CAP_SETGID`; where a container has taken them away,
/// no guest can have become another user either.
fn take(groups: &[u32], gid: u32, uid: u32) {
    // SAFETY: the list is as long as said; integers otherwise. Raw calls: the C library's change all threads.
    unsafe {
        if libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) < 0 {
            // For want of memory: what is looked at with the wrong rights is not seen.
            crate::sys::not_seen();
        }
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// Bit 1 of a capability set (`<linux/capability.h>`).
const CAP_DAC_OVERRIDE: u64 = 1 << 1;

/// The fourth number of `Uid:` and `Gid:`, and `Groups:`, and `CapEff:` (proc(5)).
fn parse(status: &str) -> Option<Ids> {
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().map(|n| n.parse().ok()).collect()
    };
    let uid = *numbers("Uid:")?.get(3)?;
    let gid = *numbers("Gid:")?.get(3)?;
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    Some(Ids { uid, gid, groups: numbers("Groups:")?, overrides: effective & CAP_DAC_OVERRIDE != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_ids_are_read() {
        let status =
            "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t0000000000000004\n";
        assert_eq!(parse(status), Some(Ids { uid: 4, gid: 8, groups: vec![9, 10], overrides: false }));
        assert_eq!(parse("Uid:\t1\n"), None);
    }
}
