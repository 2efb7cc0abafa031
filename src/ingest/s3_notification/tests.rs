//! Tests of S3's event notifications.

use serde_json::{Value, json};

use super::*;

fn notification(event: &Value) -> S3Notification {
    S3Notification::parse(event.to_string().as_bytes()).expect("a notification")
}

fn names(event: &Value) -> Vec<(String, String)> {
    notification(event)
        .objects
        .into_iter()
        .map(|object| (object.bucket, object.key))
        .collect()
}

fn s3(key: &str) -> Value {
    json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
           "s3": {"bucket": {"name": "b", "arn": "x"}, "object": {"key": key, "size": 1}}})
}

fn error(event: &Value) -> String {
    let notification = S3Notification::parse(event.to_string().as_bytes());
    notification.expect_err("not a notification").to_string()
}

#[test]
fn keys_are_decoded_like_a_form() {
    let keys = ["a/b.gz", "a+b%2Bc%20d", "%C3%A9t%c3%a9"].map(s3);
    let decoded: Vec<_> = names(&json!({ "Records": keys }))
        .into_iter()
        .map(|(_, key)| key)
        .collect();
    assert_eq!(decoded, ["a/b.gz", "a b+c d", "été"]);
    assert!(error(&json!({"Records": [s3("%ff")]})).contains("not UTF-8"));
}

#[test]
fn objects_are_found_in_every_envelope() {
    let event = json!({"Records": [s3("k"), s3("l"), s3("k")]});
    let expected = [
        ("b".to_owned(), "k".to_owned()),
        ("b".to_owned(), "l".to_owned()),
    ];
    assert_eq!(names(&event), expected);
    let sns =
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": event.to_string()}}]});
    assert_eq!(names(&sns), expected);
    let posted = json!({"Type": "Notification", "MessageId": "m", "Message": event.to_string()});
    assert_eq!(names(&posted), expected);
    let sqs = |body: &Value| json!({"Records": [{"messageId": "1", "body": body.to_string()}]});
    assert_eq!(names(&sqs(&event)), expected);
    assert_eq!(names(&sqs(&posted)), expected);
    let bridge = |key: &str| {
        json!({"version": "0", "detail-type": "Object Created", "source": "aws.s3",
               "detail": {"bucket": {"name": "b"}, "object": {"key": key, "size": 5}}})
    };
    assert_eq!(names(&bridge("k")), expected[..1]);
    let mut restored = bridge("k");
    restored["detail-type"] = json!("Object Restore Completed");
    assert_eq!(names(&restored), expected[..1]);
    assert_eq!(names(&sqs(&bridge("k"))), expected[..1]);
    let plain = notification(&bridge("a+b")).objects.remove(0);
    assert_eq!(plain.key, "a+b");
    assert_eq!(plain.decoded_key.as_deref(), Some("a b"));
}

#[test]
fn records_without_a_new_object_are_ignored() {
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"});
    let removed = json!({"Records": [{"eventName": "ObjectRemoved:Delete", "s3": s3("k")["s3"]}]});
    let deleted = json!({"detail-type": "Object Deleted",
        "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
    for event in [test, removed, deleted] {
        let notification = notification(&event);
        assert_eq!(notification.objects, [], "{event}");
        assert_eq!(notification.ignored, 1, "{event}");
    }
}

#[test]
fn invalid_message_leaves_the_others_valid() {
    let body = json!({"Records": [s3("k")]}).to_string();
    let batch = json!({"Records": [{"messageId": "1", "body": body}, {"messageId": "2", "body": "hello"},
        {"messageId": "3", "body": body}]});
    let notification = notification(&batch);
    assert_eq!(notification.objects.len(), 1);
    assert_eq!(notification.unreadable, ["message 2: not a JSON object"]);
}

#[test]
fn events_of_others_in_a_batch_are_ignored() {
    let api_call = json!({"detail-type": "AWS API Call via CloudTrail", "source": "aws.s3",
        "detail": {"eventName": "PutObject", "requestParameters": {"bucketName": "b", "key": "k"}}});
    let alarm = json!({"Type": "Notification", "Message": "{\"AlarmName\":\"a\"}"});
    let text = json!({"Type": "Notification", "Message": "All is well."});
    let trail = json!({"Records": [{"eventSource": "s3.amazonaws.com", "eventName": "PutObject", "s3": null}]});
    let typed_otherwise = json!({"Event": {"id": 1}, "Message": null, "detail-type": 7});
    let others = [api_call, alarm, text, trail, typed_otherwise, json!({})];
    let created = json!({"Records": [s3("k")]});
    let batch: Vec<_> = others
        .iter()
        .chain([&created])
        .map(|body| json!({"messageId": "1", "eventSource": "aws:sqs", "body": body.to_string()}))
        .collect();
    let found = notification(&json!({ "Records": batch }));
    assert_eq!(found.objects.len(), 1);
    assert_eq!(found.unreadable, [""; 0]);
    assert_eq!(found.ignored, others.len());
    assert_eq!(notification(&others[0]).ignored, 1, "also by itself");
    // A message that cannot be read may name an object. So it is an error, and is not passed over.
    let created = json!({"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}}});
    for body in [created.to_string(), "{\"Records\":[".to_owned()] {
        let batch = json!({"Records": [s3("k"), {"messageId": "2", "body": body}]});
        assert_eq!(notification(&batch).unreadable.len(), 1, "{body}");
    }
}

#[test]
fn event_in_which_no_record_names_an_object_is_an_error() {
    let error = error(&json!({"Records": [{}]}));
    assert!(
        error.starts_with("no record names an object: record 1: "),
        "{error}"
    );
}

#[test]
fn limits_of_depth_and_records_are_errors() {
    let too_deep = (0..9).fold(
        json!({"Records": [s3("k")]}),
        |event, _| json!({"Message": event.to_string()}),
    );
    assert!(error(&too_deep).contains("envelopes"));
    let too_many = json!({"Records": vec![json!({}); NOTIFIED_MAX + 1]});
    assert!(error(&too_many).contains("over 10000"));
}

/// As a pipe of EventBridge passes it on.
#[test]
fn body_of_a_queue_may_be_an_object() {
    let event = json!({"Records": [{"eventSource": "aws:sqs", "body": {"Records": [s3("k")]}}]});
    let notification = S3Notification::parse(event.to_string().as_bytes()).expect("an event");
    assert_eq!(notification.objects.len(), 1);
    assert_eq!(notification.ignored, 0);
}
