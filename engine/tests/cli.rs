//! The program as a person calls it: what it prints where, and its exit codes.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).output().expect("weir starts")
}

/// Exit code, standard output, standard error.
fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A file of that text, in a folder cargo keeps for this target.
fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a folder that can be written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_sample_it_prints_passes_its_check() {
    let (code, sample, errors) = told(weir(&["sample"]));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let path = file("sample.toml", &sample);
    assert_eq!(told(weir(&["check", &path])), (Some(0), "OK\n".to_owned(), String::new()));
}

#[test]
fn check_prints_every_problem_and_fails() {
    let (_, sample, _) = told(weir(&["sample"]));
    let text = sample.replace("#clients_max = 100000", "clients_max = 0\nclients = 1");
    let path = file("wrong.toml", &text);
    let (code, output, errors) = told(weir(&["check", &path]));
    assert_eq!((code, output.as_str()), (Some(1), ""));
    assert!(errors.starts_with(&format!("weir: {path} has 2 problems:\nline ")), "{errors}");
    assert!(errors.contains("limits.clients_max = 0: must be between 1 and 262144\n"), "{errors}");
    assert!(errors.contains("limits.clients: unknown key; did you mean clients_max?"), "{errors}");
}

#[test]
fn secrets_come_from_the_environment_and_from_files_beside_the_configuration() {
    let (_, sample, _) = told(weir(&["sample"]));
    file("secret", "hunter2\n");
    let text = sample.replace("password = \"change-me\"", "password_file = \"secret\"");
    let text = text.replacen("user = \"weir\"", "user = \"${WEIR_TEST_USER}\"", 1);
    let path = file("secret.toml", &text);
    let mut check = Command::new(env!("CARGO_BIN_EXE_weir"));
    check.args(["check", &path]);
    let (code, _, errors) = told(check.output().unwrap());
    assert_eq!(code, Some(1));
    assert!(errors.contains("needs environment variable WEIR_TEST_USER"), "{errors}");
    let (code, output, _) = told(check.env("WEIR_TEST_USER", "weir").output().unwrap());
    assert_eq!((code, output.as_str()), (Some(0), "OK\n"));
}

#[test]
fn check_tries_certificates_and_keys() {
    let (_, sample, _) = told(weir(&["sample"]));
    let pair = || rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    file("one.pem", &one.cert.pem());
    file("one-key.pem", &one.signing_key.serialize_pem());
    file("other-key.pem", &other.signing_key.serialize_pem());
    let with = |name: &str, certificate: &str, key: &str| {
        let keys = format!("tls_certificate_file = \"{certificate}\"\ntls_key_file = \"{key}\"");
        // The first are the backend's, the second the endpoint's.
        let (backends, endpoints) = sample.split_once("[[endpoint]]").unwrap();
        let endpoints = endpoints.replace("#tls_certificate_file = \"server.pem\"", &keys);
        let path = file(name, &format!("{backends}[[endpoint]]{endpoints}"));
        told(weir(&["check", &path]))
    };
    let good = with("tls-good.toml", "one.pem", "one-key.pem");
    assert_eq!(good, (Some(0), "OK\n".to_owned(), String::new()));
    let (code, _, errors) = with("tls-mixed.toml", "one.pem", "other-key.pem");
    assert_eq!(code, Some(1));
    let problem = "has 1 problem:\nendpoint 'app': other-key.pem: is not the key of the first \
                   certificate in one.pem\n";
    assert!(errors.ends_with(problem), "{errors}");
    let (code, _, errors) = with("tls-swapped.toml", "one-key.pem", "one.pem");
    assert_eq!(code, Some(1));
    assert!(errors.contains("tls_key_file = \"one.pem\": holds no private key"), "{errors}");
    let key = one.signing_key.serialize_pem();
    assert!(!errors.contains(key.lines().nth(1).unwrap()), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (code, _, errors) = told(weir(&["check", "no/such.toml"]));
    let expected = "weir: no/such.toml cannot be read: No such file or directory (os error 2)\n";
    assert_eq!((code, errors.as_str()), (Some(1), expected));
}

#[test]
fn a_wrong_command_line_is_told_apart() {
    assert_eq!(weir(&["chekc"]).status.code(), Some(2));
    assert_eq!(weir(&[]).status.code(), Some(2));
}

#[test]
fn it_has_a_version() {
    let (code, version, _) = told(weir(&["--version"]));
    assert_eq!(code, Some(0));
    assert!(version.starts_with(concat!("weir ", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[test]
fn output_that_cannot_be_written_fails_and_a_closed_pipe_does_not() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut sample = Command::new(env!("CARGO_BIN_EXE_weir"));
    sample.arg("sample");
    let (code, _, errors) = told(sample.stdout(full).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("weir: standard output cannot be written: "), "{errors}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, _, errors) = told(sample.stdout(writer).output().unwrap());
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}
