package bruno_test

import (
	"bytes"
	"flag"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/auth"
	"github.com/redroomrewards/realtime/internal/bruno"
	"github.com/redroomrewards/realtime/internal/coretest"
	"github.com/redroomrewards/realtime/pkg/client"
)

var update = flag.Bool("update", false, "rewrite clients/bruno")

const directory = "../../clients/bruno"

func makeCollection(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	files, err := bruno.Collection(text)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// clients/bruno must have the collection of docs/openapi.json.
func TestCollectionIsCurrent(t *testing.T) {
	want := makeCollection(t)
	if *update {
		for name := range readCollection(t) {
			err := os.Remove(filepath.Join(directory, name))
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range want {
			path := filepath.Join(directory, name)
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err != nil {
				t.Fatal(err)
			}
			err = os.WriteFile(path, text, 0o644)
			if err != nil {
				t.Fatal(err)
			}
		}
	}

	got := readCollection(t)
	isCurrent := maps.EqualFunc(got, want, bytes.Equal)
	if !isCurrent {
		t.Error("clients/bruno differs from docs/openapi.json; run: go test ./internal/bruno -update")
	}
}

// readCollection returns the committed files without the README.
func readCollection(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".md" {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Each request of the collection succeeds at a core, with the variables that other requests set.
func TestRequestsSucceed(t *testing.T) {
	coreURL := coretest.Start(t)
	service := coretest.ServiceToken(t)
	events, err := auth.Sign([]byte(coretest.Secret), auth.Request{Subject: "reader", Scopes: []string{auth.ScopeEvents}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := client.NewLedger(coreURL, client.LedgerConfig{Token: client.StaticToken(service)})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	_, err = ledger.Credit(t.Context(), client.Credit{Account: "user:u1", Amount: 100_000, Reason: "admin_credit"})
	if err != nil {
		t.Fatal(err)
	}

	files := makeCollection(t)
	requests := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.Contains(name, "/") || strings.HasPrefix(name, "environments/") {
			continue
		}
		requests++
		t.Run(name, func(t *testing.T) {
			held, err := ledger.Hold(t.Context(), client.Hold{
				Account: "user:u1", Amount: 100, Reason: "chip_menu_purchase", QueueItemID: "q", FeatureType: "f",
			})
			if err != nil {
				t.Fatal(err)
			}
			token := service
			if strings.HasSuffix(name, "list-all-events.bru") {
				token = events
			}
			values := strings.NewReplacer(
				"{{coreURL}}", coreURL, "{{escrowId}}", held.EscrowID, "{{transactionId}}", held.TransactionID,
				"{{$guid}}", uuid.NewString())
			sendRequest(t, parseFile(t, values.Replace(string(files[name]))), token)
		})
	}
	if requests != 14 {
		t.Errorf("got %d requests, want 14", requests)
	}
}

var block = regexp.MustCompile(`(?s)(?:^|\n)([a-z:-]+) \{\n(.*?\n)\}\n`)

// parseFile returns the blocks of a file.
func parseFile(t *testing.T, text string) map[string]string {
	t.Helper()
	blocks := map[string]string{}
	for _, match := range block.FindAllStringSubmatch(text, -1) {
		blocks[match[1]] = match[2]
	}
	if blocks["meta"] == "" || blocks["docs"] == "" {
		t.Fatalf("a request must have the blocks meta and docs: %s", text)
	}
	return blocks
}

// parseLines returns the values of a block's lines that are switched on.
func parseLines(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if !strings.HasPrefix(name, "~") {
			values[name] = value
		}
	}
	return values
}

func sendRequest(t *testing.T, blocks map[string]string, token string) {
	t.Helper()
	method := http.MethodGet
	if blocks["post"] != "" {
		method = http.MethodPost
	}
	url := parseLines(blocks[strings.ToLower(method)])["url"]
	for name, value := range parseLines(blocks["params:path"]) {
		url = strings.Replace(url, "/:"+name, "/"+value, 1)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(blocks["body:json"]))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for name, value := range parseLines(blocks["headers"]) {
		r.Header.Set(name, value)
	}

	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		t.Errorf("%s %s: got status %d, want success", method, url, resp.StatusCode)
	}
}
