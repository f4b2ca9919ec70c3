//! Messages of the DICT API v2: typed, written and signed, verified and parsed.
//!
//! Two stages on the way in. Opening a message gives its *texts* ([`Request`]): a fault there is one of form or
//! signature. [`EntryText::check`] and its neighbours turn texts into values, and say everything that is wrong with
//! them at once, as the violations of a [`Problem`]. What is between is pure: no I/O, no clock, no chance.

mod check;
mod cid;
mod entry;
mod normal;
mod open;
mod parse;
mod problem;
mod read;
mod request;
mod response;
mod shape;
mod time;
mod write;

pub use check::{check_key, check_request_id};
pub use cid::cid;
pub use entry::{Account, Entry, NewEntry, Owner};
pub use open::{
    OpenedProblem, OpenedRequest, OpenedResponse, Path, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Unreadable,
    open_problem, open_request, open_request_fast, open_request_generic, open_response, open_response_fast,
    open_response_generic, parse_problem, parse_unsigned, parse_unsigned_response,
};
pub use problem::{Problem, ProblemKind, Violation};
pub use request::{
    AccountText, CheckKeys, CreateEntry, DeleteEntry, EntryText, KEYS_MAX, Operation, OwnerText, Request,
    UpdateEntry,
};
pub use response::{
    CheckKeysResponse, CorrelationId, DeleteEntryResponse, EntryResponse, EntryRoot, FraudMarkerStatistics,
    GetEntryStatisticsResponse, GetPolicyResponse, Head, InfractionReportStatistics, InvalidCorrelationId,
    KeyEntries, KeyStatistics, ListPoliciesResponse, PersonEntries, PersonStatistics, PolicyState, Response,
    SpiStatistics, Statistics, Windowed,
};
pub use write::{seal_problem, seal_request, seal_response, write_problem, write_unsigned};
