//! What nix needs here: a folder for `/nix`, and settings for a host without its build users and sandbox.

use crate::error::Failure;
use std::ffi::OsString;
use std::io::Error;
use std::path::{Path, PathBuf};

/// Settings that nix cannot do without in a root like this: name and value.
///
/// There are no build users and no namespaces for its sandbox; and the write-ahead log of its database maps a file
/// in ways that network homes do not support.
const SETTINGS: [(&str, &str); 4] = [
    ("build-users-group", ""),
    ("sandbox", "false"),
    ("use-sqlite-wal", "false"),
    ("filter-syscalls", "false"),
];

/// The folder shown at `/nix`, made if it is new.
///
/// # Errors
/// When it cannot be made.
pub(super) fn prepare(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let dir = match dir {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => default_dir()?,
    };
    let fail = |path: &Path, e: Error| {
        Failure::new("make the nix store's folder", &path.display().to_string(), e)
            .hint("name a folder you can write to with --nix=DIR")
    };
    for part in ["store", "var/nix"] {
        let path = dir.join(part);
        std::fs::create_dir_all(&path).map_err(|e| fail(&path, e))?;
    }
    std::fs::canonicalize(&dir).map_err(|e| fail(&dir, e))
}

fn default_dir() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("prun/nix"))
        .ok_or_else(|| {
            Failure::new("find a folder for the nix store", "", Error::other("HOME is not set"))
                .hint("name one with --nix=DIR")
        })
}

/// Adds to `NIX_CONFIG` the settings that neither it nor a configuration file of the user's has.
pub(super) fn environment(all: &mut Vec<(OsString, OsString)>) {
    let get = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let mut config = get("NIX_CONFIG").map_or_else(String::new, |v| v.to_string_lossy().into_owned());
    let mut files: Vec<PathBuf> = vec![];
    files.extend(get("NIX_CONF_DIR").map(|d| Path::new(&d).join("nix.conf")));
    match get("NIX_USER_CONF_FILES") {
        Some(list) => files.extend(std::env::split_paths(&list)),
        None => files.extend(
            get("XDG_CONFIG_HOME")
                .map(PathBuf::from)
                .or_else(|| get("HOME").map(|h| Path::new(&h).join(".config")))
                .map(|d| d.join("nix/nix.conf")),
        ),
    }
    let mut set: Vec<String> = names(&config).collect();
    for text in files.iter().filter_map(|f| std::fs::read_to_string(f).ok()) {
        set.extend(names(&text));
    }
    for (name, value) in SETTINGS {
        if !set.iter().any(|s| s == name) {
            if !config.is_empty() && !config.ends_with('\n') {
                config.push('\n');
            }
            config.push_str(&format!("{name} = {value}\n"));
        }
    }
    all.retain(|(name, _)| name != "NIX_CONFIG");
    all.push(("NIX_CONFIG".into(), config.into()));
}

fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter_map(|line| Some(line.split('#').next()?.split_once('=')?.0.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_set_is_left_alone() {
        let mut env: Vec<(OsString, OsString)> = vec![
            ("NIX_CONFIG".into(), "sandbox = true # mine".into()),
            ("HOME".into(), "/nonexistent".into()),
        ];
        environment(&mut env);
        let config = env.iter().find(|(n, _)| n == "NIX_CONFIG").unwrap().1.to_string_lossy().into_owned();
        assert_eq!(config.matches("sandbox").count(), 1);
        assert!(config.contains("sandbox = true") && config.contains("\nbuild-users-group = \n"));
    }
}
