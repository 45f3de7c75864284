//! Credentials of a task and the kernel's rules for changing them: credentials(7), capabilities(7), `kernel/sys.c`,
//! `security/commoncap.c`.

use super::Seen;
use syscalls::Errno;

/// Capabilities that prun itself asks about, by their number in `<linux/capability.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names")]
pub enum Cap {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    SetGid = 6,
    SetUid = 7,
    SetPcap = 8,
    SysChroot = 18,
    SysPtrace = 19,
    SysAdmin = 21,
    SysNice = 23,
    Mknod = 27,
    SetFcap = 31,
}

/// The highest capability of Linux 6.18, `CAP_CHECKPOINT_RESTORE`.
pub const LAST_CAP: u32 = 40;
/// All of them.
const ALL: u64 = (1 << (LAST_CAP + 1)) - 1;
/// `CAP_FS_SET` of `kernel/capability.c`: what setfsuid(2) turns on and off. CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH,
/// FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD, MAC_OVERRIDE.
const FS_SET: u64 = 0b1_1111 | 1 << 9 | 1 << 27 | 1 << 32;

/// The four ids of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// For files.
    pub fs: u32,
}

impl Ids {
    fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, fs: id }
    }

    fn any(&self, id: u32) -> bool {
        self.real == id || self.effective == id || self.saved == id
    }

    /// setuid(2) and setgid(2).
    fn set(&mut self, id: u32, privileged: bool) -> Result<(), Errno> {
        if id == u32::MAX {
            return Err(Errno::EINVAL);
        }
        if privileged {
            (self.real, self.saved) = (id, id);
        } else if id != self.real && id != self.saved {
            return Err(Errno::EPERM);
        }
        (self.effective, self.fs) = (id, id);
        Ok(())
    }

    /// setreuid(2) and setregid(2); `real_to_saved` tells them apart: a group's saved id is not asked about.
    fn set_two(&mut self, real: u32, effective: u32, privileged: bool) -> Result<(), Errno> {
        let old = *self;
        if real != u32::MAX {
            if !privileged && real != old.real && real != old.effective {
                return Err(Errno::EPERM);
            }
            self.real = real;
        }
        if effective != u32::MAX {
            if !privileged && !old.any(effective) {
                return Err(Errno::EPERM);
            }
            self.effective = effective;
        }
        if real != u32::MAX || (effective != u32::MAX && effective != old.real) {
            self.saved = self.effective;
        }
        self.fs = self.effective;
        Ok(())
    }

    /// setresuid(2) and setresgid(2): what changes nothing leaves the id for files alone, since Linux 6.3.
    fn set_three(&mut self, ids: [u32; 3], privileged: bool) -> Result<(), Errno> {
        let old = *self;
        let stays = |id: u32, now: u32| id == u32::MAX || id == now;
        let [real, effective, saved] = ids;
        if stays(real, old.real)
            && stays(saved, old.saved)
            && stays(effective, old.effective)
            && stays(effective, old.fs)
        {
            return Ok(());
        }
        if !privileged && ids.iter().any(|&id| id != u32::MAX && !old.any(id)) {
            return Err(Errno::EPERM);
        }
        for (id, to) in ids.into_iter().zip([&mut self.real, &mut self.effective, &mut self.saved]) {
            if id != u32::MAX {
                *to = id;
            }
        }
        self.fs = self.effective;
        Ok(())
    }

    /// setfsuid(2) and setfsgid(2): what it was.
    fn set_fs(&mut self, id: u32, privileged: bool) -> u32 {
        let old = self.fs;
        if id != u32::MAX && (privileged || self.any(id) || id == old) {
            self.fs = id;
        }
        old
    }
}

/// Securebits of prctl(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secure(pub u32);

impl Secure {
    const NOROOT: u32 = 1;
    const NO_SETUID_FIXUP: u32 = 4;
    /// `SECBIT_KEEP_CAPS`.
    pub const KEEP_CAPS: u32 = 16;
    /// `SECBIT_NO_CAP_AMBIENT_RAISE`.
    pub const NO_AMBIENT_RAISE: u32 = 64;
    /// Every lock bit, those of Linux 6.14 among them.
    pub const LOCKS: u32 = 0xaaa;
    /// `SECURE_ALL_UNPRIVILEGED` and their locks: interpreters hold themselves to them.
    pub const ANYBODYS: u32 = 0xf00;

    /// Whether a bit is set.
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// Capability sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of capabilities(7)")]
pub struct Privileges {
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// What a file's `security.capability` grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCaps {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

impl FileCaps {
    /// Reads `struct vfs_cap_data`, revisions 1 to 3 of `<linux/capability.h>`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |i: usize| Some(u32::from_le_bytes(bytes.get(4 * i..4 * i + 4)?.try_into().ok()?));
        let magic = word(0)?;
        let (permitted, inheritable) = match (magic >> 24, bytes.len()) {
            (1, 12) => (u64::from(word(1)?), u64::from(word(2)?)),
            (2, 20) | (3, 24) => (
                u64::from(word(1)?) | u64::from(word(3)?) << 32,
                u64::from(word(2)?) | u64::from(word(4)?) << 32,
            ),
            _ => return None,
        };
        Some(Self { permitted: permitted & ALL, inheritable: inheritable & ALL, effective: magic & 1 != 0 })
    }
}

/// Credentials of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cred {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups, in the order they were set.
    pub groups: Vec<u32>,
    /// Capabilities.
    pub caps: Privileges,
    /// Securebits.
    pub secure: Secure,
    /// The guest itself has set `no_new_privs`.
    pub no_new_privs: bool,
}

impl Cred {
    /// What a program starts with that `uid` has logged in to.
    pub fn new(uid: u32, gid: u32) -> Self {
        let own = if uid == 0 { ALL } else { 0 };
        Self {
            uid: Ids::all(uid),
            gid: Ids::all(gid),
            groups: vec![gid],
            caps: Privileges { effective: own, permitted: own, inheritable: 0, bounding: ALL, ambient: 0 },
            secure: Secure(0),
            no_new_privs: false,
        }
    }

    /// Whether a capability is effective.
    pub fn can(&self, cap: Cap) -> bool {
        self.caps.effective >> cap as u32 & 1 != 0
    }

    /// The set-user-ID and set-group-ID bits that a regular file loses when the task changes it
    /// (`setattr_should_drop_suidgid()`), were it not for `CAP_FSETID` in case of writing.
    pub fn takes_set_ids(&self, file: &Seen) -> u32 {
        let outside = !self.in_group(file.gid) && !self.can(Cap::Fsetid);
        let by_group = if outside || file.mode & libc::S_IXGRP != 0 { libc::S_ISGID } else { 0 };
        file.mode & (libc::S_ISUID | by_group)
    }

    /// Whether files of this group are the task's by group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid.fs == gid || self.groups.contains(&gid)
    }

    /// setuid(2).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`.
    pub fn setuid(&mut self, id: u32) -> Result<(), Errno> {
        self.change_uid(|ids, privileged| ids.set(id, privileged))
    }

    /// setreuid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn setreuid(&mut self, real: u32, effective: u32) -> Result<(), Errno> {
        self.change_uid(|ids, privileged| ids.set_two(real, effective, privileged))
    }

    /// setresuid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn setresuid(&mut self, ids: [u32; 3]) -> Result<(), Errno> {
        self.change_uid(|own, privileged| own.set_three(ids, privileged))
    }

    /// setfsuid(2): what it was.
    pub fn setfsuid(&mut self, id: u32) -> u32 {
        let privileged = self.can(Cap::SetUid);
        let old = self.uid.set_fs(id, privileged);
        if !self.secure.has(Secure::NO_SETUID_FIXUP) {
            if old == 0 && self.uid.fs != 0 {
                self.caps.effective &= !FS_SET;
            } else if old != 0 && self.uid.fs == 0 {
                self.caps.effective |= self.caps.permitted & FS_SET;
            }
        }
        old
    }

    /// setgid(2).
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`.
    pub fn setgid(&mut self, id: u32) -> Result<(), Errno> {
        let privileged = self.can(Cap::SetGid);
        self.gid.set(id, privileged)
    }

    /// setregid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn setregid(&mut self, real: u32, effective: u32) -> Result<(), Errno> {
        let privileged = self.can(Cap::SetGid);
        self.gid.set_two(real, effective, privileged)
    }

    /// setresgid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn setresgid(&mut self, ids: [u32; 3]) -> Result<(), Errno> {
        let privileged = self.can(Cap::SetGid);
        self.gid.set_three(ids, privileged)
    }

    /// setfsgid(2): what it was.
    pub fn setfsgid(&mut self, id: u32) -> u32 {
        let privileged = self.can(Cap::SetGid);
        self.gid.set_fs(id, privileged)
    }

    /// A change of user ids, and what follows for capabilities: `cap_task_fix_setuid()`.
    fn change_uid(&mut self, change: impl FnOnce(&mut Ids, bool) -> Result<(), Errno>) -> Result<(), Errno> {
        let old = self.uid;
        let privileged = self.can(Cap::SetUid);
        change(&mut self.uid, privileged)?;
        if self.secure.has(Secure::NO_SETUID_FIXUP) {
            return Ok(());
        }
        if old.any(0) && !self.uid.any(0) {
            if !self.secure.has(Secure::KEEP_CAPS) {
                (self.caps.permitted, self.caps.effective) = (0, 0);
            }
            self.caps.ambient = 0;
        }
        if old.effective == 0 && self.uid.effective != 0 {
            self.caps.effective = 0;
        } else if old.effective != 0 && self.uid.effective == 0 {
            self.caps.effective = self.caps.permitted;
        }
        Ok(())
    }

    /// capset(2): `cap_capset()`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn capset(&mut self, effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
        let (effective, permitted, inheritable) = (effective & ALL, permitted & ALL, inheritable & ALL);
        let old = self.caps;
        let within = |a: u64, b: u64| a & !b == 0;
        if (!self.can(Cap::SetPcap) && !within(inheritable, old.inheritable | old.permitted))
            || !within(inheritable, old.inheritable | old.bounding)
            || !within(permitted, old.permitted)
            || !within(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        let ambient = old.ambient & permitted & inheritable;
        self.caps = Privileges { effective, permitted, inheritable, ambient, ..old };
        Ok(())
    }

    /// What the task has after it has executed a file, and whether the program must distrust its environment
    /// (`AT_SECURE`): `bprm_fill_uid()` and `cap_bprm_creds_from_file()`, as they are since Linux 6.16.
    ///
    /// # Errors
    /// `EPERM` where the file has to get capabilities that the task may not have.
    pub fn executes(&self, file: &Seen, caps: Option<FileCaps>) -> Result<(Self, bool), Errno> {
        let mut new = self.clone();
        if !self.no_new_privs {
            if file.mode & libc::S_ISUID != 0 {
                new.uid.effective = file.uid;
            }
            let by_group = libc::S_ISGID | libc::S_IXGRP;
            if file.mode & by_group == by_group {
                new.gid.effective = file.gid;
            }
        }
        let old = self.caps;
        let mut effective = false;
        new.caps.permitted = 0;
        if let Some(file) = caps {
            new.caps.permitted = (old.bounding & file.permitted) | (old.inheritable & file.inheritable);
            effective = file.effective;
            if effective && file.permitted & !new.caps.permitted != 0 {
                return Err(Errno::EPERM);
            }
        }
        let root = |ids: &Ids| ids.effective == 0 || ids.real == 0;
        let only_file = caps.is_some() && new.uid.real != 0 && new.uid.effective == 0;
        if !self.secure.has(Secure::NOROOT) && root(&new.uid) && !only_file {
            new.caps.permitted = old.bounding | old.inheritable;
            effective |= new.uid.effective == 0;
        }
        let changed = new.uid.effective != self.uid.effective || !self.in_group(new.gid.effective);
        if (changed || new.caps.permitted & !old.permitted != 0) && self.no_new_privs {
            // No more than it had, and maybe less.
            (new.uid.effective, new.gid.effective) = (new.uid.real, new.gid.real);
            new.caps.permitted &= old.permitted;
        }
        (new.uid.saved, new.uid.fs) = (new.uid.effective, new.uid.effective);
        (new.gid.saved, new.gid.fs) = (new.gid.effective, new.gid.effective);
        if caps.is_some() || changed {
            new.caps.ambient = 0;
        }
        let gained = new.caps.permitted & !new.caps.ambient != 0;
        new.caps.permitted |= new.caps.ambient;
        new.caps.effective = if effective { new.caps.permitted } else { new.caps.ambient };
        new.secure.0 &= !Secure::KEEP_CAPS;
        let differs = new.uid.effective != self.uid.real || new.gid.effective != self.gid.real;
        let distrust = changed || differs || (new.uid.real != 0 && (effective || gained));
        Ok((new, distrust))
    }

    /// Whether the owner and the mode of a file allow `want` (bits of access(2)) by the ids for files:
    /// `generic_permission()`.
    pub fn may(&self, file: &Seen, want: u32) -> bool {
        let bits = if self.uid.fs == file.uid {
            file.mode >> 6
        } else if self.in_group(file.gid) {
            file.mode >> 3
        } else {
            file.mode
        } & 7;
        if want & !bits == 0 {
            return true;
        }
        let directory = file.mode & libc::S_IFMT == libc::S_IFDIR;
        let executes = want & libc::X_OK as u32 != 0;
        if self.can(Cap::DacOverride) && (directory || !executes || file.mode & 0o111 != 0) {
            return true;
        }
        let reads = want & libc::W_OK as u32 == 0 && (directory || !executes);
        reads && self.can(Cap::DacReadSearch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(uid: u32, mode: u32) -> Seen {
        Seen { uid, gid: 0, mode: libc::S_IFREG | mode, rdev: (0, 0) }
    }

    #[test]
    fn root_that_is_given_up_does_not_come_back() {
        let mut cred = Cred::new(0, 0);
        cred.setuid(1000).expect("root may");
        assert_eq!(cred.uid, Ids::all(1000));
        assert_eq!((cred.caps.effective, cred.caps.permitted), (0, 0));
        assert_eq!(cred.setuid(0), Err(Errno::EPERM));
        assert_eq!(cred.setgid(5), Err(Errno::EPERM));
        assert_eq!(cred.setresuid([u32::MAX, 0, u32::MAX]), Err(Errno::EPERM));
    }

    #[test]
    fn root_that_is_put_aside_does() {
        let mut cred = Cred::new(0, 0);
        cred.setresuid([u32::MAX, 1000, u32::MAX]).expect("root may");
        assert!(!cred.can(Cap::Chown));
        cred.setresuid([u32::MAX, 0, u32::MAX]).expect("it is the saved id");
        assert!(cred.can(Cap::Chown));
        assert_eq!(cred.setfsuid(7), 0);
        assert!(!cred.can(Cap::Chown) && cred.can(Cap::SetUid));
        assert_eq!(cred.setfsuid(0), 7);
        assert!(cred.can(Cap::Chown));
    }

    #[test]
    fn set_user_id_programs_of_root_are_root() {
        let mut cred = Cred::new(0, 0);
        cred.setuid(1000).expect("root may");
        let (su, secure) = cred.executes(&file(0, 0o4755), None).expect("no capabilities");
        assert_eq!((su.uid.real, su.uid.effective, su.uid.saved), (1000, 0, 0));
        assert!(su.can(Cap::SetUid) && secure);
        let (plain, secure) = cred.executes(&file(0, 0o755), None).expect("no capabilities");
        assert!(plain.caps.permitted == 0 && !secure);
        cred.no_new_privs = true;
        assert_eq!(cred.executes(&file(0, 0o4755), None).expect("none").0.uid.effective, 1000);
    }

    #[test]
    fn file_capabilities_are_granted() {
        let mut cred = Cred::new(1000, 1000);
        let bytes = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let caps = FileCaps::parse(&bytes).expect("cap_net_raw=ep");
        let (ping, secure) = cred.executes(&file(0, 0o755), Some(caps)).expect("within bounds");
        assert!(ping.caps.effective == 1 << 13 && secure);
        cred.caps.bounding = 0;
        assert_eq!(cred.executes(&file(0, 0o755), Some(caps)).err(), Some(Errno::EPERM));
    }

    #[test]
    fn modes_bind_who_is_not_root() {
        let user = Cred::new(1000, 1000);
        assert!(
            !user.may(&file(0, 0o640), 4) && user.may(&file(0, 0o644), 4) && !user.may(&file(0, 0o644), 2)
        );
        assert!(user.may(&file(1000, 0o600), 6) && !user.may(&file(1000, 0o077), 4));
        let root = Cred::new(0, 0);
        assert!(root.may(&file(1000, 0), 6) && !root.may(&file(1000, 0o644), 1));
    }
}
