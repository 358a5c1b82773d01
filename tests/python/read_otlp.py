"""Reads bodies of OTLP over HTTP with JSON, one a line, by the protocol's own messages: an unknown or mistyped member fails it. Prints for each
span a line of JSON: service, version, instance, name, trace, span, parent, kind, status, times, attributes.

The protocol's JSON has ids in hexadecimal, while the mapping of protobuf has bytes in base64: only these are changed."""
import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2


def to_base64(value):
    if isinstance(value, dict):
        return {name: base64.b64encode(bytes.fromhex(inner)).decode() if name in ("traceId", "spanId", "parentSpanId") else to_base64(inner) for name, inner in value.items()}
    return [to_base64(inner) for inner in value] if isinstance(value, list) else value


def values(attributes):
    return {attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value")) for attribute in attributes}


for line in sys.stdin:
    request = json_format.ParseDict(to_base64(json.loads(line)), trace_service_pb2.ExportTraceServiceRequest())
    for resource in request.resource_spans:
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8), span
            assert any(span.trace_id) and any(span.span_id) and 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span
            print(json.dumps({**values(resource.resource.attributes), "name": span.name, "trace": span.trace_id.hex(), "span": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                              "kind": span.kind, "failed": span.status.code == 2, "begin": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                              "is": values(span.attributes)}))
