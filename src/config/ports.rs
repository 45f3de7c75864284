//! `-p` and `-n`: which port of the host stands for one of the guest's.

use crate::error::Failure;
use std::io::Error;

/// How ports are mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Guest's port and host's.
    pub pairs: Vec<(u16, u16)>,
    /// Ports that an ordinary user may not have get [`SHIFT`] more.
    pub shift: Shift,
    /// What has no rule is bound to a port that the kernel chooses.
    pub cooperate: Cooperate,
}

/// Whether ports below 1024 are moved: termux's `-p`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shift {
    /// They stay.
    #[default]
    No,
    /// They get [`SHIFT`] more.
    Yes,
}

/// Whether servers get ports that the kernel chooses: `-n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cooperate {
    /// They get the ports they ask for.
    #[default]
    No,
    /// They do, and clients in the session find them.
    Yes,
}

/// What termux's fork adds to a port below 1024.
pub const SHIFT: u16 = 2000;

/// The rules that were typed; `None` where there are none.
///
/// # Errors
/// When a value is not two port numbers.
pub(super) fn of(given: &[String], netcoop: bool) -> Result<Option<Ports>, Failure> {
    let mut ports = Ports::default();
    for text in given {
        if text.is_empty() {
            ports.shift = Shift::Yes;
            continue;
        }
        let port = |t: &str| t.parse::<u16>().ok().filter(|&n| n != 0);
        match text.trim().split_once(':').map(|(a, b)| (port(a), port(b))) {
            Some((Some(inner), Some(outer))) => {
                // As with bindings, of two the last wins.
                ports.pairs.retain(|&(a, _)| a != inner);
                ports.pairs.push((inner, outer));
            }
            _ => {
                return Err(Failure::new("map the ports", text, Error::other("these are no two ports"))
                    .hint("-p takes IN:OUT, the guest's port and the host's, each from 1 to 65535"));
            }
        }
    }
    if netcoop {
        ports.cooperate = Cooperate::Yes;
    }
    Ok((ports != Ports::default()).then_some(ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_pairs_or_a_shift() {
        let of = |given: &[&str]| of(&given.iter().map(|&s| s.to_owned()).collect::<Vec<_>>(), false);
        assert_eq!(of(&[]).unwrap(), None);
        let all = of(&["80:8080", "", "80:9090 "]).unwrap().unwrap();
        assert_eq!((all.pairs, all.shift), (vec![(80, 9090)], Shift::Yes));
        for bad in ["80", "0:1", "1:70000", "a:b"] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
    }
}
