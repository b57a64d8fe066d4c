// Package httpserver runs the HTTP listeners of both commands. It sets deadlines for each request,
// limits a panic to its request, and stops gracefully. It also has the admin listener, with health
// checks, metrics and profiles.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config has the settings of a server. The zero value is valid.
type Config struct {
	ReadHeaderTimeout time.Duration  // limits reading the header of a request. Defaults to 5 s.
	ReadTimeout       time.Duration  // limits reading a request, header and body. Defaults to 20 s.
	WriteTimeout      time.Duration  // limits the time from the header to the end of the answer. Defaults to 60 s.
	IdleTimeout       time.Duration  // limits the time between two requests of a connection. Defaults to 2 min.
	MaxHeaderBytes    int            // limits the size of a header. Defaults to 32 KiB.
	MaxConnections    int            // limits the open connections, except hijacked ones. 0 does not limit them.
	MaxRequests       int            // limits the requests that run at the same time. 0 does not limit them.
	ReservedFiles     int            // file descriptors that are kept for connections while the process has no others. Defaults to none.
	OwnHostOnly       bool           // refuses requests whose Host is a name of another machine.
	TrustedProxies    TrustedProxies // their X-Forwarded-For is the RemoteAddr of requests. Defaults to none.
	StopTimeout       time.Duration  // limits how long a stop waits for running requests. Defaults to 10 s.
	Logger            *slog.Logger   // Defaults to slog.Default().
}

func (c Config) withDefaults() Config {
	setDefault := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	setDefault(&c.ReadHeaderTimeout, 5*time.Second)
	setDefault(&c.ReadTimeout, 20*time.Second)
	setDefault(&c.WriteTimeout, time.Minute)
	setDefault(&c.IdleTimeout, 2*time.Minute)
	setDefault(&c.StopTimeout, 10*time.Second)
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = 32 << 10
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// peerTimeout is the time after which the kernel closes a connection if the client does not
// acknowledge data. It closes a stream of server-sent events if the client has disappeared: such a
// client sends nothing, but it also does not acknowledge heartbeats. The default of the kernel is
// about 15 minutes. (Linux only.)
const peerTimeout = time.Minute

// maxUnsent is the number of unsent bytes that the kernel buffers for a client. The default of the
// kernel is 4 MB for each client that does not read. This is more than every limit of the gateway,
// and a later message, such as a ping, would wait behind these bytes. (Linux only.)
const maxUnsent = 128 << 10

// An AddressError is an address that no listener can have.
type AddressError struct {
	Flag    string // such as --http
	Address string
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s: must be HOST:PORT, such as 127.0.0.1:8080, got %q", e.Flag, e.Address)
}

// Listen opens a TCP listener. Its error names the flag of the address. It is an AddressError if the
// address is malformed.
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	// KeepAlive is off, because reads and writes have deadlines, and long-lived connections have
	// heartbeats. Keep-alive probes would need four system calls for each connection.
	lc := net.ListenConfig{KeepAlive: -1, Control: setPeerLimits}
	ln, err := lc.Listen(ctx, "tcp", addr)
	var malformed *net.AddrError
	if errors.As(err, &malformed) {
		return nil, &AddressError{Flag: flag, Address: addr}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with %s", addr, err, flag)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends. Then it accepts no more requests. It waits up to
// StopTimeout for running requests and closes their connections. The owner of a hijacked connection
// must close it. The context of a request ends when its client disconnects, and after StopTimeout.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, cfg Config) error {
	cfg = cfg.withDefaults()
	// The contexts of requests do not end with ctx, so that a graceful stop lets requests finish.
	base, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	if cfg.MaxRequests > 0 {
		h = limitRequests(h, cfg.MaxRequests)
	}
	if cfg.OwnHostOnly {
		h = requireOwnHost(h)
	}
	h = cfg.TrustedProxies.setClientAddress(h)
	accepting := &descriptorListener{
		Listener: ln,
		log:      cfg.Logger,
	}
	if cfg.ReservedFiles > 0 {
		accepting.reserve = &descriptorReserve{size: cfg.ReservedFiles}
		defer accepting.reserve.close()
	}
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnState:         cfg.watchConnections(accepting.reserve),
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := srv.Serve(accepting)
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		stop, cancel := context.WithTimeout(base, cfg.StopTimeout)
		defer cancel()
		err := srv.Shutdown(stop)
		if err == nil {
			return nil
		}
		cfg.Logger.Warn("connections were open after the stop timeout and were closed",
			"address", ln.Addr().String(), "error", err)
		cancelRequests()
		_ = srv.Close() // the error of Shutdown was logged
		return nil
	})
	return g.Wait()
}

// watchConnections returns the ConnState of a server: it bounds the connections and keeps the
// reserve full.
func (c Config) watchConnections(reserve *descriptorReserve) func(net.Conn, http.ConnState) {
	var limit *connectionLimit
	if c.MaxConnections > 0 {
		limit = newConnectionLimit(c.MaxConnections)
	}
	return func(conn net.Conn, state http.ConnState) {
		if limit != nil {
			limit.noteState(conn, state)
		}
		reserve.noteState(conn, state)
	}
}
