//! A small client of the Kubernetes Container Runtime Interface (CRI) over a unix socket.
//!
//! | file | what |
//! |---|---|
//! | `messages/` | what is sent and received, as far as we use it |

#![forbid(unsafe_code)]

pub mod messages;
