//! The report of `prun --doctor`, for people and for programs.

use super::advice::{Host, Present};
use super::{Answer, Capabilities, Probe};
use crate::tracer::{Engine, Order};

/// What a session's engine costs.
pub fn cost(engine: Engine) -> &'static str {
    match engine {
        Engine::OneStop => "one stop a path call (some 7 to 12 µs); other calls run at full speed",
        Engine::TwoStop => {
            "two stops a path call that is rewritten (some 20 µs); other calls run at full speed"
        }
        Engine::Plain => "two stops for every call, whatever it is (some 15 µs)",
    }
}

/// The remarks of the report: name, what is so, what it means.
pub fn remarks(host: &Host) -> Vec<(&'static str, String)> {
    let mut all = vec![];
    let mut add = |name, text: String| all.push((name, text));
    if let Some(scope) = host.ptrace_scope {
        let means = ["", ": own children only, which is enough", ": administrators only", ": nobody"];
        add(
            "yama",
            format!("kernel.yama.ptrace_scope is {scope}{}", means.get(scope as usize).unwrap_or(&"")),
        );
    }
    if let Some((pid, name)) = &host.tracer {
        add("traced", format!("prun itself is traced, by process {pid} ({name})"));
    }
    if let Some(mode @ 1..) = host.seccomp {
        add(
            "seccomp",
            format!("a seccomp filter is around prun (mode {mode}); what it allows is what counts"),
        );
    }
    if let Some(1..) = host.no_new_privs {
        add("no-new-privs", "no_new_privs is set: as in every session of prun".into());
    }
    if let Some(name) = host.container {
        add("container", format!("this looks like {name}"));
    }
    if let Some(profile) = &host.profile {
        add("profile", format!("the security profile is '{profile}'"));
    }
    if let Some(n) = host.user_namespaces {
        add("user-namespaces", format!("user.max_user_namespaces is {n}; prun needs none"));
    }
    if host.proc == Present::No {
        add("proc", "there is no /proc: descriptors' paths are unknown, so calls relative to a directory's descriptor see no binding below it".into());
    }
    if let Some(value) = &host.hidepid {
        add(
            "hidepid",
            format!("/proc is mounted with hidepid={value}: own processes are seen, which is enough"),
        );
    }
    for dir in &host.noexec {
        add("noexec", format!("{dir} is mounted noexec: programs in it do not run, inside prun or outside"));
    }
    for (name, value) in &host.limits {
        add(
            "limit",
            format!("{name} is {value}: programs may need more ('ulimit -H -a' shows what may be had)"),
        );
    }
    all
}

/// The report for people.
pub fn text(found: &Capabilities, wanted: Option<Engine>) -> (String, bool) {
    let host = Host::look();
    let mut out = String::new();
    for probe in Probe::ALL {
        let answer = found.answer(probe);
        let mark = if answer == Answer::Works { "ok" } else { "--" };
        out += &format!("{mark} {}: {answer}\n", probe.title().1);
        if !matches!(answer, Answer::Works | Answer::Untried) {
            out += &format!("      {}\n", host.about(probe, found));
        }
    }
    if found.works(Probe::Trace) {
        let order = match found.order {
            Order::SeccompLast => "after",
            Order::SeccompFirst => "before",
        };
        out += &format!("ok the seccomp stop comes {order} the stop at a call's beginning\n");
    }
    if let Some(signal) = found.lost {
        out += &format!("   signal {signal} has ended the child before all was tried\n");
    }
    for (_, remark) in remarks(&host) {
        out += &format!("   {remark}\n");
    }
    out += &format!("   {} µs for all of this\n", found.spent.as_micros());
    match found.engine(wanted) {
        Ok(engine) => {
            out += &format!("prun runs here, with the engine {}: {}\n", engine.name(), cost(engine));
            (out, true)
        }
        Err(failure) => {
            out += &format!("prun does not run here: {failure}\n");
            (out, false)
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The report for programs: one JSON object.
pub fn json(found: &Capabilities, wanted: Option<Engine>) -> (String, bool) {
    let host = Host::look();
    let probes: Vec<String> = Probe::ALL
        .into_iter()
        .map(|probe| {
            let answer = found.answer(probe);
            let (kind, errno) = match answer {
                Answer::Works => ("works", None),
                Answer::Untried => ("untried", None),
                Answer::Fatal => ("fatal", None),
                Answer::Wrong => ("wrong", None),
                Answer::Refused(e) => ("refused", Some(e.into_raw())),
            };
            let mut line = format!("    {{\"name\": {}, \"answer\": \"{kind}\"", quoted(probe.title().0));
            if let Some(errno) = errno {
                line += &format!(", \"errno\": {errno}");
            }
            if !matches!(answer, Answer::Works | Answer::Untried) {
                let advice = host.about(probe, found);
                line +=
                    &format!(", \"cause\": {}, \"cure\": {}", quoted(&advice.cause), quoted(&advice.cure));
            }
            line + "}"
        })
        .collect();
    let remarks: Vec<String> = remarks(&host)
        .iter()
        .map(|(name, text)| format!("    {{\"name\": {}, \"text\": {}}}", quoted(name), quoted(text)))
        .collect();
    let (engine, failure) = match found.engine(wanted) {
        Ok(engine) => (quoted(engine.name()), "null".to_owned()),
        Err(failure) => ("null".to_owned(), quoted(&failure.to_string())),
    };
    let runs = failure == "null";
    let order = if found.order == Order::SeccompLast { "last" } else { "first" };
    let text = format!(
        "{{\n  \"version\": {},\n  \"runs\": {runs},\n  \"engine\": {engine},\n  \"failure\": {failure},\n  \
         \"seccomp_stop\": \"{order}\",\n  \"microseconds\": {},\n  \"probes\": [\n{}\n  ],\n  \"remarks\": [\n{}\n  ]\n}}\n",
        quoted(env!("CARGO_PKG_VERSION")),
        found.spent.as_micros(),
        probes.join(",\n"),
        remarks.join(",\n")
    );
    (text, runs)
}
