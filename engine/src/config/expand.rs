//! `${NAME}` in string values.
//!
//! Purpose: let a file take names, addresses and secrets from the environment.
//! Never: read the environment itself, or expand what came out of it once more.

/// Replaces each `${NAME}` with what `variable` says and each `$${` with a literal `${`.
///
/// # Errors
/// What is wrong with the text, for the person who wrote it; never a variable's content.
pub(super) fn expand(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        if let Some(after) = from.strip_prefix("$${") {
            expanded.push_str("${");
            rest = after;
        } else if let Some(after) = from.strip_prefix("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err("has a ${ without its }; write $${ for a literal ${".to_owned());
            };
            if !is_variable_name(name) {
                return Err(format!(
                    "has ${{{name}}}, which names no environment variable; \
                     write $${{ for a literal ${{"
                ));
            }
            let content = variable(name)
                .ok_or_else(|| format!("needs environment variable {name}, which is not set"))?;
            expanded.push_str(&content);
            rest = after;
        } else {
            expanded.push('$');
            rest = from.strip_prefix('$').unwrap_or_default();
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What a shell accepts as a variable's name.
pub(super) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let variable = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        };
        let found = expand(text, variable);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn replaces_variables_and_leaves_the_rest() {
        check("", Ok(""));
        check("plain $ and $5 and $$ and a}", Ok("plain $ and $5 and $$ and a}"));
        check("${A}", Ok("alpha"));
        check("x${A}y${EMPTY}z", Ok("xalphayz"));
        check("$${A} $$${A}", Ok("${A} $${A}"));
        check("${NESTED}", Ok("${A}"));
        check("ü${A}ü", Ok("üalphaü"));
    }

    #[test]
    fn says_what_is_wrong() {
        check("${B}", Err("needs environment variable B, which is not set"));
        check("${A", Err("has a ${ without its }; write $${ for a literal ${"));
        check(
            "${}",
            Err("has ${}, which names no environment variable; write $${ for a literal ${"),
        );
        check(
            "${1A}",
            Err("has ${1A}, which names no environment variable; write $${ for a literal ${"),
        );
    }
}
