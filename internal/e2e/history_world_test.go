package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/client"
)

// position is a seq of an account with its chain.
type position struct {
	seq   int64
	chain string
}

const noChain = "0000000000000000"

// truth is an account as the ledger has it.
type truth struct {
	balance client.Balance
	chains  []string // of the events, from seq 1
}

// readTruth reads an account. An account that the ledger does not know has seq 0.
func (a *api) readTruth(account string) truth {
	a.w.Helper()
	var err error
	a.w.waitUntil("the core answers", func() bool {
		_, err = a.Balance(context.Background(), account)
		return hasAnswer(err) && !isRefused(err)
	})
	if errors.Is(err, client.ErrAccountNotFound) {
		return truth{balance: client.Balance{Chain: noChain}}
	}
	var chains []string
	for _, e := range a.readHistory(account) {
		chains = append(chains, e.Chain)
	}
	return truth{balance: a.readBalance(account), chains: chains}
}

// has reports whether the position is part of the ledger's history.
func (tr truth) has(p position) bool {
	if p.seq == 0 {
		return p.chain == noChain
	}
	return p.seq <= int64(len(tr.chains)) && tr.chains[p.seq-1] == p.chain
}

func (tr truth) newest() position { return position{tr.balance.Seq, tr.balance.Chain} }

// backUpLedger copies the ledger as it is now. The cores lose their connections for a moment.
func (w *world) backUpLedger(cores ...*server) *testenv.Backup {
	w.Helper()
	backup := testenv.BackUpPostgres(w, w.databaseURL)
	w.dropConnections()
	for _, core := range cores {
		core.waitUntilReady()
	}
	return backup
}

// restoreLedger puts the copy in place of the ledger, under the running cores.
func (w *world) restoreLedger(backup *testenv.Backup) {
	w.Helper()
	backup.Restore()
	w.dropConnections()
}

// dropConnections closes the test's own connections to the database, which the server has ended.
func (w *world) dropConnections() {
	w.db.SetMaxIdleConns(0)
	w.db.SetMaxIdleConns(2)
}

// waitUntilDone retries the write until it is done. The core has lost its connections, so it may
// refuse the first attempts.
func (a *api) waitUntilDone(op client.Operation) client.Receipt {
	a.w.Helper()
	var receipt client.Receipt
	a.w.waitUntil(fmt.Sprintf("done: %+v", op), func() bool {
		var err error
		receipt, err = a.sendOnce(op)
		return err == nil
	})
	return receipt
}

// readTruths reads accounts.
func (a *api) readTruths(accounts ...string) map[string]truth {
	a.w.Helper()
	truths := map[string]truth{}
	for _, account := range accounts {
		truths[account] = a.readTruth(account)
	}
	return truths
}

// tryGet returns the status 0 if there is no complete answer.
func (w *world) tryGet(url, bearer string) (status int, body []byte) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

// readHistoryCheck returns what /readyz says about the history: ok, or what is wrong.
func (s *server) readHistoryCheck() string {
	_, body := s.w.tryGet("http://"+s.admin+"/readyz", "")
	var ready struct {
		Checks map[string]string `json:"checks"`
	}
	err := json.Unmarshal(body, &ready)
	if err != nil {
		return ""
	}
	return ready.Checks["history"]
}

// followHistoryCheck reads the check until stop is called. stop returns what it said while it was
// not ok.
func (s *server) followHistoryCheck() (stop func() []string) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	seen := map[string]bool{}
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			text := s.readHistoryCheck()
			if text != "" && text != "ok" {
				seen[text] = true
			}
			<-tick.C
		}
	}()
	stop = func() []string {
		cancel()
		<-ended
		return slices.Sorted(maps.Keys(seen))
	}
	s.w.Cleanup(func() { stop() })
	return stop
}

// waitForHashes waits until the balance hashes are those of the ledger, and the cores are ready.
func (w *world) waitForHashes(truths map[string]truth, cores ...*server) {
	w.Helper()
	waiting := slices.Sorted(maps.Keys(truths))
	w.waitUntil("the balance hashes are the ledger's", func() bool {
		waiting = slices.DeleteFunc(waiting, func(account string) bool {
			hash := w.readHash(account)
			tr := truths[account]
			if tr.balance.Seq == 0 {
				return len(hash) == 0
			}
			return hash["seq"] == strconv.FormatInt(tr.balance.Seq, 10) && hash["chain"] == tr.balance.Chain
		})
		return len(waiting) == 0
	})
	for account, tr := range truths {
		if tr.balance.Seq > 0 {
			w.checkHash(tr.balance)
		}
		_ = account
	}
	for _, core := range cores {
		core.waitUntilReady()
		w.waitUntil("the core has checked the history", func() bool { return core.readHistoryCheck() == "ok" })
	}
}

// streamPosition is one entry of the streams.
type streamPosition struct {
	account string
	position
}

// readStreamPositions reads all entries of the streams, except markers.
func (w *world) readStreamPositions() (events []streamPosition, markers []redis.XMessage) {
	w.Helper()
	for p := range partitions {
		entries, err := w.rdb.XRange(w.Context(), w.streamKey(p), "-", "+").Result()
		if err != nil {
			w.Fatal(err)
		}
		for _, e := range entries {
			text := func(name string) string {
				value, _ := e.Values[name].(string)
				return value
			}
			if text("type") == "wallet.history_changed" {
				markers = append(markers, e)
				continue
			}
			seq, err := strconv.ParseInt(text("seq"), 10, 64)
			if err != nil {
				w.Fatalf("seq of the entry %v: %v", e, err)
			}
			events = append(events, streamPosition{text("account"), position{seq, text("chain")}})
		}
	}
	return events, markers
}

// checkMarkers wants one marker for each account whose history changed, at the newest event that both
// histories have.
func (w *world) checkMarkers(common map[string]truth) {
	w.Helper()
	_, markers := w.readStreamPositions()
	var got, want []streamPosition
	for _, m := range markers {
		account, _ := m.Values["account"].(string)
		seqText, _ := m.Values["seq"].(string)
		chain, _ := m.Values["chain"].(string)
		seq, err := strconv.ParseInt(seqText, 10, 64)
		if err != nil {
			w.Errorf("seq of the marker %v: %v", m, err)
		}
		got = append(got, streamPosition{account, position{seq, chain}})
	}
	for account, tr := range common {
		want = append(want, streamPosition{account, tr.newest()})
	}
	sortPositions(got)
	sortPositions(want)
	if !slices.Equal(got, want) {
		w.Errorf("markers in the streams:\ngot  %v\nwant %v", got, want)
	}
}

// listVoid lists the entries of the streams that the ledger does not have, sorted.
func (w *world) listVoid(truths map[string]truth) []streamPosition {
	w.Helper()
	events, _ := w.readStreamPositions()
	void := slices.DeleteFunc(events, func(e streamPosition) bool {
		tr, known := truths[e.account]
		if !known {
			w.Fatalf("the stream has the account %s, which the test does not know", e.account)
		}
		return tr.has(e.position)
	})
	sortPositions(void)
	return void
}

func sortPositions(list []streamPosition) {
	slices.SortFunc(list, func(a, b streamPosition) int {
		return strings.Compare(fmt.Sprintf("%s %020d %s", a.account, a.seq, a.chain), fmt.Sprintf("%s %020d %s", b.account, b.seq, b.chain))
	})
}

// comparison is the output of core verify --against.
type comparison struct {
	OK       bool `json:"ok"`
	Findings []struct {
		Check         string `json:"check"`
		Account       string `json:"account"`
		Seq           int64  `json:"seq"`
		Chain         string `json:"chain"`
		TransactionID string `json:"transactionId"`
		EventType     string `json:"eventType"`
		Detail        string `json:"detail"`
	} `json:"findings"`
	FindingCount     int64 `json:"findingCount"`
	VoidTransactions int64 `json:"voidTransactions"`
	exitCode         int
}

// verifyAgainst runs core verify --against.
func (w *world) verifyAgainst(target string) comparison {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "core"), "verify", "--against", target, "--json",
		"--database-url", w.databaseURL, "--redis-url", w.redisURL, "--namespace", w.namespace)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("run core verify: %v", err)
	}
	var got comparison
	err = json.Unmarshal(output, &got)
	if err != nil {
		w.Fatalf("core verify --against %s: %v in\n%s%s", target, err, lastBytes(string(output), 2000), stderr.String())
	}
	got.exitCode = cmd.ProcessState.ExitCode()
	return got
}

// checkVoidReceipts wants core verify --against redis to name exactly the void entries of the
// streams. It returns them.
func (w *world) checkVoidReceipts(truths map[string]truth) []streamPosition {
	w.Helper()
	want := w.listVoid(truths)
	report := w.verifyAgainst("redis")
	var got []streamPosition
	for _, f := range report.Findings {
		if f.Check != "transaction" || f.TransactionID == "" || f.EventType == "" {
			w.Errorf("core verify --against redis: got the finding %+v, want only transactions", f)
		}
		got = append(got, streamPosition{f.Account, position{f.Seq, f.Chain}})
	}
	sortPositions(got)
	if !slices.Equal(got, want) {
		w.Errorf("void events that core verify names:\ngot  %v\nwant %v", got, want)
	}
	wantCode := 0
	if len(want) > 0 {
		wantCode = 1
	}
	checkEqual(w, "exit code of core verify --against redis", report.exitCode, wantCode)
	return want
}

// newPositions returns the positions that an account has in the second truth and not in the first.
func newPositions(account string, before, after truth) []streamPosition {
	var list []streamPosition
	for i, chain := range after.chains {
		p := position{int64(i + 1), chain}
		if !before.has(p) {
			list = append(list, streamPosition{account, p})
		}
	}
	return list
}

// batchCredit credits each account, a thousand accounts in one request.
func (a *api) batchCredit(amount int64, accounts []string) {
	a.w.Helper()
	for chunk := range slices.Chunk(accounts, 1000) {
		operations := newCredits(amount, chunk)
		a.w.waitUntil("the batch is done", func() bool { return a.sendBatch(operations) == nil })
	}
}

// readAvailable returns the available points in the balance hashes of users.
func (w *world) readAvailable(users []string) map[string]string {
	w.Helper()
	pipe := w.rdb.Pipeline()
	cmds := map[string]*redis.StringCmd{}
	for _, user := range users {
		cmds[user] = pipe.HGet(w.Context(), w.hashKey(user), "available")
	}
	_, err := pipe.Exec(w.Context())
	if err != nil && !errors.Is(err, redis.Nil) {
		w.Fatal(err)
	}
	available := map[string]string{}
	for user, cmd := range cmds {
		available[user] = cmd.Val()
	}
	return available
}
