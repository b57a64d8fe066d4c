package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// requestWithHost asks with the name of another machine, as a web page after DNS rebinding does.
func requestWithHost(t *testing.T, url, host string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}

// One dev process serves all checks, because starting it takes a second.
func TestDevIsHardened(t *testing.T) {
	data := t.TempDir()
	p := launchDev(t, data)
	page := p.greetingURL("Live page")
	gateway := strings.Replace(p.greetingURL("WebSocket"), "ws://", "http://", 1)
	admins := regexp.MustCompile(`http://[^/\s]+`).FindAllString(p.out.awaitMatch(t, `^  Admin .*$`), -1)

	t.Run("other hosts", func(t *testing.T) {
		for _, url := range []string{page, page + "v1/accounts/user:demo/balance", gateway, admins[0] + "/metrics", admins[1] + "/metrics"} {
			for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example"} {
				status, _, body := requestWithHost(t, url, host)
				if status != http.StatusMisdirectedRequest || strings.Contains(body, "eyJ") {
					t.Errorf("%s with Host %s: got %d, want 421 without a token", url, host, status)
				}
			}
		}
		for _, host := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080", "192.0.2.1"} {
			status, _, _ := requestWithHost(t, page, host)
			if status != http.StatusOK {
				t.Errorf("Host %s: got %d, want 200", host, status)
			}
		}
	})

	t.Run("page", func(t *testing.T) {
		_, header, _ := requestWithHost(t, page, "localhost")
		policy := header.Get("Content-Security-Policy")
		port := regexp.MustCompile(`:\d+`).FindString(gateway)
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "ws://*" + port + " "} {
			if !strings.Contains(policy, want) {
				t.Errorf("got policy %q, want %s in it", policy, want)
			}
		}
	})

	t.Run("command line", func(t *testing.T) {
		for _, admin := range admins {
			status, _, body := requestWithHost(t, admin+"/debug/pprof/cmdline", "localhost")
			if status != http.StatusNotFound || strings.Contains(body, os.Args[0]) {
				t.Errorf("%s: got %d %s, want 404", admin, status, body)
			}
		}
	})

	t.Run("second process", func(t *testing.T) {
		second := launchCommand(t, "dev", "--data", data, "--http", "127.0.0.1:0")
		if code := second.awaitExit(); code != 1 {
			t.Errorf("got exit code %d, want 1", code)
		}
		second.err.awaitMatch(t, fmt.Sprintf("in use by process %d", os.Getpid()))
	})
	p.stop()
	launchDev(t, data).stop() // the lock has ended
}

func TestDevRefusesOtherMachines(t *testing.T) {
	for _, flag := range []string{"--http", "--gateway", "--admin", "--gateway-admin", "--redis"} {
		t.Run(flag, func(t *testing.T) {
			for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
				p := launchCommand(t, "dev", "--data", t.TempDir(), flag, address)
				if code := p.awaitExit(); code != 2 {
					t.Errorf("%s %s: got exit code %d, want 2", flag, address, code)
				}
				p.err.awaitMatch(t, flag+": must be a loopback address")
			}
		})
	}

	t.Run("allowed", func(t *testing.T) {
		launchDev(t, t.TempDir(), "--allow-remote", "--http", "0.0.0.0:0").stop()
	})
	t.Run("own secret", func(t *testing.T) {
		secret := strings.Repeat("own-secret", 4)
		launchDev(t, t.TempDir(), "--jwt-hs256-secret", secret, "--http", "0.0.0.0:0").stop()
	})
}
