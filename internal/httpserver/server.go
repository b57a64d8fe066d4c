// Package httpserver runs the HTTP listeners of both commands: deadlines on
// everything, a panic that stays in its request, a graceful stop, and the admin
// listener with health, metrics and profiles.
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
	ReadHeaderTimeout time.Duration // Defaults to 5 s.
	ReadTimeout       time.Duration // the whole request. Defaults to 20 s.
	WriteTimeout      time.Duration // the whole answer. Defaults to 60 s.
	IdleTimeout       time.Duration // between requests of a connection. Defaults to 2 min.
	MaxHeaderBytes    int           // Defaults to 32 KiB.
	StopTimeout       time.Duration // how long a stop waits for requests under way. Defaults to 10 s.
	Logger            *slog.Logger  // Defaults to slog.Default().

	// Plain is the beginning of the paths whose plain requests are read without net/http
	// (see lane). What their handlers write leaves when they
	// return, and their contexts do not end when a client goes away. Defaults to none.
	Plain string
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.ReadHeaderTimeout, 5*time.Second)
	def(&c.ReadTimeout, 20*time.Second)
	def(&c.WriteTimeout, time.Minute)
	def(&c.IdleTimeout, 2*time.Minute)
	def(&c.StopTimeout, 10*time.Second)
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = 32 << 10
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// deadPeer is how long what was sent to a client may stay unacknowledged before the kernel gives the connection up. A stream of
// server-sent events, whose client says nothing, ends so: its heartbeats reach nobody. Left alone, the kernel tries for a
// quarter of an hour. (Linux.)
const deadPeer = time.Minute

// maxUnsent is how many bytes the kernel takes for a client beyond what is on its way. Left alone, it takes 4 MB for each client
// that does not read, past every bound of ours, and what is written then, such as a ping, comes behind all of it. (Linux.)
const maxUnsent = 128 << 10

// Listen opens a TCP listener. Its error names the flag that chose the address.
func Listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	// Reads and writes have deadlines, and what lives longer has heartbeats: the kernel's
	// probes would cost each connection four system calls and tell nothing new.
	lc := net.ListenConfig{KeepAlive: -1, Control: boundPeers}
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with %s", addr, err, flag)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends; then it accepts no more, lets the
// requests under way finish for StopTimeout, and cuts off the rest. Hijacked
// connections are their owner's to close.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, cfg Config) error {
	cfg = cfg.withDefaults()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	// Not ctx itself: it would cancel requests that a graceful stop lets finish.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv.BaseContext = func(net.Listener) context.Context { return base }
	shutdown := srv.Shutdown
	if cfg.Plain != "" {
		l := newLane(base, ln, h, cfg)
		defer l.cut()
		ln = l
		shutdown = func(ctx context.Context) error {
			l.end()
			return errors.Join(srv.Shutdown(ctx), l.wait(ctx))
		}
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
		if err := shutdown(stop); err != nil {
			cfg.Logger.Warn("requests cut off at shutdown", "addr", ln.Addr().String(), "err", err)
			cut()
			_ = srv.Close() // Shutdown's error is logged; there is nothing more to lose
		}
		return nil
	})
	return g.Wait()
}
