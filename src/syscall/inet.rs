//! Addresses of AF_INET and AF_INET6 sockets whose port is another for the guest ([`crate::emulate::ports`]).

use super::Call;
use super::socket::Binds;
use crate::emulate::ports::PortMap;
use crate::sys::{self, socket};
use crate::tracee::memory;
use std::os::fd::AsFd;
use syscalls::Errno;

/// `sizeof(struct sockaddr_in6)`; that of IPv4 has 16 bytes.
pub(super) const INET_MAX: usize = 28;
/// The port is behind the family in both, in network order.
const PORT: std::ops::Range<usize> = 2..4;

/// Whether this is an address with a port.
pub(super) fn is_inet(address: &[u8]) -> bool {
    let family = address.get(..2).map_or(0, |b| i32::from(u16::from_ne_bytes([b[0], b[1]])));
    match family {
        libc::AF_INET => address.len() >= 16,
        libc::AF_INET6 => address.len() >= 24,
        _ => false,
    }
}

fn port(address: &[u8]) -> u16 {
    u16::from_be_bytes([address[PORT.start], address[PORT.start + 1]])
}

fn set_port(address: &mut [u8], port: u16) {
    address[PORT].copy_from_slice(&port.to_be_bytes());
}

/// Whether the address is one of this machine: a socket could be bound to it.
fn is_local(address: &[u8]) -> bool {
    let family = i32::from(u16::from_ne_bytes([address[0], address[1]]));
    let host = if family == libc::AF_INET { &address[4..8] } else { &address[8..24] };
    if host.iter().all(|&b| b == 0) || (family == libc::AF_INET && host[0] == 127) {
        return true;
    }
    let mut any_port = address.to_vec();
    set_port(&mut any_port, 0);
    socket::open(family, libc::SOCK_DGRAM).is_ok_and(|s| socket::bind(s.as_fd(), &any_port).is_ok())
}

impl Call<'_> {
    /// An address on its way to the kernel, with the host's port where that is another.
    pub(super) fn outgoing_inet(&mut self, address: &[u8], binds: Binds) -> Result<Option<u64>, Errno> {
        let Some(map) = self.session.emulation.ports.as_ref() else { return Ok(None) };
        let Some(outer) = map.outward(port(address)) else { return Ok(None) };
        if binds == Binds::No && !is_local(address) {
            return Ok(None);
        }
        crate::note!(1, "port {} of the guest is {outer} of the host", port(address));
        let mut new = address.to_vec();
        set_port(&mut new, outer);
        Ok(Some(self.slot.push(&new)?))
    }

    /// bind(2) with `-n`: to any port, done by the tracer on the guest's own socket. `None` where the port is not to
    /// be changed; otherwise the call's result.
    pub(super) fn bind_anywhere(&mut self) -> Option<Result<(), Errno>> {
        let map: &PortMap = self.session.emulation.ports.as_ref()?;
        let mut bytes = [0; INET_MAX];
        let len = (self.args[2] as u32 as usize).min(INET_MAX);
        memory::read(self.task.tid, self.args[1], &mut bytes[..len]).ok()?;
        let address = &mut bytes[..len];
        if !is_inet(address) || !map.any_will_do(port(address)) {
            return None;
        }
        let wanted = port(address);
        // Without pidfd_getfd(2) nobody could ask which port the kernel has chosen: the guest gets the one it wants.
        let socket = match socket::borrow(self.task.tgid, self.args[0] as i32) {
            Ok(socket) => socket,
            Err(e) => {
                crate::note!(1, "-n: port {wanted} stays, pidfd_getfd: {}", sys::io(e));
                return None;
            }
        };
        set_port(address, 0);
        let bound = socket::bind(socket.as_fd(), address).and_then(|()| socket::port(socket.as_fd()));
        Some(bound.map(|got| {
            crate::note!(1, "port {wanted} of the guest is {got} of the host");
            map.learn(wanted, got);
        }))
    }

    /// An address that the kernel wrote: the guest's port, where it is of this machine. False if nothing changes.
    pub(super) fn incoming_inet(&self, address: &mut [u8]) -> bool {
        let Some(map) = self.session.emulation.ports.as_ref() else { return false };
        match map.inward(port(address)) {
            Some(inner) if is_local(address) => {
                set_port(address, inner);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_none_of_ours() {
        let v4 = |a: [u8; 4]| {
            let mut bytes = vec![libc::AF_INET as u8, 0, 0, 80];
            bytes.extend(a);
            bytes.resize(16, 0);
            bytes
        };
        assert!(is_inet(&v4([0; 4])) && port(&v4([0; 4])) == 80);
        assert!(is_local(&v4([0; 4])) && is_local(&v4([127, 3, 2, 1])));
        // TEST-NET-1 of RFC 5737.
        assert!(!is_local(&v4([192, 0, 2, 1])));
        assert!(!is_inet(&[libc::AF_UNIX as u8, 0, b'/', b'x']) && !is_inet(&[libc::AF_INET as u8, 0]));
    }
}
