// Package tracing sends spans to an OpenTelemetry collector, if one is configured.
//
// The span of a request is the parent of the span of its commit. The commit's span context travels
// with the events in the stream field traceparent. It is the parent of the relay's span and of each
// gateway's span. Unsampled traces cost nothing beyond the request.
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

const tracerName = "github.com/redroomrewards/realtime"

// Start returns a tracer that sends its spans to endpoint/v1/traces, as OTLP over HTTP with
// protobuf. It returns a nil tracer if endpoint is empty. The OTEL_* environment variables set the
// sampler, headers, certificates and limits, as in other programs.
//
// Spans wait in a bounded queue. If the collector is slow or unavailable, they are dropped and
// nothing else waits. The function stop sends the queued spans until its ctx ends.
func Start(
	ctx context.Context, endpoint, service, instance string, log *slog.Logger,
) (tracer trace.Tracer, stop func(context.Context) error, err error) {
	if endpoint == "" {
		return nil, func(context.Context) error { return nil }, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, nil, fmt.Errorf("must be http://host:port or https://host:port, got %q", endpoint)
	}

	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("make trace exporter: %w", err)
	}
	attributes, err := newResource(ctx, service, instance)
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("sending traces failed", "error", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(attributes))
	return provider.Tracer(tracerName), provider.Shutdown, nil
}

func newResource(ctx context.Context, service, instance string) (*resource.Resource, error) {
	return resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.namespace", "realtime"),
			attribute.String("service.name", service),
			attribute.String("service.version", buildinfo.String()),
			attribute.String("service.instance.id", instance),
		),
		resource.WithFromEnv(),
		resource.WithTelemetrySDK(),
	)
}
