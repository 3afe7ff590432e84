//! Embeds the panel: finds it built, builds it, or says plainly that this binary has none.
//!
//! 1. `THINKERY_WEB_DIST=DIR`, or `web/dist` with a `.stamp` that fits the sources: taken as it is.
//! 2. `npm` is there and `THINKERY_SKIP_WEB` is not set: `npm ci` and `vite build`, into `OUT_DIR`.
//!    If that fails, so does the build: a panel that is silently missing is a bug. Debug builds
//!    leave this out: they are for `cargo check`, which nobody should wait for.
//! 3. Otherwise `web/placeholder.html`, with a warning.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

/// What the panel is made from, below `web/`. `schema.d.ts` is made by the build itself.
const SOURCES: [&str; 9] = [
    "index.html",
    "openapi.json",
    "package-lock.json",
    "package.json",
    "public",
    "src",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
];

/// Made by the build; not a source.
const MADE: &str = "src/lib/schema.d.ts";

/// Name of the file in a built panel that says which sources it was made from.
const STAMP: &str = ".stamp";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo:error={message}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    for variable in ["THINKERY_WEB_DIST", "THINKERY_SKIP_WEB"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let web = root().join("web");
    let out = out_dir().join("web");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", web.join("placeholder.html").display());
    if let Some(dist) = set("THINKERY_WEB_DIST") {
        return given(&root().join(dist));
    }
    let files = sources(&web).map_err(|error| format!("could not read `web`: {error}"))?;
    for file in &files {
        println!("cargo:rerun-if-changed={}", web.join(file).display());
    }
    let stamp = stamp(&web, &files).map_err(|error| format!("could not read `web`: {error}"))?;
    let dist = web.join("dist");
    // Named only if it is there: for a file that is missing, cargo runs this again at every build.
    if dist.join(STAMP).exists() {
        println!("cargo:rerun-if-changed={}", dist.join(STAMP).display());
    }
    for built in [&dist, &out] {
        if fs::read_to_string(built.join(STAMP)).is_ok_and(|found| found.trim() == stamp) {
            return found(built, &stamp);
        }
    }
    if set("THINKERY_SKIP_WEB").is_some() {
        return placeholder(&web, &out, "THINKERY_SKIP_WEB is set");
    }
    if set("PROFILE").is_some_and(|profile| profile == Path::new("debug")) {
        return placeholder(&web, &out, "debug builds do not build it");
    }
    if !files.iter().any(|file| file == "package.json") {
        return placeholder(&web, &out, "the panel's sources are not here");
    }
    if !has_npm() {
        return placeholder(&web, &out, "npm is not installed");
    }
    build(&web, &out)?;
    fs::write(out.join(STAMP), &stamp).map_err(|error| format!("could not write: {error}"))?;
    found(&out, &stamp)
}

/// A panel that was built elsewhere.
fn given(dist: &Path) -> Result<(), String> {
    println!("cargo:rerun-if-changed={}", dist.display());
    let index = fs::read(dist.join("index.html")).map_err(|error| {
        format!("THINKERY_WEB_DIST: could not read `{}/index.html`: {error}", dist.display())
    })?;
    // The page names every other file by its hash.
    found(dist, &hex(&Sha256::digest(index)))
}

fn found(dist: &Path, hash: &str) -> Result<(), String> {
    let short = hash.get(..12).ok_or("a stamp is a SHA-256 in hex")?;
    println!("cargo:rustc-env=THINKERY_WEB=embedded {short}");
    println!("cargo:rustc-env=THINKERY_WEB_DIR={}", dist.display());
    Ok(())
}

fn placeholder(web: &Path, out: &Path, why: &str) -> Result<(), String> {
    if set("PROFILE").is_some_and(|profile| profile != Path::new("debug")) {
        println!("cargo:warning=this build has no panel: {why}");
    }
    let page = web.join("placeholder.html");
    let write = || -> io::Result<()> {
        if out.exists() {
            fs::remove_dir_all(out)?;
        }
        fs::create_dir_all(out)?;
        fs::copy(&page, out.join("index.html")).map(drop)
    };
    write().map_err(|error| format!("could not use `{}`: {error}", page.display()))?;
    println!("cargo:rustc-env=THINKERY_WEB=placeholder");
    println!("cargo:rustc-env=THINKERY_WEB_DIR={}", out.display());
    Ok(())
}

fn build(web: &Path, out: &Path) -> Result<(), String> {
    if !is_installed(web) {
        npm(web, &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    }
    let out = out.display().to_string();
    npm(web, &["run", "--silent", "build", "--", "--outDir", &out, "--emptyOutDir"])
}

/// Whether `npm ci` has nothing to do: it writes this file last.
fn is_installed(web: &Path) -> bool {
    let changed = |file: &str| fs::metadata(web.join(file)).and_then(|file| file.modified()).ok();
    changed("node_modules/.package-lock.json") > changed("package-lock.json")
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let told = format!("npm {}", arguments.join(" "));
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(web)
        .output()
        .map_err(|error| format!("could not run `{told}` in `web`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    if text.trim().is_empty() {
        text = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(20)..].join(" | ");
    Err(format!(
        "`{told}` failed in `web` with {}: {last} (to build without the panel: THINKERY_SKIP_WEB=1)",
        output.status
    ))
}

fn has_npm() -> bool {
    Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Every source of the panel that is there, as a path below `web/`, in order.
fn sources(web: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(web, source, &mut files)?;
    }
    files.retain(|file| file != MADE);
    files.sort();
    Ok(files)
}

fn collect(web: &Path, name: &str, into: &mut Vec<String>) -> io::Result<()> {
    let path = web.join(name);
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.file_name();
            collect(web, &format!("{name}/{}", entry.to_string_lossy()), into)?;
        }
    } else if path.exists() {
        into.push(name.to_owned());
    }
    Ok(())
}

/// SHA-256 over lines `HASH  PATH`, as `sha256sum` prints them, sorted by path. Whoever ships a
/// `web/dist` writes this into its `.stamp`.
fn stamp(web: &Path, files: &[String]) -> io::Result<String> {
    let mut lines = String::new();
    for file in files {
        let hash = hex(&Sha256::digest(fs::read(web.join(file))?));
        lines.push_str(&format!("{hash}  {file}\n"));
    }
    Ok(hex(&Sha256::digest(lines)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn root() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"))
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"))
}
