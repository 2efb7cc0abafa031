//! The committed OpenAPI document is the one that the code has.

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = include_str!("../openapi/openapi.json");
    // Not assert_eq: nobody wants to read two documents in a terminal.
    assert!(
        committed == alleycat::serve::openapi(),
        "openapi/openapi.json is not what the code says; run: cargo run -- openapi > openapi/openapi.json"
    );
}
