//! HTTP/1 request heads and responses.
