//! Holds the source to the invariants of ARCHITECTURE.md: a plain scan of text, no parser.
//!
//! Each invariant is an absence. A failure names the file and line that breaks it; a new exception
//! or arrow is a decision, made here and in ARCHITECTURE.md in a commit of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use sha2::{Digest, Sha256};

/// Who may import whom: a module and what it may name after `crate::`. Itself is always allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("hint", &[]),
    ("records", &[]),
    ("sandbox", &["hint"]),
    ("formats", &["records", "hint"]),
    ("engine", &[]),
    ("chat", &["engine", "hint"]),
    ("store", &["records", "hint"]),
    ("stage", &["store", "records", "hint"]),
    ("questions", &["records", "store", "stage", "formats", "hint"]),
    ("distill", &["records", "store", "stage", "chat", "hint"]),
    ("verify", &["records", "store", "stage", "chat", "sandbox", "hint"]),
    ("dataset", &["records", "store", "stage", "chat", "formats", "engine", "hint"]),
    ("train", &["records", "store", "stage", "engine", "dataset", "hint"]),
    (
        "evaluate",
        &["records", "store", "stage", "chat", "engine", "formats", "verify", "sandbox", "hint"],
    ),
    ("serve", &["records", "store", "stage", "chat", "engine", "hint"]),
    ("teacher", &["records", "questions", "hint"]),
    (
        "recipe",
        &[
            "records",
            "stage",
            "questions",
            "distill",
            "verify",
            "dataset",
            "train",
            "evaluate",
            "serve",
            "hint",
        ],
    ),
    (
        "jobs",
        &[
            "records",
            "store",
            "stage",
            "recipe",
            "questions",
            "distill",
            "verify",
            "dataset",
            "train",
            "evaluate",
            "serve",
            "chat",
            "sandbox",
            "hint",
        ],
    ),
    ("api", &["records", "store", "recipe", "jobs", "chat", "serve", "stage", "hint"]),
    ("app", &["api", "serve"]),
];

/// Files over 500 lines. May only shrink.
const LONG_FILES: &[&str] = &[];

/// Registry folders: every file in the folder but these is named in the folder's list.
const REGISTRIES: &[(&str, &str, &[&str])] = &[
    (
        "src/verify",
        "VERIFIERS",
        &[
            "mod",
            "tests",
            "calibrate",
            "graders",
            "judge",
            "latex",
            "majority",
            "replay",
            "rules",
            "run",
        ],
    ),
    (
        "src/evaluate",
        "BENCHMARKS",
        &["mod", "tests", "file", "protocol", "report", "sample", "score", "target"],
    ),
    ("src/engine/burn/architectures", "ARCHITECTURES", &["mod", "tests", "hf_config", "rope"]),
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines that are code, with their numbers; comments are left out, and so are tests, which
    /// stand last.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let lines = self.text.lines().enumerate();
        lines
            .take_while(move |(_, line)| !is_tests && line.trim() != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line))
    }

    /// The top-level module this file belongs to.
    fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or(&self.path);
        rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files_under(&root().join("src"), &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().display().to_string(),
    };
    paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).map(read).collect()
}

/// Fails with every line of code that contains one of `words` outside the `allowed` paths.
#[track_caller]
fn only_in(words: &[&str], allowed: &[&str]) {
    let mut found = Vec::new();
    for source in sources() {
        if allowed.iter().any(|prefix| source.path.starts_with(prefix)) {
            continue;
        }
        for (number, line) in source.code() {
            if words.iter().any(|word| names(line, word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{words:?} may only stand in {allowed:?}:\n{}", found.join("\n"));
}

/// Whether `line` contains `word` with no letter, digit, underscore or colon before it.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

#[test]
fn burn_is_named_only_in_its_folder() {
    only_in(
        &["burn::", "cubecl::", "cubecl_", "cubek::", "cubek_", "cudarc::"],
        &["src/engine/burn/", "src/engine/mod.rs"],
    );
}

#[test]
fn sql_is_named_only_in_the_store() {
    only_in(&["rusqlite::"], &["src/store/"]);
}

#[test]
fn http_servers_are_named_only_at_the_doors() {
    only_in(&["axum::"], &["src/app.rs", "src/api/", "src/serve/", "src/teacher/"]);
}

#[test]
fn processes_are_started_in_two_places() {
    only_in(
        &["std::process::Command", "process::Command", "Command::new"],
        &["src/sandbox/process.rs", "src/jobs/child.rs"],
    );
}

#[test]
fn the_environment_is_read_only_by_the_command_line() {
    only_in(&["std::env", "env::var", "env::args"], &["src/cli/"]);
}

#[test]
fn every_import_is_an_arrow_of_the_map() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources() {
        let from = source.module();
        // The command line may name everything, `lib.rs` only declares, and the engine is a package
        // of its own: it cannot name us.
        if ["cli", "lib", "engine"].contains(&from) {
            continue;
        }
        let allowed = arrows.get(from).copied().unwrap_or_default();
        for (number, line) in source.code() {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let to: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if to != from && !to.is_empty() && !allowed.contains(&to.as_str()) {
                    found.push(format!("{}:{number}: {from} -> {to}", source.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "arrows that the map has not:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "files that do not begin with `//!`: {silent:?}");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.text.lines().count() > 500)
        .map(|source| source.path)
        .collect();
    assert_eq!(long, LONG_FILES, "split by idea, or take a file that has shrunk off the list");
}

#[test]
fn every_kind_is_in_its_registry() {
    for (folder, list, others) in REGISTRIES {
        let registry = fs::read_to_string(root().join(folder).join("mod.rs")).unwrap();
        let (_, after) = registry
            .split_once(&format!("{list}:"))
            .unwrap_or_else(|| panic!("{folder}/mod.rs has no list {list}"));
        let (entries, _) = after.split_once("];").unwrap();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if !others.contains(&stem.as_str()) {
                assert!(
                    entries.contains(&format!("{stem}::")),
                    "{folder}/{stem}.rs is not in {list}"
                );
            }
        }
    }
}

#[test]
fn no_shortcuts_outside_tests() {
    only_in(&["todo!", "unimplemented!", "dbg!"], &[]);
    only_in(&["#[allow(", "#![allow("], &[]);
    only_in(&["println!", "eprintln!", "print!", "eprint!"], &["src/cli/"]);
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if line.contains(".unwrap()") {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "`unwrap` only in tests:\n{}", found.join("\n"));
}

#[test]
fn nobody_edits_history() {
    let mut lines = Vec::new();
    let mut paths = Vec::new();
    files_under(&root().join("migrations"), &mut paths);
    paths.sort();
    for path in paths {
        let hash = Sha256::digest(fs::read(&path).unwrap());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push(format!("{hash}  {}", path.file_name().unwrap().to_str().unwrap()));
    }
    compare("tests/it/migrations.sha256", &lines);
}

#[test]
fn the_flags_are_frozen() {
    let mut lines = Vec::new();
    flags(&thinkery::cli::Cli::command(), "thinkery", &mut lines);
    compare("tests/it/flags.txt", &lines);
}

fn flags(command: &clap::Command, path: &str, into: &mut Vec<String>) {
    let longs: Vec<String> =
        command.get_arguments().filter_map(|a| a.get_long()).map(|l| format!("--{l}")).collect();
    into.push(format!("{path} {}", longs.join(" ")).trim_end().to_owned());
    for sub in command.get_subcommands() {
        flags(sub, &format!("{path} {}", sub.get_name()), into);
    }
}

/// Compares with a recorded list. `THINKERY_RECORD=1` writes it anew, for a reviewed change.
#[track_caller]
fn compare(file: &str, lines: &[String]) {
    let path = root().join(file);
    let found = lines.join("\n") + "\n";
    if std::env::var_os("THINKERY_RECORD").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, recorded, "{file} differs; users script against this");
}
