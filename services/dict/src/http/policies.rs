//! The buckets of a participant: what they hold, and how they fill.

use dict_core::buckets::{Policy, Scope};
use http::HeaderMap;
use pix_dict_api::{GetPolicyResponse, ListPoliciesResponse, PolicyState, Response};

use super::problem::{Refusal, no_policy};
use super::request::{self, Requesting};
use super::respond::Reply;
use super::{Caller, limited};
use crate::answers;
use crate::app::App;
use crate::buckets::Ask;

/// `GET /policies/`
pub(super) async fn list(app: &App, caller: Caller, headers: &HeaderMap) -> Result<Reply, Refusal> {
    let requesting = request::requesting(app, caller, headers)?;
    limited(app, ask(requesting, Policy::PoliciesList), async {
        let response = Response::ListPolicies(ListPoliciesResponse {
            head: app.answering().head(),
            category: requesting.category,
            policies: states(app, requesting).await,
        });
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}

/// `GET /policies/{policy}`
pub(super) async fn get(
    app: &App,
    caller: Caller,
    name: &str,
    headers: &HeaderMap,
) -> Result<Reply, Refusal> {
    let requesting = request::requesting(app, caller, headers)?;
    limited(app, ask(requesting, Policy::PoliciesRead), async {
        let policy = Policy::parse(name).ok_or_else(|| no_policy(None))?;
        if policy.scope() == Scope::User {
            return Err(no_policy(Some(policy)));
        }
        let mut states = states(app, requesting).await.into_iter();
        let state = states.find(|state| state.name == policy.as_str());
        let response = Response::GetPolicy(GetPolicyResponse {
            head: app.answering().head(),
            category: requesting.category,
            policy: state.ok_or_else(|| no_policy(None))?,
        });
        Ok(Reply::ok(answers::signed(&app.sealer, response).await))
    })
    .await
}

fn ask(requesting: Requesting, policy: Policy) -> Ask {
    Ask::One {
        participant: requesting.ispb,
        category: requesting.category,
        policy,
    }
}

async fn states(app: &App, requesting: Requesting) -> Vec<PolicyState> {
    let states = app.buckets.state(requesting.ispb, requesting.category).await;
    states.into_iter().map(PolicyState::from).collect()
}

impl From<crate::buckets::PolicyState> for PolicyState {
    fn from(state: crate::buckets::PolicyState) -> Self {
        Self {
            name: state.name,
            available: state.available,
            capacity: state.capacity,
            refill_tokens: state.refill_tokens,
            refill_period_s: state.refill_period_s,
        }
    }
}
