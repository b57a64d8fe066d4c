package httpserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// certificateCheck is how often the files of a certificate are checked for changes.
const certificateCheck = 10 * time.Second

// Certificate is a server's certificate. It is read again when its files change, so that a renewal
// needs no restart. A nil Certificate serves without TLS.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
	seen              [2]fileVersion // of the files that are loaded; only Run uses it after LoadCertificate
}

// fileVersion identifies a version of a file.
type fileVersion struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads a certificate with its chain, and its key. Both files are PEM.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.seen = c.fileVersions()
	if err := c.loadFiles(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Certificate) loadFiles() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *Certificate) fileVersions() (s [2]fileVersion) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil { // load reports a missing file
			s[i] = fileVersion{info.ModTime(), info.Size()}
		}
	}
	return s
}

// Reload reads the files if they have changed. If they cannot be used, the certificate stays as it
// is, and the next call tries again.
func (c *Certificate) Reload() error {
	now := c.fileVersions()
	if now == c.seen {
		return nil
	}
	if err := c.loadFiles(); err != nil {
		return err // perhaps only one of the files has been written yet
	}
	c.seen = now
	c.log.Info("certificate reloaded", "expires", c.current.Load().Leaf.NotAfter)
	return nil
}

// Run reloads the files when they change, until ctx ends.
func (c *Certificate) Run(ctx context.Context) error {
	if c == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(certificateCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := c.Reload(); err != nil {
				c.log.Error("the certificate's new files cannot be used; keeping the old certificate", "err", err)
			}
		}
	}
}

// Listener adds TLS, 1.2 or newer, to a listener.
func (c *Certificate) Listener(ln net.Listener) net.Listener {
	if c == nil {
		return ln
	}
	return tls.NewListener(ln, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	})
}
