//! A collector of traces: what an operator's OTLP endpoint receives.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Keeps whatever is sent to it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

/// One span, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) span: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Listens on a port of the loopback interface until the test ends.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        address
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().expect("no holder panics");
        let mut spans = Vec::new();
        for of_resource in requests.iter().flat_map(|request| &request.resource_spans) {
            let resource = of_resource.resource.iter();
            let about: BTreeMap<_, _> = resource
                .flat_map(|resource| texts(&resource.attributes))
                .collect();
            for span in of_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                spans.push(Span {
                    service: about.get("service.name").cloned().unwrap_or_default(),
                    name: span.name.clone(),
                    trace: span.trace_id.clone(),
                    span: span.span_id.clone(),
                    parent: span.parent_span_id.clone(),
                    began: span.start_time_unix_nano,
                    ended: span.end_time_unix_nano,
                    attributes: texts(&span.attributes).collect(),
                });
            }
        }
        spans
    }

    /// Everything that came, every field of it, as text.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.0.lock().expect("no holder panics"))
    }
}

fn texts(attributes: &[KeyValue]) -> impl Iterator<Item = (String, String)> + '_ {
    attributes.iter().filter_map(|attribute| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        let any_value::Value::StringValue(text) = value else {
            return None;
        };
        Some((attribute.key.clone(), text.clone()))
    })
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0
            .lock()
            .expect("no holder panics")
            .push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
