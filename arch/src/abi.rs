//! Numbers of system calls. A call is *named* the same for every CPU, by [`Sysno`]; its number is an ABI's.
//!
//! x86-64's list is where the names come from, as it has every call that any 64-bit ABI has. So **`as u32` on a name is
//! wrong** anywhere but here: [`number`] and [`call`] translate for the CPU prun is built for.

mod aarch64;
pub mod arm;
pub mod i386;
mod narrow;
pub mod stat;

pub use syscalls::x86_64::Sysno;

/// Numbers are below this in every ABI: those of Linux 6.18 end at 469.
pub const LEN: usize = 512;
/// What stands for the number of a call that an ABI does not have; the kernel answers `ENOSYS` to it.
pub const NO_NUMBER: u32 = u32::MAX;

/// A set of conventions by which programs make system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit programs on x86-64.
    X86_64,
    /// 32-bit programs on x86-64, and `int 0x80` in 64-bit ones.
    I386,
    /// 64-bit programs on aarch64.
    Aarch64,
    /// 32-bit programs on aarch64 (armhf).
    Arm,
}

/// Which of several calls of one name in an ABI: they differ in how wide ids, times and sizes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The one that has the name; 16-bit ids and narrow structures in a 32-bit ABI.
    Plain,
    /// What was before: oldstat, olduname, umount, readdir.
    Old,
    /// What was before that: oldolduname.
    Oldest,
    /// What came later in a 32-bit ABI: stat64, chown32, utimensat_time64.
    Wide,
}

struct Table {
    numbers: [u16; LEN],
    calls: [Option<Sysno>; LEN],
}

const NONE: u16 = u16::MAX;

const fn table(list: &[(u16, Sysno)]) -> Table {
    let mut table = Table { numbers: [NONE; LEN], calls: [None; LEN] };
    let mut i = 0;
    while i < list.len() {
        let (number, call) = list[i];
        assert!(
            table.calls[number as usize].is_none() && table.numbers[call as usize] == NONE,
            "listed twice"
        );
        table.calls[number as usize] = Some(call);
        table.numbers[call as usize] = number;
        i += 1;
    }
    table
}

static AARCH64: Table = table(aarch64::CALLS);

impl Abi {
    /// `AUDIT_ARCH_…` of `<linux/audit.h>`: how filters and ptrace(2) call it.
    pub const fn audit(self) -> u32 {
        match self {
            Abi::X86_64 => 0xc000_003e,
            Abi::I386 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// Bytes of a pointer.
    pub const fn word(self) -> usize {
        match self {
            Abi::I386 | Abi::Arm => 4,
            Abi::X86_64 | Abi::Aarch64 => 8,
        }
    }

    /// Which form of its call a number stands for.
    pub const fn form(self, number: u32) -> Form {
        match self {
            Abi::I386 => i386::TABLE.form(number),
            Abi::Arm => arm::TABLE.form(number),
            Abi::X86_64 | Abi::Aarch64 => Form::Plain,
        }
    }

    /// Whether it is the number of any call.
    pub const fn knows(self, number: u32) -> bool {
        match self {
            Abi::I386 => i386::TABLE.knows(number),
            Abi::Arm => arm::TABLE.knows(number) || arm::is_private(number),
            Abi::X86_64 | Abi::Aarch64 => self.call(number).is_some(),
        }
    }

    /// The number of a call, or [`NO_NUMBER`]; of several forms the first in [`Form`]'s order.
    pub const fn number(self, call: Sysno) -> u32 {
        let number = match self {
            Abi::X86_64 => return call as u32,
            Abi::I386 => return i386::TABLE.number(call),
            Abi::Arm => return arm::TABLE.number(call),
            Abi::Aarch64 => AARCH64.numbers[call as usize],
        };
        if number == NONE { NO_NUMBER } else { number as u32 }
    }

    /// The call that has this number.
    pub const fn call(self, number: u32) -> Option<Sysno> {
        if number as usize >= LEN {
            return None;
        }
        match self {
            Abi::X86_64 => Sysno::new(number as usize),
            Abi::I386 => i386::TABLE.call(number),
            Abi::Arm => arm::TABLE.call(number),
            Abi::Aarch64 => AARCH64.calls[number as usize],
        }
    }
}

/// [`Abi::number`] of the CPU prun is built for.
pub const fn number(call: Sysno) -> u32 {
    crate::ABI.number(call)
}

/// [`Abi::call`] of the CPU prun is built for.
pub const fn call(number: u32) -> Option<Sysno> {
    crate::ABI.call(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// `#define __NR_name number` of a header, one level of `__NR_name __NR3264_name` followed; numbers of calls that only
    /// 32-bit ABIs have are left out.
    fn header(text: &str) -> HashMap<String, u32> {
        let mut defined: HashMap<&str, &str> = HashMap::new();
        let mut narrow = vec![];
        for line in text.lines() {
            if line.starts_with("#if") {
                narrow.push(line.contains("__BITS_PER_LONG == 32"));
            } else if line.starts_with("#endif") {
                narrow.pop();
            } else if let (true, Some(part)) = (line.starts_with("#else"), narrow.last_mut()) {
                *part = !*part;
            }
            let mut words = line.split_ascii_whitespace();
            if let (Some("#define"), Some(name), Some(value), false) =
                (words.next(), words.next(), words.next(), narrow.contains(&true))
            {
                defined.entry(name).or_insert(value);
            }
        }
        let names = defined.keys().filter_map(|name| name.strip_prefix("__NR_").map(|short| (*name, short)));
        names
            .filter_map(|(name, short)| {
                let value = defined[name];
                let value = defined.get(value).unwrap_or(&value);
                Some((short.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Every call of an installed header is known by its number. Debian: linux-libc-dev and its `-arm64-cross`.
    fn check(abi: Abi, path: &str) {
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let header = header(&text);
        assert!(header.len() > 250, "{path} lists calls");
        for (name, number) in header {
            // Names that stand for no call of these ABIs.
            if ["syscalls", "arch_specific_syscall", "nfsservctl", "sync_file_range2"]
                .contains(&name.as_str())
            {
                continue;
            }
            if abi == Abi::I386 {
                let named = syscalls::x86::Sysno::new(number as usize).map(|c| c.name());
                assert_eq!(named.map(|n| n.trim_start_matches("r#")), Some(&name[..]), "{number} in {path}");
                assert!(abi.knows(number), "{name} ({number}) is in no list");
                continue;
            }
            let call: Option<Sysno> = name.parse().ok();
            assert_eq!(abi.call(number), call, "{name} is {number} in {path}");
            assert_eq!(call.map(|c| abi.number(c)), Some(number), "{name} in {path}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_headers() {
        check(Abi::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h");
        check(Abi::I386, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h");
        check(Abi::Aarch64, "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h");
        check(Abi::Aarch64, "/usr/include/asm-generic/unistd.h");
    }

    /// Debian: linux-libc-dev-armhf-cross. Its numbers are sums: `(__NR_SYSCALL_BASE + 5)`.
    #[test]
    fn numbers_of_arm_are_those_of_the_header() {
        let dir = "/usr/arm-linux-gnueabihf/include/asm";
        let Ok(text) = std::fs::read_to_string(format!("{dir}/unistd-eabi.h")) else { return };
        let mut seen = 0;
        for line in text.lines() {
            let Some((name, number)) = line.strip_prefix("#define __NR_").and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            let number = number.trim_start_matches("(__NR_SYSCALL_BASE + ").trim_end_matches(')');
            let number: u32 = number.parse().expect("a number");
            let named = syscalls::arm::Sysno::new(number as usize).map(|c| c.name());
            assert!(Abi::Arm.knows(number), "{name} ({number}) is in no list");
            assert!(named.is_some_and(|n| n == name), "{number} is {name}, here {named:?}");
            seen += 1;
        }
        assert!(seen > 380, "{seen} calls");
    }

    #[test]
    fn numbers_and_names_are_each_other_s() {
        for abi in [Abi::X86_64, Abi::Aarch64] {
            let calls: Vec<_> = (0..LEN as u32).filter_map(|n| Some((n, abi.call(n)?))).collect();
            assert!(calls.len() > 300);
            assert!(calls.iter().all(|&(n, call)| abi.number(call) == n));
        }
        assert_eq!(Abi::Aarch64.number(Sysno::open), NO_NUMBER);
        assert_eq!(Abi::Aarch64.call(NO_NUMBER), None);
        assert_eq!(Abi::X86_64.call(1 << 30 | 2), None);
    }
}
