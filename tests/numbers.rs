//! Numbers are printed as JavaScript prints them, and read back as the same doubles. The tests
//! compare with JavaScript itself, so they need `node`.

use std::io::Write;
use std::process::{Command, Stdio};

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second, serialize_number};
use alleycat::state::table::Table;
use alleycat::storage::history_file::{Selection, write_second};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const RANDOM: usize = 1_000_000;

/// Doubles at which printers differ: the bounds of the exponent form, the extremes, halves of a
/// unit in the last place, and whole numbers past 2^53.
const ODD: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    150.0,
    552.75,
    0.1 + 0.2,
    1e-4,
    1e-5,
    1.5e-5,
    1e-6,
    1.25e-6,
    1e-6_f64.next_down(),
    1e-7,
    5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    1e15,
    1e16,
    1e17,
    1e20,
    1e21_f64.next_down(),
    1e21,
    9_007_199_254_740_991.0,
    9_007_199_254_740_993.0,
];

/// Returns [`ODD`] and random doubles: a third of any size, a third from the output formula, a
/// third between 0 and 600.
fn doubles() -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(1);
    let mut doubles = ODD.to_vec();
    while doubles.len() < ODD.len() + RANDOM {
        let bits = random.next_u64();
        let share = (bits >> 11) as f64 / (1u64 << 53) as f64;
        doubles.push(match doubles.len() % 3 {
            0 => f64::from_bits(bits >> 1), // no sign bit
            1 => Output::of((bits % 301) as f64, (bits >> 32) as f64 % 101.0)
                .expect("in bounds")
                .get(),
            _ => share * 600.0,
        });
        if doubles.last().is_some_and(|double| !double.is_finite()) {
            doubles.pop();
        }
    }
    doubles
}

/// Returns each double as JSON.stringify prints it.
fn stringified(doubles: &[f64]) -> Vec<String> {
    const SCRIPT: &str = "
        const lines = require('fs').readFileSync(0, 'latin1').trimEnd().split('\\n');
        const view = new DataView(new ArrayBuffer(8));
        const double = (bits) => (view.setBigUint64(0, BigInt('0x' + bits)), view.getFloat64(0));
        process.stdout.write(lines.map((bits) => JSON.stringify(double(bits))).join('\\n'));";
    let mut node = Command::new("node")
        .args(["-e", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`node` runs: the tests compare our numbers with its JSON.stringify, so install Node.js");
    let bits: String = doubles
        .iter()
        .map(|double| format!("{:016x}\n", double.to_bits()))
        .collect();
    let mut stdin = node.stdin.take().expect("it is piped");
    stdin.write_all(bits.as_bytes()).expect("node reads");
    drop(stdin); // the script prints at the end of its input
    let output = node.wait_with_output().expect("node ends");
    assert!(output.status.success(), "node failed: {}", output.status);
    let lines = String::from_utf8(output.stdout).expect("node prints UTF-8");
    let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), doubles.len());
    lines
}

#[test]
fn outputs_print_as_json_stringify_and_read_back() {
    let doubles = doubles();
    let lines = stringified(&doubles);
    for (double, line) in doubles.iter().zip(&lines) {
        let output = Output::new(*double).expect("finite and not negative");
        assert_eq!(
            &output.to_string(),
            line,
            "Display of {:x}",
            double.to_bits()
        );
        assert_eq!(
            &serde_json::to_string(&output).expect("it serializes"),
            line,
            "Serialize of {:x}",
            double.to_bits()
        );
        let back: Output = serde_json::from_str(line).expect("a number");
        assert_eq!(back.get().to_bits(), output.get().to_bits(), "{line}");
    }
}

#[test]
fn negative_numbers_print_as_json_stringify() {
    let doubles: Vec<_> = doubles()
        .into_iter()
        .take(10_000)
        .map(|double| -double)
        .collect();
    for (double, line) in doubles.iter().zip(stringified(&doubles)) {
        let mut text = Vec::new();
        serialize_number(double, &mut serde_json::Serializer::new(&mut text))
            .expect("it serializes");
        assert_eq!(
            String::from_utf8(text).expect("ASCII"),
            line,
            "{:x}",
            double.to_bits()
        );
    }
}

#[test]
fn history_outputs_print_as_json_stringify() {
    let doubles = doubles();
    let class = ClassId::new(1).expect("1 is not 0");
    let efforts = doubles.iter().zip(0..).map(|(&double, racer)| Effort {
        class,
        second: Second(0),
        racer: RacerId(racer),
        output: Output::new(double).expect("finite and not negative"),
        race: None,
        time: 0,
    });
    let table = Table::new(1);
    table.merge(&efforts.collect::<Vec<_>>(), 0);
    let mut text = Vec::new();
    let selection = Selection {
        racers: None,
        top: None,
    };
    write_second(&mut text, &table, class, Second(0), &selection);

    let lines = stringified(&doubles);
    let rows: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(racer, line)| format!("\"{racer}\":{line}"))
        .collect();
    let expected = format!("\"0\":{{{}}}", rows.join(","));
    assert!(
        text == expected.as_bytes(),
        "the numbers of the history differ from JSON.stringify's"
    );
}
