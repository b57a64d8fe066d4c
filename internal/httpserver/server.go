// Package httpserver runs the HTTP listeners of both commands: deadlines for every request, a panic
// that ends only its own request, a graceful stop, and the admin listener with health, metrics and
// profiles.
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

// Config is a server's settings. The zero value works.
type Config struct {
	ReadHeaderTimeout time.Duration // for the header of a request. Defaults to 5 s.
	ReadTimeout       time.Duration // for a whole request, header and body. Defaults to 20 s.
	WriteTimeout      time.Duration // from the end of the header to the end of the answer. Defaults to 60 s.
	IdleTimeout       time.Duration // between two requests of a connection. Defaults to 2 min.
	MaxHeaderBytes    int           // Defaults to 32 KiB.
	StopTimeout       time.Duration // how long a stop waits for running requests. Defaults to 10 s.
	Logger            *slog.Logger  // Defaults to slog.Default().
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

// peerTimeout is how long a client may leave data unacknowledged before the kernel closes its
// connection. This ends a stream of server-sent events whose client has disappeared: the client
// never sends anything, but the heartbeats to it are not acknowledged. The kernel's own limit is a
// quarter of an hour. (Linux only.)
const peerTimeout = time.Minute

// maxUnsent is how many bytes the kernel buffers for a client beyond what is in flight. The
// kernel's own limit is 4 MB for each client that does not read. That is beyond every limit of
// ours, and the next message, such as a ping, waits behind all of it. (Linux only.)
const maxUnsent = 128 << 10

// Listen opens a TCP listener. Its error names the flag that chose the address.
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	// KeepAlive is off: reads and writes have deadlines, and long-lived connections have
	// heartbeats. The kernel's probes would cost four system calls per connection.
	lc := net.ListenConfig{KeepAlive: -1, Control: setPeerLimits}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with %s", addr, err, flag)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends. Then it accepts no more requests, waits up to
// StopTimeout for those that are running, and closes their connections. The owner of a hijacked
// connection must close it. The context of a request ends when its client disconnects, and when
// StopTimeout is over.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, cfg Config) error {
	cfg = cfg.withDefaults()
	// The requests' contexts do not inherit the end of ctx: a graceful stop lets requests finish.
	base, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		stop, cancel := context.WithTimeout(base, cfg.StopTimeout)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil {
			cfg.Logger.Warn("connections were still open at the end of the stop timeout; closing them", "addr", ln.Addr().String(), "err", err)
			cancelRequests()
			_ = srv.Close() // the log has the error of Shutdown
		}
		return nil
	})
	return g.Wait()
}
