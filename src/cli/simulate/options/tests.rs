use clap::{Args, Parser};

use super::*;
use crate::config::tests::assert_options_have_variables;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: SimulateOptions,
}

fn parse(words: &[&str]) -> Result<SimulateOptions, clap::Error> {
    CommandLine::try_parse_from(std::iter::once(&"simulate").chain(words))
        .map(|command_line| command_line.options)
}

#[test]
fn every_option_is_an_environment_variable_of_its_name() {
    let mut command = SimulateOptions::augment_args(clap::Command::new("simulate"));
    command.clone().debug_assert();
    assert_options_have_variables(command.get_arguments(), "ALLEYCAT_SIMULATE_");
    let help = command.render_long_help().to_string();
    assert!(help.contains("alleycat simulate --seed 7"), "{help}");
}

#[test]
fn options_out_of_bounds_are_refused() {
    for words in [
        ["--racers", "0"],
        ["--classes", "1,0"],
        ["--speed", "0"],
        ["--speed", "fast"],
        ["--faults", "1.1"],
        ["--faults", "NaN"],
        ["--buffer-size", "65MiB"],
        ["--buffer-interval", "-1s"],
        ["--buffer-interval", "25h"],
        ["--concurrency", "0"],
        ["--to", "127.0.0.1:8080"],
    ] {
        assert!(parse(&words).is_err(), "{words:?}");
    }
    assert_eq!(
        parse(&["--speed", "2.5"]).expect("in bounds").speed,
        Speed::Factor(2.5)
    );
}

#[test]
fn debug_form_of_the_options_has_no_access_key() {
    let options = parse(&["--access-key", "s3cret"]).expect("a key");
    assert!(!format!("{options:?}").contains("s3cret"));
}
