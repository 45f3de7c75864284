//! execve(2): which host file the kernel is asked to execute, and what is done in the new program before it runs.
//!
//! * [`elf`], [`shebang`]: what the file is.
//! * `qemu`: programs of another machine.
//! * [`plan`]: the script for the loader; [`auxv`]: the stack it finds.
//!
//! Where the kernel would find the guest's interpreter at the path the program names, or there is none, it executes
//! the program's host file itself. Otherwise, as for every program of nix, it executes the *interpreter's* host
//! file, and the loader maps the program beside it and corrects what the kernel told about it: the auxiliary
//! vector, the break, the name. Scripts are resolved here, because their interpreter is a guest path too.
//!
//! The path string that execve(2) leaves on the new stack (`AT_EXECFN`) is the host's; it is padded with slashes to
//! be no shorter than the guest's, which is then written over it.

pub mod auxv;
pub mod elf;
pub mod plan;
mod qemu;
pub mod shebang;

use crate::cost;
use crate::emulate::identity::Cred;
use crate::path::{GuestPath, PATH_MAX};
use crate::resolve::{Follow, Last, Restrict};
use crate::sys;
use crate::syscall::{Action, Call, Named};
use crate::tracee::memory::{self, Text};
use crate::tracee::rights::AsGuest;
use elf::{Elf, Kind};
use prun_arch::Sysno;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use syscalls::Errno;

/// An execve(2) that has been let go: what happens when it succeeds.
#[derive(Debug)]
pub struct Plan {
    /// Guest path of the program, for `/proc/self/exe`.
    pub exe: GuestPath,
    /// The path as the guest passed it: `AT_EXECFN`.
    pub execfn: Vec<u8>,
    /// The task's name, where the kernel takes another from the host path.
    pub comm: Option<Vec<u8>>,
    /// The program that the loader maps, when the kernel executes its interpreter.
    pub carried: Option<Carried>,
    /// Under a fake identity: the credentials the task gets, and whether the program must distrust its environment.
    pub becomes: Option<(Arc<Cred>, Distrust)>,
}

/// `AT_SECURE` of getauxval(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// 1.
    Yes,
    /// 0.
    No,
}

/// A program that the kernel does not execute itself.
#[derive(Debug)]
pub struct Carried {
    /// Its headers.
    pub elf: Box<Elf>,
    /// Its host path.
    pub host: Vec<u8>,
    /// Device and inode, for `ETXTBSY`.
    pub id: (u64, u64),
}

/// Interpreters of interpreters that are followed: the kernel's limit (`exec_binprm()`).
const DEPTH: usize = 5;
/// The kernel reads a page at most before it knows what a file is.
const HEAD: usize = 4096;

/// One file on the way to the program that runs.
struct Step {
    host: Vec<u8>,
    guest: GuestPath,
}

enum Look {
    /// The kernel finds out by itself, with this host file.
    Kernel,
    Script {
        interpreter: Vec<u8>,
        argument: Option<Vec<u8>>,
    },
    Native,
    /// By the emulator of `-q`.
    Emulated,
    Carried(Box<(Carried, Step)>),
}

/// execve(2) and execveat(2), with the path in argument `at`.
///
/// # Errors
/// What the call returns.
pub fn enter(call: &mut Call<'_>, at: usize) -> Result<Action, Errno> {
    call.task.plan = None;
    let Some((first, execfn)) = named(call, at)? else { return Ok(Action::Run) };
    let argv_at = at + 1;
    let mut step = first;
    let mut front: Vec<Vec<u8>> = vec![];
    for depth in 0..=DEPTH {
        if depth == DEPTH {
            return Err(Errno::ELOOP);
        }
        match look(call, &step, depth)? {
            Look::Script { interpreter, argument } => {
                if depth == 0 && closes(call, at) {
                    return Err(Errno::ENOENT);
                }
                // The script's own name takes the place of argv[0].
                let script = if depth == 0 { execfn.clone() } else { front.remove(0) };
                let next = resolve(call, &interpreter, "'#!' interpreter", &step)?;
                let mut new = vec![interpreter];
                new.extend(argument);
                new.push(script);
                new.append(&mut front);
                front = new;
                step = next;
            }
            Look::Kernel | Look::Native => {
                return begin(call, at, argv_at, step.host.clone(), step, execfn, front, None);
            }
            Look::Emulated => return qemu::begin(call, at, step, execfn, &front),
            Look::Carried(both) => {
                let (program, interpreter) = *both;
                return begin(call, at, argv_at, interpreter.host, step, execfn, front, Some(program));
            }
        }
    }
    Err(Errno::ELOOP)
}

/// The file that the call names, and that name; `None` where the kernel refuses by itself.
fn named(call: &mut Call<'_>, at: usize) -> Result<Option<(Step, Vec<u8>)>, Errno> {
    let mut text = [0; PATH_MAX];
    let Text::Of(len) = crate::syscall::text_at(call.task, call.args[at], &mut text) else { return Ok(None) };
    let flags = if at == 1 { call.args[4] as i32 } else { 0 };
    let dir = (at == 1).then(|| call.args[0]);
    if len == 0 {
        if flags & libc::AT_EMPTY_PATH == 0 {
            return Ok(None);
        }
        return Ok(by_descriptor(call, call.args[0] as i32));
    }
    let follow = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    call.session.text[..=len].copy_from_slice(&text[..=len]);
    let Some(step) = call.program(dir, len, follow)? else { return Ok(None) };
    let execfn = match dir {
        Some(fd) if text[0] != b'/' && fd as i32 != libc::AT_FDCWD => {
            [format!("/dev/fd/{}/", fd as i32).as_bytes(), &text[..len]].concat()
        }
        _ => text[..len].to_vec(),
    };
    Ok(Some((step, execfn)))
}

/// Whether execve(2) itself closes the descriptor that a script's name starts at, so that its interpreter could not
/// open it (`BINPRM_FLAGS_PATH_INACCESSIBLE` of `fs/exec.c`).
fn closes(call: &Call<'_>, at: usize) -> bool {
    let fd = call.args[0] as i32;
    let mut first = [0];
    at == 1
        && fd != libc::AT_FDCWD
        && memory::read(call.task.tid, call.args[at], &mut first).is_ok()
        && first[0] != b'/'
        && crate::emulate::proc::open_flags(call.task.tid, fd).is_some_and(|f| f & libc::O_CLOEXEC != 0)
}

/// fexecve(3): the file is only known by its descriptor. That may be closed by the time the loader opens it, so it
/// goes by one of the tracer's.
fn by_descriptor(call: &mut Call<'_>, fd: i32) -> Option<(Step, Vec<u8>)> {
    let own = format!("/proc/{}/fd/{fd}\0", call.task.tid).into_bytes();
    let mut text = [0; PATH_MAX];
    let n = sys::readlink(&own, &mut text).ok()?;
    let host = match sys::open(&own, libc::O_PATH) {
        Ok(file) => [call.session.hold(file).as_slice(), b"\0"].concat(),
        Err(_) => own,
    };
    let mut guest = crate::path::Buf::<PATH_MAX>::new();
    let shown = text[0] == b'/' && call.session.view.guest(&text[..n], &mut guest);
    let exe = if shown { guest.as_bytes() } else { &text[..n] };
    let exe = if exe.first() == Some(&b'/') { GuestPath::new(exe) } else { GuestPath::new(b"/") };
    Some((Step { host, guest: exe }, format!("/dev/fd/{fd}").into_bytes()))
}

fn resolve(call: &mut Call<'_>, path: &[u8], what: &str, of: &Step) -> Result<Step, Errno> {
    let found = interpreter(call, path);
    if let Err(e) = found {
        explain(
            call,
            format_args!(
                "'{}' cannot be executed because of its {what} '{}': {}; bind it into the guest, or correct the path",
                of.guest,
                String::from_utf8_lossy(path),
                sys::io(e)
            ),
        );
    }
    found
}

/// Says why a program cannot be executed: of the command itself always, of what it starts with `-v`.
fn explain(call: &Call<'_>, why: std::fmt::Arguments<'_>) {
    let of_the_command = call.task.mm.lock().exe.is_none();
    crate::note!(if of_the_command { 0 } else { 1 }, "{why}");
}

/// The name of an ELF machine, where it is a usual one. Foreign with the number of this one are x32 and ILP32.
fn machine(number: u16) -> (&'static str, &'static str) {
    let name = match number {
        3 => "32-bit x86",
        8 => "MIPS",
        20 | 21 => "PowerPC",
        22 => "S390",
        40 => "32-bit ARM",
        62 => "x86-64",
        183 => "aarch64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => "another",
    };
    (name, if number == prun_arch::ELF_MACHINE { ", with 32-bit addresses" } else { "" })
}

fn interpreter(call: &mut Call<'_>, path: &[u8]) -> Result<Step, Errno> {
    if path.is_empty() {
        // open_exec("") finds the current directory, which is no file.
        return Err(Errno::EACCES);
    }
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    call.session.text[..path.len()].copy_from_slice(path);
    call.session.text[path.len()] = 0;
    let step = call.program(None, path.len(), Follow::Yes)?.ok_or(Errno::ENOENT)?;
    match sys::stat(&step.host, Last::Followed) {
        Ok(st) if st.mode & libc::S_IFMT == libc::S_IFREG => {
            executable(call, &step.host)?;
            Ok(step)
        }
        Ok(_) => Err(Errno::EACCES),
        Err(e) => Err(e),
    }
}

/// What a file is, and how it can be run.
fn look(call: &mut Call<'_>, step: &Step, depth: usize) -> Result<Look, Errno> {
    // At the first file the kernel gives the better error, in its own order.
    let refuse = |e| if depth == 0 { Ok(Look::Kernel) } else { Err(e) };
    match sys::stat(&step.host, Last::Followed) {
        Ok(st) if st.mode & libc::S_IFMT == libc::S_IFREG => {}
        Ok(_) => return refuse(Errno::EACCES),
        Err(e) => return refuse(e),
    }
    if let Err(e) = executable(call, &step.host) {
        return refuse(e);
    }
    // Mode 0111: only the kernel can read it.
    let Ok(fd) = sys::open(&step.host, libc::O_RDONLY | libc::O_NOCTTY | libc::O_NONBLOCK) else {
        return Ok(Look::Kernel);
    };
    let file = File::from(fd);
    let mut head = [0; HEAD];
    cost::count(cost::Kind::Files, 1);
    let n = file.read_at(&mut head, 0).map_err(|_| Errno::EIO)?;
    let head = &head[..n];
    if let Some(line) = shebang::parse(head) {
        if sys::open_for_writing(file.as_fd()) {
            return Err(Errno::ETXTBSY);
        }
        let line = line?;
        return Ok(Look::Script {
            interpreter: line.interpreter.to_vec(),
            argument: line.argument.map(<[u8]>::to_vec),
        });
    }
    let kind = match elf::parse(head, &file) {
        Ok(kind) => kind,
        Err(e) => return refuse(e),
    };
    let elf = match kind {
        Kind::Other => return Ok(Look::Kernel),
        Kind::Foreign(_) if call.session.emulation.qemu.is_some() => return Ok(Look::Emulated),
        Kind::Foreign(number) => {
            let (name, addresses) = machine(number);
            explain(
                call,
                format_args!(
                    "'{}' is for another machine: {name}{addresses} (ELF machine {number}); get it for this one, or see \
                     --qemu",
                    step.guest,
                ),
            );
            return Err(Errno::ENOEXEC);
        }
        Kind::Elf(elf) => elf,
    };
    let Some(interp) = elf.interp.clone() else { return Ok(Look::Native) };
    let interpreter = resolve(call, &interp, "ELF interpreter", step)?;
    if same_file(&interpreter.host, &interp) {
        return Ok(Look::Native);
    }
    if sys::open_for_writing(file.as_fd()) {
        return Err(Errno::ETXTBSY);
    }
    let st = sys::stat(&step.host, Last::Followed)?;
    let program = Carried { elf, host: step.host[..step.host.len() - 1].to_vec(), id: st.id };
    Ok(Look::Carried(Box::new((program, interpreter))))
}

/// Whether the guest may execute the file.
fn executable(call: &Call<'_>, host: &[u8]) -> Result<(), Errno> {
    let _rights = AsGuest::of(call.task.tid);
    sys::executable(host)
}

/// Whether the kernel, which starts at the host's root, would find that file under the path the program names.
fn same_file(host: &[u8], named: &[u8]) -> bool {
    if named.first() != Some(&b'/') {
        return false;
    }
    let named = [named, b"\0"].concat();
    match (sys::stat(host, Last::Followed), sys::stat(&named, Last::Followed)) {
        (Ok(a), Ok(b)) => a.id == b.id,
        _ => false,
    }
}

/// Lets the kernel execute `host`, and notes what is to be done then.
#[expect(clippy::too_many_arguments, reason = "the parts of one decision, used once")]
fn begin(
    call: &mut Call<'_>,
    at: usize,
    argv_at: usize,
    host: Vec<u8>,
    program: Step,
    execfn: Vec<u8>,
    front: Vec<Vec<u8>>,
    carried: Option<Carried>,
) -> Result<Action, Errno> {
    if !front.is_empty() {
        call.args[argv_at] = new_arguments(call, call.args[argv_at], &front)?;
    }
    let becomes = call.becomes(&program.host)?;
    let path = &host[..host.len() - 1];
    let descriptor = at == 1 && call.args[4] as i32 & libc::AT_EMPTY_PATH != 0;
    let kernel_names_it = descriptor && front.is_empty() && carried.is_none();
    if !kernel_names_it {
        let padded = [vec![b'/'; execfn.len().saturating_sub(path.len())].as_slice(), &host].concat();
        if padded.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let same = padded[..padded.len() - 1] == execfn[..] && front.is_empty();
        if descriptor {
            // The descriptor is the script's or the program's, and it is another file that is executed.
            call.number = Some(Sysno::execve);
            let a = call.args;
            call.args = [call.slot.push(&padded)?, a[2], a[3], 0, 0, 0];
        } else if !same {
            call.args[at] = call.slot.push(&padded)?;
        }
    }
    let name = |p: &[u8]| p.rsplit(|&b| b == b'/').next().map_or_else(Vec::new, <[u8]>::to_vec);
    let comm = Some(name(&execfn)).filter(|own| !kernel_names_it && *own != name(path));
    call.task.plan = Some(Box::new(Plan { exe: program.guest, execfn, comm, carried, becomes }));
    Ok(Action::Run)
}

/// A new argument vector: `front`, then the guest's own from its second on.
fn new_arguments(call: &mut Call<'_>, argv: u64, front: &[Vec<u8>]) -> Result<u64, Errno> {
    let mut words: Vec<u64> = vec![];
    for text in front {
        let text = [text, b"\0".as_slice()].concat();
        words.push(call.scratch(&text)?);
    }
    let mut i = 0u64;
    loop {
        if argv == 0 {
            break;
        }
        let word = call.pointer(argv.wrapping_add(call.regs.abi().word() as u64 * i))?;
        if word == 0 {
            break;
        }
        if i > 0 {
            words.push(word);
        }
        i += 1;
        // More pointers than the kernel takes (MAX_ARG_STRINGS is larger, but not its 6 MiB).
        if i > 6 << 20 {
            return Err(Errno::E2BIG);
        }
    }
    words.push(0);
    call.put_pointers(&words)
}

impl Call<'_> {
    /// Puts `bytes` where they stay until the execve(2) is over.
    fn scratch(&self, bytes: &[u8]) -> Result<u64, Errno> {
        self.session.region.put_scratch(self.task.tid, self.home(), bytes)
    }

    /// A pointer of the guest's, as wide as the call's ABI has them.
    fn pointer(&self, at: u64) -> Result<u64, Errno> {
        match self.regs.abi().word() {
            4 => memory::word32(self.task.tid, at).map(u64::from),
            _ => memory::word(self.task.tid, at),
        }
    }

    /// Puts an array of pointers where it stays until the execve(2) is over.
    fn put_pointers(&self, words: &[u64]) -> Result<u64, Errno> {
        let len = self.regs.abi().word();
        // Little-endian: the low half comes first.
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes().into_iter().take(len)).collect();
        self.scratch(&bytes)
    }

    /// The program that the first `len` bytes of the session's text name; `None` where the kernel refuses.
    fn program(&mut self, dir: Option<u64>, len: usize, follow: Follow) -> Result<Option<Step>, Errno> {
        // A host path is needed, also where the guest's own would do.
        self.compares = true;
        let Named::Found(found) = self.find_text(dir, len, follow, true, Restrict::default())? else {
            return Ok(None);
        };
        let session = &*self.session;
        if found.void {
            return Err(Errno::ENOENT);
        }
        session.stats.paths.add(1);
        let guest = session.resolver.guest();
        if guest.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(Some(Step { host: session.resolver.host().to_vec(), guest: GuestPath::new(guest) }))
    }
}
