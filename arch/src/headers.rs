//! What tests read in the kernel's headers: Debian's linux-libc-dev and its `-arm64-cross`.

/// A header of the CPU's kernel, from the first of these folders that has it.
pub(crate) fn header(dirs: &[&str], name: &str) -> Option<String> {
    dirs.iter().find_map(|dir| std::fs::read_to_string(format!("{dir}/{name}")).ok())
}

/// The value of `#define NAME VALUE`; of several the last.
pub(crate) fn defined(text: &str, name: &str) -> u64 {
    let mut found = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next()).flatten()
    });
    let value = found.next_back().unwrap_or_else(|| panic!("{name} is not defined"));
    match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect("a number"),
        None => value.parse().expect("a number"),
    }
}

/// Name, offset and bytes of each member of the first structure of this name behind `from`, where `long` has `word`
/// bytes and nothing is aligned to more.
pub(crate) fn members(text: &str, from: &str, structure: &str, word: usize) -> Vec<(String, usize, usize)> {
    let from = text.find(from).expect("the place");
    let start = from + text[from..].find(&format!("struct {structure} {{")).expect("the structure");
    let body = text[start..].lines().skip(1).take_while(|line| !line.starts_with('}'));
    let mut at = 0usize;
    let mut out = vec![];
    let mut skipped = false;
    for line in body {
        if line.starts_with('#') {
            skipped = line.starts_with("#else");
        }
        let Some((declared, _)) = line.split_once(';') else { continue };
        let words: Vec<&str> = declared.split_ascii_whitespace().collect();
        let Some((name, kind)) = words.split_last() else { continue };
        if skipped {
            continue;
        }
        let size = match kind {
            [.., "char"] => 1,
            [.., "short"] => 2,
            [.., "long", "long"] => 8,
            [.., "long"] | ["__kernel_ulong_t" | "__kernel_long_t"] => word,
            [.., "int"] => 4,
            ["__u64"] => 8,
            other => panic!("{other:?} in {structure}"),
        };
        let (name, count) = match name.split_once('[') {
            Some((name, count)) => (name, count.trim_end_matches(']').parse().expect("a number")),
            None => (*name, 1),
        };
        at = at.next_multiple_of(size.min(word));
        out.push((name.to_owned(), at, size * count));
        at += size * count;
    }
    out.push(("end".into(), at, 0));
    out
}
