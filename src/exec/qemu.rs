//! Programs of another machine (`-q`): the kernel executes the emulator, and that the program.
//!
//! The emulator is a program of the host that makes the guest's system calls: prun translates those like any other's,
//! so the guest's own files are found in the guest. Its own must be found on the host. The kernel looks there for the
//! emulator and its interpreter by itself; a dynamic emulator is told to look for its libraries under
//! [`HOST_ROOT`]. What the guest's environment says to dynamic linkers (`LD_*`) must
//! not reach the emulator's: it is handed on by options that set it for the emulated program only.

use super::{Plan, Step};
use crate::config::Qemu;
use crate::config::qemu::HOST_ROOT;
use crate::path::PATH_MAX;
use crate::syscall::{Action, Call};
use crate::tracee::memory::{self, Text};
use prun_arch::Sysno;
use std::sync::Arc;
use syscalls::Errno;

/// Lets the kernel execute the emulator with `step`; `named` is the program's path as the guest passed it, and `front`
/// are the arguments that take the place of the guest's first: those of a script.
///
/// # Errors
/// `E2BIG`, and `EFAULT` for vectors that cannot be read.
pub(super) fn begin(
    call: &mut Call<'_>,
    at: usize,
    step: Step,
    named: Vec<u8>,
    front: &[Vec<u8>],
) -> Result<Action, Errno> {
    let emulation = Arc::clone(&call.session.emulation);
    let Some(qemu) = emulation.qemu.as_ref() else { return Err(Errno::ENOEXEC) };
    let (argv, envp) = (call.args[at + 1], call.args[at + 2]);
    // The interpreter of a script has the path that the script names; a program found by a descriptor has none.
    let path = match front.first() {
        Some(interpreter) => interpreter.clone(),
        None if at == 0 => named.clone(),
        None => step.guest.as_bytes().to_vec(),
    };
    let mut words: Vec<u64> = vec![];
    let put =
        |call: &mut Call<'_>, text: &[u8]| -> Result<u64, Errno> { call.scratch(&[text, b"\0"].concat()) };
    for word in &qemu.words {
        words.push(put(call, word)?);
    }
    let mut environment = call.args[at + 2];
    if !qemu.libraries.is_empty() {
        let (kept, moved) = split(call, envp)?;
        for option in &moved {
            words.push(put(call, b"-E")?);
            words.push(put(call, option)?);
        }
        if !moved.iter().any(|v| v.starts_with(b"LD_LIBRARY_PATH=")) {
            words.push(put(call, b"-U")?);
            words.push(put(call, b"LD_LIBRARY_PATH")?);
        }
        let mut vector = kept;
        vector.push(put(call, &own_libraries(qemu))?);
        vector.push(0);
        environment = put_words(call, &vector)?;
    }
    let guest = pointers(call, argv)?;
    words.push(put(call, b"-0")?);
    words.push(match (front.first(), guest.first()) {
        (Some(interpreter), _) => put(call, interpreter)?,
        (None, Some(&own)) => own,
        (None, None) => put(call, &named)?,
    });
    words.push(put(call, &path)?);
    for text in front.iter().skip(1) {
        words.push(put(call, text)?);
    }
    words.extend(guest.iter().skip(1));
    words.push(0);
    let vector = put_words(call, &words)?;
    let program = [qemu.program.as_bytes(), b"\0"].concat();
    let address = call.slot.push(&program)?;
    if at == 1 {
        call.number = Some(Sysno::execve);
    }
    call.args = [address, vector, environment, 0, 0, 0];
    let comm = named.rsplit(|&b| b == b'/').next().map(<[u8]>::to_vec);
    let becomes = call.becomes(&step.host)?;
    call.task.plan = Some(Box::new(Plan {
        exe: step.guest,
        execfn: qemu.program.as_bytes().to_vec(),
        comm,
        carried: None,
        becomes,
    }));
    Ok(Action::Run)
}

/// `LD_LIBRARY_PATH` for the emulator.
fn own_libraries(qemu: &Qemu) -> Vec<u8> {
    let folders: Vec<Vec<u8>> = qemu.libraries.iter().map(|dir| [HOST_ROOT, dir].concat()).collect();
    [b"LD_LIBRARY_PATH=".to_vec(), folders.join(&b':')].concat()
}

/// A null-terminated array of pointers in the guest.
fn pointers(call: &Call<'_>, mut at: u64) -> Result<Vec<u64>, Errno> {
    let mut all = vec![];
    while at != 0 {
        let word = call.pointer(at)?;
        if word == 0 {
            break;
        }
        all.push(word);
        at = at.wrapping_add(call.regs.abi().word() as u64);
        // More than the kernel takes (6 MiB).
        if all.len() > 6 << 20 {
            return Err(Errno::E2BIG);
        }
    }
    Ok(all)
}

/// The environment: pointers to what stays, and the variables of dynamic linkers.
fn split(call: &Call<'_>, envp: u64) -> Result<(Vec<u64>, Vec<Vec<u8>>), Errno> {
    let (mut kept, mut moved) = (vec![], vec![]);
    let mut text = [0; PATH_MAX];
    for word in pointers(call, envp)? {
        let mut start = [0; 3];
        if memory::read(call.task.tid, word, &mut start).is_err() || &start != b"LD_" {
            kept.push(word);
            continue;
        }
        match memory::read_path(call.task.tid, word, &mut text) {
            Text::Of(n) => moved.push(text[..n].to_vec()),
            // Longer than an option should be: dropped, or the emulator would take it for its own.
            Text::TooLong | Text::Fault => {}
        }
    }
    Ok((kept, moved))
}

fn put_words(call: &mut Call<'_>, words: &[u64]) -> Result<u64, Errno> {
    call.put_pointers(words)
}
