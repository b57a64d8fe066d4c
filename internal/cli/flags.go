package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/httpserver"
	"github.com/redroomrewards/realtime/internal/logging"
	"github.com/redroomrewards/realtime/internal/tracing"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// LogFlags choose what is logged.
type LogFlags struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"Least level that is logged: ${enum}." group:"Logs"`
	LogFormat string `default:"auto" enum:"auto,json,text" help:"${enum}; auto is text on a terminal and json elsewhere." group:"Logs"`
}

// Logger logs to w.
func (f LogFlags) Logger(w io.Writer) (*slog.Logger, error) {
	log, err := logging.New(w, f.LogLevel, f.LogFormat)
	if err != nil {
		return nil, Usage("--log-level", "%v", err)
	}
	return log, nil
}

// TLSFlags choose the certificate of the public listener.
type TLSFlags struct {
	TLSCert string `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate and its chain, for TLS on --http; read again when it changes. Absent: no TLS." group:"TLS"`
	TLSKey  string `name:"tls-key" placeholder:"FILE" help:"PEM file with the certificate's key." group:"TLS"`
}

// Certificate reads the files; it is nil when none are given.
func (f TLSFlags) Certificate(log *slog.Logger) (*httpserver.Certificate, error) {
	switch {
	case f.TLSCert == "" && f.TLSKey == "":
		return nil, nil //nolint:nilnil // no certificate is no TLS
	case f.TLSKey == "":
		return nil, Usage("--tls-key", "is required with --tls-cert")
	case f.TLSCert == "":
		return nil, Usage("--tls-cert", "is required with --tls-key")
	}
	c, err := httpserver.LoadCertificate(f.TLSCert, f.TLSKey, log)
	if err != nil {
		return nil, Usage("--tls-cert", "%v", err)
	}
	return c, nil
}

// TraceFlags choose where traces go.
type TraceFlags struct {
	OTLPEndpoint string `name:"otlp-endpoint" placeholder:"URL" help:"OpenTelemetry collector that traces are sent to, OTLP over HTTP: http://collector:4318. Also OTEL_EXPORTER_OTLP_ENDPOINT; other OTEL_* variables hold, too. Absent: no traces." group:"Traces"`
}

// stopTracing bounds the sending of the last spans.
const stopTracing = 3 * time.Second

// Tracer makes a tracer for the service, nil when none is wanted, and what ends it.
func (f TraceFlags) Tracer(ctx context.Context, service, instance string, log *slog.Logger) (trace.Tracer, func(), error) {
	tracer, stop, err := tracing.Start(ctx, f.OTLPEndpoint, service, instance, log)
	if err != nil {
		return nil, nil, Usage("--otlp-endpoint", "%v", err)
	}
	return tracer, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTracing)
		defer cancel()
		if err := stop(ctx); err != nil {
			log.Warn("the last spans were not sent", "err", err)
		}
	}, nil
}

// RedisFlags choose the Redis that carries the events, and how its keys are laid out.
type RedisFlags struct {
	RedisURL   string `name:"redis-url" default:"redis://127.0.0.1:6379/0" help:"Redis that carries the events: redis://, rediss://, redis+cluster:// or redis+sentinel://." group:"Redis"`
	Namespace  string `default:"rt" help:"First part of every Redis key." group:"Redis"`
	Partitions int    `default:"16" help:"Event streams that accounts are spread over. The same everywhere, and for ever." group:"Redis"`
}

// Keys lays out the keys.
func (f RedisFlags) Keys() (bus.Keys, error) {
	if f.Partitions < 1 || f.Partitions > 1024 {
		return bus.Keys{}, Usage("--partitions", "%d is not from 1 to 1024", f.Partitions)
	}
	if f.Namespace == "" || len(f.Namespace) > 64 || !keyWord(f.Namespace) {
		return bus.Keys{}, Usage("--namespace", "%q is not 1 to 64 letters, digits, dots, dashes or underscores", f.Namespace)
	}
	return bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions}, nil
}

func keyWord(s string) bool {
	for i := range len(s) {
		b := s[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '-', b == '_':
		default:
			return false
		}
	}
	return true
}

// Open makes a client; nothing is dialled yet.
func (f RedisFlags) Open() (redis.UniversalClient, error) {
	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return nil, Usage("--redis-url", "%v", err)
	}
	return rdb, nil
}

// TokenFlags choose which tokens are good.
type TokenFlags struct {
	JWTHS256Secret string   `name:"jwt-hs256-secret" placeholder:"SECRET" help:"Shared secret of tokens signed with HS256, at least 32 bytes. Better given as environment variable: flags show in the process list." group:"Tokens"`
	JWTPublicKey   []string `name:"jwt-public-key" placeholder:"FILE" help:"PEM file with a public key of tokens signed with RS256, ES256 or EdDSA; repeatable." group:"Tokens"`
	JWKSURL        string   `name:"jwks-url" placeholder:"URL" help:"Where the public keys of tokens are published; fetched again as they rotate." group:"Tokens"`
	JWTIssuer      string   `name:"jwt-issuer" placeholder:"ISS" help:"Required iss of tokens. Absent: any." group:"Tokens"`
	JWTAudience    string   `name:"jwt-audience" placeholder:"AUD" help:"Required aud of tokens. Absent: any." group:"Tokens"`
}

// DevSecret signs the tokens of core dev. Everybody knows it.
const DevSecret = "dev-secret-for-local-use-only-0123456789"

// Verifier checks tokens as the flags say. The secret of core dev is refused.
func (f TokenFlags) Verifier(log *slog.Logger) (*auth.Verifier, error) {
	cfg := auth.Config{JWKSURL: f.JWKSURL, Issuer: f.JWTIssuer, Audience: f.JWTAudience, Logger: log.With("jwks", logging.URL(f.JWKSURL))}
	switch {
	case f.JWTHS256Secret == "" && len(f.JWTPublicKey) == 0 && f.JWKSURL == "":
		return nil, Usage("", "no key to check tokens with: give --jwt-hs256-secret (or JWT_HS256_SECRET), --jwt-public-key or --jwks-url")
	case f.JWTHS256Secret == DevSecret:
		return nil, Usage("--jwt-hs256-secret", "this is the secret of core dev, which everybody knows; make one of your own, for example with: openssl rand -hex 32")
	case f.JWTHS256Secret != "":
		cfg.HS256Secret = []byte(f.JWTHS256Secret)
	}
	for _, name := range f.JWTPublicKey {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, Usage("--jwt-public-key", "%v", err)
		}
		cfg.PublicKeys = append(cfg.PublicKeys, pem)
	}
	v, err := auth.NewVerifier(cfg)
	if err != nil {
		return nil, Usage("", "keys of tokens: %v", err)
	}
	return v, nil
}
