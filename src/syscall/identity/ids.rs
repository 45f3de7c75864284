//! Who one is: credentials(7), capabilities(7).

use super::super::{Action, Call};
use crate::emulate::identity::{Cap, Cred, Identity, Secure};
use crate::tracee::memory;
use prun_arch::Sysno;
use prun_arch::abi::stat::low_id;
use syscalls::Errno;

/// `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65536;
/// Versions of capget(2): the first has one word a set, the others have two.
const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;
/// `PR_CAP_AMBIENT_*`.
const IS_SET: u64 = 1;
const RAISE: u64 = 2;
const LOWER: u64 = 3;
const CLEAR_ALL: u64 = 4;

impl Call<'_> {
    /// Calls that are about credentials only; `None` for every other.
    pub(super) fn ids(&mut self, identity: &Identity, call: Sysno) -> Result<Option<Action>, Errno> {
        use Sysno as S;
        let cred = self.cred(identity);
        let [a, b, c, ..] = self.args.map(|arg| self.id(arg));
        // An id as the caller can be told of it.
        let low = self.has_low_ids();
        let told = |id: u32| if low { low_id(id).into() } else { i64::from(id) };
        let mut new = Cred::clone(&cred);
        let value = match call {
            S::getuid => told(cred.uid.real),
            S::geteuid => told(cred.uid.effective),
            S::getgid => told(cred.gid.real),
            S::getegid => told(cred.gid.effective),
            S::getresuid => self.write_ids(&cred.uid)?,
            S::getresgid => self.write_ids(&cred.gid)?,
            S::getgroups => self.getgroups(&cred)?,
            S::capget => self.capget(identity, &cred)?,
            S::setuid => new.setuid(a).map(|()| 0)?,
            S::setgid => new.setgid(a).map(|()| 0)?,
            S::setreuid => new.setreuid(a, b).map(|()| 0)?,
            S::setregid => new.setregid(a, b).map(|()| 0)?,
            S::setresuid => new.setresuid([a, b, c]).map(|()| 0)?,
            S::setresgid => new.setresgid([a, b, c]).map(|()| 0)?,
            S::setfsuid => new.setfsuid(a).into(),
            S::setfsgid => new.setfsgid(a).into(),
            S::setgroups => self.setgroups(&mut new)?,
            S::capset => self.capset(&mut new)?,
            S::prctl => match self.prctl(&mut new)? {
                Some(value) => value,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        if new != *cred {
            self.set_cred(identity, new);
        }
        Ok(Some(Action::Return(value)))
    }

    /// An id as it is written for the caller.
    fn id_bytes(&self, id: u32) -> Vec<u8> {
        if self.has_low_ids() { low_id(id).to_ne_bytes().to_vec() } else { id.to_ne_bytes().to_vec() }
    }

    fn write_ids(&self, ids: &crate::emulate::identity::Ids) -> Result<i64, Errno> {
        for (at, id) in self.args.iter().zip([ids.real, ids.effective, ids.saved]) {
            memory::write(self.task.tid, *at, &self.id_bytes(id))?;
        }
        Ok(0)
    }

    fn getgroups(&self, cred: &Cred) -> Result<i64, Errno> {
        let room = self.args[0] as i32;
        let count = cred.groups.len();
        if room < 0 || (room > 0 && (room as usize) < count) {
            return Err(Errno::EINVAL);
        }
        if room > 0 {
            let bytes: Vec<u8> = cred.groups.iter().flat_map(|&g| self.id_bytes(g)).collect();
            memory::write(self.task.tid, self.args[1], &bytes)?;
        }
        Ok(count as i64)
    }

    fn setgroups(&self, new: &mut Cred) -> Result<i64, Errno> {
        if !new.can(Cap::SetGid) {
            return Err(Errno::EPERM);
        }
        let count = self.args[0] as u32 as usize;
        if count > GROUPS_MAX {
            return Err(Errno::EINVAL);
        }
        let len = if self.has_low_ids() { 2 } else { 4 };
        let mut bytes = vec![0; len * count];
        memory::read(self.task.tid, self.args[1], &mut bytes)?;
        // Little-endian: the low half comes first.
        let word = |b: &[u8]| b.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        new.groups = bytes.chunks_exact(len).map(|b| self.id(word(b))).collect();
        // The kernel keeps them in order.
        new.groups.sort_unstable();
        Ok(0)
    }

    /// The header of capget(2) and capset(2): words a set, and the task that is meant.
    fn cap_header(&self) -> Result<(usize, i32), Errno> {
        let word = memory::word(self.task.tid, self.args[0])?;
        let words = match word as u32 {
            VERSION_1 => 1,
            VERSION_2 | VERSION_3 => 2,
            _ => {
                memory::write(self.task.tid, self.args[0], &VERSION_3.to_ne_bytes())?;
                return Err(Errno::EINVAL);
            }
        };
        Ok((words, (word >> 32) as i32))
    }

    fn capget(&self, identity: &Identity, own: &Cred) -> Result<i64, Errno> {
        let data = self.args[1];
        let (words, pid) = match self.cap_header() {
            // A question for the version only.
            Err(Errno::EINVAL) if data == 0 => return Ok(0),
            header => header?,
        };
        if pid < 0 {
            return Err(Errno::EINVAL);
        }
        let other;
        let caps = if pid == 0 || pid == self.task.tid {
            own.caps
        } else {
            other = identity.of(pid).ok_or(Errno::ESRCH)?;
            other.caps
        };
        if data == 0 {
            return Ok(0);
        }
        let mut bytes = vec![];
        for i in 0..words {
            for set in [caps.effective, caps.permitted, caps.inheritable] {
                bytes.extend(((set >> (32 * i)) as u32).to_ne_bytes());
            }
        }
        memory::write(self.task.tid, data, &bytes)?;
        Ok(0)
    }

    fn capset(&self, new: &mut Cred) -> Result<i64, Errno> {
        let (words, pid) = self.cap_header()?;
        if pid != 0 && pid != self.task.tid {
            return Err(Errno::EPERM);
        }
        let mut bytes = vec![0; 12 * words];
        memory::read(self.task.tid, self.args[1], &mut bytes)?;
        let mut sets = [0u64; 3];
        for (i, b) in bytes.chunks_exact(4).enumerate() {
            sets[i % 3] |= u64::from(u32::from_ne_bytes([b[0], b[1], b[2], b[3]])) << (32 * (i / 3));
        }
        new.capset(sets[0], sets[1], sets[2]).map(|()| 0)
    }

    /// The options of prctl(2) that are about credentials.
    fn prctl(&self, new: &mut Cred) -> Result<Option<i64>, Errno> {
        let [option, a, b, c, d, _] = self.args;
        let bit = |cap: u64| -> Result<u64, Errno> {
            if cap <= u64::from(crate::emulate::identity::LAST_CAP) {
                Ok(1 << cap)
            } else {
                Err(Errno::EINVAL)
            }
        };
        let value = match option as i32 {
            libc::PR_GET_KEEPCAPS => new.secure.has(Secure::KEEP_CAPS).into(),
            libc::PR_SET_KEEPCAPS => {
                if a > 1 {
                    return Err(Errno::EINVAL);
                }
                if new.secure.has(Secure::KEEP_CAPS << 1) {
                    return Err(Errno::EPERM);
                }
                new.secure.0 = (new.secure.0 & !Secure::KEEP_CAPS) | (Secure::KEEP_CAPS * a as u32);
                0
            }
            libc::PR_CAPBSET_READ => (new.caps.bounding & bit(a)? != 0).into(),
            libc::PR_CAPBSET_DROP => {
                if !new.can(Cap::SetPcap) {
                    return Err(Errno::EPERM);
                }
                new.caps.bounding &= !bit(a)?;
                0
            }
            libc::PR_GET_SECUREBITS => new.secure.0.into(),
            libc::PR_SET_SECUREBITS => {
                let (old, wanted) = (new.secure.0, a as u32);
                let (locked, changed) = ((old & Secure::LOCKS) >> 1, old ^ wanted);
                let privileged = changed == 0 || changed & !Secure::ANYBODYS != 0;
                if locked & changed != 0
                    || old & Secure::LOCKS & !wanted != 0
                    || a > u64::from(Secure::LOCKS | Secure::LOCKS >> 1)
                    || (privileged && !new.can(Cap::SetPcap))
                {
                    return Err(Errno::EPERM);
                }
                new.secure.0 = wanted;
                0
            }
            libc::PR_SET_NO_NEW_PRIVS => {
                if a != 1 || b | c | d != 0 {
                    return Err(Errno::EINVAL);
                }
                new.no_new_privs = true;
                0
            }
            libc::PR_GET_NO_NEW_PRIVS => {
                if a | b | c | d != 0 {
                    return Err(Errno::EINVAL);
                }
                new.no_new_privs.into()
            }
            libc::PR_CAP_AMBIENT => {
                if c | d != 0 || (a == CLEAR_ALL && b != 0) {
                    return Err(Errno::EINVAL);
                }
                match a {
                    CLEAR_ALL => new.caps.ambient = 0,
                    IS_SET => return Ok(Some((new.caps.ambient & bit(b)? != 0).into())),
                    LOWER => new.caps.ambient &= !bit(b)?,
                    RAISE => {
                        let bit = bit(b)?;
                        if new.caps.permitted & new.caps.inheritable & bit == 0
                            || new.secure.has(Secure::NO_AMBIENT_RAISE)
                        {
                            return Err(Errno::EPERM);
                        }
                        new.caps.ambient |= bit;
                    }
                    _ => return Err(Errno::EINVAL),
                }
                0
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }
}
