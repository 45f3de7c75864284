//! The programs.

use crate::files::{GIT, Size};
use std::path::Path;

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// The command; `@` at the beginning of a word is the tree.
    words: Vec<String>,
}

/// Modules that are read from files, one or more each.
const MODULES: &str = "argparse ast asyncio bdb calendar cmd code configparser csv decimal difflib dis doctest \
     email.message email.parser fileinput fractions ftplib gettext gzip html.parser http.client http.cookies imaplib \
     inspect json logging.config mailbox mimetypes multiprocessing.pool netrc optparse pdb pickle pickletools plistlib \
     poplib pprint profile pstats pydoc queue sched shelve shlex smtplib socketserver statistics string subprocess \
     tarfile tempfile textwrap timeit trace unittest.mock urllib.request uuid wave webbrowser xml.dom.minidom \
     xml.etree.ElementTree xmlrpc.client zipapp zipfile";

fn python(loops: usize) -> String {
    format!(
        "import importlib, sys\n\
         base = set(sys.modules)\n\
         for i in range({loops}):\n\
         \x20   for name in set(sys.modules) - base: del sys.modules[name]\n\
         \x20   importlib.invalidate_caches()\n\
         \x20   for name in '{MODULES}'.split(): importlib.import_module(name)\n"
    )
}

/// All of them; nix is apart.
pub(crate) fn all(size: Size) -> Vec<Job> {
    let job = |name, words: &[&str]| Job { name, words: words.iter().map(|w| (*w).to_owned()).collect() };
    vec![
        job("find", &["find", "@/files", "-size", "+1M"]),
        job("git status", &["git", "-C", "@/repo", "status", "--porcelain"]),
        job("tar", &["sh", "-c", "tar -cf - -C \"$1\" . | cat >/dev/null", "sh", "@/files"]),
        job("du", &["du", "-s", "@/files"]),
        job("gcc, make -j2", &["make", "-s", "-B", "-j2", "-C", "@/src"]),
        job("python imports", &["python3", "-c", &python(size.loops.div_ceil(75))]),
        job(
            "exec loop",
            &[
                "sh",
                "-c",
                "i=0; while [ $i -lt $1 ]; do /bin/true; i=$((i+1)); done",
                "sh",
                &size.loops.to_string(),
            ],
        ),
        job("static file walk", &["@/guest", "walk", "@/files"]),
    ]
}

impl Job {
    /// The command over the tree at `tree`.
    pub(crate) fn command(&self, tree: &Path) -> Vec<String> {
        let place = |word: &String| match word.strip_prefix('@') {
            Some(rest) => format!("{}{rest}", tree.display()),
            None => word.clone(),
        };
        self.words.iter().map(place).collect()
    }

    /// Settings of the command.
    pub(crate) fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
        GIT.into_iter().chain([("LC_ALL", "C"), ("MAKEFLAGS", "")])
    }
}
