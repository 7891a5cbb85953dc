//! What must hold for any text, valid or not.
//!
//! Purpose: the body of the fuzz target `config`, which the property tests run as well.
//! Never: look outside the text.

use super::{Backend, Config, Offline, Role, parse};

/// Parses bytes as a configuration and checks what the result promises.
///
/// # Panics
/// When `parse` breaks its promise: that is what a fuzzer looks for.
pub fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text, &Offline) {
        Ok(config) => check_config(&config),
        Err(problems) => {
            assert!(!problems.is_empty(), "rejected without a reason");
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            for problem in problems {
                assert!((1..=lines).contains(&problem.line), "no such line: {problem}");
                assert!(!problem.to_string().contains('\n'), "two lines: {problem:?}");
                assert!(!problem.message.contains("a bug in weir"), "{problem}");
            }
        }
    }
}

fn check_config(config: &Config) {
    let Config { clusters, backends, endpoints, users, limits, .. } = config;
    assert!(!endpoints.is_empty() && !users.is_empty(), "nobody can log in");
    for cluster in clusters {
        let of_cluster = cluster.backends.iter().map(|id| config.backend(*id));
        let primaries =
            of_cluster.clone().filter(|it| it.is_some_and(|it| it.role == Some(Role::Primary)));
        assert!(primaries.count() <= 1, "primaries of {}", cluster.name);
        let mut all = of_cluster;
        let may_be = |it: Option<&Backend>| it.is_some_and(|it| it.role != Some(Role::Replica));
        assert!(all.any(may_be), "no primary of {}", cluster.name);
    }
    for backend in backends {
        assert!(config.cluster(backend.cluster).is_some(), "cluster of {}", backend.name);
        let address = &backend.address;
        assert!(address.tcp().is_none_or(|it| it.port() != 0), "port of {}", backend.name);
    }
    for endpoint in endpoints {
        assert!(config.cluster(endpoint.cluster).is_some(), "cluster of {}", endpoint.name);
        let listen = &endpoint.listen;
        assert!(listen.tcp().is_none_or(|it| it.port() != 0), "port of {}", endpoint.name);
    }
    assert!(limits.receive_buffers.is_power_of_two(), "receive_buffers");
    assert!(limits.receive_buffer_bytes < limits.large_buffer_bytes, "large_buffer_bytes");
    assert!(limits.large_buffer_bytes <= limits.session_buffer_bytes, "session_buffer_bytes");
    assert!(limits.session_buffer_bytes <= limits.worker_buffer_bytes, "worker_buffer_bytes");
}
