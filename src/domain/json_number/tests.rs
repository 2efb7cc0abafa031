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

proptest! {
    #[test]
    fn plain_numbers_are_read_as_serde_reads_them(
        number in "(0|[1-9][0-9]{0,17})(\\.[0-9]{0,17})?([eE][0-9])?|-1|01|[.x,]",
        rest in "[,} ]?.{0,3}",
    ) {
        let is_of_number = |it: char| "0123456789.eE".contains(it);
        let text = format!("{number}{}", rest.trim_start_matches(is_of_number));
        if let Some((read, length)) = JsonNumber::leading(text.as_bytes()) {
            prop_assert_eq!(length, number.len());
            let expected: serde_json::Value = serde_json::from_str(&number).expect("a number");
            prop_assert_eq!(JsonNumber::parse(&number), Some(read));
            match read {
                JsonNumber::Integer(integer) => prop_assert_eq!(expected.as_u64(), Some(integer)),
                JsonNumber::Double(double) => {
                    prop_assert!(!expected.is_u64());
                    prop_assert_eq!(expected.as_f64().map(f64::to_bits), Some(double.to_bits()));
                }
            }
            prop_assert_eq!(expected.as_f64(), Some(read.double()));
        } else {
            let digits = number.bytes().filter(u8::is_ascii_digit).count();
            let has_plain_bytes = number.bytes().all(|it| it.is_ascii_digit() || it == b'.');
            let is_plain = digits <= DIGITS_MAX && has_plain_bytes;
            let is_invalid = serde_json::from_str::<f64>(&number).is_err();
            prop_assert!(!is_plain || is_invalid, "{}", number);
        }
    }
}
