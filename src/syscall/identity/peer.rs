//! Credentials of peers (unix(7)): the kernel tells those of the host, and takes no others.

use super::super::socket::Sends;
use super::super::socket::address::Header;
use super::super::table::Row;
use super::super::{Action, Call, Exit};
use super::Later;
use crate::emulate::identity::{Cap, Cred, Identity};
use crate::tracee::memory;
use prun_arch::Sysno;
use syscalls::Errno;

/// `sizeof(struct ucred)`: process, user and group id.
const UCRED: usize = 12;
/// `sizeof(struct cmsghdr)`, where its length is a word of `word` bytes.
const fn header(word: usize) -> usize {
    word + 8
}

/// `SCM_CREDENTIALS`.
const CREDENTIALS: i32 = libc::SCM_CREDENTIALS;
/// Control data that is looked at, in bytes: `SCM_MAX_FD` descriptors and credentials fit.
const CONTROL_MAX: usize = 4096;
/// `UIO_MAXIOV`: messages of one call.
const MOST: u64 = 1024;

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Offsets of every `struct ucred` in control data of a program with words of `word` bytes.
fn credentials(control: &[u8], word: usize) -> Vec<usize> {
    let mut all = vec![];
    let (mut at, header) = (0, header(word));
    while at + header <= control.len() {
        let high = if word == 8 { u64::from(word32(control, at + 4)) << 32 } else { 0 };
        let len = (u64::from(word32(control, at)) | high) as usize;
        if len < header || len > control.len() - at {
            break;
        }
        let (level, kind) = (word32(control, at + word) as i32, word32(control, at + word + 4) as i32);
        if level == libc::SOL_SOCKET && kind == CREDENTIALS && len >= header + UCRED {
            all.push(at + header);
        }
        at += len.next_multiple_of(word);
    }
    all
}

impl Call<'_> {
    /// socket(2). The host's audit takes no word from an ordinary user, and a login that cannot be recorded is refused
    /// (sshd(8), login(1)): as on a kernel without it.
    pub(super) fn socket(&self) -> Result<Action, Errno> {
        let audit = (libc::AF_NETLINK, libc::NETLINK_AUDIT);
        if (self.args[0] as i32, self.args[2] as i32) == audit {
            return Err(Errno::EPROTONOSUPPORT);
        }
        Ok(Action::Run)
    }

    pub(super) fn getsockopt(&mut self) -> Result<Action, Errno> {
        if self.args[1] as i32 != libc::SOL_SOCKET {
            return Ok(Action::Run);
        }
        if self.args[2] as i32 == libc::SO_PEERCRED {
            return Ok(Action::RunThen(Exit::Identity(Box::new(Later::Peer(self.args[3], self.args[4])))));
        }
        // SO_PEERGROUPS: as before Linux 4.13, callers then ask the user database.
        Err(Errno::ENOPROTOOPT)
    }

    /// At the exit stop: the peer's ids become those the guest knows.
    pub(super) fn peer(&mut self, identity: &Identity, value: u64, length: u64) {
        let mut bytes = [0; UCRED];
        let mut len = [0; 4];
        let tid = self.task.tid;
        if memory::read(tid, length, &mut len).is_err()
            || (u32::from_ne_bytes(len) as usize) < UCRED
            || memory::read(tid, value, &mut bytes).is_err()
        {
            return;
        }
        translate(identity, &mut bytes);
        // EFAULT: another thread has unmapped it in between.
        let _ = memory::write(tid, value, &bytes);
    }

    fn word(&self) -> usize {
        self.regs.abi().word()
    }

    /// Where a message's control data is, and what it is, if there can be credentials in it.
    fn control(&self, message: &Header) -> Option<(u64, Vec<u8>)> {
        let (at, len) = message.control();
        if at == 0 || !(header(self.word())..=CONTROL_MAX).contains(&len) {
            return None;
        }
        let mut control = vec![0; len];
        memory::read(self.task.tid, at, &mut control).ok()?;
        Some((at, control))
    }

    /// recvmsg(2) and recvmmsg(2): credentials that come with messages.
    pub(super) fn receives_as_another(&mut self, row: &'static Row) -> Result<Action, Errno> {
        let many = row.call == Sysno::recvmmsg;
        let count = if many { u64::from(self.args[2] as u32).min(MOST) } else { 1 };
        // The result is how many have come, or how long the only one is.
        let order = |i: u64| if many { i as i64 } else { -1 };
        let messages: Vec<(u64, i64)> = (0..count)
            .filter_map(|i| Some((self.message_at(self.args[1], i)?, order(i))))
            .filter(|&(at, _)| self.message(at).is_some_and(|message| self.control(&message).is_some()))
            .collect();
        let action = self.enter_plainly(row)?;
        if messages.is_empty() {
            return Ok(action);
        }
        let received = match action {
            Action::RunThen(Exit::Received(received)) => Some(received),
            Action::Run => None,
            other => return Ok(other),
        };
        Ok(Action::RunThen(Exit::Identity(Box::new(Later::Messages(received, messages)))))
    }

    /// At the exit stop: the `struct msghdr` at this address has come.
    pub(super) fn message_credentials(&mut self, identity: &Identity, message: u64) {
        let Some((at, mut control)) = self.message(message).and_then(|m| self.control(&m)) else { return };
        for offset in credentials(&control, self.word()) {
            let ucred = &mut control[offset..offset + UCRED];
            translate(identity, ucred);
            // EFAULT: as above.
            let _ = memory::write(self.task.tid, at + offset as u64, ucred);
        }
    }

    /// sendmsg(2) and sendmmsg(2): the kernel takes the sender's own credentials only, which are not those the guest
    /// knows.
    pub(in super::super) fn outgoing_credentials(&mut self, message: &mut Header) -> Result<Sends, Errno> {
        let Some(identity) = self.session.identity.clone() else { return Ok(Sends::AsIs) };
        let Some((_, mut control)) = self.control(message) else { return Ok(Sends::AsIs) };
        let places = credentials(&control, self.word());
        if places.is_empty() {
            return Ok(Sends::AsIs);
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
        message.set_control(self.slot.push(&control)?);
        Ok(Sends::AnotherMessage)
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
        for word in [4, 8] {
            let message = |kind: i32, data: &[u8]| {
                let mut out = ((header(word) + data.len()) as u64).to_le_bytes()[..word].to_vec();
                out.extend(libc::SOL_SOCKET.to_ne_bytes());
                out.extend(kind.to_ne_bytes());
                out.extend(data);
                out.resize(out.len().next_multiple_of(word), 0);
                out
            };
            let first = message(libc::SCM_RIGHTS, &[0; 4]);
            let control = [&first[..], &message(CREDENTIALS, &[7; UCRED])].concat();
            assert_eq!(credentials(&control, word), [first.len() + header(word)]);
            assert_eq!(credentials(&control[..first.len() + 6], word), []);
            assert_eq!(credentials(&[0xff; 64], word), []);
        }
    }
}
