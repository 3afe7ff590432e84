//! Tests of a code question: what a program is given, and what it should say.
//!
//! Inputs and outputs are kept as the JSON they were written in, one after the other in one text: a
//! number of any size stays what it is, and a million tests take a few bytes each.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Values of a list, each as its JSON text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cases {
    /// All of them, one after the other.
    text: String,
    /// How many bytes each takes: seven bits per byte, the lowest first.
    lengths: Vec<u8>,
    /// Of every [`STRIDE`]th: where it begins in `text`, and its length in `lengths`.
    begins: Vec<(u32, u32)>,
    /// How many there are.
    count: usize,
}

/// Values whose lengths are added up to find one: a million short ones take one byte each.
const STRIDE: usize = 32;

impl Cases {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The JSON of the one at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.from(index).next()
    }

    /// The JSON of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.from(0)
    }

    /// The JSON of each from the one at `index` on.
    fn from(&self, index: usize) -> impl Iterator<Item = &str> {
        let begin = self.begins.get(index / STRIDE).filter(|_| index < self.count);
        let end = || (self.text.len(), self.lengths.len());
        let (mut at, mut length_at) =
            begin.map_or_else(end, |(at, length_at)| (*at as usize, *length_at as usize));
        let next = move || {
            let mut length = 0;
            for (place, byte) in self.lengths.get(length_at..)?.iter().enumerate() {
                length |= usize::from(byte & 0x7F) << (7 * place);
                if byte & 0x80 == 0 {
                    length_at += place + 1;
                    let json = &self.text[at..at + length];
                    at += length;
                    return Some(json);
                }
            }
            None
        };
        std::iter::from_fn(next).skip(if begin.is_some() { index % STRIDE } else { 0 })
    }

    /// Adds a value that is JSON already.
    ///
    /// # Errors
    /// If there would be more than 4 GiB.
    pub fn push(&mut self, json: &str) -> Result<(), String> {
        let begin = self.text.len();
        let small = |size: usize| {
            u32::try_from(size).map_err(|_| "the tests take more than 4 GiB".to_owned())
        };
        small(begin + json.len())?;
        if self.count.is_multiple_of(STRIDE) {
            self.begins.push((small(begin)?, small(self.lengths.len())?));
        }
        self.text.push_str(json);
        self.count += 1;
        let mut length = json.len();
        while length >= 0x80 {
            self.lengths.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        self.lengths.push(length as u8);
        Ok(())
    }

    /// Adds all of `others`.
    ///
    /// # Errors
    /// If there would be more than 4 GiB.
    pub fn extend(&mut self, others: &Self) -> Result<(), String> {
        others.iter().try_for_each(|json| self.push(json))
    }

    /// Gives back what was kept in reserve while they were read.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.lengths.shrink_to_fit();
        self.begins.shrink_to_fit();
    }
}

impl FromIterator<Value> for Cases {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut cases = Self::default();
        for value in values {
            cases.push(&value.to_string()).expect("values in memory take less than 4 GiB");
        }
        cases
    }
}

impl From<Vec<Value>> for Cases {
    fn from(values: Vec<Value>) -> Self {
        values.into_iter().collect()
    }
}

impl Serialize for Cases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for json in self.iter() {
            let raw: &RawValue = serde_json::from_str(json).map_err(S::Error::custom)?;
            list.serialize_element(raw)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Cases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Cases;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cases, A::Error> {
                let mut cases = Cases::default();
                while let Some(raw) = list.next_element::<Box<RawValue>>()? {
                    cases.push(raw.get()).map_err(A::Error::custom)?;
                }
                cases.shrink();
                Ok(cases)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// How a program's output is compared with the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparator {
    /// Line by line, but for blanks at the ends of lines and empty lines at the end.
    ExactTrim,
    /// Token by token: whole numbers exactly, decimals within the tolerance.
    Tokens,
    /// The same, but `YES` is `yes`.
    TokensCi,
    /// The same lines in any order, as often.
    LinesUnordered,
    /// The same tokens in any order, as often.
    TokensUnordered,
    /// Token by token, numbers within the stated tolerance.
    Float,
    /// A program of the problem's author decides.
    Checker,
    /// Returned values by structure.
    CallJson,
}

impl Comparator {
    /// Every comparator, the strictest first.
    pub const ALL: [Self; 8] = [
        Self::ExactTrim,
        Self::Tokens,
        Self::TokensCi,
        Self::Float,
        Self::LinesUnordered,
        Self::TokensUnordered,
        Self::Checker,
        Self::CallJson,
    ];

    /// The name used in JSON and SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactTrim => "exact-trim",
            Self::Tokens => "tokens",
            Self::TokensCi => "tokens-ci",
            Self::LinesUnordered => "lines-unordered",
            Self::TokensUnordered => "tokens-unordered",
            Self::Float => "float",
            Self::Checker => "checker",
            Self::CallJson => "call-json",
        }
    }

    fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|comparator| comparator.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("`{name}` is no comparator; expected one of {}", names.join(", "))
        })
    }
}

/// How far a decimal may be off: by either, whichever allows more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// Largest absolute difference.
    pub abs: f64,
    /// Largest difference relative to the expected number.
    pub rel: f64,
}

impl Default for Tolerance {
    /// A millionth, as contest checkers allow.
    fn default() -> Self {
        Self { abs: 1e-6, rel: 1e-6 }
    }
}

/// What the problem's author lets a program use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestLimits {
    /// Processor time of one test in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// Tests of a code question, in the format of APPS and TACO with what else a judge must know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Tests {
    /// One entry per test: standard input as text, or the list of arguments of a call.
    pub inputs: Cases,
    /// One entry per test: expected standard output as text, or the expected return value.
    pub outputs: Cases,
    /// The function to call; without it the program reads standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fn_name: Option<String>,
    /// How outputs are compared; without it `tokens`, and `call-json` for calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparator: Option<Comparator>,
    /// How far decimals may be off; without it a millionth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// The checker: a Python program that is given files of the input, the expected and the actual
    /// output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checker: Option<String>,
    /// The author's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<TestLimits>,
}

impl Tests {
    /// The function to call, if there is one.
    pub fn function(&self) -> Option<&str> {
        self.fn_name.as_deref().filter(|name| !name.is_empty())
    }

    /// How outputs are compared.
    pub fn comparator(&self) -> Comparator {
        let usual = match self.function() {
            Some(_) => Comparator::CallJson,
            None if self.checker.is_some() => Comparator::Checker,
            None => Comparator::Tokens,
        };
        self.comparator.unwrap_or(usual)
    }
}

/// [`Tests`] as people write them.
#[derive(Deserialize)]
struct Written {
    inputs: Cases,
    outputs: Cases,
    #[serde(default)]
    fn_name: Option<String>,
    #[serde(default)]
    comparator: Option<String>,
    #[serde(default)]
    tolerance: Option<WrittenTolerance>,
    #[serde(default)]
    checker: Option<String>,
    #[serde(default)]
    limits: Option<TestLimits>,
}

/// A tolerance: one number for both, or each.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenTolerance {
    Both(f64),
    Each {
        #[serde(default)]
        abs: f64,
        #[serde(default)]
        rel: f64,
    },
}

impl TryFrom<Written> for Tests {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { inputs, outputs, fn_name, comparator, tolerance, checker, limits } = written;
        let mut tolerance = tolerance.map(|tolerance| match tolerance {
            WrittenTolerance::Both(both) => Tolerance { abs: both, rel: both },
            WrittenTolerance::Each { abs, rel } => Tolerance { abs, rel },
        });
        let comparator = match comparator.as_deref().map(str::trim) {
            None => None,
            Some(text) => match float(text) {
                Some(stated) => {
                    tolerance = Some(stated);
                    Some(Comparator::Float)
                }
                None => Some(Comparator::from_name(text)?),
            },
        };
        let valid = |value: f64| value.is_finite() && value >= 0.0;
        if let Some(Tolerance { abs, rel }) = tolerance
            && !(valid(abs) && valid(rel))
        {
            return Err(format!("a tolerance of {abs} and {rel} makes no sense"));
        }
        if comparator == Some(Comparator::Checker) && checker.is_none() {
            return Err("the comparator is `checker`, but there is no `checker`".into());
        }
        Ok(Self { inputs, outputs, fn_name, comparator, tolerance, checker, limits })
    }
}

/// `float(abs,rel)`.
fn float(text: &str) -> Option<Tolerance> {
    let (abs, rel) = text.strip_prefix("float(")?.strip_suffix(')')?.split_once(',')?;
    Some(Tolerance { abs: abs.trim().parse().ok()?, rel: rel.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Cases, Comparator, STRIDE, Tests, Tolerance};

    #[test]
    fn values_of_any_length_come_back_in_order_and_one_by_one() {
        let value = |index: usize| "9".repeat([1, 0, 127, 128, 20_000][index % 5]);
        for count in [0, 1, STRIDE - 1, STRIDE, STRIDE + 1, 5 * STRIDE + 3] {
            let mut cases = Cases::default();
            (0..count).for_each(|index| cases.push(&value(index)).unwrap());
            assert_eq!((cases.len(), cases.is_empty()), (count, count == 0));
            let all: Vec<String> = (0..count).map(value).collect();
            assert_eq!(cases.iter().collect::<Vec<_>>(), all);
            for (index, value) in all.iter().enumerate() {
                assert_eq!(cases.get(index), Some(value.as_str()));
            }
            assert_eq!((cases.get(count), cases.get(count + STRIDE)), (None, None));
        }
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        let error = serde_json::from_str::<Tests>(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }

    #[test]
    fn values_stay_as_they_were_written() {
        let text = r#"{"inputs":[[123456789012345678901234567890, 0.10],"a\n"],"outputs":[-1e999,null],"fn_name":"f"}"#;
        let tests: Tests = serde_json::from_str(text).unwrap();
        assert_eq!(tests.inputs.get(0), Some("[123456789012345678901234567890, 0.10]"));
        assert_eq!(tests.inputs.get(2), None);
        assert_eq!(tests.outputs.iter().collect::<Vec<_>>(), ["-1e999", "null"]);
        assert_eq!(serde_json::to_string(&tests).unwrap(), text);
    }

    #[test]
    fn depth_is_no_danger_while_reading() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"inputs": [{deep}], "outputs": [1]}}"#);
        let tests: Tests = serde_json::from_str(&text).unwrap();
        assert_eq!(tests.inputs.get(0).unwrap().len(), 200_000);
    }

    #[test]
    fn comparators_are_named_and_floats_have_a_tolerance() {
        let read = |more: serde_json::Value| {
            let mut tests = json!({"inputs": [], "outputs": []});
            tests.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Tests>(tests).unwrap()
        };
        assert_eq!(read(json!({})).comparator(), Comparator::Tokens);
        assert_eq!(read(json!({"fn_name": "f"})).comparator(), Comparator::CallJson);
        assert_eq!(read(json!({"checker": "print(1)"})).comparator(), Comparator::Checker);
        for comparator in Comparator::ALL {
            let read = read(json!({"comparator": comparator.name(), "checker": ""}));
            assert_eq!(read.comparator, Some(comparator));
            assert_eq!(json!(comparator), json!(comparator.name()));
        }
        let float = Some(Tolerance { abs: 0.5, rel: 0.0 });
        assert_eq!(read(json!({"comparator": "float(0.5, 0)"})).tolerance, float);
        assert_eq!(
            read(json!({"comparator": "float", "tolerance": {"abs": 0.5}})).tolerance,
            float
        );
        let both = Some(Tolerance { abs: 0.5, rel: 0.5 });
        assert_eq!(read(json!({"tolerance": 0.5})).tolerance, both);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        refused(r#"{"inputs": []}"#, "missing field `outputs`");
        refused(r#"{"inputs": {}, "outputs": []}"#, "expected a list");
        refused(
            r#"{"inputs": [], "outputs": [], "comparator": "vibes"}"#,
            "`vibes` is no comparator",
        );
        refused(
            r#"{"inputs": [], "outputs": [], "comparator": "checker"}"#,
            "there is no `checker`",
        );
        refused(r#"{"inputs": [], "outputs": [], "tolerance": -1}"#, "makes no sense");
    }
}
