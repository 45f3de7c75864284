//! Files of /proc whose text names host paths or the tracer: the guest opens one in memory with the guest's names.
//!
//! It is made when the file is opened, whole: reads in pieces and at any position are of one moment, which is more than
//! the kernel promises. Where the text has nothing to change the kernel's own file is opened.

use super::Call;
use crate::emulate::proc::text::{self, Text};
use crate::emulate::proc::{self, ProcLink, mounts};
use crate::emulate::root::Told;
use crate::path::{Buf, PATH_MAX};
use crate::sys;
use crate::tracee::rights::AsGuest;
use std::os::unix::ffi::OsStrExt;

impl Call<'_> {
    /// What a file of /proc, at the resolver's host path, is replaced by when it is opened to read; `None` where it is
    /// the kernel's.
    pub(super) fn text_instead(&mut self) -> Option<Vec<u8>> {
        let host = self.session.resolver.host();
        let host = &host[..host.len() - 1];
        if !host.starts_with(b"/proc/") || self.task.home.private {
            return None;
        }
        let mut target = [0; PATH_MAX];
        let path = match proc::link_at(host) {
            // A descriptor opened again.
            Some(ProcLink::Other) => {
                let n = sys::readlink(self.session.resolver.host(), &mut target).ok()?;
                &target[..n]
            }
            _ => host,
        };
        let (kind, pid) = text::text_at(path)?;
        if kind == Text::Status && !proc::traced(self.tasks, self.task, pid) {
            return None;
        }
        let path = path.to_vec();
        let (own, info) = {
            let _rights = AsGuest::of(self.task.tid);
            self.session.stats.host_calls.add(1);
            let own = std::fs::read(std::ffi::OsStr::from_bytes(&path)).ok()?;
            let info = match kind {
                Text::Mounts | Text::MountStats => std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?,
                _ => vec![],
            };
            (own, info)
        };
        let root = self.root();
        let view = &self.session.view;
        let names = |host: &[u8], out: &mut Buf<PATH_MAX>| {
            let mut guest = Buf::<PATH_MAX>::new();
            view.guest(host, &mut guest) && out.set(Told::new(guest.as_bytes(), root.as_ref()).path()).is_ok()
        };
        let told = match kind {
            Text::Maps => text::maps(&own, &names),
            Text::NumaMaps => text::numa_maps(&own, &names),
            Text::Sockets => text::sockets(&own, &names, |host| self.session.sockets.guest(host)),
            Text::Status => text::status(&own, |pid| self.session.is_prun(pid)),
            Text::MountInfo => mounts::mounts(kind, &own, &own, view)?,
            Text::Mounts | Text::MountStats => mounts::mounts(kind, &own, &info, view)?,
        };
        if told == own {
            return None;
        }
        let file = sys::memory_file(&told).ok()?;
        let mut path = self.session.hold(file);
        path.push(0);
        Some(path)
    }
}
