//! Protobuf of the events and internal calls. The `.proto` files beside are the reference.

/// Version 1 of the DICT's calls and events.
pub mod dict_v1 {
    #![allow(
        missing_docs,
        reason = "generated; the comments of the .proto are carried over where it has them"
    )]
    #![allow(clippy::all, clippy::pedantic, reason = "generated")]
    #![allow(unused_qualifications, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/pix.dict.v1.rs"));
}

/// Version 1 of the settlement service's calls and events.
pub mod settlement_v1 {
    #![allow(
        missing_docs,
        reason = "generated; the comments of the .proto are carried over where it has them"
    )]
    #![allow(clippy::all, clippy::pedantic, reason = "generated")]
    #![allow(unused_qualifications, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/pix.settlement.v1.rs"));
}

/// Version 1 of the SPI's calls and events.
pub mod spi_v1 {
    #![allow(
        missing_docs,
        reason = "generated; the comments of the .proto are carried over where it has them"
    )]
    #![allow(clippy::all, clippy::pedantic, reason = "generated")]
    #![allow(unused_qualifications, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/pix.spi.v1.rs"));
}
