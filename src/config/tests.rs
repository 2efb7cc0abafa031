use clap::{CommandFactory, Parser};

use super::*;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    config: Config,
}

fn parse(options: &[&str]) -> Result<Config, clap::Error> {
    CommandLine::try_parse_from(["alleycat"].iter().chain(options))
        .map(|command_line| command_line.config)
}

/// Requires that each of these options is also the environment variable of its name, after
/// `prefix`.
pub(crate) fn assert_options_have_variables<'a>(
    options: impl Iterator<Item = &'a clap::Arg>,
    prefix: &str,
) {
    for argument in options {
        let name = argument.get_long().expect("every option is long");
        let variable = format!("{prefix}{}", name.replace('-', "_").to_uppercase());
        assert_eq!(argument.get_env(), Some(variable.as_ref()));
    }
}

#[test]
fn every_option_is_an_environment_variable_of_its_name() {
    let command = CommandLine::command();
    command.clone().debug_assert();
    let options = command.get_arguments().filter(|it| it.get_id() != "help");
    assert_options_have_variables(options, "ALLEYCAT_");
}

#[test]
fn help_of_key_options_says_what_a_comma_does() {
    let command = CommandLine::command();
    for option in ["access-key", "admin-key", "query-key"] {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(option))
            .expect(option);
        let help = argument.get_help().expect(option).to_string();
        assert!(help.contains("two keys"), "{option}: {help}");
    }
}

#[test]
fn address_may_be_a_name_or_a_port_alone() {
    for (text, address) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:81", "[::1]:81"),
        ("localhost:82", "127.0.0.1:82"),
        (":83", "0.0.0.0:83"),
        (":0", "0.0.0.0:0"),
    ] {
        assert_eq!(
            socket_address(text),
            Ok(address.parse().expect(address)),
            "{text}"
        );
    }
}

#[test]
fn invalid_address_is_refused() {
    for text in [
        "",
        ":",
        "localhost",
        "localhost:",
        "127.0.0.1:65536",
        ":http",
        "::1",
    ] {
        let error = socket_address(text).expect_err(text);
        assert!(error.contains("HOST:PORT"), "{text}: {error}");
    }
}

#[test]
fn port_alone_needs_an_access_key() {
    let config = parse(&["--listen", ":8080"]).expect("valid options");
    let error = config.validate().expect_err("reachable without a key");
    assert!(error.to_string().contains("ALLEYCAT_ACCESS_KEY"), "{error}");
}

#[test]
fn metrics_need_a_port_of_their_own() {
    for (listen, metrics, is_valid) in [
        ("127.0.0.1:80", "127.0.0.1:80", false),
        ("127.0.0.1:80", ":80", false),
        ("127.0.0.1:80", "127.0.0.2:80", true),
        ("127.0.0.1:80", "127.0.0.1:81", true),
        ("127.0.0.1:0", "127.0.0.1:0", true),
    ] {
        let config = parse(&["--listen", listen, "--metrics-listen", metrics]);
        let valid = config.expect("valid options").validate();
        assert_eq!(valid.is_ok(), is_valid, "{listen} {metrics}: {valid:?}");
    }
}

const RIDES: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/rides";
const IN_CHINA: &str = "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/a_b.c-1";

#[test]
fn value_of_a_list_that_could_never_match_is_refused() {
    let config = parse(&[
        "--source-arn",
        &format!("{RIDES}, {IN_CHINA}"),
        "--notification-bucket",
        "rides, b.c",
    ]);
    let config = config.expect("valid options");
    assert_eq!(config.source_arns, [RIDES, IN_CHINA]);
    assert_eq!(config.notification_buckets, ["rides", "b.c"]);
    for (option, value) in [
        ("--source-arn", "rides"),
        ("--source-arn", &format!("{RIDES},")),
        (
            "--source-arn",
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/*",
        ),
        (
            "--source-arn",
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/",
        ),
        (
            "--source-arn",
            "arn:aws:firehose:us-east-1:12:deliverystream/rides",
        ),
        (
            "--source-arn",
            "arn:aws:kinesis:us-east-1:123456789012:stream/rides",
        ),
        ("--notification-bucket", "A"),
        ("--notification-bucket", "a..b"),
        ("--notification-bucket", "rides-"),
        ("--notification-bucket", "s3://rides"),
        ("--notification-bucket", "rides/2026"),
        ("--notification-bucket", "rides,"),
    ] {
        let error = parse(&[option, value]).expect_err(value).to_string();
        assert!(error.contains(option), "{error}");
    }
}

#[test]
fn demo_of_more_racers_than_are_accepted_is_refused() {
    let with = |racers: &str| parse(&["--demo", racers, "--max-racers", "5"]).expect("options");
    with("5").validate().expect("valid options");
    let error = with("6").validate().expect_err("too many").to_string();
    assert!(error.contains("--max-racers 5"), "{error}");
}

#[test]
fn cors_origins_are_all_or_a_list() {
    let list = |origins: &[&str]| {
        CorsOrigins::List(origins.iter().map(|&origin| origin.to_owned()).collect())
    };
    for (text, origins) in [
        ("*", CorsOrigins::Any),
        ("https://example.com", list(&["https://example.com"])),
        (
            "https://example.com, http://localhost:5173",
            list(&["https://example.com", "http://localhost:5173"]),
        ),
        ("HTTPS://Example.COM:443", list(&["https://example.com"])),
        ("http://example.com:80", list(&["http://example.com"])),
        ("https://example.com:80", list(&["https://example.com:80"])),
        ("http://[::1]:5173", list(&["http://[::1]:5173"])),
        ("http://10.0.0.1:5173", list(&["http://10.0.0.1:5173"])),
        ("https://[0:0::1]:80", list(&["https://[::1]:80"])),
        ("capacitor://localhost", list(&["capacitor://localhost"])),
    ] {
        assert_eq!(text.parse(), Ok(origins), "{text}");
    }
}

#[test]
fn invalid_cors_origin_is_refused_by_its_value() {
    for (text, value) in [
        ("", ""),
        ("example.com", "example.com"),
        ("null", "null"),
        ("https://example.com/", "https://example.com/"),
        ("https://example.com/page", "https://example.com/page"),
        ("https://example.com?a", "https://example.com?a"),
        ("https://", "https://"),
        ("://example.com", "://example.com"),
        ("https://a b", "https://a b"),
        ("https://user@example.com", "https://user@example.com"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://example.com:", "https://example.com:"),
        ("https://example.com:99999", "https://example.com:99999"),
        ("https://[::1", "https://[::1"),
        ("https://1.2.3.999", "https://1.2.3.999"),
        ("https://a.example,*", "*"),
        ("https://a.example,", ""),
    ] {
        let error = text.parse::<CorsOrigins>().expect_err(text);
        assert!(
            error.starts_with(&format!("\"{value}\" ")),
            "{text}: {error}"
        );
        assert!(error.contains("https://example.com"), "{text}: {error}");
    }
}

#[test]
fn class_names_are_in_order_and_may_be_left_out() {
    let config = parse(&["--class-names", " Hill climb,, Sprint "]).expect("valid options");
    let names: Vec<_> = (1..=4)
        .map(|class| config.class_names.name(class))
        .collect();
    assert_eq!(names, ["Hill climb", "Class 2", "Sprint", "Class 4"]);
    assert_eq!(
        parse(&[]).expect("valid").class_names,
        ClassNames::default()
    );
}

#[test]
fn invalid_class_names_are_refused() {
    let error = parse(&["--classes", "1", "--class-names", "a,b"])
        .expect("valid options")
        .validate()
        .expect_err("more names than classes");
    assert!(error.to_string().contains("2 names"), "{error}");
    for (name, problem) in [
        ("a".repeat(61), "60 characters"),
        ("a\tb".to_owned(), "control"),
    ] {
        let error = name.parse::<ClassNames>().expect_err(&name);
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn duration_out_of_bounds_is_refused_with_its_bounds() {
    assert_eq!(
        duration::<10, 3_600_000>("250ms"),
        Ok(Duration::from_millis(250))
    );
    for text in ["9ms", "2h", "-1s"] {
        let error = duration::<10, 3_600_000>(text).expect_err(text);
        assert!(error.contains("from 10ms to 1h"), "{text}: {error}");
    }
    for text in ["soon", "", "7d"] {
        let error = duration::<10, 3_600_000>(text).expect_err(text);
        assert!(
            error.starts_with("it must be a duration from 10ms to 1h"),
            "{error}"
        );
    }
    for text in ["abc", "", "1KB", "2GiB"] {
        let error = parse(&["--max-body-size", text]).expect_err(text);
        let error = error.to_string();
        assert!(error.contains("it must be a size from 1.0 KiB"), "{error}");
    }
}

#[test]
fn read_only_needs_no_access_key_and_excludes_the_demo() {
    let with = |more: &[&str]| {
        let options = [&["--listen", ":8080"], more].concat();
        parse(&options).expect("options").validate()
    };
    with(&[]).expect_err("an access key is missing");
    with(&["--read-only"]).expect("nothing is delivered");
    let error = with(&["--read-only", "--demo", "5"]).expect_err("a contradiction");
    assert!(error.to_string().contains("--read-only"), "{error}");
}
