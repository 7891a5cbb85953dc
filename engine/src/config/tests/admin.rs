//! Where the admin pages are.

use super::*;

#[test]
fn the_admin_page_can_be_elsewhere_or_nowhere() {
    let listen = |text: &str| accepted(&format!("{text}{MINIMAL}")).admin.listen;
    let at = |text: &str| Some(text.parse().unwrap());
    assert_eq!(listen(""), at("127.0.0.1:6032"));
    assert_eq!(listen("[admin]\nlisten = \"[::1]:9000\""), at("[::1]:9000"));
    assert_eq!(listen("[admin]\nlisten = \"disabled\""), None);
    assert_eq!(listen("[admin]\nlisten = \"\""), None);
    check_before(
        "[admin]\nlisten = \"127.0.0.1\"",
        expect![[r#"
            line 2: admin.listen = "127.0.0.1": must be HOST:PORT, such as 127.0.0.1:3306, db1.example:3306 or [::1]:3306, or unix:PATH
        "#]],
    );
    check_before(
        "[admin]\nlisten = \"127.0.0.1:6033\"",
        expect![[r#"
            line 2: admin.listen = "127.0.0.1:6033": is already endpoint[0].listen on line 12
        "#]],
    );
    check_before(
        "[admin]\nlisten = 6032",
        expect![[r#"
            line 2: admin.listen = 6032: must be "HOST:PORT", or "" or "disabled" for nowhere
        "#]],
    );
}
