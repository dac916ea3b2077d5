//! Spans in the form of `OpenTelemetry`, sent as OTLP: protobuf over HTTP, from a thread of its own
//! with a bounded queue. A collector that is away costs spans, and nothing else.

use std::collections::VecDeque;
use std::env;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, Protocol, SpanExporter,
    WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use shotstream_engine::meter::{Lap, Meter, Stage};

use crate::error::ServeError;
use crate::stream::Place;

/// How long a collector may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where spans go, if anywhere.
#[derive(Debug)]
pub(crate) struct Spans(Option<(SdkTracerProvider, SdkTracer)>);

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Asked(Option<Context>);

/// A session while it lasts.
#[derive(Debug)]
pub(crate) struct Session {
    open: Option<(SdkTracer, Context)>,
    /// Denoising steps of a chunk.
    steps: usize,
    /// Runs of stages that belong to chunks to come.
    laps: VecDeque<Lap>,
}

/// A chunk until it is handed to its viewers.
#[derive(Debug)]
pub(crate) struct Chunk(Option<(SdkTracer, Context)>);

/// A chunk on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent(Option<(SdkTracer, SpanContext)>);

impl Spans {
    /// Spans go to the collector at this address, or that of the environment, or nowhere.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn open(collector: Option<&str>) -> Result<Self, ServeError> {
        let named = |name| env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let wanted = collector.is_some()
            || named(OTEL_EXPORTER_OTLP_ENDPOINT)
            || named(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
        let disabled =
            env::var("OTEL_SDK_DISABLED").is_ok_and(|it| it.eq_ignore_ascii_case("true"));
        if !wanted || disabled {
            return Ok(Self(None));
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Client::new());
        let exporter = exporter.with_protocol(Protocol::HttpBinary);
        let exporter = match collector {
            Some(base) => {
                exporter.with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')))
            }
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| {
            let (task, source) = ("send traces", std::io::Error::other(error));
            ServeError::System { task, source }
        })?;
        let resource = match named("OTEL_SERVICE_NAME") {
            true => Resource::builder(),
            false => Resource::builder().with_service_name("shotstream"),
        };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        let provider = provider.with_resource(resource.build()).build();
        let tracer = provider.tracer("shotstream");
        Ok(Self(Some((provider, tracer))))
    }

    /// Send what was not sent yet.
    pub(crate) fn close(&self) {
        if let Some((provider, _)) = &self.0 {
            // A collector that is away gets nothing.
            let _ = provider.shutdown();
        }
    }

    /// A request came, perhaps as a part of somebody else's trace.
    pub(crate) fn request(&self, request: &Request) -> Asked {
        let Some((_, tracer)) = &self.0 else { return Asked(None) };
        let route = request.extensions().get::<MatchedPath>();
        // The address itself may hold a watch link.
        let route = route.map_or("none", MatchedPath::as_str);
        let method = request.method();
        let parent = TraceContextPropagator::new();
        let parent = parent.extract(&HeaderExtractor(request.headers()));
        let span = tracer.span_builder(format!("{method} {route}")).with_kind(SpanKind::Server);
        let span = span.with_attributes([
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("http.route", route.to_owned()),
        ]);
        let span = span.start_with_context(tracer, &parent);
        Asked(Some(parent.with_span(span)))
    }

    /// A session began; a chunk of it takes so many denoising steps.
    pub(crate) fn session(&self, story: &str, steps: usize) -> Session {
        let open = self.0.as_ref().map(|(_, tracer)| {
            let span = tracer.span_builder("session");
            let span = span.with_attributes([KeyValue::new("story", story.to_owned())]);
            let span = span.start_with_context(tracer, &Context::new());
            (tracer.clone(), Context::new().with_span(span))
        });
        Session { open, steps, laps: VecDeque::new() }
    }
}

impl Asked {
    pub(crate) fn answered(self, status: StatusCode) {
        if let Some(context) = self.0 {
            let status = i64::from(status.as_u16());
            context.span().set_attribute(KeyValue::new("http.response.status_code", status));
        }
    }
}

impl Session {
    /// A stopwatch for its engine.
    pub(crate) fn meter(&self) -> Meter {
        if self.open.is_some() { Meter::keeping_laps() } else { Meter::default() }
    }

    /// A chunk is saved; it began with the first stage that was run for it.
    pub(crate) fn chunk(&mut self, meter: &Meter, place: Place) -> Chunk {
        let Some((tracer, session)) = self.open.clone() else { return Chunk(None) };
        self.laps.extend(meter.take_laps());
        let laps = laps_of_chunk(&mut self.laps, self.steps);
        let start = laps.iter().map(|lap| lap.start).min().unwrap_or_else(Instant::now);
        let chunk = tracer.span_builder("chunk").with_start_time(at(start));
        let chunk = chunk.with_attributes([
            KeyValue::new("take", i64::from(place.take)),
            KeyValue::new("chunk", place.chunk as i64),
        ]);
        let chunk = session.with_span(chunk.start_with_context(&tracer, &session));
        for Lap { stage, start, took } in laps {
            let span = tracer.span_builder(stage.name()).with_start_time(at(start));
            let mut span = span.start_with_context(&tracer, &chunk);
            span.end_with_timestamp(at(start) + took);
        }
        Chunk(Some((tracer, chunk)))
    }

    /// What was being made is not made any further.
    pub(crate) fn forget(&mut self) {
        self.laps.clear();
    }
}

impl Chunk {
    pub(crate) fn sent(&self) -> Sent {
        Sent(
            self.0
                .as_ref()
                .map(|(tracer, chunk)| (tracer.clone(), chunk.span().span_context().clone())),
        )
    }

    pub(crate) fn end(self) {
        if let Some((_, chunk)) = self.0 {
            chunk.span().end();
        }
    }
}

impl Sent {
    /// It is being sent as long as what this returns is held.
    pub(crate) fn transport(&self) -> Option<impl Send> {
        let (tracer, chunk) = self.0.clone()?;
        let chunk = Context::new().with_remote_span_context(chunk);
        Some(tracer.span_builder("transport").start_with_context(&tracer, &chunk))
    }
}

/// The runs of stages that led to the next chunk: on the session's thread all up to its last
/// denoising step, on the decoder's all up to its decoding. What is left belongs to later chunks.
fn laps_of_chunk(laps: &mut VecDeque<Lap>, steps: usize) -> Vec<Lap> {
    let (mut steps_left, mut decoded) = (steps, false);
    let mut taken = Vec::new();
    laps.retain(|&lap| {
        let take = match lap.stage {
            Stage::Encode => true,
            Stage::Decode | Stage::Remember => !decoded,
            Stage::Text | Stage::Context | Stage::Denoise | Stage::Commit => 0 < steps_left,
        };
        if take {
            taken.push(lap);
            decoded |= lap.stage == Stage::Decode;
            steps_left -= usize::from(lap.stage == Stage::Denoise);
        }
        !take
    });
    taken
}

/// An instant of the wall clock.
fn at(instant: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(instant.elapsed()).unwrap_or(now)
}

/// Sends what is to be sent, and waits: it is called on the thread of the queue.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder();
        let config = config.timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Self(config.build().new_agent())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> Result<axum::http::Response<Bytes>, HttpError> {
        let answer = self.0.run(request.map(|body| body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.read_to_vec()?;
        Ok(axum::http::Response::from_parts(head, body.into()))
    }
}
