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

// issueCertificate writes a certificate for localhost with the serial number.
func issueCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
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

// writeVersion writes a file. Each version has its own modification time.
func writeVersion(t *testing.T, name string, content []byte, version int64) {
	t.Helper()
	err := os.WriteFile(name, content, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000+version, 0)
	err = os.Chtimes(name, at, at)
	if err != nil {
		t.Fatal(err)
	}
}

// tlsServer is a server with a certificate in files.
type tlsServer struct {
	*testing.T
	certFile string
	keyFile  string
	cert     *httpserver.Certificate
	addr     string
}

// startTLSServer starts a server with a certificate of serial number 1. It ends with the test.
func startTLSServer(t *testing.T) *tlsServer {
	t.Helper()
	s := &tlsServer{
		T:        t,
		certFile: filepath.Join(t.TempDir(), "cert.pem"),
		keyFile:  filepath.Join(t.TempDir(), "key.pem"),
	}
	issueCertificate(t, s.certFile, s.keyFile, 1)
	cert, err := httpserver.LoadCertificate(s.certFile, s.keyFile, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s.cert = cert
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	proxies, err := httpserver.ParseTrustedProxies([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	ln = proxies.Listener(ln)

	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error {
		return httpserver.Serve(ctx, cert.Listener(ln), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.Proto))
		}), httpserver.Config{Logger: quiet})
	})
	g.Go(func() error { return cert.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		err := g.Wait()
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

// checkSerial checks the serial number of the served certificate, and the protocol.
func (s *tlsServer) checkSerial(want int64) {
	s.Helper()
	d := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the test checks the certificate
		NextProtos:         []string{"h2", "http/1.1"},
	}}
	conn, err := d.DialContext(s.Context(), "tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	state := conn.(*tls.Conn).ConnectionState()
	if got := state.PeerCertificates[0].SerialNumber.Int64(); got != want {
		s.Errorf("got certificate %d, want %d", got, want)
	}
	if got := state.NegotiatedProtocol; got != "h2" {
		s.Errorf("got protocol %q, want h2", got)
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	s := startTLSServer(t)
	s.checkSerial(1)
	issueCertificate(t, s.certFile, s.keyFile, 2)
	err := s.cert.Reload()
	if err != nil {
		t.Error(err)
	}
	s.checkSerial(2)
}

func TestInvalidCertificateIsNotLoaded(t *testing.T) {
	s := startTLSServer(t)
	writeVersion(t, s.certFile, []byte("half a cert"), 2)
	err := s.cert.Reload()
	if err == nil {
		t.Error("got no error for an invalid certificate")
	}
	s.checkSerial(1)

	issueCertificate(t, s.certFile, s.keyFile, 3)
	err = s.cert.Reload()
	if err != nil {
		t.Error(err)
	}
	s.checkSerial(3)
}

func TestRequestOverTLS(t *testing.T) {
	s := startTLSServer(t)
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate is self-signed
		DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://" + s.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got status %d, want 200", resp.StatusCode)
	}
}

// A PROXY header comes before TLS.
func TestProxyHeaderBeforeTLS(t *testing.T) {
	s := startTLSServer(t)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Write([]byte("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is self-signed
	err = client.HandshakeContext(t.Context())
	if err != nil {
		t.Fatalf("handshake after a PROXY header: %v", err)
	}
}

func TestOldTLSVersionIsRefused(t *testing.T) {
	s := startTLSServer(t)
	old := tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the certificate is self-signed
		MaxVersion:         tls.VersionTLS11,
	}}
	conn, err := old.DialContext(t.Context(), "tcp", s.addr)
	if err == nil {
		_ = conn.Close()
		t.Error("got a connection with TLS 1.1, want an error")
	}
}

func TestLoadCertificateWithoutFiles(t *testing.T) {
	dir := t.TempDir()
	_, err := httpserver.LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), quiet)
	if err == nil {
		t.Error("got no error for missing files")
	}
}

// A nil Certificate serves without TLS.
func TestNoCertificate(t *testing.T) {
	var cert *httpserver.Certificate
	ln, err := httpserver.Listen(t.Context(), "--http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if cert.Listener(ln) != ln {
		t.Error("got another listener, want the same one")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = cert.Run(ctx)
	if err != nil {
		t.Error(err)
	}
}
