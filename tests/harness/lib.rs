//! Servers, clients and fixtures shared by the test binaries.
