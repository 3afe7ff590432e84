//! Numbers for people: bytes and durations.

/// `3.2 GiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// `4 min 12 s`, `3.1 s`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole % 3600 / 60)
    }
}

/// Bytes in `80GiB`, `512MiB`, `16GB` or `1000000`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1_i64 << 40,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        unit => return Err(format!("unknown unit `{unit}`; expected GiB, MiB or GB")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("`{text}` is no size"))?;
    if number.is_finite() && number >= 0.0 {
        Ok((number * factor as f64) as u64)
    } else {
        Err(format!("`{text}` is no size"))
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, parse_bytes};

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!(parse_bytes("80GiB"), Ok(80 << 30));
        assert_eq!(parse_bytes("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("12"), Ok(12));
        assert!(parse_bytes("80Gb").is_err());
        assert!(parse_bytes("-1GiB").is_err());
        assert_eq!(bytes(80 << 30), "80.0 GiB");
        assert_eq!(bytes(12), "12 B");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(3.12), "3.1 s");
        assert_eq!(duration(252.0), "4 min 12 s");
        assert_eq!(duration(7_300.0), "2 h 1 min");
    }
}
