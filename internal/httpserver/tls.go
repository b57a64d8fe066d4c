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

// certificateCheck is the interval at which the files of a certificate are checked for changes.
const certificateCheck = 10 * time.Second

// Certificate is the certificate of a server. Run reloads it when its files change, so that a
// renewal does not need a restart. A nil Certificate serves without TLS.
type Certificate struct {
	certFile string
	keyFile  string
	log      *slog.Logger
	current  atomic.Pointer[tls.Certificate]
	loaded   [2]fileVersion // versions of the loaded files; after LoadCertificate only Run uses it
}

// fileVersion identifies a version of a file.
type fileVersion struct {
	modified time.Time
	size     int64
}

// LoadCertificate loads a certificate with its chain, and its key. Both files must be PEM.
func LoadCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	c.loaded = c.fileVersions()
	err := c.loadFiles()
	if err != nil {
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

// fileVersions returns the versions of the files. The version of a missing file is zero; loadFiles
// reports it.
func (c *Certificate) fileVersions() (versions [2]fileVersion) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		versions[i] = fileVersion{info.ModTime(), info.Size()}
	}
	return versions
}

// Reload loads the files if they have changed. If they are invalid, the certificate does not change,
// and the next call tries again.
func (c *Certificate) Reload() error {
	versions := c.fileVersions()
	if versions == c.loaded {
		return nil
	}

	err := c.loadFiles()
	if err != nil {
		return err // perhaps only one of the files is already new
	}
	c.loaded = versions
	c.log.Info("certificate was reloaded", "expiry", c.current.Load().Leaf.NotAfter)
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
			err := c.Reload()
			if err != nil {
				c.log.Error("reloading the certificate failed; keeping the old certificate", "error", err)
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
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	})
}
