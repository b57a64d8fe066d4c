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

// LogFlags choose the level and the format of the log.
type LogFlags struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"Lowest level to log: ${enum}." group:"Logs"`
	LogFormat string `default:"auto" enum:"auto,json,text" help:"Format of log lines: ${enum}. auto is text on a terminal and json elsewhere." group:"Logs"`
}

// Logger returns a logger that writes to w.
func (f LogFlags) Logger(w io.Writer) (*slog.Logger, error) {
	log, err := logging.New(w, f.LogLevel, f.LogFormat)
	if err != nil {
		return nil, Usage("--log-level", "%v", err)
	}
	return log, nil
}

// TLSFlags choose the certificate of the public listener.
type TLSFlags struct {
	TLSCert string `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate and its chain, for TLS on --http. The file is read again when it changes. Default: no TLS." group:"TLS"`
	TLSKey  string `name:"tls-key" placeholder:"FILE" help:"PEM file with the private key of the certificate." group:"TLS"`
}

// Certificate reads the files. It returns nil if none are given.
func (f TLSFlags) Certificate(log *slog.Logger) (*httpserver.Certificate, error) {
	switch {
	case f.TLSCert == "" && f.TLSKey == "":
		return nil, nil //nolint:nilnil // a nil certificate serves without TLS
	case f.TLSKey == "":
		return nil, Usage("--tls-key", "is required with --tls-cert")
	case f.TLSCert == "":
		return nil, Usage("--tls-cert", "is required with --tls-key")
	}

	certificate, err := httpserver.LoadCertificate(f.TLSCert, f.TLSKey, log)
	if err != nil {
		return nil, Usage("--tls-cert", "%v", err)
	}
	return certificate, nil
}

// ProxyFlags name the proxies in front of the public listener.
type ProxyFlags struct {
	TrustedProxies []string `placeholder:"NETWORK" help:"Addresses and networks of proxies whose X-Forwarded-For and PROXY headers are believed. Without it, the address of a client is that of its connection. Example: 10.0.0.0/8." group:"Listeners"`
}

// Proxies returns the trusted proxies.
func (f ProxyFlags) Proxies() (httpserver.TrustedProxies, error) {
	proxies, err := httpserver.ParseTrustedProxies(f.TrustedProxies)
	if err != nil {
		return nil, Usage("--trusted-proxies", "%v", err)
	}
	return proxies, nil
}

// TraceFlags choose where traces go.
type TraceFlags struct {
	OTLPEndpoint string `name:"otlp-endpoint" placeholder:"URL" help:"OpenTelemetry collector for traces, OTLP over HTTP. Example: http://collector:4318. The other OTEL_* variables apply as well. Default: no traces." group:"Traces"`
}

// stopTimeout is the time limit for sending the last spans.
const stopTimeout = 3 * time.Second

// Tracer returns a tracer for the service and a function that sends the last spans. The tracer is
// nil if no endpoint is given.
func (f TraceFlags) Tracer(ctx context.Context, service, instance string, log *slog.Logger) (trace.Tracer, func(), error) {
	tracer, stop, err := tracing.Start(ctx, f.OTLPEndpoint, service, instance, log)
	if err != nil {
		return nil, nil, Usage("--otlp-endpoint", "%v", err)
	}

	stopTracing := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err := stop(ctx)
		if err != nil {
			log.Warn("sending the last spans failed", "error", err)
		}
	}
	return tracer, stopTracing, nil
}

// RedisFlags choose the Redis that carries the events, and the layout of its keys.
type RedisFlags struct {
	RedisURL     string `name:"redis-url" default:"redis://127.0.0.1:6379/0" help:"URL of the Redis that carries the events: redis://, rediss://, redis+cluster:// or redis+sentinel://." group:"Redis"`
	RedisURLFile string `name:"redis-url-file" placeholder:"FILE" help:"File with the URL, which may contain a password." group:"Redis"`
	Namespace    string `default:"rt" help:"First part of every Redis key." group:"Redis"`
	Partitions   int    `default:"64" help:"Number of event streams that accounts are spread over. It must be the same in every process and can never change." group:"Redis"`
}

// maxNamespaceBytes is the largest length of a namespace.
const maxNamespaceBytes = 64

// Keys returns the layout of the keys.
func (f RedisFlags) Keys() (bus.Keys, error) {
	if f.Partitions < 1 || f.Partitions > bus.MaxPartitions {
		return bus.Keys{}, Usage("--partitions", "must be from 1 to %d, got %d", bus.MaxPartitions, f.Partitions)
	}
	if !isNamespace(f.Namespace) {
		return bus.Keys{}, Usage("--namespace", "must be 1 to %d letters, digits, dots, dashes or underscores, got %q", maxNamespaceBytes, f.Namespace)
	}
	return bus.Keys{Namespace: f.Namespace, Partitions: f.Partitions}, nil
}

func isNamespace(s string) bool {
	if s == "" || len(s) > maxNamespaceBytes {
		return false
	}
	for i := range len(s) {
		b := s[i]
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case b == '.', b == '-', b == '_':
		default:
			return false
		}
	}
	return true
}

// Open returns a client. It opens no connection yet.
func (f RedisFlags) Open() (redis.UniversalClient, error) {
	rdb, err := redisconn.Open(f.RedisURL)
	if err != nil {
		return nil, Usage("--redis-url", "%v", err)
	}
	return rdb, nil
}

// TokenFlags choose the tokens that are accepted.
type TokenFlags struct {
	JWTHS256Secret     string   `name:"jwt-hs256-secret" placeholder:"SECRET" help:"Shared secret of tokens signed with HS256, at least 32 bytes. Prefer the file or the environment variable, since flags are visible in the process list." group:"Tokens"`
	JWTHS256SecretFile string   `name:"jwt-hs256-secret-file" placeholder:"FILE" help:"File with the shared secret." group:"Tokens"`
	JWTPublicKey       []string `name:"jwt-public-key" placeholder:"FILE" help:"PEM file with a public key of tokens signed with RS256, ES256 or EdDSA. Repeatable." group:"Tokens"`
	JWKSURL            string   `name:"jwks-url" placeholder:"URL" help:"URL of the JSON Web Key Set with the public keys of tokens. It is fetched again regularly." group:"Tokens"`
	JWTIssuer          string   `name:"jwt-issuer" placeholder:"ISS" help:"Issuer (iss) that tokens must have. Default: any." group:"Tokens"`
	JWTAudience        string   `name:"jwt-audience" placeholder:"AUD" help:"Audience (aud) that tokens must have. Default: any." group:"Tokens"`
}

// DevSecret signs the tokens of core dev. It is public.
const DevSecret = "dev-secret-for-local-use-only-0123456789"

// Verifier returns a verifier of tokens. It refuses the secret of core dev.
func (f TokenFlags) Verifier(log *slog.Logger) (*auth.Verifier, error) {
	hasNoKey := f.JWTHS256Secret == "" && len(f.JWTPublicKey) == 0 && f.JWKSURL == ""
	switch {
	case hasNoKey:
		return nil, Usage("", "a key to verify tokens is required: give --jwt-hs256-secret, --jwt-hs256-secret-file (or set REALTIME_JWT_HS256_SECRET), --jwt-public-key or --jwks-url")
	case f.JWTHS256Secret == DevSecret:
		return nil, Usage("--jwt-hs256-secret", "must not be the public secret of core dev; generate one, for example with: openssl rand -hex 32")
	}

	cfg := auth.Config{
		HS256Secret: []byte(f.JWTHS256Secret),
		JWKSURL:     f.JWKSURL,
		Issuer:      f.JWTIssuer,
		Audience:    f.JWTAudience,
		Logger:      log.With("url", logging.URL(f.JWKSURL)),
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
		return nil, Usage("", "%v", err)
	}
	if httpserver.IsInsecureURL(f.JWKSURL) {
		log.Warn("the JWKS URL is not https; anybody on the way can choose the keys", "url", logging.URL(f.JWKSURL))
	}
	return v, nil
}
