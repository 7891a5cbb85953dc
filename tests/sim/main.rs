//! The worker on the simulated network, under seeds.
//!
//! Purpose: whatever clients, servers and the network do, every client gets exactly the bytes it is
//! owed or a clear end, nobody waits for ever, and nothing is left behind.
//! Never: use a socket, a thread or a clock that a seed does not decide.
//!
//! `WEIR_SIM_SEED=n` repeats one seed; `WEIR_SIM_SEEDS=n` runs so many, from one drawn.
//! Reading order: `script` (what is asked and answered), `dialect` (as bytes), `client`, `login`,
//! `server`, `plan` (what a seed decides), `world` (the loop), `check`; and by itself `shipping` (two
//! workers).

#[cfg(test)]
mod check;
#[cfg(test)]
mod client;
#[cfg(test)]
mod dialect;
#[cfg(test)]
mod hands;
#[cfg(test)]
mod login;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod script;
#[cfg(test)]
mod server;
#[cfg(test)]
mod shipping;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
