//! Durations of the Gateway API (GEP-2257): `1h`, `1m30s`, `500ms`. Never negative, never a fraction.

/// Milliseconds of a duration, `None` if the text is none: one to four parts, each of one to five digits and h, m, s or ms.
pub fn parse(text: &str) -> Option<u64> {
    let (mut rest, mut total_ms, mut parts) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u64 = rest.get(..digits).filter(|_| (1..=5).contains(&digits))?.parse().ok()?;
        rest = &rest[digits..];
        let (unit, unit_ms) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total_ms += amount * unit_ms;
        parts += 1;
    }
    (1..=4).contains(&parts).then_some(total_ms)
}

/// `ms` before `m`: the longer unit first.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parts_of_digits_and_a_unit() {
        let table = [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("", None),
            ("10", None),
            ("-1s", None),
            ("1.5s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
        ];
        for (text, ms) in table {
            assert_eq!(parse(text), ms, "{text}");
        }
    }
}
