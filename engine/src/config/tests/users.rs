//! Who may log in.

use super::*;

#[test]
fn users_may_be_left_to_the_backend() {
    let (before, _) = MINIMAL.split_once("[[user]]").unwrap();
    check(
        before,
        expect![[r#"
            line 13: user: at least one is needed
        "#]],
    );
    let config = accepted(&before.replace("[[endpoint]]", "[[endpoint]]\nauth = \"pass-through\""));
    assert_eq!((config.users.len(), config.endpoints[0].auth), (0, EndpointAuth::PassThrough));
}
