//! What clients and backends may compress with.

use super::{MINIMAL, World, accepted, check_replaced};
use crate::config::{BackendCompression, ClientCompression, parse};
use expect_test::expect;

#[test]
fn clients_are_offered_what_the_endpoint_lists() {
    for (list, zlib, zstd) in [
        ("[]", false, false),
        ("[\"zlib\"]", true, false),
        ("[\"zstd\"]", false, true),
        ("[\"zstd\", \"zlib\"]", true, true),
    ] {
        let cluster = "cluster = \"main\"";
        let text = MINIMAL.replacen(cluster, &format!("{cluster}\ncompression = {list}"), 1);
        let endpoint = &accepted(&text).endpoints[0];
        assert_eq!(endpoint.compression, ClientCompression { zlib, zstd }, "{list}");
    }
    for list in ["\"zlib\"", "[\"lz4\"]", "[1]", "true"] {
        let cluster = "cluster = \"main\"";
        let text = MINIMAL.replacen(cluster, &format!("{cluster}\ncompression = {list}"), 1);
        let problems = parse(&text, &World).unwrap_err();
        assert_eq!(problems[0].path, "endpoint[0].compression", "{list}");
        assert_eq!(problems.len(), 1, "{list}");
    }
}

#[test]
fn a_backend_has_one_way_or_none() {
    let role = "role = \"primary\"";
    for (word, compression) in [
        ("none", BackendCompression::None),
        ("zlib", BackendCompression::Zlib),
        ("zstd", BackendCompression::Zstd),
    ] {
        let text = MINIMAL.replacen(role, &format!("{role}\ncompression = \"{word}\""), 1);
        assert_eq!(accepted(&text).backends[0].compression, compression);
    }
    check_replaced(
        role,
        &format!("{role}\ncompression = \"lz4\""),
        expect![[r#"
        line 9: cluster[0].backend[0].compression = "lz4": must be "none", "zlib" or "zstd"
    "#]],
    );
}
