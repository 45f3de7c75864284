//! What execve(2) reads: the file's head as a script and as a program, and the stack the kernel makes of it.
#![no_main]

use prun::exec::auxv::{self, Word};
use prun::exec::elf::{self, Kind};
use prun::exec::plan::Script;
use prun::exec::shebang;
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use syscalls::Errno;

thread_local! {
    static FILE: RefCell<File> = RefCell::new(nameless());
}

fn nameless() -> File {
    let path = std::env::temp_dir().join(format!("prun-fuzz-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a temporary file");
    std::fs::remove_file(&path).expect("ours");
    file
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    script(data);
    stack(data);
    FILE.with_borrow(|file| {
        file.set_len(0).and_then(|()| file.write_all_at(data, 0)).expect("room");
        program(&data[..data.len().min(4096)], file);
    });
});

fn program(head: &[u8], file: &File) {
    let Ok(Kind::Elf(elf)) = elf::parse(head, file) else { return };
    assert!(!elf.loads.is_empty());
    if let Some(path) = &elf.interp {
        assert!(path.len() < prun::path::PATH_MAX && !path.contains(&0));
    }
    let random = head.iter().fold(0u64, |sum, &b| sum.rotate_left(7) ^ u64::from(b));
    let (mut script, sp) = (Script::new(prun_arch::ABI), 0x7fff_0000_0000);
    let mapped = script.program(&elf, b"/p", 1, sp, random);
    script.comm(head);
    script.stack(sp, elf.stack.is_some_and(|flags| flags & 1 != 0));
    script.describe(&elf, &mapped, [1, 2, 3, 4], sp, head);
    let (address, bytes) = script.finish(sp);
    assert!(address < sp && !bytes.is_empty());
    assert!(mapped.brk % 4096 == 0);
}

fn stack(data: &[u8]) {
    for (width, pair) in [(Word::Wide, 16), (Word::Narrow, 8)] {
        let Some(layout) = auxv::layout(data, width) else { continue };
        let len = layout.end - layout.auxv;
        assert!(layout.end <= data.len() && layout.auxv < layout.end && len % pair == 0);
        let mut vector = data[layout.auxv..layout.end].to_vec();
        let had = auxv::get(&vector, width, auxv::at::ENTRY).is_some();
        auxv::set(&mut vector, width, auxv::at::ENTRY, 42);
        assert_eq!(auxv::get(&vector, width, auxv::at::ENTRY), had.then_some(42));
    }
}

/// `load_script()` of the kernel's `fs/binfmt_script.c`, on a buffer as it has one.
fn script(data: &[u8]) {
    let got =
        shebang::parse(data).map(|r| r.map(|s| (s.interpreter.to_vec(), s.argument.map(<[u8]>::to_vec))));
    let mut buffer = [0u8; 256];
    let len = data.len().min(256);
    buffer[..len].copy_from_slice(&data[..len]);
    assert_eq!(got, buffer.starts_with(b"#!").then(|| line(&mut buffer)));
}

fn line(buffer: &mut [u8; 256]) -> Result<(Vec<u8>, Option<Vec<u8>>), Errno> {
    let blank = |b: u8| b == b' ' || b == b'\t';
    let newline = buffer.iter().take_while(|&&b| b != 0).position(|&b| b == b'\n');
    let mut end = newline.unwrap_or(255);
    if newline.is_none() {
        let mut at = 2;
        while at < 256 && blank(buffer[at]) {
            at += 1;
        }
        while at < 256 && !blank(buffer[at]) && buffer[at] != 0 {
            at += 1;
        }
        if at == 256 {
            return Err(Errno::ENOEXEC);
        }
    }
    while blank(buffer[end - 1]) {
        end -= 1;
    }
    let mut name = 2;
    while name < end && blank(buffer[name]) {
        name += 1;
    }
    if name >= end {
        return Err(Errno::ENOEXEC);
    }
    let mut separator = name;
    while separator <= end && !blank(buffer[separator]) && buffer[separator] != 0 {
        separator += 1;
    }
    let mut argument = None;
    if separator <= end && buffer[separator] != 0 {
        let mut at = separator;
        while at <= end && blank(buffer[at]) {
            at += 1;
        }
        argument = (at <= end).then_some(at);
    }
    buffer[end] = 0;
    if argument.is_some() {
        buffer[separator] = 0;
    }
    let text = |at: usize| buffer[at..].iter().copied().take_while(|&b| b != 0).collect::<Vec<u8>>();
    Ok((text(name), argument.map(text)))
}
