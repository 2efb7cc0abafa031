//! Tests of JSON numbers.

use proptest::prelude::*;

use super::*;

#[test]
fn whole_numbers_of_any_form_are_integers() {
    let integer = |text| JsonNumber::parse(text).expect(text).integer();
    for text in ["3", "3.0", "3.00", "3e0", "30E-1", "0.3e1"] {
        assert_eq!(integer(text), Some(3), "{text}");
    }
    for text in ["0", "-0", "-0.0", "0e9"] {
        assert_eq!(integer(text), Some(0), "{text}");
    }
    assert_eq!(integer("9007199254740991.0"), Some(INTEGER_MAX));
    for text in ["3.5", "-1", "9007199254740992.0", "1e300", "1e-7"] {
        assert_eq!(integer(text), None, "{text}");
    }
    for text in ["1e999", "\"3\"", "true", "[3]", "{}"] {
        assert_eq!(JsonNumber::parse(text), None, "{text}");
    }
}

/// Checks [`JsonNumber::leading`] against serde_json, with `rest` after the number.
fn check_leading(number: &str, rest: &str) -> Result<(), TestCaseError> {
    let is_of_number = |it: char| "0123456789.eE+-".contains(it);
    let text = format!("{number}{}", rest.trim_start_matches(is_of_number));
    let read = JsonNumber::leading(text.as_bytes());
    let Ok(expected) = serde_json::from_str::<f64>(number) else {
        prop_assert_eq!(read, None, "{}", number);
        return Ok(());
    };
    let (read, length) = read.expect("what serde_json reads");
    prop_assert_eq!(length, number.len());
    prop_assert_eq!(JsonNumber::parse(number), Some(read));
    prop_assert_eq!(read.double().to_bits(), expected.to_bits(), "{}", number);
    let integer = match read {
        JsonNumber::Integer(integer) => Some(integer),
        JsonNumber::Double(_) => None,
    };
    prop_assert_eq!(integer, number.parse().ok());
    Ok(())
}

#[test]
fn halves_of_a_unit_in_the_last_place_round_to_even() {
    for number in [
        "9007199254740993.0",
        "9007199254740995.0",
        "4503599627370496.5",
        "4503599627370497.5",
        "4503599627370497.501",
        "1125899906842624.125",
        "1125899906842624.375",
        "1125899906842624.376",
        "18446744073709551615",
        "18446744073709551616",
        "999999999999999999.9",
        "0.9999999999999999999",
        "-0.0",
        "5e-324",
        "1.7976931348623157e308",
        "1e309",
    ] {
        check_leading(number, ",").expect(number);
    }
}

proptest! {
    #[test]
    fn numbers_of_any_form_are_read_as_serde_reads_them(
        number in "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{0,22})?([eE][+-]?[0-9]{0,3})?|-|0[0-9]|[.x,]",
        rest in "[,} ]?.{0,3}",
    ) {
        check_leading(&number, &rest)?;
    }

    #[test]
    fn digits_with_a_point_anywhere_are_read_as_serde_reads_them(
        digits in 0_u64.., shift in 0..64, places in 1..24_usize,
    ) {
        let digits = format!("{:0width$}", digits >> shift, width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        check_leading(&format!("{whole}.{fraction}"), ",")?;
    }

    #[test]
    fn doubles_are_read_back(double in any::<f64>(), output in 0.0..600.0) {
        for double in [double, output] {
            let text = ryu_js::Buffer::new().format_finite(double).to_owned();
            let (read, _) = JsonNumber::leading(text.as_bytes()).expect("a number");
            prop_assert_eq!(read.double().to_bits(), (double + 0.0).to_bits());
        }
    }
}
