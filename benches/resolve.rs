//! Path resolution as a plain function: what the tracer pays for one path besides the stop.
#![allow(missing_docs, reason = "criterion makes a function without")]

use criterion::{Criterion, criterion_group, criterion_main};
use prun::host::HostTree;
use prun::path::{GuestPath, HostPath};
use prun::resolve::{Follow, Request, Resolver, Restrict};
use prun::view::{Access, Binding, StandIns, View};
use std::hint::black_box;

fn resolve(c: &mut Criterion) {
    for count in [1usize, 100, 10_000] {
        let bindings: Vec<Binding> = (0..count)
            .map(|i| Binding {
                host: HostPath::new(b"/usr"),
                guest: GuestPath::new(format!("/nix/p{i}").as_bytes()),
                access: Access::ReadWrite,
                follow: Follow::Yes,
            })
            .collect();
        let calls = prun::session::Counter::default();
        let root = HostPath::new(b"/");
        let view =
            View::new(&root, &bindings, &mut HostTree::bare(&calls), &mut StandIns::new()).expect("a view");
        let mut resolver = Resolver::new();
        for (name, path) in
            [("plain", &b"/usr/include/linux/stat.h"[..]), ("bound", b"/nix/p0/include/linux/stat.h")]
        {
            c.bench_function(&format!("{name}, {count} bindings"), |b| {
                b.iter(|| {
                    let request = Request {
                        base: b"/",
                        path: black_box(path),
                        follow: Follow::Yes,
                        restrict: Restrict::default(),
                        root: b"/",
                    };
                    resolver.resolve(&view.table, &mut HostTree::bare(&calls), &request)
                });
            });
        }
    }
}

criterion_group!(benches, resolve);
criterion_main!(benches);
