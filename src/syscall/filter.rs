//! The seccomp filter, derived from the table.
//!
//! The number is tested first, by a balanced tree of comparisons, and only JGE and RET lie on the way to the
//! verdict of a call that never stops: so the kernel finds those calls constant and puts them in its bitmap
//! (`seccomp_is_const_allow()`, Linux 5.11). Arguments and the instruction pointer are loaded behind that, for the
//! calls with a row only.
//!
//! A filter can never be changed once installed, so the first one holds two doors: calls made from the
//! first page of [`prun_arch::resident`] pass, code that has looked at them inside the guest, and openat(2) passes with
//! the session's secret in its sixth argument, which the loader uses right after execve(2).

use super::table::{LEN, When, row};
use crate::emulate::newer::Missing;
use libc::sock_filter;
use prun_arch::{AUDIT_ARCH, FOREIGN_BIT, resident};
use syscalls::Sysno;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const TRACE: u32 = libc::SECCOMP_RET_TRACE;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const LD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP: u32 = 8;
const ARGS: u32 = 16;

/// Requests of ioctl(2) that ask for `mnt_want_write_file()` on a descriptor that is only read: `FS_IOC_SETFLAGS`,
/// `FS_IOC_FSSETXATTR`, `FS_IOC_SETVERSION` and, of ext4, `EXT4_IOC_SETVERSION_OLD` (`<linux/fs.h>`).
const ATTRIBUTE_REQUESTS: [u32; 4] = [0x4008_6602, 0x401c_5820, 0x4008_7602, 0x4008_6604];

/// What the filter depends on besides the table.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Some listing differs from the host's.
    pub merged: bool,
    /// Some binding is read-only.
    pub read_only: bool,
    /// Tasks are put on the tracer's CPU.
    pub placed: bool,
    /// uname(2) is not the kernel's.
    pub renamed: bool,
    /// Calls that are unknown are named.
    pub strict: bool,
    /// Calls that the kernel does not have.
    pub missing: Missing,
    /// A fake identity is asked for.
    pub identity: bool,
    /// Lets the loader's openat(2) pass.
    pub secret: u64,
}

const fn ins(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What is done about one number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Return(u32),
    /// Stopped, unless called from the resident code.
    Stop,
    /// Stopped as above, if the bits of an argument say so.
    Check(When),
    /// openat(2).
    Open,
}

fn verdict(number: usize, needs: &Needs) -> Verdict {
    let Some(row) = row(number as u32) else {
        let known = Sysno::new(number).is_some();
        return match (known, needs.strict) {
            (true, _) => Verdict::Return(ALLOW),
            (false, true) => Verdict::Stop,
            (false, false) => Verdict::Return(ENOSYS),
        };
    };
    match row.when {
        When::Always if row.call == Sysno::openat => Verdict::Open,
        When::Always => Verdict::Stop,
        When::Merged if !needs.merged => Verdict::Return(ALLOW),
        When::ReadOnly if !needs.read_only => Verdict::Return(ALLOW),
        When::Placed if !needs.placed => Verdict::Return(ALLOW),
        When::SetsAttributes if !needs.read_only => Verdict::Return(ALLOW),
        When::Renamed if !needs.renamed => Verdict::Return(ALLOW),
        When::Missing if !needs.missing.has(row.call) => Verdict::Return(ALLOW),
        When::Identity if !needs.identity => Verdict::Return(ALLOW),
        When::Changes if !needs.identity && !needs.read_only => Verdict::Return(ALLOW),
        When::OneOf(_, [], _) if !needs.identity => Verdict::Return(ALLOW),
        When::Merged
        | When::ReadOnly
        | When::Placed
        | When::Renamed
        | When::Missing
        | When::Identity
        | When::Changes => Verdict::Stop,
        when => Verdict::Check(when),
    }
}

/// What happens to a call: by the filter, or in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs.
    Allow,
    /// It is looked at.
    Stop,
    /// It answers `ENOSYS`.
    Unknown,
}

/// What [`program`] says of a call of the native ABI, decided here: for hosts that refuse filters. `ip` is the address
/// after the call's instruction.
pub fn decide(number: u32, args: &[u64; 6], ip: u64, needs: &Needs) -> Decision {
    let low = |arg: u8| args[usize::from(arg)] as u32;
    let stops = match verdict(number as usize, needs) {
        Verdict::Return(ALLOW) => return Decision::Allow,
        Verdict::Return(_) => return Decision::Unknown,
        Verdict::Stop => true,
        Verdict::Open => args[5] != needs.secret,
        Verdict::Check(When::NotNull(arg)) => args[usize::from(arg)] != 0,
        Verdict::Check(When::Flag(arg, bits)) => low(arg) & bits != 0,
        Verdict::Check(When::OneOf(arg, always, identity)) => {
            always.contains(&low(arg)) || (needs.identity && identity.contains(&low(arg)))
        }
        Verdict::Check(When::SetsAttributes) => ATTRIBUTE_REQUESTS.contains(&low(1)),
        Verdict::Check(_) => true,
    };
    let window = resident::AT..resident::AT + resident::PART;
    if stops && !window.contains(&ip) { Decision::Stop } else { Decision::Allow }
}

/// The whole program, for tracees of the native ABI; calls of every other ABI answer `ENOSYS`.
pub fn program(needs: &Needs) -> Vec<sock_filter> {
    let mut runs: Vec<(u32, Verdict)> = vec![];
    for number in 0..=LEN {
        let verdict = verdict(number, needs);
        if runs.last().is_none_or(|&(_, v)| v != verdict) {
            runs.push((number as u32, verdict));
        }
    }
    // The tracer names them before it says the same.
    let foreign = if needs.strict { TRACE } else { ENOSYS };
    let mut out =
        vec![ins(LD, 0, 0, ARCH), ins(JEQ, 1, 0, AUDIT_ARCH), ins(RET, 0, 0, foreign), ins(LD, 0, 0, NR)];
    let _ = FOREIGN_BIT; // x32 numbers are above LEN: the last run refuses them.
    out.extend(tree(&runs, needs));
    out
}

fn tree(runs: &[(u32, Verdict)], needs: &Needs) -> Vec<sock_filter> {
    if let [(_, verdict)] = runs {
        return leaf(*verdict, needs);
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let (low_code, high_code) = (tree(low, needs), tree(high, needs));
    let first = high[0].0;
    let mut out = vec![];
    match u8::try_from(low_code.len()) {
        Ok(over) => out.push(ins(JGE, over, 0, first)),
        Err(_) => {
            // Too far for a conditional jump: hop over a long one.
            out.push(ins(JGE, 0, 1, first));
            out.push(ins((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, low_code.len() as u32));
        }
    }
    out.extend(low_code);
    out.extend(high_code);
    out
}

fn leaf(verdict: Verdict, needs: &Needs) -> Vec<sock_filter> {
    let low = |arg: u8| ARGS + 8 * u32::from(arg);
    let mut out = vec![];
    match verdict {
        Verdict::Return(value) => return vec![ins(RET, 0, 0, value)],
        Verdict::Stop => {}
        Verdict::Check(When::NotNull(arg)) => {
            out.push(ins(LD, 0, 0, low(arg)));
            out.push(ins(JEQ, 0, 3, 0));
            out.push(ins(LD, 0, 0, low(arg) + 4));
            out.push(ins(JEQ, 0, 1, 0));
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(When::Flag(arg, bits)) => {
            out.push(ins(LD, 0, 0, low(arg)));
            out.push(ins(JSET, 1, 0, bits));
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(When::OneOf(arg, always, identity)) => {
            out.push(ins(LD, 0, 0, low(arg)));
            let identity = if needs.identity { identity } else { &[] };
            let count = always.len() + identity.len();
            for (i, value) in always.iter().chain(identity).enumerate() {
                // Over the rest of the list and the verdict behind it.
                out.push(ins(JEQ, (count - i) as u8, 0, *value));
            }
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(When::SetsAttributes) => {
            out.push(ins(LD, 0, 0, low(1)));
            for (i, request) in ATTRIBUTE_REQUESTS.iter().enumerate() {
                // Over the rest of the list and the verdict behind it.
                out.push(ins(JEQ, (ATTRIBUTE_REQUESTS.len() - i) as u8, 0, *request));
            }
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(_) => {}
        Verdict::Open => {
            out.push(ins(LD, 0, 0, low(5)));
            out.push(ins(JEQ, 0, 3, needs.secret as u32));
            out.push(ins(LD, 0, 0, low(5) + 4));
            out.push(ins(JEQ, 0, 1, (needs.secret >> 32) as u32));
            out.push(ins(RET, 0, 0, ALLOW));
        }
    }
    // The address after the call instruction; the window does not cross 4 GiB.
    let (start, end) = (resident::AT, resident::AT + resident::PART);
    out.push(ins(LD, 0, 0, IP + 4));
    out.push(ins(JEQ, 0, 4, (start >> 32) as u32));
    out.push(ins(LD, 0, 0, IP));
    out.push(ins(JGE, 0, 2, start as u32));
    out.push(ins(JGE, 1, 0, end as u32));
    out.push(ins(RET, 0, 0, ALLOW));
    out.push(ins(RET, 0, 0, TRACE));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Data {
        nr: u32,
        arch: u32,
        ip: u64,
        args: [u64; 6],
    }

    /// The kernel's interpreter, for the instructions used here; also counts them.
    fn run(program: &[sock_filter], data: &Data) -> (u32, usize) {
        let (mut pc, mut a, mut steps) = (0, 0u32, 0);
        loop {
            let i = program[pc];
            steps += 1;
            pc += 1;
            match i.code {
                LD => {
                    a = match i.k {
                        NR => data.nr,
                        ARCH => data.arch,
                        8 => data.ip as u32,
                        12 => (data.ip >> 32) as u32,
                        k => {
                            let word = data.args[((k - ARGS) / 8) as usize];
                            if (k - ARGS).is_multiple_of(8) { word as u32 } else { (word >> 32) as u32 }
                        }
                    }
                }
                JEQ => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
                JGE => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
                JSET => pc += usize::from(if a & i.k != 0 { i.jt } else { i.jf }),
                RET => return (i.k, steps),
                code if code == (libc::BPF_JMP | libc::BPF_JA) as u16 => pc += i.k as usize,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn ask(needs: &Needs, nr: u32, ip: u64, args: [u64; 6]) -> u32 {
        run(&program(needs), &Data { nr, arch: AUDIT_ARCH, ip, args }).0
    }

    const NEEDS: Needs = Needs {
        merged: true,
        read_only: false,
        placed: false,
        renamed: false,
        strict: false,
        missing: Missing::NONE,
        identity: false,
        secret: 0x1234_5678_9abc_def0,
    };

    #[test]
    fn verdicts_follow_the_table() {
        for nr in 0..1000 {
            let expected = match (row(nr), Sysno::new(nr as usize)) {
                (None, None) => ENOSYS,
                (None, Some(_)) => ALLOW,
                (Some(r), _) => match r.when {
                    When::Always | When::Merged => TRACE,
                    _ => ALLOW,
                },
            };
            assert_eq!(ask(&NEEDS, nr, 0x40_0000, [0; 6]), expected, "number {nr}");
        }
        assert_eq!(ask(&NEEDS, Sysno::recvfrom as u32, 0, [0, 0, 0, 0, 1 << 40, 0]), TRACE);
        for (option, expected) in [(2, ALLOW), (3, TRACE), (4, TRACE), (5, ALLOW), (1 << 31, ALLOW)] {
            assert_eq!(ask(&NEEDS, Sysno::prctl as u32, 0, [option, 0, 0, 0, 0, 0]), expected);
        }
        assert_eq!(
            ask(&NEEDS, Sysno::clone as u32, 0, [u64::from(libc::CLONE_UNTRACED as u32), 0, 0, 0, 0, 0]),
            TRACE
        );
    }

    #[test]
    fn the_decision_without_a_filter_is_the_filter_s() {
        let words = [0, 1, 2, 3, 4, 5, 8, 0x0080_0000, 0x4008_6602, 0x200, 1 << 40, u64::MAX, NEEDS.secret];
        let doors = [0, prun_arch::WINDOW + 2, resident::AT, resident::AT + resident::PART];
        for read_only in [false, true] {
            let needs = Needs { read_only, placed: read_only, renamed: read_only, ..NEEDS };
            let program = program(&needs);
            for nr in (0..600).chain([FOREIGN_BIT | 2, u32::MAX]) {
                for (i, &word) in words.iter().enumerate() {
                    let args =
                        std::array::from_fn(|n| if n == 5 { word } else { words[(i + n) % words.len()] });
                    for same in [args, [word; 6]] {
                        for ip in doors {
                            let filter = run(&program, &Data { nr, arch: AUDIT_ARCH, ip, args: same }).0;
                            let expected = match filter {
                                ALLOW => Decision::Allow,
                                TRACE => Decision::Stop,
                                _ => Decision::Unknown,
                            };
                            assert_eq!(decide(nr, &same, ip, &needs), expected, "{nr} {same:x?} {ip:x}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn foreign_calls_do_not_slip_past() {
        let p = program(&NEEDS);
        for (nr, arch) in [(5, 0x4000_0003), (FOREIGN_BIT | 2, AUDIT_ARCH), (u32::MAX, AUDIT_ARCH)] {
            assert_eq!(run(&p, &Data { nr, arch, ip: 0, args: [0; 6] }).0, ENOSYS);
        }
    }

    #[test]
    fn the_two_doors_open_for_nothing_else() {
        let open = Sysno::openat as u32;
        let (start, end) = (resident::AT, resident::AT + resident::PART);
        assert_eq!(ask(&NEEDS, open, start, [0; 6]), ALLOW);
        assert_eq!(ask(&NEEDS, open, end - 1, [0; 6]), ALLOW);
        for ip in [start - 1, end, prun_arch::WINDOW + 2, start ^ (1 << 40)] {
            assert_eq!(ask(&NEEDS, open, ip, [0; 6]), TRACE, "{ip:#x}");
        }
        assert_eq!(ask(&NEEDS, open, 0, [0, 0, 0, 0, 0, NEEDS.secret]), ALLOW);
        assert_eq!(ask(&NEEDS, open, 0, [0, 0, 0, 0, 0, NEEDS.secret ^ (1 << 60)]), TRACE);
        assert_eq!(ask(&NEEDS, Sysno::stat as u32, 0, [0, 0, 0, 0, 0, NEEDS.secret]), TRACE);
    }

    #[test]
    fn a_call_without_a_path_costs_few_instructions() {
        let p = program(&NEEDS);
        let steps = |nr| run(&p, &Data { nr: nr as u32, arch: AUDIT_ARCH, ip: 0, args: [0; 6] }).1;
        assert!(
            steps(Sysno::read) <= 12 && steps(Sysno::fstat) <= 12,
            "{} {}",
            steps(Sysno::read),
            steps(Sysno::fstat)
        );
        assert!(p.len() < 4096);
    }
}
