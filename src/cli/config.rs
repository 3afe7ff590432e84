//! The verb `config`: where each setting comes from.

use clap::Subcommand;
use serde_json::json;

use super::{Global, foreground};

/// Options of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the settings of this machine (a recipe's are shown by `plan`)
    Show {
        /// Show where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// A setting: its name, its value, and who says so.
struct Setting {
    name: &'static str,
    value: String,
    origin: &'static str,
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let Action::Show { origin } = args.action;
    let settings = settings(global)?;
    if global.json {
        let one = |setting: &Setting| {
            let value = json!({ "value": setting.value, "origin": setting.origin });
            (setting.name.to_owned(), value)
        };
        let object: serde_json::Map<_, _> = settings.iter().map(one).collect();
        println!("{}", serde_json::Value::Object(object));
        return Ok(());
    }
    for Setting { name, value, origin: from } in &settings {
        if origin {
            println!("{name:<12} {value}  ({from})");
        } else {
            println!("{name:<12} {value}");
        }
    }
    Ok(())
}

fn settings(global: &Global) -> anyhow::Result<Vec<Setting>> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let flag = std::env::args_os().any(|word| {
        word == "--data" || word.to_str().is_some_and(|word| word.starts_with("--data="))
    });
    let data_origin = if flag {
        "--data"
    } else if set("THINKERY_DATA_DIR") {
        "THINKERY_DATA_DIR"
    } else if set("XDG_DATA_HOME") {
        "XDG_DATA_HOME"
    } else {
        "default"
    };
    let secrets = foreground::secrets()?;
    let secret = |name: &'static str, key: &Option<String>, [plain, file]: [&'static str; 2]| {
        let origin = match key {
            Some(_) if set(plain) => plain,
            Some(_) => file,
            None => "default",
        };
        let value = if key.is_some() { "set" } else { "not set" };
        Setting { name, value: value.into(), origin }
    };
    let color = if set("NO_COLOR") { ("never", "NO_COLOR") } else { ("on a terminal", "default") };
    Ok(vec![
        Setting {
            name: "data",
            value: global.data_dir().display().to_string(),
            origin: data_origin,
        },
        secret(
            "teacher_key",
            &secrets.teacher_key,
            ["THINKERY_TEACHER_KEY", "THINKERY_TEACHER_KEY_FILE"],
        ),
        secret("judge_key", &secrets.judge_key, ["THINKERY_JUDGE_KEY", "THINKERY_JUDGE_KEY_FILE"]),
        Setting { name: "listen", value: "127.0.0.1:8642".into(), origin: "default" },
        Setting { name: "color", value: color.0.into(), origin: color.1 },
    ])
}
