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
            show(global, &store, &json!({ "setup_url": url }), &url);
        }
        Verb::ResetPassword => reset_password(global, &store)?,
        Verb::Token { name } => {
            let (id, key) = api::add_key(&store, &name)?;
            show(global, &store, &json!({ "id": id, "name": name, "key": key }), &key);
        }
    }
    Ok(())
}

fn reset_password(global: &Global, store: &Store) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let password = api::random_password()?;
        api::set_password(store, &password)?;
        show(global, store, &json!({ "password": password }), &password);
        return Ok(());
    }
    let mut password = String::new();
    stdin.lock().read_line(&mut password).context("could not read the password")?;
    api::set_password(store, password.trim_end_matches(['\r', '\n']))?;
    show(global, store, &json!({ "password": null }), "the password was replaced");
    Ok(())
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the result of the verb")]
fn show(global: &Global, store: &Store, json: &serde_json::Value, text: &str) {
    // Which folder matters: a lost password is often that of another one.
    eprintln!("data folder: {}", store.dir().display());
    if global.json {
        println!("{json}");
    } else {
        println!("{text}");
    }
}
