package e2e

import (
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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redroomrewards/realtime/internal/testenv"
)

// frontDoor is a proxy with a file of deploy/ in front of a core and two gateways. Only addresses,
// paths, and limits that are too large or too short for a test are replaced.
type frontDoor struct {
	*server             // its process, and its address for HTTP
	kind         string // haproxy or nginx
	https        string // its address for HTTPS
	afterReload  string // its second address for HTTP, which a reload adds
	addressLimit int    // connections that one address may have
	file         string
	listen       string      // the line of the file that names the address for HTTP
	reloadSignal os.Signal   // makes the process read its file again
	clientTLS    *tls.Config // trusts its certificate
	gateways     []*server
	core         *server
}

// startHAProxy runs HAProxy with deploy/haproxy.cfg. The file asks the environment for a certificate
// and for the limits.
func (w *world) startHAProxy(core *server, gateways []*server) *frontDoor {
	w.Helper()
	f := w.newFrontDoor("haproxy", core, gateways)
	f.listen = "bind " + f.http
	f.reloadSignal = syscall.SIGUSR2
	f.writeFile("haproxy.cfg", map[string]string{
		"maxconn 20000":             "maxconn 4000", // needs fewer file descriptors
		"timeout check 5s":          "timeout check 60s",
		"port 9081 inter 2s fall 2": "port 9081 inter 2s fall 4",
		"timeout http-request 10s":  "timeout http-request 60s",
		"bind :8080":                f.listen,
		"bind :8443":                "bind " + f.https,
		"bind :8404":                "bind " + f.admin,
		"gateway-1 gateway-1:8081":  "gateway-1 " + gateways[0].http + " port " + portOf(gateways[0].admin),
		"gateway-2 gateway-2:8081":  "gateway-2 " + gateways[1].http + " port " + portOf(gateways[1].admin),
		"core core:8080":            "core " + core.http + " port " + portOf(core.admin),
	})
	env := []string{
		"TLS_CERTIFICATE=" + f.writeCertificate(),
		"CONNECTIONS_PER_ADDRESS=" + strconv.Itoa(f.addressLimit),
	}
	// With -W, a master process starts the workers, as in the image of HAProxy.
	f.startProcess([]string{"-W", "-db", "-f", f.file}, env)
	return f
}

// startNginx runs nginx with deploy/nginx.conf. The lines for HTTPS are comments there.
func (w *world) startNginx(core *server, gateways []*server) *frontDoor {
	w.Helper()
	f := w.newFrontDoor("nginx", core, gateways)
	f.listen = "listen " + f.http + ";"
	f.reloadSignal = syscall.SIGHUP
	certificate := f.writeCertificate()
	dir := filepath.Dir(f.file)
	f.writeFile("nginx.conf", map[string]string{
		"/var/log/nginx/error.log":                                "stderr",
		"/var/log/nginx/access.log":                               "/dev/stderr",
		"client_header_timeout 10s":                               "client_header_timeout 60s",
		"listen 8080;":                                            f.listen,
		"#   listen 8443 ssl http2;":                              "listen " + f.https + " ssl http2;",
		"#   ssl_certificate /etc/nginx/certificate.pem;":         "ssl_certificate " + certificate + ";",
		"#   ssl_certificate_key /etc/nginx/certificate-key.pem;": "ssl_certificate_key " + certificate + ";",
		"#   ssl_protocols":                                       "ssl_protocols",
		"limit_conn addresses 1024":                               "limit_conn addresses " + strconv.Itoa(f.addressLimit),
		"gateway-1:8081":                                          gateways[0].http,
		"gateway-2:8081":                                          gateways[1].http,
		"core:8080":                                               core.http,
		"http {": "http {\nclient_body_temp_path body; proxy_temp_path proxy;\n" +
			"fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n",
	})
	f.startProcess([]string{"-p", dir, "-c", f.file, "-g", "daemon off; pid " + dir + "/nginx.pid;"}, nil)
	return f
}

func (w *world) newFrontDoor(kind string, core *server, gateways []*server) *frontDoor {
	w.Helper()
	s := w.newServer(kind)
	return &frontDoor{
		server:       s,
		kind:         kind,
		https:        testenv.FreeAddr(w),
		afterReload:  testenv.FreeAddr(w),
		addressLimit: 60,
		file:         filepath.Join(w.TempDir(), kind+".conf"),
		gateways:     gateways,
		core:         core,
	}
}

// writeFile writes a file of deploy/ with replaced texts. Each of them must be there once.
func (f *frontDoor) writeFile(name string, replacements map[string]string) {
	f.w.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		f.w.Fatal(err)
	}
	config := string(text)
	for old, replacement := range replacements {
		if strings.Count(config, old) != 1 {
			f.w.Fatalf("deploy/%s must have %q once", name, old)
		}
		config = strings.Replace(config, old, replacement, 1)
	}
	err = os.WriteFile(f.file, []byte(config), 0o600)
	if err != nil {
		f.w.Fatal(err)
	}
}

// startProcess runs the proxy and returns when both of its addresses answer.
func (f *frontDoor) startProcess(args, env []string) {
	f.w.Helper()
	f.process = testenv.StartProcessTree(f.w, filepath.Dir(f.file), findProgram(f.w, f.kind), args, env)
	f.checkOutputAtCleanup()
	f.w.waitUntil(f.kind+" answers", func() bool {
		select {
		case <-f.process.Exited():
			f.w.Fatalf("%s ended while starting:\n%s", f.kind, f.process.Output())
		default:
		}
		status, err := getOnNewConnection(f.baseURL() + "/asyncapi.json")
		return err == nil && status == http.StatusOK
	})
}

// reload changes the file and makes the proxy read it. It returns a function that reports whether
// the processes with the new file answer.
func (f *frontDoor) reload() (isDone func() bool) {
	f.w.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		f.w.Fatal(err)
	}
	added := strings.Replace(f.listen, f.http, f.afterReload, 1)
	config := strings.Replace(string(text), f.listen, f.listen+"\n"+added, 1)
	err = os.WriteFile(f.file, []byte(config), 0o600)
	if err != nil {
		f.w.Fatal(err)
	}
	err = f.process.Signal(f.reloadSignal)
	if err != nil {
		f.w.Fatal(err)
	}
	return func() bool {
		status, err := getOnNewConnection("http://" + f.afterReload + "/asyncapi.json")
		return err == nil && status == http.StatusOK
	}
}

// writeCertificate writes a certificate for 127.0.0.1 with its key, and makes clientTLS trust it.
func (f *frontDoor) writeCertificate() (path string) {
	f.w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.w.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.w.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.w.Fatal(err)
	}

	certificatePEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	path = filepath.Join(filepath.Dir(f.file), "certificate.pem")
	err = os.WriteFile(path, append(certificatePEM, keyPEM...), 0o600)
	if err != nil {
		f.w.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificatePEM)
	f.clientTLS = &tls.Config{RootCAs: roots}
	return path
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// findProgram returns the path of a program that Debian has in /usr/sbin, which is not on the PATH
// of every user.
func findProgram(w *world, name string) string {
	w.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		found, err := exec.LookPath(path)
		if err == nil {
			return found
		}
	}
	w.Fatalf("%s must be on PATH or in /usr/sbin; on Debian: apt-get install %[1]s", name)
	return ""
}
