package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// listeners are all listeners of dev, and its embedded Redis.
type listeners struct {
	http         net.Listener
	gateway      net.Listener
	admin        net.Listener
	gatewayAdmin net.Listener
	redis        *miniredis.Miniredis
}

// listenerFlag is an address of an HTTP listener, and the flag that sets it.
type listenerFlag struct {
	flag    string
	address string
}

func (c devCmd) listenerFlags() [4]listenerFlag {
	return [...]listenerFlag{
		{"--http", c.HTTP},
		{"--gateway", c.Gateway},
		{"--admin", c.Admin},
		{"--gateway-admin", c.GatewayAdmin},
	}
}

// openListeners opens the listeners. On an error it returns those that are open.
func (c devCmd) openListeners(ctx context.Context) (*listeners, error) {
	l := &listeners{}
	targets := [...]*net.Listener{&l.http, &l.gateway, &l.admin, &l.gatewayAdmin}
	for i, listener := range c.listenerFlags() {
		ln, err := httpserver.Listen(ctx, listener.flag, listener.address)
		if err != nil {
			return l, err
		}
		*targets[i] = ln
	}

	m := miniredis.NewMiniRedis()
	err := m.StartAddr(c.Redis)
	if err != nil {
		return l, fmt.Errorf("listen on %s: %w; choose another address with --redis", c.Redis, err)
	}
	l.redis = m
	return l, nil
}

// allowedOrigins returns the hosts of the web pages that may connect and read: those that this machine
// serves, such as the development server of an app, and the live page.
func (l *listeners) allowedOrigins() []string {
	origins := []string{"localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", `\[::1]`, `\[::1]:*`}
	addr, ok := l.http.Addr().(*net.TCPAddr)
	switch {
	case !ok:
	case addr.IP.IsUnspecified():
		origins = append(origins, fmt.Sprintf("*:%d", addr.Port))
	default:
		origins = append(origins, addr.String())
	}
	return origins
}

func (l *listeners) close() {
	for _, ln := range []net.Listener{l.http, l.gateway, l.admin, l.gatewayAdmin} {
		if ln != nil {
			_ = ln.Close() // the server that used it has closed it already
		}
	}
	if l.redis != nil {
		l.redis.Close()
	}
}

// advanceClock lets the keys of the embedded Redis expire. Its clock does not advance by itself.
func (l *listeners) advanceClock(ctx context.Context) error {
	const step = 250 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			l.redis.FastForward(step)
		}
	}
}
