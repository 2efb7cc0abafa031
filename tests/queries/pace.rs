//! Pace curves.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::assert_problem;
use crate::model::{Model, ride_at_random};
use crate::support::Service;

/// Returns the outputs of a second, descending.
fn outputs(model: &Model, class: u64, second: u64) -> Vec<f64> {
    let rows = model.standings(class, second).into_iter();
    rows.map(|(_, _, output)| output).collect()
}

fn at_percentile(outputs: &[f64], percentile: f64) -> f64 {
    let percentile_of = |output: f64| {
        let below = outputs.iter().filter(|&&other| other < output).count();
        100.0 * below as f64 / outputs.len() as f64
    };
    let mut reach = outputs
        .iter()
        .filter(|&&it| percentile_of(it) >= percentile);
    *reach.next_back().unwrap_or(&outputs[0])
}

fn numbers(values: &Value) -> Vec<Option<f64>> {
    values
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_f64)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn curves_match_deliveries_and_erasures() {
    let service = Service::start(&["--admin-key", "K"]).await;
    let mut model = ride_at_random(&service, 3).await;
    for erased in [None, Some(7)] {
        if let Some(racer) = erased {
            let erase = service
                .request(reqwest::Method::DELETE, &format!("/racers/{racer}"))
                .bearer_auth("K");
            assert_eq!(erase.send().await.unwrap().status(), StatusCode::OK);
            model
                .0
                .values_mut()
                .for_each(|racers| _ = racers.remove(&racer));
        }
        for class in [1, 2] {
            let path = format!(
                "/classes/{class}/pace?percentile=99.5,90&percentile=0&rank=1,40&racers=7,999,3"
            );
            let pace = service.json(&path).await;
            assert_eq!(service.json(&path).await, pace, "cached curves differ");
            let seconds = model.seconds(class);
            assert_eq!(pace["classId"], class);
            assert_eq!(pace["seconds"], json!(seconds));
            let curves = pace["curves"].as_array().unwrap();
            let labels = [
                json!({ "percentile": 99.5 }),
                json!({ "percentile": 90 }),
                json!({ "percentile": 0 }),
                json!({ "rank": 1 }),
                json!({ "rank": 40 }),
                json!({ "racerId": 7, "name": if erased.is_none() { json!("Racer 7") } else { Value::Null } }),
                json!({ "racerId": 999, "name": null }),
                json!({ "racerId": 3, "name": "Racer 3" }),
            ];
            assert_eq!(curves.len(), labels.len());
            for (curve, label) in curves.iter().zip(&labels) {
                let mut expected = label.clone();
                expected["outputs"] = curve["outputs"].clone();
                assert_eq!(*curve, expected);
                let expected = seconds.iter().map(|&second| {
                    let outputs = outputs(&model, class, second);
                    if let Some(percentile) = label["percentile"].as_f64() {
                        return Some(at_percentile(&outputs, percentile));
                    }
                    if let Some(rank) = label["rank"].as_u64() {
                        return outputs.get(rank as usize - 1).copied();
                    }
                    let racer = label["racerId"].as_u64().unwrap();
                    model.0[&(class, second)].get(&racer).copied()
                });
                assert_eq!(
                    numbers(&curve["outputs"]),
                    expected.collect::<Vec<_>>(),
                    "{label}"
                );
            }
        }
    }
    let empty = service.json("/classes/3/pace?rank=1").await;
    assert_eq!(
        empty,
        json!({ "classId": 3, "seconds": [], "curves": [{ "rank": 1, "outputs": [] }] })
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_curves_are_named() {
    let service = Service::start(&[]).await;
    let ranks = |count: usize| vec!["1"; count].join(",");
    let cases = [
        (
            String::new(),
            vec!["percentile, rank and racers are missing", "1 to 20"],
        ),
        ("pretty".to_owned(), vec!["missing"]),
        (
            "percentile=101".to_owned(),
            vec!["percentile is \"101\"", "0 to 100"],
        ),
        ("percentile=NaN".to_owned(), vec!["percentile is \"NaN\""]),
        (
            "rank=1&rank=0".to_owned(),
            vec!["rank is \"1,0\"", "ranks from 1"],
        ),
        (format!("rank={}", ranks(21)), vec!["1 to 20 ranks"]),
        (
            format!("rank={}&racers=3&percentile=5,6", ranks(18)),
            vec![
                "percentile has 2 values, rank 18 and racers 1",
                "at most 20",
            ],
        ),
        (
            "rank=1&second=5".to_owned(),
            vec!["\"second\"", "percentile, rank, racers"],
        ),
    ];
    for (query, words) in cases {
        let path = format!("/classes/1/pace?{query}");
        assert_problem(&service, &path, StatusCode::BAD_REQUEST, &words).await;
    }
    let most = format!("/classes/1/pace?rank={}&racers=3&percentile=5", ranks(18));
    assert_eq!(
        service.json(&most).await["curves"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
    assert_problem(
        &service,
        "/classes/99/pace?rank=1",
        StatusCode::NOT_FOUND,
        &["99"],
    )
    .await;
    service.stop().await;
}
