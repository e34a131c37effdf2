//! What named fields mean: nginx variables, Envoy's command operators, keys of JSON logs.

use super::line::Field;

/// The meaning of a name, in any case. Of JSON keys, those that the documentation of nginx, Envoy, HAProxy,
/// AWS (its logs can be delivered as JSON) and the Elastic Common Schema use.
pub(super) fn field(name: &str) -> Field {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    match name.trim_start_matches('@') {
        // nginx writes its lines when a request is over.
        "time_local" | "time_iso8601" | "msec" | "time" | "timestamp" | "ts" | "date"
        | "end_time" => Field::Ended,
        "start_time" | "request_creation_time" | "accept_date" => Field::Began,
        "request_time" | "duration_s" | "elapsed" => Field::Duration,
        "duration" | "duration_ms" | "total_time" => Field::DurationMs,
        "duration_us" => Field::DurationUs,
        "remote_addr"
        | "client"
        | "client_ip"
        | "clientip"
        | "client_addr"
        | "remote_ip"
        | "source_ip"
        | "downstream_remote_address"
        | "realip_remote_addr"
        | "client:port" => Field::Client,
        "req(x_forwarded_for)" => Field::ForwardedFor,
        "remote_port" | "client_port" | "source_port" | "realip_remote_port" => Field::ClientPort,
        "ip_address" => Field::Node,
        "upstream_local_address" => Field::Local,
        "upstream_addr"
        | "upstream_host"
        | "upstream"
        | "backend"
        | "target:port"
        | "upstream_remote_address" => Field::Targets,
        "upstream_status" | "target_status_code" | "backend_status_code" => Field::TargetStatuses,
        "status"
        | "response_code"
        | "status_code"
        | "elb_status_code"
        | "http_status"
        | "http_response_status_code" => Field::Status,
        "request" | "request_line" => Field::Request,
        "request_method" | "method" | "req(:method)" | "http_request_method" | "verb" => {
            Field::Method
        }
        "request_uri"
        | "path"
        | "uri_path"
        | "url"
        | "http_target"
        | "url_original"
        | "req(x_envoy_original_path?:path)"
        | "req(:path)" => Field::Path,
        "uri" | "document_uri" | "url_path" => Field::PathOnly,
        "query_string" | "args" | "url_query" => Field::Query,
        "http_x_amzn_trace_id"
        | "x_amzn_trace_id"
        | "trace_id"
        | "amzn_trace_id"
        | "req(x_amzn_trace_id)" => Field::Trace,
        "request_id"
        | "http_x_request_id"
        | "x_request_id"
        | "req(x_request_id)"
        | "unique_id"
        | "sent_http_x_request_id"
        | "http_traceparent"
        | "traceparent"
        | "req(traceparent)"
        | "stream_id" => Field::RequestId,
        "response_flags" => Field::Words("response_flags"),
        "response_code_details" => Field::Words("response_code_details"),
        "upstream_transport_failure_reason" => Field::Words("upstream_transport_failure_reason"),
        "error_reason" => Field::Words("error_reason"),
        "termination_state" => Field::Words("termination_state"),
        _ => Field::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_products() {
        for (name, wanted) in [
            ("remote_addr", Field::Client),
            ("@timestamp", Field::Ended),
            ("START_TIME", Field::Began),
            ("REQ(X-REQUEST-ID)", Field::RequestId),
            ("REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", Field::Path),
            ("http.response.status_code", Field::Status),
            ("cookie_session", Field::Other),
        ] {
            assert_eq!(field(name), wanted, "{name}");
        }
    }
}
