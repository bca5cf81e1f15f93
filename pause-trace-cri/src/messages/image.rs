//! Images.

use std::collections::BTreeMap;

use prost::Message;

/// The name of an image.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageSpec {
    /// A reference, a digest or an id.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// An image of the runtime.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// The runtime's own id of the image.
    #[prost(string, tag = "1")]
    pub id: String,
    /// `name:tag`.
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
    /// `name@digest`.
    #[prost(string, repeated, tag = "3")]
    pub repo_digests: Vec<String>,
    /// The size in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ListImagesRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) images: Vec<Image>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) image: Option<ImageSpec>,
    #[prost(bool, tag = "2")]
    pub(crate) verbose: bool,
}

/// The runtime's answer about an image.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageStatusResponse {
    /// Absent if the runtime does not have the image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
    /// In a verbose answer, the runtime's own details as JSON; [`ImageStatusResponse::info`] reads
    /// them.
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}
