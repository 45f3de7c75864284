//! Compiles the code that runs in the guest into a flat image, and proves what the tracer relies on: entry at the
//! first byte, one section, no relocation, no undefined symbol, no panic path, at most [`LIMIT`] bytes.

use goblin::elf::Elf;
use std::path::{Path, PathBuf};
use std::{env, fs, process::Command};

/// The image is written over one page of the guest; less is faster.
const LIMIT: usize = 1024;

fn main() {
    for file in ["loader.rs", "x86_64.rs", "aarch64.rs", "script.rs", "loader.ld"] {
        println!("cargo::rerun-if-changed=guest/{file}");
    }
    let out = PathBuf::from(var("OUT_DIR"));
    let (object, elf) = (out.join("loader.o"), out.join("loader.elf"));
    run(&mut compiler(&object));
    run(&mut linker(&object, &elf));
    let data = fs::read(&elf).expect("the linker wrote its output");
    fs::write(out.join("loader.bin"), proven(&data)).expect("OUT_DIR is writable");
}

fn compiler(object: &Path) -> Command {
    let mut rustc = Command::new(var("RUSTC"));
    // Flags meant for the host program (coverage, sanitizers, static linking) must not reach the guest.
    rustc
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["guest/loader.rs", "--crate-name=loader", "--crate-type=bin", "--edition=2024"])
        .arg(format!("--target={}", var("TARGET")))
        .arg(format!("--emit=obj={}", object.display()))
        .args(["-Copt-level=s", "-Cpanic=abort", "-Clto=fat", "-Ccodegen-units=1", "-Cdebuginfo=0"])
        .args(["-Crelocation-model=pic", "-Cforce-unwind-tables=no", "-Coverflow-checks=off"])
        .args(["-Cdebug-assertions=off"]);
    if var("CARGO_CFG_TARGET_ARCH") == "aarch64" {
        // One page is near enough for every address; see guest/aarch64.rs for the register.
        rustc.args(["-Ccode-model=tiny", "-Ctarget-feature=+reserve-x7"]);
    }
    rustc
}

/// The toolchain's own lld, so that no driver adds its start files; else the C compiler.
fn linker(object: &Path, elf: &Path) -> Command {
    let sysroot = Command::new(var("RUSTC")).args(["--print", "sysroot"]).output().expect("rustc runs");
    let lld = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim())
        .join("lib/rustlib")
        .join(var("HOST"))
        .join("bin/rust-lld");
    let mut link;
    if lld.exists() {
        link = Command::new(lld);
        link.args(["-flavor", "gnu", "-static", "--gc-sections", "-T", "guest/loader.ld"]);
    } else {
        link = Command::new("cc");
        link.args([
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,--gc-sections,--build-id=none,-T,guest/loader.ld",
        ]);
    }
    link.arg("-o").arg(elf).arg(object);
    link
}

fn proven(data: &[u8]) -> Vec<u8> {
    let elf = Elf::parse(data).expect("the linker's output is ELF");
    assert_eq!(elf.entry, 0, "the entry point must be the first byte");
    assert!(elf.shdr_relocs.is_empty() && elf.dynamic.is_none(), "relocations are left");
    let mut image = None;
    for section in &elf.section_headers {
        let name = elf.shdr_strtab.get_at(section.sh_name).unwrap_or("?");
        if name == ".image" {
            image = section.file_range().map(|range| data[range].to_vec());
        } else {
            assert!(!section.is_alloc() || section.sh_size == 0, "section {name} is not empty");
        }
    }
    for symbol in elf.syms.iter().skip(1) {
        let name = elf.strtab.get_at(symbol.st_name).unwrap_or("?");
        assert!(symbol.st_shndx != 0, "undefined symbol {name}");
        assert!(!name.contains("panic"), "a panic path survived: {name}");
    }
    let image = image.expect("loader.ld makes this section");
    if elf.header.e_machine == goblin::elf::header::EM_AARCH64 {
        // It may lie over a page that is guarded: a jump through a register (br, blr) would need a landing pad.
        let words = image.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
        let jumps = words.filter(|w| matches!(w & 0xffff_fc1f, 0xd61f_0000 | 0xd63f_0000)).count();
        assert_eq!(jumps, 0, "the loader jumps through registers");
    }
    assert!(image.len() <= LIMIT, "the loader has grown to {} bytes", image.len());
    image
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(status.success(), "the guest code does not build: {command:?}");
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
