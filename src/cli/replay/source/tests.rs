use super::*;

#[test]
fn source_is_a_path_or_a_bucket() {
    let bucket = |bucket: &str, prefix: &str| {
        Ok(ReplaySource::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    };
    assert_eq!("s3://b".parse(), bucket("b", ""));
    assert_eq!("s3://b/a/c".parse(), bucket("b", "a/c"));
    assert_eq!("a/b".parse(), Ok(ReplaySource::Path("a/b".into())));
    assert_eq!("file:a".parse(), Ok(ReplaySource::Path("a".into())));
    assert!("s3:///a".parse::<ReplaySource>().is_err());
    assert_eq!(["", "a", "a/"].map(directory), ["", "a/", "a/"]);
}
