//! Who a container is, as the container runtime knows it.

pub(crate) mod intent;
