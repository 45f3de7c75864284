//! What the lists of 32-bit ABIs have in common: a call may have several numbers, which are its forms.

use super::{Form, LEN, NO_NUMBER, Sysno};

/// Calls that have the same name here and, for the numbers, in a list of the crate: `calls! { X: read write }`.
macro_rules! calls {
    ($numbers:ident: $($name:ident)*) => {
        &[$(($numbers::$name as u16, $crate::Sysno::$name, $crate::abi::Form::Plain)),*]
    };
}
/// Numbers of such a list alone.
macro_rules! numbers {
    ($numbers:ident: $($name:ident)*) => { &[$($numbers::$name as u16),*] };
}
/// The forms with 32-bit ids, and with 64-bit sizes and times, that every such list has: number, name of the call, which form.
macro_rules! wide_forms {
    ($numbers:ident: $($form:ident $name:ident)*) => {
        &[$(($numbers::$form as u16, $crate::Sysno::$name, $crate::abi::Form::Wide)),*]
    };
    ($numbers:ident) => {
        wide_forms! { $numbers:
            truncate64 truncate stat64 stat lstat64 lstat fstat64 fstat fstatat64 newfstatat statfs64 statfs
            chown32 chown fchown32 fchown lchown32 lchown getuid32 getuid geteuid32 geteuid getgid32 getgid
            getegid32 getegid setuid32 setuid setgid32 setgid setreuid32 setreuid setregid32 setregid
            setresuid32 setresuid setresgid32 setresgid getresuid32 getresuid getresgid32 getresgid
            setfsuid32 setfsuid setfsgid32 setfsgid getgroups32 getgroups setgroups32 setgroups
            utimensat_time64 utimensat recvmmsg_time64 recvmmsg
        }
    };
}
pub(super) use {calls, numbers, wide_forms};

/// Calls by number and numbers by call.
pub(super) struct Table {
    numbers: [u16; LEN],
    calls: [Option<(Sysno, Form)>; LEN],
    known: [bool; LEN],
}

const NONE: u16 = u16::MAX;

impl Table {
    /// From calls that are there once, further forms of them, and numbers that prun has no work with.
    pub(super) const fn new(
        same: &[(u16, Sysno, Form)],
        forms: &[&[(u16, Sysno, Form)]],
        others: &[&[u16]],
    ) -> Self {
        let empty = Self { numbers: [NONE; LEN], calls: [None; LEN], known: [false; LEN] };
        let mut table = empty.enter(same);
        let mut list = 0;
        while list < forms.len() {
            table = table.enter(forms[list]);
            list += 1;
        }
        list = 0;
        while list < others.len() {
            let mut i = 0;
            while i < others[list].len() {
                let number = others[list][i] as usize;
                assert!(!table.known[number], "listed twice");
                table.known[number] = true;
                i += 1;
            }
            list += 1;
        }
        table
    }

    const fn enter(mut self, list: &[(u16, Sysno, Form)]) -> Self {
        let mut i = 0;
        while i < list.len() {
            let (number, call, form) = list[i];
            assert!(!self.known[number as usize], "listed twice");
            self.known[number as usize] = true;
            self.calls[number as usize] = Some((call, form));
            if self.numbers[call as usize] == NONE {
                self.numbers[call as usize] = number;
            }
            i += 1;
        }
        self
    }

    /// The number of a call, or [`NO_NUMBER`]; of several forms the one that was listed first.
    pub(super) const fn number(&self, call: Sysno) -> u32 {
        let number = self.numbers[call as usize];
        if number == NONE { NO_NUMBER } else { number as u32 }
    }

    /// The call that has this number, which is below [`LEN`].
    pub(super) const fn call(&self, number: u32) -> Option<Sysno> {
        match self.calls[number as usize] {
            Some((call, _)) => Some(call),
            None => None,
        }
    }

    /// Which form of its call a number stands for.
    pub(super) const fn form(&self, number: u32) -> Form {
        if number as usize >= LEN {
            return Form::Plain;
        }
        match self.calls[number as usize] {
            Some((_, form)) => form,
            None => Form::Plain,
        }
    }

    /// Whether it is the number of any call.
    pub(super) const fn knows(&self, number: u32) -> bool {
        (number as usize) < LEN && self.known[number as usize]
    }
}
