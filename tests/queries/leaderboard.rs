//! Leaderboards: pages, options, what-if, and CSV.

use reqwest::{Method, header};
use serde_json::json;

use crate::model::ride_at_random;
use crate::support::{Service, record};
use crate::{header_of, service_with_ties};

#[tokio::test(flavor = "multi_thread")]
async fn leaderboard_pages_match_deliveries() {
    let service = Service::start(&[]).await;
    let model = ride_at_random(&service, 1).await;
    for class in [1, 2] {
        for second in model.seconds(class) {
            let expected = model.standings(class, second);
            let mut walked = Vec::new();
            let mut query = String::new();
            loop {
                let path = format!("/classes/{class}/leaderboard?second={second}&limit=7{query}");
                let page = service.json(&path).await;
                assert_eq!(page["classId"], class);
                assert_eq!(page["second"], second);
                assert_eq!(page["total"], expected.len());
                for row in page["standings"].as_array().unwrap() {
                    let (rank, racer) = (
                        row["rank"].as_u64().unwrap(),
                        row["racerId"].as_u64().unwrap(),
                    );
                    assert_eq!(row["name"], format!("Racer {racer}"));
                    walked.push((rank, racer, row["output"].as_f64().unwrap()));
                }
                match page["next"].as_str() {
                    Some(next) => query = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(walked, expected);
        }
    }
    service.stop().await;
}

/// Returns (rank, racer) of every row.
async fn ranks(service: &Service, query: &str) -> Vec<(u64, u64)> {
    let page = service
        .json(&format!("/classes/1/leaderboard?{query}"))
        .await;
    let rows = page["standings"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["rank"].as_u64().unwrap(),
            row["racerId"].as_u64().unwrap(),
        )
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_leaderboard_option_works() {
    let service = service_with_ties().await;
    let ranks = async |query: &str| ranks(&service, query).await;
    assert_eq!(ranks("second=5").await, [(1, 1), (2, 2), (2, 3), (4, 4)]);
    assert_eq!(
        ranks("second=5&ties=dense").await,
        [(1, 1), (2, 2), (2, 3), (3, 4)]
    );
    assert_eq!(
        ranks("second=5&ties=ordinal").await,
        [(1, 1), (2, 2), (3, 3), (4, 4)]
    );
    assert_eq!(ranks("second=5&offset=2&limit=1").await, [(2, 3)]);
    assert_eq!(ranks("second=5&offset=9").await, []);
    assert_eq!(
        ranks("second=5&around=4&limit=3").await,
        [(2, 2), (2, 3), (4, 4)]
    );
    for racers in [
        "racers=4,1,77",
        "racers=4&racers=1&racers=77",
        "racers=4&racers=1,77",
    ] {
        let query = format!("second=5&{racers}");
        assert_eq!(ranks(&query).await, [(1, 1), (4, 4)], "{racers}");
    }
    assert_eq!(ranks("second=last").await, [(1, 4), (2, 2)]);
    assert_eq!(ranks("").await, [(1, 4), (2, 1), (3, 2), (3, 3)]);
    assert_eq!(ranks("second=6").await, []);

    let all_time = service.json("/classes/1/leaderboard?limit=2").await;
    let hub = "Hub, \"the\" Bert";
    assert_eq!(
        all_time,
        json!({
            "classId": 1, "second": null, "total": 4, "previous": null, "next": all_time["next"],
            "standings": [
                { "rank": 1, "racerId": 4, "name": null, "output": 99.5, "second": 7 },
                { "rank": 2, "racerId": 1, "name": hub, "output": 30, "second": 5 },
            ],
        })
    );
    let next = all_time["next"].as_str().unwrap();
    let second = service
        .json(&format!("/classes/1/leaderboard?limit=2&cursor={next}"))
        .await;
    assert_eq!(second["standings"][0]["racerId"], 2);
    assert!(second["next"].is_null());
    assert!(second["previous"].is_string());

    let what_if = service
        .json("/classes/1/leaderboard?second=5&racerId=4&output=25&around=4&limit=1")
        .await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 2, "racerId": 4, "name": null, "output": 25, "newRecord": true }])
    );
    let what_if = service
        .json("/classes/1/leaderboard?second=5&racerId=1&output=25&racers=1")
        .await;
    assert_eq!(
        what_if["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": hub, "output": 30, "newRecord": false, "groupRank": 1 }])
    );
    assert_eq!(what_if["total"], 4);

    let empty = json!({ "classId": 2, "second": null, "total": 0, "standings": [], "next": null, "previous": null });
    assert_eq!(
        service.json("/classes/2/leaderboard?second=last").await,
        empty
    );
    assert_eq!(service.json("/classes/2/leaderboard").await, empty);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_follows_board_and_name_changes() {
    let service = service_with_ties().await;
    let first = async || {
        let page = service
            .json("/classes/1/leaderboard?second=5&limit=1")
            .await;
        assert_eq!(
            service
                .json("/classes/1/leaderboard?second=5&limit=1")
                .await,
            page,
            "the same page differs"
        );
        page["standings"][0].clone()
    };
    assert_eq!(
        first().await,
        json!({ "rank": 1, "racerId": 1, "name": "Hub, \"the\" Bert", "output": 30 })
    );
    // No improvement: only the name changes.
    let named = json!({ "classId": 1, "second": 5, "racerId": 1, "output": 1, "name": "Bert", "deviceTimestamp": 1 });
    service.deliver(&[named]).await;
    assert_eq!(first().await["name"], "Bert");
    service.deliver(&[record(1, 5, 3, 31.0)]).await;
    assert_eq!(
        first().await,
        json!({ "rank": 1, "racerId": 3, "name": null, "output": 31 })
    );
    let page = service
        .get("/classes/1/leaderboard?second=5&limit=1&format=csv")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(page, "rank,racerId,name,output\r\n1,3,,31\r\n");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_json_print_numbers_as_javascript() {
    let service = service_with_ties().await;
    let text = service
        .get("/classes/1/leaderboard?second=5&racers=4")
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains("\"output\":1e-7"), "{text}");
    let pretty = service
        .get("/classes/1/leaderboard?second=5&racers=1&pretty")
        .await
        .text()
        .await
        .unwrap();
    assert!(pretty.contains("\n      \"output\": 30,\n"), "{pretty}");
    assert!(pretty.ends_with("}\n"), "{pretty}");

    let csv = "rank,racerId,name,output\r\n1,1,\"Hub, \"\"the\"\" Bert\",30\r\n2,2,,20\r\n2,3,,20\r\n4,4,,1e-7\r\n";
    let csv_response = service
        .get("/classes/1/leaderboard?second=5&format=csv")
        .await;
    assert_eq!(
        header_of(&csv_response, header::CONTENT_TYPE),
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(csv_response.text().await.unwrap(), csv);
    let accepted = service
        .request(Method::GET, "/classes/1/leaderboard?second=5")
        .header(header::ACCEPT, "text/csv");
    assert_eq!(accepted.send().await.unwrap().text().await.unwrap(), csv);
    let what_if = service
        .get("/classes/1/leaderboard?racerId=9&output=50&racers=9,4&format=csv")
        .await
        .text()
        .await;
    let expected = "rank,racerId,name,output,second,newRecord,groupRank\r\n1,4,,99.5,7,,1\r\n2,9,,50,,true,2\r\n";
    assert_eq!(what_if.unwrap(), expected);
    service.stop().await;
}
