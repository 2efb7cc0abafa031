//! The list of classes.

use reqwest::{Method, header};
use serde_json::Value;

use crate::support::Service;
use crate::{header_of, service_with_ties};

#[tokio::test(flavor = "multi_thread")]
async fn classes_have_the_names_of_the_configuration() {
    let service = Service::start(&["--classes", "4", "--class-names", "Hill climb, Sprint,"]).await;
    let classes = service.json("/classes").await;
    let names: Vec<_> = (0..4).map(|class| classes[class]["name"].clone()).collect();
    assert_eq!(names, ["Hill climb", "Sprint", "Class 3", "Class 4"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_report_their_numbers() {
    let service = service_with_ties().await;
    let classes = service.json("/classes").await;
    let (first, second) = (&classes[0], &classes[1]);
    assert_eq!(classes.as_array().unwrap().len(), 2);
    for class in [first, second] {
        let file = service
            .request(Method::HEAD, &format!("/class-{}.gz", class["classId"]))
            .send()
            .await
            .unwrap();
        assert_eq!(
            class["historyBytes"].to_string(),
            header_of(&file, header::CONTENT_LENGTH),
            "before the first download"
        );
    }
    assert_eq!(first["classId"], 1);
    assert_eq!(first["name"], "Class 1");
    assert_eq!(first["racers"], 4);
    assert_eq!(first["seconds"], 2);
    assert_eq!(first["efforts"], 6);
    assert!(first["updatedAt"].is_u64());
    assert_eq!(first["stateHash"].as_str().unwrap().len(), 16);
    assert_eq!(second["efforts"], 0);
    assert_eq!(second["updatedAt"], Value::Null);
    assert_ne!(first["stateHash"], second["stateHash"]);
    let csv = service
        .get("/classes?format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert!(csv.starts_with(
        "classId,name,racers,seconds,efforts,updatedAt,historyBytes,stateHash\r\n1,Class 1,4,2,6,"
    ));
    service.stop().await;
}
