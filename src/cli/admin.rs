//! The verb `admin`: the setup link, the password and the keys of the panel, for whoever owns the
//! data folder.

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use serde_json::json;

use super::Global;
use crate::api;
use crate::store::Store;

/// Options of `admin`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new link for choosing the first password
    SetupUrl,
    /// Replace the password by a line of standard input, on a terminal by a random one
    ResetPassword,
    /// Make a key for `/v1` and print it, this once
    Token {
        /// What to call it
        #[arg(default_value = "command line")]
        name: String,
    },
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let store = Store::open(&global.data_dir())?;
    match args.verb {
        Verb::SetupUrl => {
            let url = api::issue_setup_url(&store, &api::known_base(&store))?;
            let what = "open this within an hour and choose a password:";
            show(global, &store, &json!({ "setup_url": url }), (what, &url));
        }
        Verb::ResetPassword => reset_password(global, &store)?,
        Verb::Token { name } => {
            let (id, key) = api::add_key(&store, &name)?;
            let result = json!({ "id": id, "name": name, "key": key });
            show(global, &store, &result, ("the new key, shown this once:", &key));
        }
    }
    Ok(())
}

fn reset_password(global: &Global, store: &Store) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let password = api::random_password()?;
        api::set_password(store, &password)?;
        let result = json!({ "password": password });
        show(global, store, &result, ("the new password, shown this once:", &password));
        return Ok(());
    }
    let mut password = String::new();
    stdin.lock().read_line(&mut password).context("could not read the password")?;
    api::set_password(store, password.trim_end_matches(['\r', '\n']))?;
    let done = "the password was replaced, and every session has ended";
    show(global, store, &json!({ "password": null }), ("", done));
    Ok(())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the result of the verb")]
fn show(global: &Global, store: &Store, json: &serde_json::Value, (what, text): (&str, &str)) {
    // Which folder matters: a lost password is often that of another one.
    eprintln!("data folder: {}", store.dir().display());
    if !what.is_empty() {
        eprintln!("{what}");
    }
    if global.json {
        println!("{json}");
    } else {
        println!("{text}");
    }
}
