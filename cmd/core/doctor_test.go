package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The doctor looks at a core and a gateway that run.
func TestDoctorOfRunningServers(t *testing.T) {
	secret := strings.Repeat("own-secret", 4)
	dev := launchDev(t, t.TempDir(), "--jwt-hs256-secret", secret)
	core := strings.TrimSuffix(dev.greetingURL("Live page"), "/")
	gateway, _, _ := strings.Cut(strings.Replace(dev.greetingURL("WebSocket"), "ws://", "http://", 1), "/v1")
	admins := regexp.MustCompile(`http://[^/\s]+`).FindAllString(dev.out.awaitMatch(t, `^  Admin .*$`), -1)
	token := filepath.Join(t.TempDir(), "token")
	err := os.WriteFile(token, []byte(dev.exportedVariable("TOKEN")+"\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}

	diagnose := func(secret, gatewayURL, gatewayAdmin string) *process {
		p := launchCommand(t, "doctor",
			"--database-url", "sqlite:"+filepath.Join(t.TempDir(), "none.db"),
			"--redis-url", "redis://127.0.0.1:1/0",
			"--jwt-hs256-secret", secret,
			"--core-token-file", token,
			"--core-url", core,
			"--core-admin-url", admins[0],
			"--gateway-url", gatewayURL,
			"--gateway-admin-url", gatewayAdmin,
		)
		if code := p.awaitExit(); code != 1 { // there is no ledger at this URL
			t.Errorf("exit code: got %d, want 1", code)
		}
		return p
	}

	p := diagnose(secret, gateway, admins[1])
	for _, want := range []string{
		`^ok +tokens/core-token +sub dev-service, .*valid until`,
		`^ok +core/reachable`,
		`^ok +core/clock`,
		`^ok +core/ready +/readyz says that \d+ checks are ok`,
		`^ok +core/token`,
		`^ok +core/layout +the core publishes under rt/64`,
		`^ok +gateway/reachable`,
		`^ok +gateway/clock`,
		`^ok +gateway/websocket +handshake and the frame welcome`,
		`^ok +gateway-admin/healthy`,
		`^ok +gateway-admin/ready`,
	} {
		p.out.awaitMatch(t, want)
	}

	p = diagnose(strings.Repeat("other-secret", 4), gateway, gateway)
	p.out.awaitMatch(t, `^fail +tokens/core-token .*signature`)
	p.out.awaitMatch(t, `^fail +gateway/websocket .*401.*give core and gateways the same keys`)
	p.out.awaitMatch(t, `^fail +gateway-admin/healthy .*status 404, want 200`)

	p = diagnose(secret, "http://127.0.0.1:1", core)
	p.out.awaitMatch(t, `^fail +gateway/reachable .*refused`)
	p = diagnose(secret, admins[1], admins[1])
	p.out.awaitMatch(t, `^fail +gateway/reachable .*GET /asyncapi.json: status 404, want 200`)
	dev.stop()
}
