//! The names of files that have several under `--link2symlink` (`syscall::symlinked`).

/// How the hidden names begin.
pub const PREFIX: &[u8] = b".prun-link.";
/// How the name of the link with the number ends.
pub const COUNT: &[u8] = b".names";

/// Whether a path ends in the name of a hidden file.
pub fn is_hidden(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    name.starts_with(PREFIX) && !name.ends_with(COUNT)
}
