//! Programs that mean harm, in every tier that this machine can give them.
//!
//! The programs stand beside this file, each with what must become of it. Whatever they try: the
//! host's canaries stay as they were, the judge goes on, the next program finds its slot as new, and
//! in the end no process, file, descriptor, control group or mount is left.

mod host;
mod judge;
mod layers;
mod programs;

use std::sync::{Mutex, PoisonError};

use host::Host;
use judge::{Judge, Setting};
use programs::Program;

/// Judges side by side: programs that sleep and programs that work take turns on two cores.
const JUDGES: usize = 2;

/// A user without privileges and without processes of its own.
const USER: u32 = 54_321;

#[test]
fn hostile_programs_are_held_with_all_layers() {
    let Some(setting) = Setting::best() else { return };
    hold(&setting, &programs::all());
}

#[test]
fn hostile_programs_of_a_plain_user_are_held() {
    let Some(setting) = Setting::plain_user(USER) else { return };
    hold(&setting, &programs::all());
}

#[test]
fn hostile_programs_are_held_without_control_groups() {
    let Some(setting) = Setting::no_groups() else { return };
    hold(&setting, &programs::all());
}

#[test]
fn hostile_programs_are_held_without_namespaces() {
    hold(&Setting::no_namespaces(None), &programs::all());
}

#[test]
fn hostile_programs_of_a_plain_user_are_held_without_namespaces() {
    if !host::is_root() {
        return;
    }
    // What differs for a user is whom it could reach, not how much it could use.
    let reaching = |program: &Program| program.file != "resources";
    let programs: Vec<Program> = programs::all().into_iter().filter(reaching).collect();
    hold(&Setting::no_namespaces(Some(USER)), &programs);
}

/// Judges every program in `setting`, [`JUDGES`] at a time, and looks at the host afterwards.
fn hold(setting: &Setting, programs: &[Program]) {
    // Fork bombs of two settings at once would measure each other.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::new();
    let before = host::mounts();
    assert_eq!(setting.found(&host), setting.tier, "{}", setting.name);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let host = &host;
        let share = |index: usize| {
            scope.spawn(move || {
                let mine = programs.iter().skip(index).step_by(JUDGES);
                judge_all(setting, host, mine)
            })
        };
        let judges: Vec<_> = (0..JUDGES).map(share).collect();
        judges.into_iter().flat_map(|judge| judge.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}:\n{}", setting.name, failures.join("\n"));
    host.untouched();
    assert_eq!(host::mounts(), before, "{}: mounts are left", setting.name);
}

/// Judges these one after another, an innocent program after each.
fn judge_all<'a>(
    setting: &Setting,
    host: &Host,
    programs: impl Iterator<Item = &'a Program>,
) -> Vec<String> {
    let mut judge = Judge::start(setting, host);
    let mut failures = judge.innocent("the first");
    let descriptors = judge.descriptors();
    for program in programs {
        failures.extend(judge.judge(program, host));
        failures.extend(judge.innocent(&program.title));
        if judge.descriptors() != descriptors {
            failures.push(format!("{}: descriptors are left open", program.title));
        }
    }
    failures.extend(judge.finish());
    failures
}
