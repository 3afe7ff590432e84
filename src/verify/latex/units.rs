//! Units: which words are one, and how they convert.

use num_rational::BigRational;

/// Units with their kind and their size in the kind's base unit as a ratio.
/// Sizes are exact by definition (SI brochure; international yard and pound, 1959).
const UNITS: &[(&str, &[&str], i64, i64)] = &[
    ("m", &["m", "meter", "meters", "metre", "metres"], 1, 1),
    ("m", &["km", "kilometer", "kilometers", "kilometre", "kilometres"], 1000, 1),
    ("m", &["cm", "centimeter", "centimeters", "centimetre", "centimetres"], 1, 100),
    ("m", &["mm", "millimeter", "millimeters", "millimetre", "millimetres"], 1, 1000),
    ("m", &["dm", "decimeter", "decimeters"], 1, 10),
    ("m", &["nm"], 1, 1_000_000_000),
    ("m", &["in", "inch", "inches"], 254, 10_000),
    ("m", &["ft", "foot", "feet"], 3048, 10_000),
    ("m", &["yd", "yard", "yards"], 9144, 10_000),
    ("m", &["mi", "mile", "miles"], 1_609_344, 1000),
    ("g", &["g", "gram", "grams"], 1, 1),
    ("g", &["kg", "kilogram", "kilograms"], 1000, 1),
    ("g", &["mg", "milligram", "milligrams"], 1, 1000),
    ("g", &["ton", "tons", "tonne", "tonnes"], 1_000_000, 1),
    ("g", &["lb", "lbs", "pound", "pounds"], 45_359_237, 100_000),
    ("s", &["s", "sec", "second", "seconds"], 1, 1),
    ("s", &["ms", "millisecond", "milliseconds"], 1, 1000),
    ("s", &["min", "mins", "minute", "minutes"], 60, 1),
    ("s", &["h", "hr", "hrs", "hour", "hours"], 3600, 1),
    ("s", &["day", "days"], 86_400, 1),
    ("s", &["week", "weeks"], 604_800, 1),
    ("L", &["L", "l", "liter", "liters", "litre", "litres"], 1, 1),
    ("L", &["mL", "ml", "milliliter", "milliliters", "millilitre"], 1, 1000),
    ("N", &["N", "newton", "newtons"], 1, 1),
    ("J", &["J", "joule", "joules"], 1, 1),
    ("J", &["kJ"], 1000, 1),
    ("W", &["W", "watt", "watts"], 1, 1),
    ("W", &["kW"], 1000, 1),
    ("V", &["V", "volt", "volts"], 1, 1),
    ("A", &["A", "ampere", "amperes", "amps"], 1, 1),
    ("Pa", &["Pa", "pascal", "pascals"], 1, 1),
    ("Pa", &["kPa"], 1000, 1),
    ("Hz", &["Hz", "hertz"], 1, 1),
    ("K", &["K", "kelvin"], 1, 1),
    ("mol", &["mol", "mole", "moles"], 1, 1),
    ("dollar", &["dollar", "dollars", "USD", "usd"], 1, 1),
    ("dollar", &["cent", "cents"], 1, 100),
    ("yuan", &["yuan", "rmb", "RMB", "CNY"], 1, 1),
    ("euro", &["euro", "euros", "EUR"], 1, 1),
    ("rad", &["rad", "radian", "radians"], 1, 1),
    ("mph", &["mph"], 1, 1),
    ("kmh", &["kmh", "kph"], 1, 1),
];

/// Words that count things: they are read as a unit and never converted.
const COUNTED: &[&str] = &[
    "unit",
    "units",
    "people",
    "students",
    "ways",
    "years",
    "year",
    "months",
    "month",
    "sq",
    "square",
    "cubic",
    "per",
    "degrees",
    "degree",
    "apples",
    "balls",
    "books",
    "points",
    "point",
    "coins",
    "girls",
    "boys",
    "children",
    "persons",
    "men",
    "women",
    "pieces",
    "times",
    "hectares",
    "acres",
    "rubles",
    "rupees",
    "marbles",
    "cards",
    "tickets",
    "pages",
    "words",
    "games",
    "steps",
    "trees",
    "cars",
    "eggs",
    "percent",
    "pct",
    "percentage",
    "cells",
    "triangles",
    "numbers",
    "values",
    "solutions",
    "integers",
    "digits",
    "sides",
    "squares",
    "cups",
    "gallons",
    "gallon",
    "quarts",
    "million",
    "billion",
    "thousand",
    "hundred",
    "ounces",
    "oz",
    "bits",
    "bytes",
    "workers",
    "teams",
    "players",
    "bottles",
    "boxes",
];

/// Whether `word`, written without `\text`, is a unit and not a product of variables.
pub(super) fn is_unit(word: &str) -> bool {
    word.len() >= 2
        && (COUNTED.contains(&word) || UNITS.iter().any(|(_, names, ..)| names.contains(&word)))
}

/// Whether `letter` in `\text{…}` behind a number is a unit.
pub(super) fn is_unit_letter(letter: char) -> bool {
    let mut buffer = [0; 4];
    let letter: &str = letter.encode_utf8(&mut buffer);
    UNITS.iter().any(|(_, names, ..)| names.contains(&letter))
}

/// Whether `word` says a hundredth.
pub(super) fn is_percent(word: &str) -> bool {
    matches!(word.trim(), "percent" | "pct" | "percentage" | "per cent" | "percents" | "%")
}

/// `million` as a number.
pub(super) fn multiple(word: &str) -> Option<i64> {
    match word.split_whitespace().next()? {
        "hundred" => Some(100),
        "thousand" => Some(1_000),
        "million" => Some(1_000_000),
        "billion" => Some(1_000_000_000),
        _ => None,
    }
}

/// How two units relate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// The first is this many of the second.
    Times(BigRational),
    /// They measure different things.
    Other,
    /// At least one is not known, and they are not the same.
    Unknown,
}

/// How many of `b` one `a` is.
pub(super) fn fit(a: &str, b: &str) -> Fit {
    if spelled(a) == spelled(b) {
        return Fit::Times(BigRational::from_integer(1.into()));
    }
    match (size(a), size(b)) {
        (Some((kinds_a, size_a)), Some((kinds_b, size_b))) => {
            if kinds_a == kinds_b {
                Fit::Times(size_a / size_b)
            } else {
                Fit::Other
            }
        }
        _ => Fit::Unknown,
    }
}

/// A unit for comparing as text: no spaces, no plural.
fn spelled(unit: &str) -> String {
    let letters: String = unit.to_lowercase().split_whitespace().collect();
    let letters = letters.replace(['.', '{', '}', '^', '\\'], "");
    letters.strip_suffix('s').unwrap_or(&letters).to_owned()
}

/// The kinds of a unit with their powers, sorted, and its size: `km/h`, `square meters`, `cm^3`.
fn size(unit: &str) -> Option<(Vec<(&'static str, i32)>, BigRational)> {
    let unit = unit.replace("per", "/").replace("^", " ^").replace('/', " / ");
    let (mut kinds, mut total) = (Vec::new(), BigRational::from_integer(1.into()));
    let (mut sign, mut raised) = (1, 1);
    let mut last: Option<(&'static str, BigRational, i32)> = None;
    for word in unit.split_whitespace().chain(["end"]) {
        if let Some(power) = word.strip_prefix('^') {
            let power: i32 = power.trim_matches(['{', '}']).parse().ok()?;
            let (_, _, current) = last.as_mut()?;
            *current *= power.clamp(-9, 9);
            continue;
        }
        if let Some((kind, size, power)) = last.take() {
            kinds.push((kind, power));
            total *= if power < 0 { size.recip().pow(-power) } else { size.pow(power) };
        }
        match word {
            "end" => {}
            "/" => sign = -1,
            "square" | "sq" => raised = 2,
            "cubic" => raised = 3,
            _ => {
                let (kind, _, above, below) =
                    UNITS.iter().find(|(_, names, ..)| names.contains(&word))?;
                let size = BigRational::new((*above).into(), (*below).into());
                last = Some((kind, size, sign * raised));
                (sign, raised) = (1, 1);
            }
        }
    }
    // A litre is a cubic decimetre.
    for entry in &mut kinds {
        if entry.0 == "L" {
            total *= BigRational::new(1.into(), 1000.into()).pow(entry.1);
            *entry = ("m", 3 * entry.1);
        }
    }
    kinds.sort_unstable();
    (!kinds.is_empty()).then_some((kinds, total))
}
