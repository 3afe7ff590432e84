//! Faults on demand: a script that makes the rehearsal teacher misbehave in a way a test wants.
//!
//! The script is a JSON list of rules, tried in order for every chat request; the first that
//! matches decides. Requests are numbered from 1 in order of arrival.
//!
//! ```json
//! [{"request": 1, "status": 429, "retry_after": 2},
//!  {"every": 10, "status": 500, "body": "<html>bad gateway</html>"},
//!  {"from": 50, "until": 60, "cut_stream_after_bytes": 100},
//!  {"request": 7, "garbage": true},
//!  {"request": 8, "delay_ms": 5000, "blank_lines": true}]
//! ```

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::hint::Hinted;

/// One rule: which requests, and what happens to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Only this request.
    pub request: Option<u64>,
    /// Every request whose number is a multiple of this.
    pub every: Option<u64>,
    /// This request and all after it.
    pub from: Option<u64>,
    /// Nothing after this request.
    pub until: Option<u64>,
    /// Answer with this status and OpenAI's error envelope instead.
    pub status: Option<u16>,
    /// Send `Retry-After` with so many seconds.
    pub retry_after: Option<u64>,
    /// Send this as the body, whatever the status.
    pub body: Option<String>,
    /// Break the connection after so many bytes of the body.
    pub cut_stream_after_bytes: Option<usize>,
    /// Wait so long before the body, in milliseconds.
    pub delay_ms: Option<u64>,
    /// While waiting send a blank line every 20 ms, as DeepSeek's API does.
    pub blank_lines: bool,
    /// Send something that is no JSON, with status 200.
    pub garbage: bool,
}

impl Rule {
    fn matches(&self, number: u64) -> bool {
        let any = [self.request, self.every, self.from, self.until].iter().any(Option::is_some);
        any && self.request.is_none_or(|request| request == number)
            && self.every.is_none_or(|every| every > 0 && number.is_multiple_of(every))
            && self.from.is_none_or(|from| number >= from)
            && self.until.is_none_or(|until| number <= until)
    }
}

/// A script of faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// Reads a script.
    ///
    /// # Errors
    /// If the file cannot be read or is no such script.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the faults `{name}`"))?;
        Self::parse(&text).with_context(|| {
            Hinted::new(
                format!("`{name}` is no script of faults"),
                r#"write a list of rules such as [{"request": 1, "status": 429}]"#,
            )
        })
    }

    /// The script in `text`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(serde_json::from_str(text)?))
    }

    /// What happens to request `number`.
    pub(super) fn rule(&self, number: u64) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(number))
    }
}
