package chaos

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkEverything compares the model with the ledger, Redis and the clients, after the faults are
// healed and the workers have stopped.
func (e *episode) checkEverything() {
	w := e.w
	accounts := append(e.load.accounts(), probeAccounts...)
	e.waitForExpiries()
	isPublished := w.waitUntil("the outbox is empty", func() bool { return w.countOutbox() == 0 })
	if !isPublished {
		return
	}
	histories := w.readHistories(w.cores[0], e.load.token, accounts)
	for account, other := range w.readHistories(w.cores[1], e.load.token, accounts) {
		if !slices.Equal(other.chains, histories[account].chains) {
			w.journal.violate("the cores have different histories of %s", account)
		}
	}
	found := e.load.checkCalls(histories, isProbeKey)
	e.load.checkReads(histories)
	for _, v := range e.viewers {
		v.checkHistory(histories)
	}
	e.app.checkHistory(histories)
	e.app.checkBalances(histories)
	e.checkHashes(histories)
	e.checkStreams(histories)
	e.runVerify()
	if !e.lostStreams {
		e.runVerify("--against", "redis")
	}
	e.checkLinearizable(histories, found)
}

// waitForExpiries waits until the core has refunded the holds that expire.
func (e *episode) waitForExpiries() {
	e.w.waitUntil("all escrows that expire have ended", func() bool {
		return e.w.queryInt(`SELECT count(*) FROM escrows WHERE status = 'held' AND expires_at IS NOT NULL`) == 0
	})
}

func (w *world) countOutbox() int64 { return w.queryInt(`SELECT count(*) FROM outbox`) }

// queryInt runs a query that returns one number. It returns -1 if the query fails.
func (w *world) queryInt(query string) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n int64
	err := w.database.db.QueryRowContext(ctx, query).Scan(&n)
	if err != nil {
		w.journal.note("%s: %v", query, err)
		return -1
	}
	return n
}

// checkHistory wants the viewer to be at the end of each history, and to have been shown nothing that
// is not part of it.
func (v *viewer) checkHistory(histories map[string]*history) {
	for _, account := range v.accounts {
		h := histories[account]
		if !v.w.waitUntil(v.name+" is at the end of "+account, func() bool { return v.seqOf(account) >= h.last() }) {
			continue
		}
		v.mu.Lock()
		s := v.states[account]
		if s.seq != h.last() || s.balanceList() != h.balances[h.last()] {
			v.violate("%s: ends at %v with %v, want seq %d with %v", account, s.position, s.balanceList(), h.last(), h.balances[h.last()])
		}
		v.mu.Unlock()
	}
	v.checkShown(histories)
}

// checkShown wants each state that the viewer was shown to be one of the ledger, unless it was told
// afterwards that the history had changed.
func (v *viewer) checkShown(histories map[string]*history) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for account, s := range v.states {
		h := histories[account]
		for _, shown := range s.shown {
			isSuperseded := shown.changes < s.changes
			if !isSuperseded && (!h.has(shown.position) || h.balances[shown.seq] != shown.balances) {
				v.violate("%s: was shown %v with %v, which the ledger does not have", account, shown.position, shown.balances)
				break
			}
		}
	}
}

// checkHashes wants each balance hash to be the end of the history.
func (e *episode) checkHashes(histories map[string]*history) {
	for account, h := range histories {
		var last map[string]string
		isEqual := e.w.waitUntil("the balance hash of "+account+" is the ledger's", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			hash, err := e.w.redis.rdb.HGetAll(ctx, e.keys.BalanceHash(account)).Result()
			last = hash
			return err == nil && hash["seq"] == strconv.FormatInt(h.last(), 10)
		})
		if !isEqual {
			e.w.journal.violate("the balance hash of %s is %v, want seq %d", account, last, h.last())
			continue
		}
		var balances [3]int64
		for state, i := range balanceIndex {
			balances[i], _ = strconv.ParseInt(last[state], 10, 64) // a user has no earned points
		}
		if last["chain"] != h.chains[h.last()] || balances != h.balances[h.last()] {
			e.w.journal.violate("the balance hash of %s is %v, want seq %d, chain %s, %v", account, last, h.last(), h.chains[h.last()], h.balances[h.last()])
		}
	}
}

// checkStreams wants the entries of each account to be events of the ledger, in order. If no fault
// has deleted entries, all events must be there exactly once.
func (e *episode) checkStreams(histories map[string]*history) {
	lasts := map[string]int64{}
	for p := range e.keys.Partitions {
		entries, err := e.w.redis.rdb.XRange(context.Background(), e.keys.Stream(p), "-", "+").Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			e.w.journal.violate("read the stream %s: %v", e.keys.Stream(p), err)
		}
		for _, entry := range entries {
			e.checkEntry(entry, histories, lasts)
		}
	}
	for account, h := range histories {
		if lasts[account] != h.last() && !e.lostStreams {
			e.w.journal.violate("the stream ends at event %d of %s, want event %d", lasts[account], account, h.last())
		}
	}
}

func (e *episode) checkEntry(entry redis.XMessage, histories map[string]*history, lasts map[string]int64) {
	text := func(name string) string {
		value, _ := entry.Values[name].(string)
		return value
	}
	account := text("account")
	h := histories[account]
	seq, err := strconv.ParseInt(text("seq"), 10, 64)
	if h == nil || err != nil || !h.has(position{seq, text("chain")}) {
		if !e.load.lossy {
			e.w.journal.violate("the stream has the entry %v, which the ledger does not have", entry)
		}
		return
	}
	last := lasts[account]
	isNext := seq == last+1
	if e.lostStreams {
		isNext = seq > last // entries before it may have been deleted
	}
	if !isNext && !e.load.lossy && !e.repeatsEntries {
		e.w.journal.violate("the stream has event %d of %s after event %d", seq, account, last)
	}
	lasts[account] = seq
}

// runVerify runs core verify, which must find nothing.
func (e *episode) runVerify(flags ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := append([]string{"verify", "--database-url", e.w.database.url, "--redis-url", e.w.redis.checkURL(), "--namespace", namespace}, flags...)
	output, err := exec.CommandContext(ctx, filepath.Join(programs, "core"), args...).CombinedOutput()
	if err != nil {
		e.w.journal.violate("core verify %v: %v\n%s", flags, err, lastBytes(string(output), 4000))
	}
}
