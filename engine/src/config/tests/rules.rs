//! What is said about rules that cannot be.

use super::*;

#[test]
fn says_what_is_wrong_with_a_rule() {
    check(
        &format!(
            "{MINIMAL}{}",
            r#"[[rule]]
name = "a"
action = "rewrite"
regex = "(a"
[[rule]]
name = "a"
action = "reject"
per_second = 1
digest = "12"
continue = true
[[rule]]
name = "b"
action = "limit"
endpoint = "ap"
[[rule]]
name = "c"
action = "route"
to = "backend db"
[[rule]]
name = "d"
action = "route"
to = "replicas"
[[rule]]
name = "e"
action = "delay"
network = ["10.0.0.1/8"]
regex = "\\w{1000}{1000}"
[[rule]]
name = "f"
action = "rewrite"
replace = "x"
[[rule]]
name = "g"
action = "reject"
message = ""
"#
        ),
        expect![[r#"
            line 16: rule[0].replace: is missing: a text with $1, ${name} for what groups of regex have found, and $$ for $
            line 19: rule[0].regex = "(a": is no regular expression: unclosed group
            line 20: rule[1].continue: is for rules that let the statement go on as it is; what is rewritten is tried against all rules again anyway
            line 21: rule[1].name = "a": is already rule[0].name on line 17
            line 23: rule[1].per_second = 1: is for action = "limit"
            line 24: rule[1].digest = "12": must be 16 hexadecimal digits
            line 26: rule[2]: limits nothing: give per_second or concurrent
            line 29: rule[2].endpoint = "ap": is no endpoint of this file; did you mean app?
            line 33: rule[3].to = "backend db": is no backend of this file; did you mean db1?
            line 37: rule[4].to = "replicas": must be "primary", "replica" or "backend NAME"
            line 38: rule[5].delay_ms: is missing: a whole number from 0 to 60000
            line 41: rule[5].network = "10.0.0.1/8": has bits set behind its prefix of 8
            line 42: rule[5].regex = "\w{1000}{1000}": is too large a regular expression
            line 43: rule[6].regex: is missing: what it finds is what is replaced
            line 50: rule[7].message = "": must be a text of up to 400 bytes
        "#]],
    );
    let other = "listen = \"127.0.0.1:6033\"\npooling = \"session\"";
    let text = MINIMAL.replace("listen = \"127.0.0.1:6033\"", other);
    let rule = "[[rule]]\nname = \"a\"\naction = \"reject\"\nendpoint = \"app\"\n";
    check(
        &format!("{text}{rule}"),
        expect![[r#"
        line 20: rule[0].endpoint = "app": must be an endpoint with pooling = "transaction": statements of others are not looked at
    "#]],
    );
}
