// Package tracing sends spans to an OpenTelemetry collector, when one is named.
//
// A request's span is the parent of its commit's; the commit's goes with the events
// as the stream field traceparent and is the parent of the relay's and of each
// gateway's. Only sampled traces cost anything beyond the request.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/internal/buildinfo"
)

// Start makes a tracer that sends its spans to the collector at endpoint, OTLP over
// HTTP with protobuf: to endpoint/v1/traces. An empty endpoint gives a nil tracer.
// The other OTEL_* variables of the environment hold as in any program: sampler,
// headers, certificates, limits.
//
// Spans wait in a bounded queue; when the collector is slow or away they are dropped
// and nothing else waits. stop sends what is queued, until its ctx ends.
func Start(ctx context.Context, endpoint, service, instance string, log *slog.Logger) (tracer trace.Tracer, stop func(context.Context) error, err error) {
	if endpoint == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, nil, fmt.Errorf("%q is not http://host:port or https://host:port", endpoint)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	of, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.namespace", "realtime"), attribute.String("service.name", service),
		attribute.String("service.version", buildinfo.String()), attribute.String("service.instance.id", instance),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, nil, fmt.Errorf("traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "err", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(of))
	return provider.Tracer("github.com/redroomrewards/realtime"), provider.Shutdown, nil
}
