//! Whom the guest takes itself for: `-0`, `-i`, `-S` and `--persist`.

use crate::cli::Cli;
use crate::error::Failure;
use std::io::Error;

/// The identity a session starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The user's own: nothing is faked.
    Real,
    /// These ids; 0 brings what root may do.
    Faked {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Where ownership, modes and devices that the host refuses are kept.
        memory: Memory,
    },
}

/// How long faked ownership is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Until the session ends.
    Session,
    /// In the `user.rootlesscontainers` attribute of each file, where the file system has attributes.
    Attributes,
}

/// The identity that was asked for; of several options the ids of `-i` count.
pub(super) fn of(cli: &Cli) -> Result<Identity, Failure> {
    let memory = if cli.persist { Memory::Attributes } else { Memory::Session };
    let (uid, gid) = match &cli.change_id {
        Some(text) => ids(text)?,
        None if cli.root_id || cli.install_rootfs.is_some() => (0, 0),
        None => {
            if cli.persist {
                crate::warning!("--persist does nothing without -0 or -i");
            }
            return Ok(Identity::Real);
        }
    };
    Ok(Identity::Faked { uid, gid, memory })
}

/// `UID:GID`, or `UID` for both.
fn ids(text: &str) -> Result<(u32, u32), Failure> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    // The largest number means "no change" in chown(2) and its kin.
    let id = |t: &str| t.parse().ok().filter(|&n: &u32| n != u32::MAX);
    match (id(uid), id(gid)) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(Failure::new("appear as", text, Error::other("that is no user and group id"))
            .hint("-i takes two numbers, UID:GID")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers() {
        assert_eq!(ids("1000:100").unwrap(), (1000, 100));
        assert_eq!(ids("7").unwrap(), (7, 7));
        for bad in ["", "a:b", "1:", ":1", "-1:0", "4294967295:0", "1:2:3"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
    }
}
