//! `parrot:` instead of a model folder: a server that repeats what it is told.
//!
//! For trying clients, proxies and dashboards without a model, and the server itself with faults
//! built in. Its tokens are bytes, so that characters are spread over tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::LocalModel;
use crate::chat::template::{Template, TemplateName};
use crate::chat::tokenizer::{IM_END, SPECIALS, Tokenizer, Vocabulary};
use crate::engine::parrot::{self, Marks, Nature};
use crate::engine::worker::Worker;
use crate::hint::Hinted;

/// What a model is called that is a parrot; options follow, as in
/// `parrot:context=512,blocks=64,step-ms=1`.
pub const PARROT: &str = "parrot:";

/// A parrot that was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parrot {
    nature: Nature,
    /// With what its chat template refuses every conversation, if it does.
    raises: Option<String>,
    /// The file without which it is not done being loaded.
    waits_for: Option<PathBuf>,
}

/// How often a parrot looks for the file that it waits for.
const WAIT: Duration = Duration::from_millis(10);

/// The parrot that a path names, if it names one.
pub(super) fn named(path: &Path) -> Option<anyhow::Result<Parrot>> {
    let options = path.to_str()?.strip_prefix(PARROT)?;
    Some(Parrot::parse(options))
}

impl Parrot {
    fn parse(options: &str) -> anyhow::Result<Self> {
        let mut parrot = Self::default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            parrot.set(name, value).with_context(|| {
                let known = "context, blocks, step-ms, sure, raises, waits-for, poison, dies-after, \
                             hangs-after, panics-after";
                Hinted::new(
                    format!("could not read the option `{option}` of the parrot"),
                    format!("options are name=value, separated by commas; known: {known}"),
                )
            })?;
        }
        Ok(parrot)
    }

    /// Opens it, `replicas` times behind one name.
    pub(super) fn open(
        self,
        name: &str,
        replicas: usize,
        max_context: Option<usize>,
    ) -> anyhow::Result<LocalModel> {
        while self.waits_for.as_ref().is_some_and(|file| !file.exists()) {
            std::thread::sleep(WAIT);
        }
        let mut nature = self.nature;
        nature.context = nature.context.min(max_context.unwrap_or(usize::MAX));
        let vocabulary = Vocabulary { size: nature.vocabulary, specials: &SPECIALS, words: &[] };
        let tokenizer = Tokenizer::train(["a"].iter(), &vocabulary)?;
        if let Some(byte) = nature.faults.poison {
            nature.faults.poison = tokenizer.encode(&char::from(byte as u8).to_string())?.pop();
        }
        let marks = Marks {
            user: tokenizer.encode_template("<|im_start|>user\n")?,
            answer: tokenizer.encode_template("<|im_start|>assistant\n")?,
            end: tokenizer.id(IM_END).context("the tokenizer was made with this token")?,
        };
        let start = |_| Worker::start(Box::new(parrot::Parrot::new(nature.clone(), marks.clone())));
        let workers: std::io::Result<Vec<Worker>> = (0..replicas).map(start).collect();
        let workers = workers.context("could not start the engine's thread")?;
        let template = match self.raises {
            None => Template::built_in(TemplateName::Chatml),
            Some(why) => Template::of(format!("{{{{ raise_exception('{why}') }}}}"))?,
        };
        Ok(LocalModel::over(name, tokenizer, template, workers))
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let nature = &mut self.nature;
        let faults = &mut nature.faults;
        match name {
            "context" => nature.context = value.parse::<usize>()?.max(1),
            "blocks" => nature.blocks = value.parse::<usize>()?.max(1),
            "step-ms" => nature.pace = Duration::try_from_secs_f64(value.parse::<f64>()? / 1e3)?,
            "sure" => nature.sure = value.parse()?,
            "raises" => self.raises = Some(value.replace('\'', "")),
            "waits-for" => self.waits_for = Some(value.into()),
            // A byte, until there is a tokenizer that knows its id.
            "poison" => {
                let byte = value.as_bytes().first().context("there is no character")?;
                faults.poison = Some(u32::from(*byte));
            }
            "dies-after" => faults.dies_after = Some(value.parse()?),
            "hangs-after" => faults.hangs_after = Some(value.parse()?),
            "panics-after" => faults.panics_after = Some(value.parse()?),
            _ => bail!("there is no such option"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let parrot = named(Path::new("parrot:context=64,step-ms=0.5,dies-after=3")).unwrap();
        let nature = parrot.unwrap().nature;
        assert_eq!((nature.context, nature.faults.dies_after), (64, Some(3)));
        assert_eq!(nature.pace, Duration::from_micros(500));
        for bad in ["parrot:colour=red", "parrot:context", "parrot:context=x"] {
            let error = named(Path::new(bad)).unwrap().unwrap_err();
            assert!(crate::hint::of(&error).unwrap().contains("step-ms"), "{error:#}");
        }
        assert!(named(Path::new("models/parrot")).is_none());
    }
}
