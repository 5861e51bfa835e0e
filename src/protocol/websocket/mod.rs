//! RFC 6455 and RFC 7692 for the server side.
