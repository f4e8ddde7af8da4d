//! The protocol's semantics: each case over the memory broker and the engine, in both wire forms.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod cases;
#[path = "../client/mod.rs"]
mod client;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tidegate_server::sqs::Options;

use client::Form;
use world::{Kind, PATIENCE, World};

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A case: its name, the server's options, and what is done.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) options: fn() -> Options,
    pub(crate) run: for<'a> fn(&'a World) -> Running<'a>,
}

/// Cases, each named by its function.
#[macro_export]
macro_rules! cases {
    ($($case:ident),* $(,)?) => { $crate::cases_with!(tidegate_server::sqs::Options::default, $($case),*) };
}

/// Cases of servers with other options.
#[macro_export]
macro_rules! cases_with {
    ($options:expr, $($case:ident),* $(,)?) => {
        vec![$($crate::Case {
            name: stringify!($case),
            options: $options,
            run: |world| Box::pin($case(world)),
        }),*]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for kind in [Kind::Memory, Kind::Engine] {
        for form in [Form::Json, Form::Query] {
            for case in cases::all() {
                let name = format!("{kind:?}::{form:?}::{}", case.name).to_lowercase();
                trials.push(Trial::test(name, move || {
                    run(kind, form, &case);
                    Ok(())
                }));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(kind: Kind, form: Form, case: &Case) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let world = World::new(kind, form, (case.options)()).await;
        let ran = tokio::time::timeout(PATIENCE, (case.run)(&world)).await;
        assert!(ran.is_ok(), "the case hangs");
        world.end().await;
    });
}
