//! checkKeys: which of many keys are registered. Asked without a signature, on a host of its own.

use dict_core::buckets::Policy;
use http::HeaderMap;
use hyper::body::Incoming;
use pix_dict_api::{CheckKeysResponse, Operation, Request, Response};

use super::problem::Refusal;
use super::respond::Reply;
use super::{Caller, limited, request};
use crate::answers;
use crate::app::App;

/// `POST /keys/check`
pub(super) async fn check(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Refusal> {
    limited(app, caller.ask(Policy::KeysCheck), async {
        let body = request::body(caller, headers, body).await?;
        let Request::CheckKeys(asked) = request::unsigned(&body, Operation::CheckKeys)? else {
            unreachable!("it was parsed as a checkKeys");
        };
        let exist = app.directory.which_exist(&asked.keys).await?;
        let response = Response::CheckKeys(CheckKeysResponse {
            head: app.answering().head(),
            keys: asked.keys.into_iter().zip(exist).collect(),
        });
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}
