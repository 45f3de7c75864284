//! Ports of the guest and of the host (`-p`, `-n`).
//!
//! A server binds its own port and gets the host's; a client of it in the guest connects to the guest's port and is led
//! to the host's; both are told the guest's. Only addresses of this machine are mapped: what another machine has at
//! such a port is its own business.

use crate::config::ports::{Cooperate, Ports, SHIFT, Shift};
use std::sync::{Mutex, PoisonError};

/// The rules of a session and what it has learned.
#[derive(Debug, Default)]
pub struct PortMap {
    rules: Ports,
    /// Guest's port and host's, of servers that got any: the last one counts.
    learned: Mutex<Vec<(u16, u16)>>,
}

impl PortMap {
    /// Nothing learned yet.
    pub fn new(rules: Ports) -> Self {
        Self { rules, learned: Mutex::default() }
    }

    fn learned(&self) -> std::sync::MutexGuard<'_, Vec<(u16, u16)>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host's port for one of the guest's, where it is another.
    pub fn outward(&self, port: u16) -> Option<u16> {
        if port == 0 {
            return None;
        }
        let pair = |all: &[(u16, u16)]| all.iter().rev().find(|(inner, _)| *inner == port).map(|p| p.1);
        pair(&self.rules.pairs)
            .or_else(|| pair(&self.learned()))
            .or_else(|| (self.rules.shift == Shift::Yes && port < 1024).then_some(port + SHIFT))
    }

    /// The guest's port for one of the host's, where it is another.
    pub fn inward(&self, port: u16) -> Option<u16> {
        let pair = |all: &[(u16, u16)]| all.iter().rev().find(|(_, outer)| *outer == port).map(|p| p.0);
        pair(&self.rules.pairs).or_else(|| pair(&self.learned())).or_else(|| {
            let shifted = self.rules.shift == Shift::Yes && (SHIFT + 1..SHIFT + 1024).contains(&port);
            shifted.then(|| port - SHIFT)
        })
    }

    /// Whether a server that asks for this port gets any.
    pub fn any_will_do(&self, port: u16) -> bool {
        self.rules.cooperate == Cooperate::Yes && port != 0 && self.outward(port).is_none()
    }

    /// A server that asked for `inner` has got `outer`.
    pub fn learn(&self, inner: u16, outer: u16) {
        let mut all = self.learned();
        all.retain(|&(a, b)| a != inner && b != outer);
        all.push((inner, outer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_agree() {
        let rules =
            Ports { pairs: vec![(80, 8080), (5432, 5433)], shift: Shift::Yes, cooperate: Cooperate::Yes };
        let map = PortMap::new(rules);
        map.learn(7000, 41000);
        for (inner, outer) in [(80, 8080), (5432, 5433), (7000, 41000), (22, 2022), (1023, 3023)] {
            assert_eq!((map.outward(inner), map.inward(outer)), (Some(outer), Some(inner)));
        }
        for same in [0, 1024, 9000] {
            assert_eq!(map.outward(same), None);
        }
        assert!(
            map.any_will_do(9000) && !map.any_will_do(80) && !map.any_will_do(0) && !map.any_will_do(7000)
        );
        map.learn(7000, 42000);
        assert_eq!((map.outward(7000), map.inward(41000)), (Some(42000), None));
    }
}
