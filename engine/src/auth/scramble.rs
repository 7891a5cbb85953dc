//! The two scrambles: making an answer, and checking one.
//!
//! Both plugins store H(H(password)) and hide H(password), "stage 1", behind a mask that only who
//! knows H(H(password)), "stage 2", and the nonce can compute:
//!
//! ```text
//! native  answer = SHA1(p)   XOR SHA1(nonce + SHA1(SHA1(p)))
//! sha2    answer = SHA256(p) XOR SHA256(SHA256(SHA256(p)) + nonce)
//! ```
//!
//! So a checker lifts the mask, hashes what is below and compares; and a correct answer gives it
//! stage 1, which is all that is needed to answer somebody else's nonce.
//!
//! Purpose: these formulas, over fixed-size arrays.
//! Never: compare secrets in a time that depends on where they differ.

use std::hint::black_box;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::wire::NONCE_LEN;

/// SHA1(p).
pub(crate) fn native_stage1(password: &[u8]) -> [u8; 20] {
    Sha1::digest(password).into()
}

/// SHA1(SHA1(p)) from SHA1(p).
pub(crate) fn native_stage2(stage1: &[u8; 20]) -> [u8; 20] {
    Sha1::digest(stage1).into()
}

/// The answer of `mysql_native_password`.
pub(crate) fn native_answer(stage1: &[u8; 20], nonce: &[u8; NONCE_LEN]) -> [u8; 20] {
    xor(stage1, &native_mask(&native_stage2(stage1), nonce))
}

/// SHA1(p), if `answer` proves that the client knows it.
pub(crate) fn native_check(
    stage2: &[u8; 20],
    nonce: &[u8; NONCE_LEN],
    answer: &[u8; 20],
) -> Option<[u8; 20]> {
    let stage1 = xor(answer, &native_mask(stage2, nonce));
    same(&native_stage2(&stage1), stage2).then_some(stage1)
}

fn native_mask(stage2: &[u8; 20], nonce: &[u8; NONCE_LEN]) -> [u8; 20] {
    Sha1::new().chain_update(nonce).chain_update(stage2).finalize().into()
}

/// SHA256(p).
pub(crate) fn sha2_stage1(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// SHA256(SHA256(p)) from SHA256(p).
pub(crate) fn sha2_stage2(stage1: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(stage1).into()
}

/// The answer of `caching_sha2_password`.
pub(crate) fn sha2_answer(stage1: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    xor(stage1, &sha2_mask(&sha2_stage2(stage1), nonce))
}

/// SHA256(p), if `answer` proves that the client knows it.
pub(crate) fn sha2_check(
    stage2: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    answer: &[u8; 32],
) -> Option<[u8; 32]> {
    let stage1 = xor(answer, &sha2_mask(stage2, nonce));
    same(&sha2_stage2(&stage1), stage2).then_some(stage1)
}

/// The nonce comes last here and first in the native scramble.
fn sha2_mask(stage2: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    Sha256::new().chain_update(stage2).chain_update(nonce).finalize().into()
}

fn xor<const N: usize>(left: &[u8; N], right: &[u8; N]) -> [u8; N] {
    let mut result = *left;
    for (byte, other) in result.iter_mut().zip(right) {
        *byte ^= other;
    }
    result
}

/// Equality that looks at every byte; the black box keeps the compiler from leaving early.
pub(crate) fn same<const N: usize>(left: &[u8; N], right: &[u8; N]) -> bool {
    left.iter().zip(right).fold(0, |seen, (a, b)| black_box(seen | (a ^ b))) == 0
}
