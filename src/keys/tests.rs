use std::fs;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

fn keys(text: &str) -> Vec<String> {
    parse(text.as_bytes())
        .expect("valid keys")
        .iter()
        .map(|(_, key)| key.reveal().to_owned())
        .collect()
}

#[test]
fn file_has_a_key_a_line() {
    assert_eq!(
        keys("# the old one\nalpha\n\n beta \r\n"),
        ["alpha", "beta"]
    );
}

#[test]
fn file_may_be_a_secrets_manager_value() {
    assert_eq!(keys(" {\"api_key\": \"gamma\"}\n"), ["gamma"]);
}

#[test]
fn byte_order_mark_is_passed_over() {
    assert_eq!(keys("\u{feff}alpha\n"), ["alpha"]);
    assert_eq!(keys("\u{feff}{\"api_key\":\"gamma\"}"), ["gamma"]);
}

#[test]
fn error_of_an_invalid_file_does_not_repeat_its_content() {
    for (text, reason) in [
        ("", "no key"),
        ("# only this", "no key"),
        ("{\"key\":\"hush\"}", "api_key"),
        ("fine\nhüsh", "line 2"),
    ] {
        let error = parse(text.as_bytes()).expect_err(text);
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("hush"), "{error}");
        assert!(!error.contains("hüsh"), "{error}");
    }
    assert!(parse(b"h\xffsh").expect_err("invalid").contains("UTF-8"));
    assert!(parse(&[b'x'; KEY_BYTES_MAX + 1]).is_err());
}

#[test]
fn syntax_of_other_formats_is_noticed() {
    for (line, mark) in [
        ("ALLEYCAT_ACCESS_KEY=secret", Some("NAME=value")),
        ("\"secret\"", Some("quotes")),
        ("'secret'", Some("quotes")),
        ("secret # of the old stream", Some("comment")),
        ("[\"a\",\"b\"]", Some("brackets")),
        ("secret", None),
        ("c2VjcmV0cw==", None),
        ("c2Vj+mV0/w=x", None),
        ("a#b", None),
        ("\"", None),
    ] {
        let found = foreign_syntax(line);
        assert_eq!(found.is_some(), mark.is_some(), "{line}");
        assert!(
            found.unwrap_or_default().contains(mark.unwrap_or_default()),
            "{line}"
        );
    }
}

#[test]
fn given_keys_and_the_files_keys_are_accepted_and_no_others() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "two\n").expect("written");
    let one: Secret = "one".parse().expect("a key");
    let keys = Keys::new(&[one], Some(file.path())).expect("readable");
    assert!(keys.are_needed());
    for accepted in ["one", "two"] {
        assert!(keys.accept(accepted.as_bytes()), "{accepted}");
    }
    for refused in ["three", "", "one\0"] {
        assert!(!keys.accept(refused.as_bytes()), "{refused}");
    }
    assert!(!format!("{keys:?}").contains("\"two\""));
    assert!(!Keys::new(&[], None).expect("no file").are_needed());
    assert!(Keys::new(&[], Some(Path::new("/nonexistent"))).is_err());
}

#[test]
fn changed_file_replaces_the_keys_and_an_invalid_one_leaves_them() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "old\n").expect("written");
    let mut watched = WatchedFile::open(file.path()).expect("readable");
    let of_file = Arc::new(RwLock::new(parse_file(&watched).expect("valid")));
    let keys = Keys {
        given: Vec::new(),
        of_file: Some(of_file.clone()),
    };
    let mut expire = || refresh(&mut watched, &of_file);
    fs::write(file.path(), "newer\n").expect("written");
    expire();
    assert!(keys.accept(b"newer"));
    assert!(!keys.accept(b"old"));

    fs::write(file.path(), "").expect("written");
    expire();
    assert!(keys.accept(b"newer"));

    fs::remove_file(file.path()).expect("it is there");
    mkfifoat(CWD, file.path(), Mode::RUSR).expect("made");
    expire();
    assert!(keys.accept(b"newer"));

    fs::remove_file(file.path()).expect("it is there");
    fs::write(file.path(), "newest\nother\n").expect("written");
    expire();
    assert!(keys.accept(b"newest"));
    assert!(keys.accept(b"other"));
    assert!(!keys.accept(b"newer"));
}

#[test]
fn value_of_two_kinds_is_found_in_options_and_files() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "one\ntwo\n").expect("written");
    let given = |keys: &[&str]| -> Vec<Secret> {
        let keys = keys.iter().map(|key| key.parse().expect("a key"));
        keys.collect()
    };
    let keys = |given_keys: &[&str]| Keys::new(&given(given_keys), None).expect("keys");
    let of_file = Keys::new(&[], Some(file.path())).expect("keys");
    assert_eq!(shared_key([&of_file, &keys(&["a"]), &keys(&[])]), None);
    for kinds in [
        [&keys(&["a", "b"]), &keys(&[]), &keys(&["b"])],
        [&keys(&[]), &of_file, &keys(&["two"])],
        [&keys(&["two"]), &of_file, &keys(&[])],
    ] {
        let problem = shared_key(kinds).expect("a shared value");
        assert!(problem.contains("different values"), "{problem}");
    }
}
