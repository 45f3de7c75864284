//! The seccomp filter, derived from the table.
//!
//! The number is tested first, by a balanced tree of comparisons, and only JGE and RET lie on the way to the
//! verdict of a call that never stops: so the kernel finds those calls constant and puts them in its bitmap
//! (`seccomp_is_const_allow()`, Linux 5.11). Arguments and the instruction pointer are loaded behind that, for the
//! calls with a row only.
//!
//! A filter can never be changed once installed, so the first one holds two doors: the three calls that the
//! first page of [`prun_arch::resident`] makes pass from there, code that has looked at them inside the guest, and
//! openat(2) passes with the session's secret in its sixth argument, which the loader uses right after execve(2).
//! Neither is there for a guest that is not trusted: a program may jump to that code, and could search for the secret.

use super::table::{LEN, Row, When, row};
use crate::emulate::newer::Missing;
use libc::sock_filter;
use prun_arch::Sysno;
use prun_arch::abi::{Abi, arm};
use prun_arch::{ABI, ABIS, FOREIGN_BIT, LOOKS_NATIVE, resident};

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

/// The same of 32-bit programs: `FS_IOC32_SETFLAGS`, `FS_IOC_FSSETXATTR`, `FS_IOC32_SETVERSION`,
/// `EXT4_IOC32_SETVERSION_OLD`; and `FS_IOC_SETFLAGS`, which `compat_sys_ioctl()` passes on to the 64-bit code.
const NARROW_ATTRIBUTE_REQUESTS: [u32; 5] = [0x4004_6602, 0x401c_5820, 0x4004_7602, 0x4004_6604, 0x4008_6602];

fn attribute_requests(abi: Abi) -> &'static [u32] {
    if abi.word() == 4 { &NARROW_ATTRIBUTE_REQUESTS } else { &ATTRIBUTE_REQUESTS }
}

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
    /// Symbolic links may stand for hard ones.
    pub symlinks: bool,
    /// The tracer and the front.
    pub prun: [u32; 2],
    /// There may be code in tracees whose calls pass.
    pub resident: bool,
    /// Lets the loader's openat(2) pass; without one it stops.
    pub secret: Option<u64>,
}

const fn ins(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What is done about one number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Return(u32),
    Stop,
    /// Stopped, if the bits of an argument say so.
    Check(When),
    /// Stopped, unless called from the resident code.
    Resident,
    /// openat(2): the same, if nothing is changed by it; and the loader's passes.
    Open,
}

fn verdict(abi: Abi, number: usize, needs: &Needs) -> Verdict {
    let Some(row) = row(abi, number as u32) else {
        let known = abi.knows(number as u32);
        return match (known, needs.strict) {
            (true, _) => Verdict::Return(ALLOW),
            (false, true) => Verdict::Stop,
            (false, false) => Verdict::Return(ENOSYS),
        };
    };
    match row.when {
        When::Always if row.call == Sysno::openat && abi == ABI => Verdict::Open,
        When::Always | When::Merged | When::Identity | When::Looks
            if needs.resident
                && abi == ABI
                && resident::site(number as u32).is_some()
                && stops(row, needs) =>
        {
            Verdict::Resident
        }
        When::Always => Verdict::Stop,
        When::Merged if !needs.merged => Verdict::Return(ALLOW),
        When::ReadOnly if !needs.read_only => Verdict::Return(ALLOW),
        When::Placed if !needs.placed => Verdict::Return(ALLOW),
        When::SetsAttributes if !needs.read_only => Verdict::Return(ALLOW),
        When::Renamed if !needs.renamed => Verdict::Return(ALLOW),
        When::Missing if !needs.missing.has(row.call) => Verdict::Return(ALLOW),
        When::Identity if !needs.identity => Verdict::Return(ALLOW),
        When::Looks if !needs.identity && !needs.symlinks => Verdict::Return(ALLOW),
        When::Changes if !needs.identity && !needs.read_only => Verdict::Return(ALLOW),
        When::OneOf(_, [], _) if !needs.identity => Verdict::Return(ALLOW),
        When::Prun(_) if needs.identity => Verdict::Stop,
        When::Merged
        | When::ReadOnly
        | When::Placed
        | When::Renamed
        | When::Missing
        | When::Identity
        | When::Looks
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
pub fn decide(abi: Abi, number: u32, args: &[u64; 6], ip: u64, needs: &Needs) -> Decision {
    let low = |arg: u8| args[usize::from(arg)] as u32;
    let stops = match verdict(abi, number as usize, needs) {
        Verdict::Return(ALLOW) => return Decision::Allow,
        Verdict::Return(_) => return Decision::Unknown,
        Verdict::Stop => true,
        Verdict::Resident => return if from_resident(ip) { Decision::Allow } else { Decision::Stop },
        Verdict::Open => {
            let looks = needs.resident && from_resident(ip) && low(2) & resident::O_CHANGES == 0;
            return if looks || needs.secret == Some(args[5]) { Decision::Allow } else { Decision::Stop };
        }
        Verdict::Check(When::NotNull(arg)) => args[usize::from(arg)] != 0,
        Verdict::Check(When::Flag(arg, bits)) => low(arg) & bits != 0,
        Verdict::Check(When::OneOf(arg, always, identity)) => {
            always.contains(&low(arg)) || (needs.identity && identity.contains(&low(arg)))
        }
        Verdict::Check(When::SetsAttributes) => attribute_requests(abi).contains(&low(1)),
        Verdict::Check(When::Prun(arg)) => needs.prun.contains(&low(arg)),
        Verdict::Check(_) => true,
    };
    if stops { Decision::Stop } else { Decision::Allow }
}

/// Whether the address behind a call is on the page whose calls pass.
fn from_resident(ip: u64) -> bool {
    (resident::AT..resident::AT + resident::PART).contains(&ip)
}

/// Whether a call without conditions of its own stops.
fn stops(row: &Row, needs: &Needs) -> bool {
    match row.when {
        When::Merged => needs.merged,
        When::Identity => needs.identity,
        When::Looks => needs.identity || needs.symlinks,
        _ => true,
    }
}

/// What the filter says of a stopped call besides: of which ABI it is, by its place in [`ABIS`]. A call of none of them
/// has the number behind.
fn trace(abi: Abi) -> u32 {
    TRACE | ABIS.iter().position(|&a| a == abi).unwrap_or(ABIS.len()) as u32
}

/// The ABI of a call that the filter has stopped, from the message that came with the stop.
pub fn abi_of(message: u64) -> Abi {
    ABIS.get(message as usize).copied().unwrap_or(ABI)
}

/// The whole program: a part for each ABI, tested one after the other, the native one first. Calls of every other ABI
/// answer `ENOSYS`.
pub fn program(needs: &Needs) -> Vec<sock_filter> {
    let mut out = vec![ins(LD, 0, 0, ARCH)];
    for &abi in ABIS {
        let part = part(abi, needs);
        // Over a long jump, which goes over the part.
        out.push(ins(JEQ, 1, 0, abi.audit()));
        out.push(ins((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, part.len() as u32));
        out.extend(part);
    }
    // The tracer names them before it says the same.
    out.push(ins(RET, 0, 0, if needs.strict { TRACE | ABIS.len() as u32 } else { ENOSYS }));
    out
}

fn part(abi: Abi, needs: &Needs) -> Vec<sock_filter> {
    let mut runs: Vec<(u32, Verdict)> = vec![];
    // What one ABI has of the CPU's own is all there is above LEN.
    for number in (0..=LEN as u32).chain(arm::PRIVATE_EDGES) {
        let verdict = verdict(abi, number as usize, needs);
        if runs.last().is_none_or(|&(_, v)| v != verdict) {
            runs.push((number, verdict));
        }
    }
    let _ = FOREIGN_BIT; // x32 numbers are above them: the last run refuses them.
    let mut out = vec![ins(LD, 0, 0, NR)];
    out.extend(tree(abi, &runs, needs));
    out
}

fn tree(abi: Abi, runs: &[(u32, Verdict)], needs: &Needs) -> Vec<sock_filter> {
    if let [(_, verdict)] = runs {
        return leaf(abi, *verdict, needs);
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let (low_code, high_code) = (tree(abi, low, needs), tree(abi, high, needs));
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

fn leaf(abi: Abi, verdict: Verdict, needs: &Needs) -> Vec<sock_filter> {
    let low = |arg: u8| ARGS + 8 * u32::from(arg);
    let mut out = vec![];
    match verdict {
        Verdict::Return(value) => return vec![ins(RET, 0, 0, value)],
        Verdict::Stop | Verdict::Resident => {}
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
            let requests = attribute_requests(abi);
            for (i, request) in requests.iter().enumerate() {
                // Over the rest of the list and the verdict behind it.
                out.push(ins(JEQ, (requests.len() - i) as u8, 0, *request));
            }
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(When::Prun(arg)) => {
            out.push(ins(LD, 0, 0, low(arg)));
            for (i, pid) in needs.prun.iter().enumerate() {
                out.push(ins(JEQ, (needs.prun.len() - i) as u8, 0, *pid));
            }
            out.push(ins(RET, 0, 0, ALLOW));
        }
        Verdict::Check(_) => {}
        Verdict::Open => {
            if let Some(secret) = needs.secret {
                out.push(ins(LD, 0, 0, low(5)));
                out.push(ins(JEQ, 0, 3, secret as u32));
                out.push(ins(LD, 0, 0, low(5) + 4));
                out.push(ins(JEQ, 0, 1, (secret >> 32) as u32));
                out.push(ins(RET, 0, 0, ALLOW));
            }
            if needs.resident {
                out.push(ins(LD, 0, 0, low(2)));
                out.push(ins(JSET, 0, 1, resident::O_CHANGES));
                out.push(ins(RET, 0, 0, TRACE));
            }
        }
    }
    if abi != ABI && LOOKS_NATIVE.is_none() {
        out.push(ins(RET, 0, 0, trace(abi)));
        return out;
    }
    if let (true, Some(argument)) = (abi != ABI, LOOKS_NATIVE) {
        // A call that looks native in its registers: refused, or the tracer would take it for another.
        out.push(ins(LD, 0, 0, IP));
        out.push(ins((libc::BPF_MISC | libc::BPF_TAX) as u16, 0, 0, 0));
        out.push(ins(LD, 0, 0, low(argument as u8)));
        out.push(ins((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X) as u16, 0, 1, 0));
        out.push(ins(RET, 0, 0, ENOSYS));
        out.push(ins(RET, 0, 0, trace(abi)));
        return out;
    }
    if needs.resident && matches!(verdict, Verdict::Open | Verdict::Resident) {
        // The address after the call instruction; the window does not cross 4 GiB.
        let (start, end) = (resident::AT, resident::AT + resident::PART);
        out.push(ins(LD, 0, 0, IP + 4));
        out.push(ins(JEQ, 0, 4, (start >> 32) as u32));
        out.push(ins(LD, 0, 0, IP));
        out.push(ins(JGE, 0, 2, start as u32));
        out.push(ins(JGE, 1, 0, end as u32));
        out.push(ins(RET, 0, 0, ALLOW));
    }
    out.push(ins(RET, 0, 0, TRACE));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prun_arch::abi::number;

    struct Data {
        nr: u32,
        arch: u32,
        ip: u64,
        args: [u64; 6],
    }

    const TAX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
    const JEQ_X: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X) as u16;

    /// The kernel's interpreter, for the instructions used here; also counts them.
    fn run(program: &[sock_filter], data: &Data) -> (u32, usize) {
        let (mut pc, mut a, mut x, mut steps) = (0, 0u32, 0u32, 0);
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
                TAX => x = a,
                JEQ_X => pc += usize::from(if a == x { i.jt } else { i.jf }),
                code if code == (libc::BPF_JMP | libc::BPF_JA) as u16 => pc += i.k as usize,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn ask(needs: &Needs, nr: u32, ip: u64, args: [u64; 6]) -> u32 {
        run(&program(needs), &Data { nr, arch: ABI.audit(), ip, args }).0
    }

    const NEEDS: Needs = Needs {
        merged: true,
        read_only: false,
        placed: false,
        renamed: false,
        strict: false,
        missing: Missing::NONE,
        identity: false,
        symlinks: false,
        prun: [4711, 4712],
        resident: true,
        secret: Some(SECRET),
    };
    const SECRET: u64 = 0x1234_5678_9abc_def0;

    #[test]
    fn verdicts_follow_the_table() {
        for nr in 0..1000 {
            let expected = match (row(ABI, nr), prun_arch::abi::call(nr)) {
                (None, None) => ENOSYS,
                (None, Some(_)) => ALLOW,
                (Some(r), _) => match r.when {
                    When::Always | When::Merged => TRACE,
                    _ => ALLOW,
                },
            };
            assert_eq!(ask(&NEEDS, nr, 0x40_0000, [0; 6]), expected, "number {nr}");
        }
        assert_eq!(ask(&NEEDS, number(Sysno::recvfrom), 0, [0, 0, 0, 0, 1 << 40, 0]), TRACE);
        for (option, expected) in [(2, ALLOW), (3, TRACE), (4, TRACE), (5, ALLOW), (1 << 31, ALLOW)] {
            assert_eq!(ask(&NEEDS, number(Sysno::prctl), 0, [option, 0, 0, 0, 0, 0]), expected);
        }
        assert_eq!(
            ask(&NEEDS, number(Sysno::clone), 0, [u64::from(libc::CLONE_UNTRACED as u32), 0, 0, 0, 0, 0]),
            TRACE
        );
    }

    #[test]
    fn the_decision_without_a_filter_is_the_filter_s() {
        let words =
            [0, 1, 2, 3, 4, 5, 8, 16, 4711, 4712, 0x0080_0000, 0x4008_6602, 0x200, 1 << 40, u64::MAX, SECRET];
        let doors = [0, prun_arch::WINDOW + 2, resident::AT, resident::AT + resident::PART];
        for read_only in [false, true] {
            let secret = NEEDS.secret.filter(|_| read_only);
            let needs = Needs {
                read_only,
                placed: read_only,
                renamed: read_only,
                resident: read_only,
                secret,
                ..NEEDS
            };
            let program = program(&needs);
            for nr in (0..600).chain([FOREIGN_BIT | 2, u32::MAX]) {
                for (i, &word) in words.iter().enumerate() {
                    let args =
                        std::array::from_fn(|n| if n == 5 { word } else { words[(i + n) % words.len()] });
                    for same in [args, [word; 6]] {
                        for (ip, &abi) in
                            doors.into_iter().flat_map(|ip| ABIS.iter().map(move |abi| (ip, abi)))
                        {
                            let same = if abi.word() == 4 { same.map(|a| a & 0xffff_ffff) } else { same };
                            if abi != ABI && LOOKS_NATIVE.is_some_and(|n| same[n] == ip & 0xffff_ffff) {
                                continue;
                            }
                            let filter = run(&program, &Data { nr, arch: abi.audit(), ip, args: same }).0;
                            let expected = match filter & !libc::SECCOMP_RET_DATA {
                                ALLOW => Decision::Allow,
                                TRACE => Decision::Stop,
                                _ => Decision::Unknown,
                            };
                            assert_eq!(decide(abi, nr, &same, ip, &needs), expected, "{nr} {same:x?} {ip:x}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn foreign_calls_do_not_slip_past() {
        let p = program(&NEEDS);
        for (nr, arch) in [(5, 0x4000_0016), (FOREIGN_BIT | 2, ABI.audit()), (u32::MAX, ABI.audit())] {
            assert_eq!(run(&p, &Data { nr, arch, ip: 0, args: [0; 6] }).0, ENOSYS);
        }
    }

    /// A call of the 32-bit ABI.
    fn ask_narrow(needs: &Needs, nr: u32, ip: u64, args: [u64; 6]) -> u32 {
        run(&program(needs), &Data { nr, arch: ABIS[1].audit(), ip, args }).0
    }

    #[test]
    fn calls_of_32_bit_programs_follow_the_table_too() {
        let abi = ABIS[1];
        for nr in (0..1000).chain(arm::PRIVATE_EDGES) {
            let expected = match row(abi, nr) {
                None if abi.knows(nr) => ALLOW,
                None => ENOSYS,
                Some(r) => match r.when {
                    When::Always | When::Merged => trace(abi),
                    _ => ALLOW,
                },
            };
            assert_eq!(ask_narrow(&NEEDS, nr, 0x40_0000, [0; 6]), expected, "number {nr}");
        }
        // open(2), with what could be taken for a native call.
        let at = |ip, ecx| ask_narrow(&NEEDS, abi.number(Sysno::open), ip, [0, ecx, 0, 0, 0, 0]);
        let disguised = if LOOKS_NATIVE.is_some() { ENOSYS } else { trace(abi) };
        assert_eq!((at(0x804_8123, 0x804_8123), at(0x5_0804_8123, 0x804_8123)), (disguised, disguised));
        assert_eq!(at(0x804_8123, 0x804_8122), trace(abi));
        // The doors are the native ABI's.
        let openat = abi.number(Sysno::openat);
        assert_eq!(ask_narrow(&NEEDS, openat, resident::AT, [0; 6]), trace(abi));
        let secret = [0, 0, 0, 0, 0, SECRET];
        assert_eq!(ask_narrow(&NEEDS, openat, 8, secret), trace(abi));
        assert_eq!(abi_of(u64::from(trace(abi) & libc::SECCOMP_RET_DATA)), abi);
        let socketcall = prun_arch::narrow::SOCKETCALL;
        if socketcall == prun_arch::abi::NO_NUMBER {
            return;
        }
        // bind and getsockopt, and what has no address.
        for (which, expected) in [(2, TRACE), (15, ALLOW), (1, ALLOW), (9, ALLOW)] {
            let got = ask_narrow(&NEEDS, socketcall, 0, [which, 1, 0, 0, 0, 0]);
            assert_eq!(got & !libc::SECCOMP_RET_DATA, expected, "{which}");
        }
    }

    #[test]
    fn the_two_doors_open_for_nothing_else() {
        let open = number(Sysno::openat);
        let (start, end) = (resident::AT, resident::AT + resident::PART);
        let from = |call: Sysno, ip, flags| ask(&NEEDS, number(call), ip, [0, 0, flags, 0, 0, 0]);
        for ip in [start, end - 1].into_iter().filter(|_| resident::ANY) {
            for call in [Sysno::openat, Sysno::newfstatat, Sysno::getdents64] {
                assert_eq!(from(call, ip, 0), ALLOW, "{call:?}");
            }
            for call in [Sysno::open, Sysno::stat, Sysno::execve, Sysno::mkdir, Sysno::connect, Sysno::statx]
            {
                assert_eq!(from(call, ip, 0), TRACE, "{call:?} is none that the code there makes");
            }
            for flags in [1u64, 2, 0x40, 0x200, 0x40_0000, 0x41_0000] {
                assert_eq!(from(Sysno::openat, ip, flags), TRACE, "{flags:#x} changes something");
            }
        }
        for ip in [start - 1, end, prun_arch::WINDOW + 2, start ^ (1 << 40)] {
            assert_eq!(from(Sysno::openat, ip, 0), TRACE, "{ip:#x}");
        }
        assert_eq!(ask(&NEEDS, open, 0, [0, 0, 0, 0, 0, SECRET]), ALLOW);
        assert_eq!(ask(&NEEDS, open, 0, [0, 0, 0, 0, 0, SECRET ^ (1 << 60)]), TRACE);
        assert_eq!(ask(&NEEDS, number(Sysno::statx), 0, [0, 0, 0, 0, 0, SECRET]), TRACE);
        let closed = Needs { resident: false, secret: None, ..NEEDS };
        for ip in [0, start, end - 1] {
            for call in [Sysno::openat, Sysno::newfstatat, Sysno::getdents64] {
                assert_eq!(ask(&closed, number(call), ip, [0, 0, 0, 0, 0, SECRET]), TRACE, "{call:?}");
            }
        }
    }

    #[test]
    fn a_call_without_a_path_costs_few_instructions() {
        let p = program(&NEEDS);
        let steps = |call| run(&p, &Data { nr: number(call), arch: ABI.audit(), ip: 0, args: [0; 6] }).1;
        assert!(
            steps(Sysno::read) <= 12 && steps(Sysno::fstat) <= 12,
            "{} {}",
            steps(Sysno::read),
            steps(Sysno::fstat)
        );
        assert!(p.len() < 4096);
    }
}
