//! The OpenAPI document: the committed file is current, and the service behaves as documented.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use support::{Service, record};

#[test]
fn committed_document_is_current() {
    let committed = include_str!("../openapi/openapi.json");
    // Not assert_eq, which would print both documents.
    assert!(
        committed == alleycat::server::openapi(),
        "openapi/openapi.json is out of date; run: cargo run -- openapi > openapi/openapi.json"
    );
}

/// An operation of the document.
struct Operation {
    method: Method,
    /// Contains ids that exist.
    path: String,
    /// The query parameters' names, and whether each is required.
    parameters: Vec<(String, bool)>,
    /// The parameters that have a default, with it: `limit=50&`.
    defaults: String,
    /// Whether it declares a key.
    needs_key: bool,
    responses: Value,
}

fn document() -> Value {
    serde_json::from_str(&alleycat::server::openapi()).unwrap()
}

impl Operation {
    fn all() -> Vec<Self> {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| {
                    let parameters = operation["parameters"].as_array().into_iter().flatten();
                    let queries = parameters
                        .filter(|parameter| parameter["in"] == "query")
                        .map(|parameter| {
                            (
                                parameter["name"].as_str().unwrap().to_owned(),
                                parameter["required"] == true,
                            )
                        });
                    let parameters = operation["parameters"].as_array().into_iter().flatten();
                    let defaults = parameters.filter_map(|parameter| {
                        let default = parameter["schema"].get("default")?;
                        Some(format!("{}={default}&", parameter["name"].as_str()?))
                    });
                    Self {
                        method: method.to_uppercase().parse().unwrap(),
                        path: path
                            .replace("{classId}", "1")
                            .replace("{racerId}", "17")
                            .replace("{raceId}", "17"),
                        parameters: queries.collect(),
                        defaults: defaults.collect(),
                        needs_key: !operation["security"].as_array().unwrap().is_empty(),
                        responses: operation["responses"].clone(),
                    }
                })
        });
        operations.collect()
    }

    fn has_parameter(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|(name, _)| name == parameter)
    }

    /// Returns the path with the required parameters and `more`.
    fn with(&self, more: &str) -> String {
        let given = |name: &str| more.starts_with(&format!("{name}="));
        let needed = self
            .parameters
            .iter()
            .filter(|(name, required)| *required && !given(name));
        let mut needed: String = needed.map(|(name, _)| format!("{name}=h&")).collect();
        if self.path.ends_with("/pace") && !given("percentile") {
            needed += "percentile=50&"; // one curve at least
        }
        format!("{}?{needed}{more}", self.path)
    }

    /// Requests it. Returns the status and the body.
    async fn request(&self, service: &Service, path: &str) -> (StatusCode, String) {
        let request = service
            .request(self.method.clone(), path)
            .header("authorization", "Bearer K");
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }
}

/// Starts a service with data at every path and an admin key.
async fn service() -> Service {
    let service = Service::start(&["--admin-key", "K"]).await;
    let named = json!({ "classId": 1, "second": 5, "racerId": 17, "raceId": 17, "output": 20, "name": "Hub, \"the\" Bert" });
    service
        .deliver(&[
            named,
            record(1, 5, 2, 20.0),
            record(1, 7, 17, 1e-7),
            record(2, 5, 17, 9.5),
        ])
        .await;
    service
}

/// Returns whether the schema has an example, or all its required fields have.
fn has_example(schema: &Value, schemas: &Value) -> bool {
    if schema.get("example").is_some() || schema.get("examples").is_some() {
        return true;
    }
    if let Some(name) = schema["$ref"].as_str() {
        return has_example(&schemas[name.rsplit('/').next().unwrap()], schemas);
    }
    if let Some(all) = schema["allOf"].as_array().or(schema["oneOf"].as_array()) {
        return all.iter().all(|part| has_example(part, schemas));
    }
    if let Some(fields) = schema["properties"].as_object() {
        let required = schema["required"].as_array().into_iter().flatten();
        let mut required = required.map(|name| &fields[name.as_str().unwrap()]);
        return required.all(|field| has_example(field, schemas));
    }
    let is_type = |name: &str| match &schema["type"] {
        Value::Array(types) => types.iter().any(|it| it == name),
        other => other == name,
    };
    match schema.get("items") {
        Some(items) => has_example(items, schemas),
        None => is_type("null") || is_type("boolean"),
    }
}

/// The verbs with which operation ids begin. Generated clients have a function for each id.
const VERBS: [&str; 7] = ["deliver", "erase", "find", "get", "list", "send", "stream"];

#[test]
fn operation_ids_are_camel_case_and_begin_with_a_verb() {
    let document = document();
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    for (index, id) in ids.iter().enumerate() {
        let object = VERBS.iter().find_map(|verb| id.strip_prefix(verb));
        let object = object.unwrap_or_else(|| panic!("{id} does not begin with a verb"));
        assert!(
            object.starts_with(|it: char| it.is_ascii_uppercase()),
            "{id}"
        );
        assert!(object.chars().all(|it| it.is_ascii_alphanumeric()), "{id}");
        assert!(!ids[..index].contains(id), "{id} is not unique");
    }
    assert!(ids.len() > 20, "{ids:?}");
}

#[test]
fn every_response_has_an_example() {
    let schemas = &document()["components"]["schemas"];
    for Operation {
        method,
        path,
        responses,
        ..
    } in Operation::all()
    {
        for (status, response) in responses.as_object().unwrap() {
            let contents = response["content"].as_object().into_iter().flatten();
            for (kind, content) in contents.filter(|(kind, _)| *kind != "application/gzip") {
                let example = content.get("example").or_else(|| content.get("examples"));
                let has_own = example.is_some_and(|it| !it.is_null());
                assert!(
                    has_own || has_example(&content["schema"], schemas),
                    "{method} {path} {status} {kind} has no example"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_keys_are_required() {
    let keys = ["--admin-key", "K", "--query-key", "Q", "--access-key", "A"];
    let service = Service::start(&keys).await;
    for operation in Operation::all() {
        let path = operation.with("");
        let request = service.request(operation.method.clone(), &path);
        let is_unauthorized = request.send().await.unwrap().status() == StatusCode::UNAUTHORIZED;
        assert_eq!(
            is_unauthorized, operation.needs_key,
            "{} {path}",
            operation.method
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_parameters_are_named_with_their_value() {
    let service = service().await;
    let bad = "no-".repeat(100);
    let mut parameters_checked = 0;
    for operation in Operation::all()
        .iter()
        .filter(|operation| !operation.parameters.is_empty())
    {
        let refused = async |query: &str, words: &[&str]| {
            let path = operation.with(query);
            let (status, text) = operation.request(&service, &path).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {text}");
            let problem: Value = serde_json::from_str(&text).unwrap();
            let detail = problem["detail"].as_str().unwrap();
            for word in words {
                assert!(
                    detail.contains(word),
                    "{path}: {word:?} is not in {detail:?}"
                );
            }
        };
        for (name, required) in &operation.parameters {
            refused(
                &format!("{name}={bad}"),
                &[&format!("{name} is \"no-no-"), "; it must be "],
            )
            .await;
            // Repeated parameters are a list where the parameter is one.
            let is_list = ["racers", "compare", "percentile", "rank"].contains(&name.as_str());
            let repeated = if is_list {
                format!("{name} is \"no-no-")
            } else {
                "given once".to_owned()
            };
            refused(&format!("{name}={bad}&{name}={bad}"), &[&repeated]).await;
            if *required {
                let (status, text) = operation.request(&service, &operation.path).await;
                assert_eq!(status, StatusCode::BAD_REQUEST);
                assert!(
                    text.contains(&format!("{name} is missing; it must be ")),
                    "{text}"
                );
            }
            parameters_checked += 1;
        }
        let names: Vec<_> = operation
            .parameters
            .iter()
            .map(|(name, _)| &**name)
            .collect();
        refused(
            "nonsense=1",
            &[&["\"nonsense\" is \"1\""], &names[..]].concat(),
        )
        .await;
    }
    assert!(parameters_checked > 30, "{parameters_checked}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_send_all_defaults() {
    let service = service().await;
    let mut seen = 0;
    for operation in Operation::all() {
        if !operation.has_parameter("around") {
            continue;
        }
        assert!(!operation.defaults.is_empty(), "{}", operation.path);
        for page in ["", "around=17", "output=10"] {
            let path = operation.with(&format!("{}{page}", operation.defaults));
            let (status, text) = operation.request(&service, &path).await;
            assert_eq!(status, StatusCode::OK, "{path}: {text}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pretty_formats_json_but_not_histories_and_problems() {
    let service = service().await;
    let mut seen = 0;
    let mut operations = Operation::all();
    operations.sort_by_key(|operation| operation.method == Method::DELETE); // last: the other operations need the data
    for operation in operations {
        if operation.responses["200"]["content"]
            .get("application/json")
            .is_none()
            || operation.method == Method::POST
        {
            continue;
        }
        let is_history = operation.path.ends_with("/history");
        assert_eq!(
            operation.has_parameter("pretty"),
            !is_history,
            "{} {}",
            operation.method,
            operation.path
        );
        if is_history {
            let (status, _) = operation.request(&service, &operation.with("pretty")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{}", operation.path);
            continue;
        }
        for query in ["pretty", "pretty=true", "pretty=1"] {
            let (status, text) = operation.request(&service, &operation.with(query)).await;
            assert_eq!(status, StatusCode::OK, "{}: {text}", operation.path);
            assert!(text.ends_with("\n"), "{text}");
            assert!(text == "[]\n" || text[1..].starts_with("\n  "), "{text}");
            serde_json::from_str::<Value>(&text).unwrap();
        }
        let (_, text) = operation
            .request(&service, &operation.with("pretty=false"))
            .await;
        assert_eq!(text.lines().count(), 1, "{text}");
        let (status, text) = operation
            .request(&service, &operation.with("nonsense&pretty"))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str::<Value>(&text).unwrap();
        seen += 1;
    }
    assert!(seen > 8);
    service.stop().await;
}

/// Parses a CSV into rows of cells.
fn cells(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(char) = chars.next() {
        let row = rows.last_mut().unwrap();
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                row.last_mut().unwrap().extend(chars.next());
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'));
                rows.push(vec![String::new()]);
            }
            _ => row.last_mut().unwrap().push(char),
        }
    }
    assert_eq!(
        rows.pop(),
        Some(vec![String::new()]),
        "the last row has no line end"
    );
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_rows_equal_json_rows() {
    let service = service().await;
    let erased = service
        .request(Method::DELETE, "/classes/2/racers/17?reason=a,b")
        .header("authorization", "Bearer K");
    assert_eq!(erased.send().await.unwrap().status(), StatusCode::OK);
    let more = |path: &str| match path {
        "/classes/1/leaderboard" => {
            vec![
                "second=5",
                "second=5&ties=dense",
                "racerId=17&output=30",
                "limit=1",
                "offset=9",
                "racers=2,17",
                "output=10",
            ]
        }
        "/classes/1/races/17/leaderboard" => vec!["racers=17&ties=dense", "output=10"],
        "/classes/1/racers/17" => vec!["compare=2,99"],
        _ => vec![],
    };
    let mut seen = 0;
    for operation in Operation::all() {
        if operation.responses["200"]["content"]
            .get("text/csv")
            .is_none()
        {
            continue;
        }
        assert!(operation.has_parameter("format"), "{}", operation.path);
        for query in [vec!["pretty"], more(&operation.path)].concat() {
            let (_, text) = operation.request(&service, &operation.with(query)).await;
            let response: Value = serde_json::from_str(&text).unwrap();
            let csv_of = |row: &Value, racer: &Value| {
                let mut row = row.clone();
                row["racerId"] = racer["racerId"].clone();
                row
            };
            let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
            // Rows of a leaderboard are standings, of a racer classes, of a curve the seconds of
            // each racer.
            let rows: Vec<Value> = if response["seconds"].is_array() {
                let curves = [vec![response.clone()], list(&response, "compared")].concat();
                let rows_of = |curve: &Value| {
                    list(curve, "seconds")
                        .iter()
                        .map(|point| csv_of(point, curve))
                        .collect::<Vec<_>>()
                };
                curves.iter().flat_map(rows_of).collect()
            } else if response["classes"].is_array() {
                list(&response, "classes")
                    .iter()
                    .map(|class| csv_of(class, &response))
                    .collect()
            } else {
                response["standings"]
                    .as_array()
                    .or(response.as_array())
                    .unwrap()
                    .clone()
            };
            let (status, csv) = operation
                .request(&service, &operation.with(&format!("{query}&format=csv")))
                .await;
            assert_eq!(status, StatusCode::OK);
            let table = cells(&csv);
            let (columns, lines) = table.split_first().unwrap();
            assert_eq!(lines.len(), rows.len(), "{query}: {csv}");
            for (line, row) in lines.iter().zip(&rows) {
                for (column, cell) in columns.iter().zip(line) {
                    let expected = match row.get(column) {
                        None | Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => text.clone(),
                        // `serde_json` prints 1e-7 and 20.0 differently.
                        Some(Value::Number(number)) if number.is_f64() => ryu_js::Buffer::new()
                            .format(number.as_f64().unwrap())
                            .to_owned(),
                        Some(value) => value.to_string(),
                    };
                    assert_eq!(*cell, expected, "{query}: {column} of {row}");
                }
                let fields = row.as_object().unwrap();
                assert!(
                    fields.keys().all(|field| columns.contains(field)),
                    "{row} has more than {columns:?}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
    service.stop().await;
}

/// Returns the operation that gets a path.
fn get_operation(path: &str) -> Value {
    document()["paths"][path]["get"].clone()
}

#[tokio::test]
async fn etags_are_documented_where_they_are_sent() {
    let service = service().await;
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let mut with_etag = 0;
    for operation in Operation::all() {
        if operation.method != Method::GET || operation.path.ends_with("/live") {
            continue;
        }
        let path = operation.with("");
        let request = service.request(Method::GET, &path).bearer_auth("K");
        let response = request.header("accept", "*/*").send().await.unwrap();
        if response.headers().contains_key("etag") {
            with_etag += 1;
            assert!(operation.responses.get("304").is_some(), "{path}");
            let headers = &operation.responses["200"]["headers"];
            assert!(headers.get("ETag").is_some(), "{path}");
        }
    }
    assert!(with_etag >= 5, "{with_etag} of {}", paths.len());
    let file = &get_operation("/class-{classId}.gz")["responses"]["200"]["content"];
    let schema = &file["application/gzip"]["schema"];
    assert_eq!(*schema, json!({"type": "string", "format": "binary"}));
    service.stop().await;
}
