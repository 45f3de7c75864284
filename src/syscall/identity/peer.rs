//! Credentials of peers (unix(7)): the kernel tells those of the host, and takes no others.

use super::super::table::Row;
use super::super::{Action, Call, Exit};
use super::Later;
use crate::emulate::identity::{Cap, Cred, Identity};
use crate::tracee::memory;
use syscalls::Errno;

/// `sizeof(struct ucred)`: process, user and group id.
const UCRED: usize = 12;
/// `sizeof(struct cmsghdr)`.
const HEADER: usize = 16;
/// `SCM_CREDENTIALS`.
const CREDENTIALS: i32 = libc::SCM_CREDENTIALS;
/// Control data that is looked at, in bytes: `SCM_MAX_FD` descriptors and credentials fit.
const CONTROL_MAX: usize = 4096;

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// Offsets of every `struct ucred` in control data.
fn credentials(control: &[u8]) -> Vec<usize> {
    let mut all = vec![];
    let mut at = 0;
    while at + HEADER <= control.len() {
        let len = word64(control, at) as usize;
        if len < HEADER || len > control.len() - at {
            break;
        }
        let (level, kind) = (word32(control, at + 8) as i32, word32(control, at + 12) as i32);
        if level == libc::SOL_SOCKET && kind == CREDENTIALS && len >= HEADER + UCRED {
            all.push(at + HEADER);
        }
        at += len.next_multiple_of(8);
    }
    all
}

impl Call<'_> {
    pub(super) fn getsockopt(&mut self) -> Result<Action, Errno> {
        if self.args[1] as i32 != libc::SOL_SOCKET {
            return Ok(Action::Run);
        }
        if self.args[2] as i32 == libc::SO_PEERCRED {
            return Ok(Action::RunThen(Exit::Identity(Box::new(Later::Peer(self.args[3])))));
        }
        // SO_PEERGROUPS: as before Linux 4.13, callers then ask the user database.
        Err(Errno::ENOPROTOOPT)
    }

    /// At the exit stop: the peer's ids become those the guest knows.
    pub(super) fn peer(&mut self, identity: &Identity, value: u64) {
        let mut bytes = [0; UCRED];
        let mut len = [0; 4];
        let tid = self.task.tid;
        if memory::read(tid, self.args[4], &mut len).is_err()
            || (u32::from_ne_bytes(len) as usize) < UCRED
            || memory::read(tid, value, &mut bytes).is_err()
        {
            return;
        }
        translate(identity, &mut bytes);
        // EFAULT: another thread has unmapped it in between.
        let _ = memory::write(tid, value, &bytes);
    }

    /// `msg_control` and its length, of the `struct msghdr` at `message`.
    fn control(&self, message: u64) -> Option<(u64, Vec<u8>)> {
        let mut header = [0; 56];
        memory::read(self.task.tid, message, &mut header).ok()?;
        let (at, len) = (word64(&header, 32), word64(&header, 40) as usize);
        if at == 0 || !(HEADER..=CONTROL_MAX).contains(&len) {
            return None;
        }
        let mut control = vec![0; len];
        memory::read(self.task.tid, at, &mut control).ok()?;
        Some((at, control))
    }

    /// recvmsg(2): credentials that come with a message.
    pub(super) fn recvmsg_as_another(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let message = self.args[1];
        let action = self.enter_plainly(row)?;
        if self.control(message).is_none() {
            return Ok(action);
        }
        let received = match action {
            Action::RunThen(Exit::Received(received)) => Some(received),
            Action::Run => None,
            other => return Ok(other),
        };
        Ok(Action::RunThen(Exit::Identity(Box::new(Later::Message(received, message)))))
    }

    /// At the exit stop of recvmsg(2).
    pub(super) fn message_credentials(&mut self, identity: &Identity, message: u64) {
        let Some((at, mut control)) = self.control(message) else { return };
        for offset in credentials(&control) {
            let ucred = &mut control[offset..offset + UCRED];
            translate(identity, ucred);
            // EFAULT: as above.
            let _ = memory::write(self.task.tid, at + offset as u64, ucred);
        }
    }

    /// sendmsg(2): the kernel takes the sender's own credentials only, which are not those the guest knows.
    pub(super) fn sendmsg_as_another(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let Some(identity) = self.session.identity.clone() else { return self.enter_plainly(row) };
        let action = self.enter_plainly(row)?;
        let Action::Run = action else { return Ok(action) };
        let Some((_, mut control)) = self.control(self.args[1]) else { return Ok(action) };
        let places = credentials(&control);
        if places.is_empty() {
            return Ok(action);
        }
        let cred = self.cred(&identity);
        for offset in places {
            if !self.may_claim(&cred, &control[offset..]) {
                return Err(Errno::EPERM);
            }
            control[offset..offset + 4].copy_from_slice(&self.task.tgid.to_ne_bytes());
            control[offset + 4..offset + 8].copy_from_slice(&identity.host.0.to_ne_bytes());
            control[offset + 8..offset + 12].copy_from_slice(&identity.host.1.to_ne_bytes());
        }
        let mut header = [0; 56];
        memory::read(self.task.tid, self.args[1], &mut header)?;
        let at = self.slot.push(&control)?;
        header[32..40].copy_from_slice(&at.to_ne_bytes());
        self.args[1] = self.slot.push(&header)?;
        Ok(Action::Run)
    }

    /// `scm_check_creds()`.
    fn may_claim(&self, cred: &Cred, ucred: &[u8]) -> bool {
        let (pid, uid, gid) = (word32(ucred, 0) as i32, word32(ucred, 4), word32(ucred, 8));
        let own = |ids: &crate::emulate::identity::Ids, id| {
            id == ids.real || id == ids.effective || id == ids.saved
        };
        (pid == self.task.tgid || cred.can(Cap::SysAdmin))
            && (own(&cred.uid, uid) || cred.can(Cap::SetUid))
            && (own(&cred.gid, gid) || cred.can(Cap::SetGid))
    }
}

/// Puts the ids that the guest knows into a `struct ucred`.
fn translate(identity: &Identity, ucred: &mut [u8]) {
    let (uid, gid) = identity.peer(word32(ucred, 0) as i32, (word32(ucred, 4), word32(ucred, 8)));
    ucred[4..8].copy_from_slice(&uid.to_ne_bytes());
    ucred[8..12].copy_from_slice(&gid.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_among_other_messages() {
        let message = |kind: i32, data: &[u8]| {
            let mut out = ((HEADER + data.len()) as u64).to_ne_bytes().to_vec();
            out.extend(libc::SOL_SOCKET.to_ne_bytes());
            out.extend(kind.to_ne_bytes());
            out.extend(data);
            out.resize(out.len().next_multiple_of(8), 0);
            out
        };
        let control = [message(libc::SCM_RIGHTS, &[0; 4]), message(CREDENTIALS, &[7; UCRED])].concat();
        assert_eq!(credentials(&control), [24 + HEADER]);
        assert_eq!(credentials(&control[..30]), []);
        assert_eq!(credentials(&[0xff; 64]), []);
    }
}
