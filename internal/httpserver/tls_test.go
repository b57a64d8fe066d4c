package httpserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redroomrewards/realtime/internal/httpserver"
)

// issueCertificate writes a certificate for localhost with that serial number.
func issueCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeVersion(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), serial)
	writeVersion(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), serial)
}

// writeVersion gives each version of a file a time of its own, however fast the test is.
func writeVersion(t *testing.T, name string, content []byte, version int64) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000+version, 0)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	if _, err := httpserver.LoadCertificate(certFile, keyFile, quiet); err == nil {
		t.Error("files that are not there were read")
	}
	issueCertificate(t, certFile, keyFile, 1)
	cert, err := httpserver.LoadCertificate(certFile, keyFile, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	plain, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error {
		return httpserver.Serve(ctx, cert.Listener(plain), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.Proto))
		}), httpserver.Config{Logger: quiet})
	})
	g.Go(func() error { return cert.Run(ctx) })
	defer func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	serves := func(serial int64) {
		t.Helper()
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}} //nolint:gosec // it is the certificate that is looked at
		conn, err := d.DialContext(t.Context(), "tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		state := conn.(*tls.Conn).ConnectionState()
		if got := state.PeerCertificates[0].SerialNumber.Int64(); got != serial || state.NegotiatedProtocol != "h2" {
			t.Errorf("certificate %d over %s, want %d", got, state.NegotiatedProtocol, serial)
		}
	}
	serves(1)
	issueCertificate(t, certFile, keyFile, 2)
	if err := cert.Reload(); err != nil {
		t.Error(err)
	}
	serves(2)
	writeVersion(t, certFile, []byte("half a cert"), 3)
	if err := cert.Reload(); err == nil {
		t.Error("half a certificate was taken")
	}
	serves(2)
	issueCertificate(t, certFile, keyFile, 4)
	if err := cert.Reload(); err != nil {
		t.Error(err)
	}
	serves(4)
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // as above
	}}
	resp, err := client.Get("https://" + plain.Addr().String())
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
	old := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}} //nolint:gosec // as above
	if conn, err := old.DialContext(t.Context(), "tcp", plain.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

// Without files there is no TLS.
func TestNoCertificate(t *testing.T) {
	var cert *httpserver.Certificate
	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if cert.Listener(ln) != ln {
		t.Error("the listener was wrapped")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := cert.Run(ctx); err != nil {
		t.Error(err)
	}
}
