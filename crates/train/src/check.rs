//! Whether the numbers of a recipe can be meant, key by key, before anything starts.

use std::fmt::Display;

/// A part of a recipe that knows what its numbers may be.
pub trait Check {
    /// # Errors
    /// The first key that cannot be meant: what was expected and what came.
    fn check(&self) -> Result<(), String>;
}

/// That `value` lies in `[least, most]`; an infinite `most` asks for any finite number.
///
/// # Errors
/// If it does not, in words.
pub fn within<T>(key: &str, value: T, [least, most]: [f64; 2]) -> Result<(), String>
where
    T: Copy + Display + Into<f64>,
{
    let number: f64 = value.into();
    if number.is_finite() && (least..=most).contains(&number) {
        return Ok(());
    }
    let expected = match [least, most].map(f64::is_finite) {
        [_, true] => format!("{least} to {most}"),
        [true, false] => format!("a finite number, at least {least}"),
        [false, false] => "a finite number".to_owned(),
    };
    Err(format!("{key} is {value}, expected {expected}"))
}

/// That `value` is above 0 and finite.
///
/// # Errors
/// If it is not, in words.
pub fn above_zero(key: &str, value: f32) -> Result<(), String> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(format!("{key} is {value}, expected a finite number above 0")),
    }
}

/// That there are at least `least` and at most `most` of something.
///
/// # Errors
/// If there are not, in words.
pub fn count(key: &str, value: u64, [least, most]: [u64; 2]) -> Result<(), String> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false if most == u64::MAX => Err(format!("{key} is {value}, expected at least {least}")),
        false => Err(format!("{key} is {value}, expected {least} to {most}")),
    }
}

/// That `value` names a folder beside the run's own.
///
/// # Errors
/// If it does not, in words.
pub fn folder(key: &str, value: &str) -> Result<(), String> {
    let plain = !value.is_empty() && !value.contains(['/', '\\']) && value != "." && value != "..";
    match plain {
        true => Ok(()),
        false => {
            Err(format!("{key} is {value:?}, expected the name of a folder beside the run's own"))
        }
    }
}

/// From 0 to 1.
pub const SHARE: [f64; 2] = [0.0, 1.0];

/// From 0 on.
pub const NOT_NEGATIVE: [f64; 2] = [0.0, f64::INFINITY];

/// From 1 on.
pub const SOME: [u64; 2] = [1, u64::MAX];

/// Any finite number.
pub const ANY: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_within_nothing() {
        for value in [f32::NAN, f32::INFINITY, -0.1] {
            assert!(within("x", value, NOT_NEGATIVE).is_err());
            assert!(above_zero("x", value).is_err());
        }
        assert_eq!(within("x", f32::NAN, ANY), Err("x is NaN, expected a finite number".into()));
        assert_eq!(within("x", 1.5_f32, SHARE), Err("x is 1.5, expected 0 to 1".into()));
        assert_eq!(count("x", 0, SOME), Err("x is 0, expected at least 1".into()));
        assert!(within("x", 1.0_f64, SHARE).is_ok() && count("x", 1, [1, 1]).is_ok());
        assert!(["", "..", "a/b"].iter().all(|name| folder("x", name).is_err()));
    }
}
