//! The settlement service, asked by an operator: gRPC with mutual TLS inside.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use pix_domain::Timestamp;
use pix_proto::settlement_v1::funding_client::FundingClient;
use pix_proto::settlement_v1::participants_client::ParticipantsClient;
use pix_proto::settlement_v1::windows_client::WindowsClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::inside;
use crate::payment::{PENDING, REFUSED};
use crate::place::Place;

/// How long it may take to answer: closing a window waits for the book's last batches.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The settlement service of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Settlement(Channel);

/// A list of all participants: a thousand of them are some 4 MiB.
const LIST_OCTETS_MAX: usize = 64 * 1024 * 1024;

impl Settlement {
    /// # Errors
    /// When there is no instance here, or it does not run.
    pub(crate) async fn connect(place: &Place) -> anyhow::Result<Self> {
        let port = place.ports.settlement();
        let endpoint = inside::endpoint(place, port)?;
        let channel = endpoint.connect().await.with_context(|| {
            format!("the settlement service does not answer on port {port}: start everything with `pix up`")
        })?;
        Ok(Self(channel))
    }

    pub(crate) fn participants(&self) -> ParticipantsClient<Channel> {
        ParticipantsClient::new(self.0.clone()).max_decoding_message_size(LIST_OCTETS_MAX)
    }

    pub(crate) fn funding(&self) -> FundingClient<Channel> {
        FundingClient::new(self.0.clone())
    }

    pub(crate) fn windows(&self) -> WindowsClient<Channel> {
        WindowsClient::new(self.0.clone())
    }
}

/// A question that ends in time.
pub(crate) fn in_time<T>(question: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(question);
    request.set_timeout(ANSWER_WITHIN);
    request
}

/// Says why, and what that means for the exit code: the rules said no, or nobody knows yet.
pub(crate) fn refused(status: &Status) -> ExitCode {
    refused_or(status, "look again, or repeat the very same command")
}

/// As [`refused`], for an order that must not simply be repeated: `unknown` is what to do while nobody knows.
pub(crate) fn refused_or(status: &Status, unknown: &str) -> ExitCode {
    match status.code() {
        Code::NotFound => {
            errln!(
                "pix: refused: {} (`pix participant list` and `pix window list` show what there is)",
                status.message()
            );
            ExitCode::from(REFUSED)
        }
        Code::Unimplemented => {
            errln!(
                "pix: the settlement service that runs is of another version: build all of them (`make run` does), then \
                 `pix down` and `pix up`"
            );
            ExitCode::FAILURE
        }
        Code::AlreadyExists | Code::FailedPrecondition | Code::InvalidArgument => {
            errln!("pix: refused: {}", status.message());
            ExitCode::from(REFUSED)
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            errln!("pix: not known yet: {}; {unknown}", status.message());
            ExitCode::from(PENDING)
        }
        code => {
            errln!(
                "pix: the settlement service answers {code}: {}; `pix logs settlement` shows why",
                status.message()
            );
            ExitCode::FAILURE
        }
    }
}

/// As the wire has it, with milliseconds.
pub(crate) fn time(micros: i64) -> String {
    Timestamp::from_micros(micros).to_string()
}
