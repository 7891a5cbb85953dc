//! Where a statement would go now.
//!
//! Purpose: put what a text says, what its endpoint does with it and how the servers are into one
//! page, for people or programs.
//! Never: decide; `route` does, as it does for sessions.

use std::fmt::Write as _;

use serde::Serialize;

use crate::admin::http::{Answer, JSON, PLAIN};
use crate::admin::query::pairs;
use crate::base::Consistency;
use crate::config::{Config, Endpoint, EndpointMode, Role};
use crate::route::{Able, Aim, CLASSIFY_BYTES_MAX, Draw, Field, Mode, NoServer, Splits, Why, Wish};
use crate::sql::{Class, Explained, LexMode, Server, classify};
use crate::topology::Snapshot;

/// Bytes of a body that is a statement: one more than is read of it.
pub const STATEMENT_BYTES_MAX: usize = CLASSIFY_BYTES_MAX + 1;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Of which endpoint; `None` if there is but one.
    pub endpoint: Option<String>,
    /// The statement; `None` until the body was read.
    pub sql: Option<Vec<u8>>,
    /// The session's `sql_mode`.
    pub sql_mode: Vec<u8>,
    /// For programs.
    pub json: bool,
}

impl Ask {
    /// What a query says.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Answer> {
        let odd = |what: &str| Answer::line(400, &format!("{what}; {USAGE}"));
        let mut ask = Self::default();
        let pairs = pairs(query.unwrap_or("")).ok_or_else(|| odd("the query is badly encoded"))?;
        for (name, value) in pairs {
            match (name.as_str(), &*value) {
                ("endpoint", _) => {
                    let name = String::from_utf8(value);
                    ask.endpoint = Some(name.map_err(|_| odd("endpoint is not UTF-8"))?);
                }
                ("sql", _) => ask.sql = Some(value),
                ("sql_mode", _) => ask.sql_mode = value,
                ("format", b"json") => ask.json = true,
                ("format", b"text") => ask.json = false,
                ("format", _) => return Err(odd("format is json or text")),
                _ => return Err(odd(&format!("'{}' is not known", name.escape_debug()))),
            }
        }
        Ok(ask)
    }
}

/// The page.
#[derive(Debug, Serialize)]
struct Page<'a> {
    /// What a text says by itself; nothing, if it is too long to be read.
    statement: Option<Explained>,
    endpoint: Settings<'a>,
    decision: Decision,
    servers: Vec<Row<'a>>,
}

/// The endpoint's settings that matter.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    name: &'a str,
    cluster: &'a str,
    mode: &'static str,
    policy: &'static str,
    primary_reads: &'static str,
    max_lag_ms: u128,
    consistency: &'static str,
    causal_wait_ms: u128,
    /// Of the server whose way of reading is followed.
    version: Option<String>,
}

/// What would be done.
#[derive(Debug, Serialize)]
struct Decision {
    /// As metrics have it: `primary`, `replicas`; `none` if it is refused.
    nodes: &'static str,
    /// As metrics have it.
    reason: &'static str,
    because: String,
    /// What the server has to be, besides.
    wishes: Vec<String>,
    /// How fresh a read is, by the endpoint or a hint; nothing, if the primary is asked anyway.
    consistency: Option<&'static str>,
    /// What it has to see because of that, for people.
    has_to_see: Option<String>,
    /// How one is found: `primary`, `named`, `policy`, `fallback`, `nobody`, `refused`.
    by: &'static str,
    /// The servers it would be one of.
    candidates: Vec<String>,
    /// The same for people.
    outcome: String,
}

/// A server of the cluster.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    address: String,
    role: &'static str,
    reachable: bool,
    lag_ms: Option<u32>,
    read_only: bool,
    weight: u32,
    /// Whether it would be taken for this statement.
    takes: bool,
    /// Why not.
    misses: Option<&'static str>,
    because: Option<&'static str>,
}

/// Answers what is asked, by the configuration and the picture that workers have.
#[must_use]
pub fn explain(ask: &Ask, config: &Config, snapshot: &Snapshot) -> Answer {
    let Some(sql) = ask.sql.as_deref() else {
        return Answer::line(400, &format!("there is no statement; {USAGE}"));
    };
    let endpoint = match endpoint(ask.endpoint.as_deref(), config) {
        Ok(endpoint) => endpoint,
        Err(answer) => return answer,
    };
    let version = version(endpoint, snapshot);
    let server = version.as_deref().map_or(Server::Unknown, Server::from_version);
    let mode = LexMode::usual(server).with_sql_mode(&ask.sql_mode);
    let field = Field::of(endpoint, config, snapshot);
    let splits = Splits::of(endpoint);
    let (aim, why) = splits.of_text(sql, mode);
    let draw = aim.as_ref().map(|aim| field.draw(aim, None, Able::ANY));
    let page = Page {
        statement: (sql.len() <= CLASSIFY_BYTES_MAX).then(|| Explained::of(sql, mode)),
        decision: Decision {
            because: because(splits, aim.as_ref(), why, sql, mode),
            ..decision(endpoint, splits, aim.as_ref(), draw, why, &field)
        },
        servers: servers(&field, aim.as_ref(), draw, snapshot),
        endpoint: Settings {
            name: &endpoint.name,
            cluster: config.cluster(endpoint.cluster).map_or("", |cluster| &cluster.name),
            mode: endpoint.mode.word(),
            policy: endpoint.routing.policy.word(),
            primary_reads: endpoint.routing.primary_reads.word(),
            max_lag_ms: endpoint.routing.max_lag.as_millis(),
            consistency: endpoint.routing.consistency.name(),
            causal_wait_ms: endpoint.routing.causal_wait.as_millis(),
            version,
        },
    };
    if !ask.json {
        return Answer::page(PLAIN, page.text().into_bytes());
    }
    match serde_json::to_vec_pretty(&page) {
        Ok(mut text) => {
            text.push(b'\n');
            Answer::page(JSON, text)
        }
        Err(error) => Answer::line(500, &format!("weir: {error}")),
    }
}

fn endpoint<'c>(name: Option<&str>, config: &'c Config) -> Result<&'c Endpoint, Answer> {
    let names = || {
        let names = config.endpoints.iter().map(|endpoint| endpoint.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    match (name, &*config.endpoints) {
        (Some(name), all) => all.iter().find(|it| it.name == name).ok_or_else(|| {
            let name = name.escape_debug();
            Answer::line(404, &format!("there is no endpoint '{name}', but {}", names()))
        }),
        (None, [only]) => Ok(only),
        (None, _) => Err(Answer::line(400, &format!("which endpoint? there are {}", names()))),
    }
}

/// What the cluster's servers are, as the primary says, or else any.
fn version(endpoint: &Endpoint, snapshot: &Snapshot) -> Option<String> {
    let own = snapshot.backends.iter().filter(|view| view.cluster == endpoint.cluster);
    let primary = snapshot.primary(endpoint.cluster);
    let greeting = primary.into_iter().chain(own).find_map(|view| view.greeting.as_deref())?;
    // MariaDB says this first, for replicas of old.
    let version = greeting.version.strip_prefix(b"5.5.5-").unwrap_or(&greeting.version);
    Some(String::from_utf8_lossy(version).into_owned())
}

fn because(splits: Splits, aim: Option<&Aim>, why: Why, sql: &[u8], mode: LexMode) -> String {
    if splits.mode == Mode::Not {
        return "everything goes to the primary of an endpoint with mode = \"primary\"".to_owned();
    }
    if why == Why::LONG {
        return format!("texts of more than {CLASSIFY_BYTES_MAX} bytes are not read");
    }
    let found = classify(sql, mode);
    let text = found.reason.text();
    match aim {
        None => format!("{text}, and the endpoint is for reading"),
        Some(Aim::Primary) if found.class == Class::Read => {
            format!("{text}, but a hint takes it there")
        }
        Some(_) => text.to_owned(),
    }
}

fn decision(
    endpoint: &Endpoint,
    splits: Splits,
    aim: Option<&Aim>,
    draw: Option<Draw<'_>>,
    why: Why,
    field: &Field,
) -> Decision {
    let one = |name: &str| vec![name.to_owned()];
    let (by, candidates, outcome) = match draw {
        None => ("refused", Vec::new(), "nobody: the client gets error 1290".to_owned()),
        Some(Draw::Primary(it)) => ("primary", one(&it.name), format!("{}, the primary", it.name)),
        Some(Draw::Named(it)) => ("named", one(&it.name), format!("{}, as a hint says", it.name)),
        Some(Draw::Fallback(it)) => (
            "fallback",
            one(&it.name),
            format!("{}, the primary, as no other server is fit", it.name),
        ),
        Some(Draw::Nobody(NoServer::Primary)) => {
            ("nobody", Vec::new(), "nobody: the cluster has no primary".to_owned())
        }
        Some(Draw::Nobody(NoServer::Replica)) => {
            let why = if field.falls_back {
                "no replica is fit, and the cluster has no primary"
            } else {
                "no replica is fit, and primary_reads = \"never\""
            };
            ("nobody", Vec::new(), format!("nobody: {why}"))
        }
        Some(Draw::Among(among)) => {
            let taken = field.candidates.iter().filter(|it| among.takes(it));
            let names: Vec<String> = taken.map(|it| it.name.to_string()).collect();
            let policy = endpoint.routing.policy.word();
            let outcome = match &*names {
                [only] => only.clone(),
                names => format!("one of {}, by {policy}", names.join(", ")),
            };
            ("policy", names, outcome)
        }
    };
    let level = aim.and_then(|aim| level(endpoint, aim));
    let nodes = match aim {
        None => "none",
        Some(aim) if aim.is_primary() => "primary",
        Some(_) => "replicas",
    };
    Decision {
        nodes,
        reason: if splits.mode == Mode::Not { "mode" } else { Why::name_of(why.index()) },
        because: String::new(),
        wishes: aim.and_then(Aim::wish).map(wishes).unwrap_or_default(),
        consistency: level.map(Consistency::name),
        has_to_see: level.map(has_to_see),
        by,
        candidates,
        outcome,
    }
}

/// How fresh a statement has to be of a session whose account and client say nothing.
fn level(endpoint: &Endpoint, aim: &Aim) -> Option<Consistency> {
    if aim.is_primary() {
        return None;
    }
    if endpoint.mode != EndpointMode::ReadWrite {
        return Some(Consistency::Eventual);
    }
    let hinted = aim.wish().and_then(|wish| wish.consistency);
    Some(hinted.unwrap_or(endpoint.routing.consistency))
}

fn has_to_see(level: Consistency) -> String {
    let seen = match level {
        Consistency::Eventual => return format!("{NOTHING} ({})", level.name()),
        Consistency::Session => "what its session has written and seen",
        Consistency::Instance => "what was acknowledged through this Weir",
        Consistency::Global => "what the primary had acknowledged before",
    };
    format!("{seen} ({}), or the primary is asked after causal_wait_ms", level.name())
}

fn wishes(wish: &Wish) -> Vec<String> {
    let backend = wish.backend.as_deref();
    let backend = backend.map(|name| format!("backend {}", String::from_utf8_lossy(name)));
    let lag = wish.max_lag_ms.map(|lag| format!("no more than {lag} ms behind"));
    let replica = wish.replica.then(|| "a replica".to_owned());
    let fenced = wish.fenced.then(|| "read-only for everybody".to_owned());
    [backend, lag, replica, fenced].into_iter().flatten().collect()
}

fn servers<'a>(
    field: &'a Field,
    aim: Option<&Aim>,
    draw: Option<Draw<'_>>,
    snapshot: &'a Snapshot,
) -> Vec<Row<'a>> {
    let server = |it: &'a crate::route::Candidate| {
        let view = snapshot.backend(it.backend)?;
        let takes = match draw {
            None | Some(Draw::Nobody(_)) => false,
            Some(Draw::Primary(one) | Draw::Named(one) | Draw::Fallback(one)) => {
                one.backend == it.backend
            }
            Some(Draw::Among(among)) => among.takes(it),
        };
        let (misses, because) = match aim {
            Some(_) if takes => (None, None),
            None => (Some("refused"), Some("the endpoint refuses the statement")),
            Some(Aim::Primary) => (Some("replica"), Some("it is not the primary")),
            Some(aim) => match it.misses(aim.wish()) {
                Some(miss) => (Some(miss.name()), Some(miss.text())),
                None if matches!(draw, Some(Draw::Named(_))) => {
                    (Some("not-named"), Some("a hint names another"))
                }
                None => (Some("no-weight"), Some("its weight is 0, and another's is not")),
            },
        };
        Some(Row {
            name: &it.name,
            address: view.address.to_string(),
            role: match view.role {
                Role::Primary => "primary",
                Role::Replica => "replica",
            },
            reachable: view.reachable,
            lag_ms: it.lag_ms,
            read_only: it.is_fenced,
            weight: it.weight,
            takes,
            misses,
            because,
        })
    };
    field.candidates.iter().filter_map(server).collect()
}

impl Page<'_> {
    fn text(&self) -> String {
        let Self { statement, endpoint, decision, servers } = self;
        let mut lines: Vec<(&str, String)> = Vec::new();
        let facts = statement.iter().flat_map(Explained::facts);
        lines.extend(facts.filter(|(name, _)| !matches!(*name, "nodes" | "reason")));
        let at = lines.len().min(1);
        let reason = format!("{} ({})", decision.reason, decision.because);
        lines.splice(at..at, [("nodes", decision.nodes.to_owned()), ("reason", reason)]);
        let version = endpoint.version.as_deref().unwrap_or("a server that was not reached yet");
        let Settings { name, cluster, mode, policy, primary_reads, max_lag_ms, .. } = endpoint;
        let Settings { consistency, causal_wait_ms, .. } = endpoint;
        let settings = format!(
            "policy {policy}, primary_reads {primary_reads}, max_lag_ms {max_lag_ms}, \
             consistency {consistency}, causal_wait_ms {causal_wait_ms}"
        );
        lines.push(("endpoint", format!("{name} (mode {mode}, cluster {cluster} of {version})")));
        lines.push(("settings", settings));
        if !decision.wishes.is_empty() {
            lines.push(("wanted", decision.wishes.join(", ")));
        }
        lines.extend(decision.has_to_see.iter().map(|seen| ("has to see", seen.clone())));
        lines.push(("goes to", decision.outcome.clone()));
        lines.push(("supposing", SUPPOSED.to_owned()));
        let mut text = String::new();
        for (name, value) in lines {
            text.push_str(&format!("{name:<12}{value}\n"));
        }
        text.push('\n');
        text.push_str(&table(servers));
        text
    }
}

/// The servers, a line each.
fn table(servers: &[Row<'_>]) -> String {
    let head = ["server", "role", "reachable", "lag", "read-only", "weight", "address", "taken"];
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let rows = servers.iter().map(|it| {
        let taken = match (it.misses, it.because) {
            (Some(name), Some(text)) => format!("no: {name} ({text})"),
            _ => yes(it.takes),
        };
        [
            it.name.to_owned(),
            it.role.to_owned(),
            yes(it.reachable),
            it.lag_ms.map_or_else(|| "unknown".to_owned(), |lag| format!("{lag} ms")),
            yes(it.read_only),
            it.weight.to_string(),
            it.address.clone(),
            taken,
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // A string takes whatever there is.
            if write!(line, "{cell:<width$}  ").is_err() {
                break;
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

const USAGE: &str = "it is /explain?sql=STATEMENT, or a POST with the statement as its body, and \
                     endpoint=NAME, sql_mode=MODES and format=json as needed";
const NOTHING: &str = "nothing but what its server happens to have";
const SUPPOSED: &str = "a session outside of a transaction, with autocommit on and nothing that \
                        keeps it where it is, which has chosen no consistency of its own";

#[cfg(test)]
mod tests;
