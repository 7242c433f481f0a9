//! A component that exports nothing: no request can reach it.
