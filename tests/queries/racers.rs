//! A racer's personal bests, and search by id and name.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::model::ride_at_random;
use crate::support::Service;
use crate::{assert_problem, service_with_ties};

#[tokio::test(flavor = "multi_thread")]
async fn racer_curve_compares_with_others() {
    let service = Service::start(&[]).await;
    let model = ride_at_random(&service, 5).await;
    let points = |racer: u64| {
        let seconds = model.seconds(1).into_iter().filter_map(|second| {
            let rows = model.standings(1, second);
            let &(rank, _, output) = rows.iter().find(|row| row.1 == racer)?;
            let below = rows.iter().filter(|row| row.2 < output).count();
            Some((
                second,
                output,
                rank,
                rows.len() as u64,
                100.0 * below as f64 / rows.len() as f64,
            ))
        });
        seconds.collect::<Vec<_>>()
    };
    let read = |curve: &Value| {
        let number = |point: &Value, name: &str| point[name].as_u64().unwrap();
        let points = curve["seconds"].as_array().unwrap().iter().map(|point| {
            let (output, percentile) = (
                point["output"].as_f64().unwrap(),
                point["percentile"].as_f64().unwrap(),
            );
            (
                number(point, "second"),
                output,
                number(point, "rank"),
                number(point, "total"),
                percentile,
            )
        });
        points.collect::<Vec<_>>()
    };
    let racer = *model.0[&(1, 3)].keys().next().unwrap();
    let curve = service
        .json(&format!("/classes/1/racers/{racer}?compare=3,12345"))
        .await;
    assert_eq!(curve["classId"], 1);
    assert_eq!(curve["racerId"], racer);
    assert_eq!(curve["name"], format!("Racer {racer}"));
    assert_eq!(read(&curve), points(racer));
    let compared = curve["compared"].as_array().unwrap();
    assert_eq!(compared[0]["racerId"], 3);
    assert_eq!(read(&compared[0]), points(3));
    assert_eq!(compared[1]["racerId"], 12345);
    assert_eq!(read(&compared[1]), vec![]);
    assert!(
        service
            .json(&format!("/classes/1/racers/{racer}"))
            .await
            .get("compared")
            .is_none()
    );
    let csv = service
        .get(&format!("/classes/1/racers/{racer}?format=csv"))
        .await
        .text()
        .await
        .unwrap();
    assert!(
        csv.starts_with(&format!(
            "racerId,second,output,rank,total,percentile\r\n{racer},"
        )),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 1 + points(racer).len());

    assert_problem(
        &service,
        "/classes/1/racers/12345",
        StatusCode::NOT_FOUND,
        &["racer 12345", "class 1"],
    )
    .await;
    assert_problem(
        &service,
        "/classes/1/racers/x",
        StatusCode::NOT_FOUND,
        &["no racer \"x\""],
    )
    .await;
    assert_problem(
        &service,
        "/classes/9/racers/1",
        StatusCode::NOT_FOUND,
        &["no class 9"],
    )
    .await;
    assert_problem(
        &service,
        "/classes/1/racers/3?compare=x",
        StatusCode::BAD_REQUEST,
        &["compare", "\"x\"", "20"],
    )
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn racer_is_found_by_id_and_name() {
    let service = service_with_ties().await;
    service
        .deliver(&[
            json!({ "classId": 2, "second": 0, "racerId": 4, "output": 12.5, "name": "hubba" }),
        ])
        .await;
    let straße =
        json!({ "classId": 2, "second": 0, "racerId": 5, "output": 1, "name": "Straße Σίσυφος" });
    service.deliver(&[straße]).await;
    for prefix in [
        "straße",
        "STRASS",
        "strasse%20%CF%83%CE%AF%CF%83%CF%85%CF%86%CE%BF%CF%83",
    ] {
        assert_eq!(
            service.json(&format!("/racers?name={prefix}")).await[0]["racerId"],
            5,
            "{prefix}"
        );
    }
    let racer = service.json("/racers/4").await;
    let of_class = |class, seconds, second, output, rank, total, percentile| {
        json!({
            "classId": class, "seconds": seconds, "second": second, "output": output, "rank": rank, "total": total,
            "percentile": percentile,
        })
    };
    let classes = [
        of_class(1, 2, 7, json!(99.5), 1, 4, 75),
        of_class(2, 1, 0, json!(12.5), 1, 2, 50),
    ];
    assert_eq!(
        racer,
        json!({ "racerId": 4, "name": "hubba", "classes": classes })
    );
    let found = service.json("/racers?name=HUB").await;
    assert_eq!(
        found,
        json!([{ "racerId": 1, "name": "Hub, \"the\" Bert" }, { "racerId": 4, "name": "hubba" }])
    );
    assert_eq!(service.json("/racers?name=zz").await, json!([]));
    let csv = service
        .get("/racers?name=hubb&format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(csv, "racerId,name\r\n4,hubba\r\n");

    let crowd: Vec<Value> = (100..200)
        .map(|racer| json!({ "classId": 2, "second": 0, "racerId": racer, "output": 1, "name": "Crowd" }))
        .collect();
    service.deliver(&crowd).await;
    let found = service.json("/racers?name=c").await;
    let ids: Vec<u64> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["racerId"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (100..150).collect::<Vec<_>>());

    assert_problem(
        &service,
        "/racers/999",
        StatusCode::NOT_FOUND,
        &["racer 999"],
    )
    .await;
    assert_problem(
        &service,
        "/racers/-1",
        StatusCode::NOT_FOUND,
        &["no racer \"-1\""],
    )
    .await;
    assert_problem(
        &service,
        "/racers",
        StatusCode::BAD_REQUEST,
        &["name is missing", "1 to 100"],
    )
    .await;
    assert_problem(
        &service,
        "/racers?name=",
        StatusCode::BAD_REQUEST,
        &["name", "\"\"", "1 to 100"],
    )
    .await;
    assert_problem(
        &service,
        &format!("/racers?name={}", "a".repeat(101)),
        StatusCode::BAD_REQUEST,
        &["1 to 100"],
    )
    .await;
    service.stop().await;
}
