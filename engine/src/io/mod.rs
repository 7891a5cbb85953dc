//! The kernel's edge: connections, buffers, timers and wake-ups behind one completion contract.
//!
//! Purpose: give workers bytes and take bytes from them, with as few system calls as possible.
//! Never: know about MySQL, sessions or policy.
//!
