//! Tests of the codecs: fields, recordings of a real server, round trips, odd logins.

mod fields;
mod logins;
mod recorded;
mod round_trip;
