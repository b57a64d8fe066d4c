package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

const (
	// hashPage is how many keys a step of SCAN looks at, and about how many hashes are read at once.
	hashPage = 500
	// hashReads is how often a hash that differs is read. A core may repair it meanwhile.
	hashReads = 3
)

// compareHashes compares all balance hashes, or the one of Options.Account, with the ledger.
func (c *comparison) compareHashes(rdb redis.UniversalClient, keys bus.Keys) error {
	if c.opts.Account != "" {
		return c.comparePage(rdb, keys, []string{c.opts.Account})
	}
	scan := func(ctx context.Context, server redis.Cmdable) error {
		return c.scanHashes(ctx, server, keys, func(accounts []string) error {
			return c.comparePage(rdb, keys, accounts)
		})
	}
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return scan(c.ctx, rdb)
	}
	var mu sync.Mutex // ForEachMaster calls in parallel
	return cluster.ForEachMaster(c.ctx, func(ctx context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return scan(ctx, master)
	})
}

// scanHashes visits the accounts of all balance hashes of one server, a page at a time. SCAN may
// return a key more than once.
func (c *comparison) scanHashes(
	ctx context.Context, server redis.Cmdable, keys bus.Keys, visit func(accounts []string) error,
) error {
	const name = ":balance:"
	cursor := uint64(0)
	for {
		page, next, err := server.Scan(ctx, cursor, keys.Namespace+":*"+name+"*", hashPage).Result()
		if err != nil {
			return fmt.Errorf("scan the balance hashes: %w", err)
		}
		accounts := make([]string, 0, len(page))
		for _, key := range page {
			_, account, _ := strings.Cut(key, name)
			if keys.BalanceHash(account) == key {
				accounts = append(accounts, account)
			}
		}
		err = visit(accounts)
		if err != nil {
			return err
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

// comparePage compares the balance hashes of some accounts. It reads those that differ again before
// it reports them.
func (c *comparison) comparePage(rdb redis.UniversalClient, keys bus.Keys, accounts []string) error {
	var findings []*Finding
	for read := 0; read < hashReads && len(accounts) > 0; read++ {
		hashes, err := readHashes(c.ctx, rdb, keys, accounts)
		if err != nil {
			return err
		}
		if read == 0 {
			c.report.Hashes += int64(len(hashes))
		}
		findings, err = c.findDifferences(hashes)
		if err != nil {
			return err
		}
		accounts = accounts[:0]
		for _, f := range findings {
			accounts = append(accounts, f.Account)
		}
	}
	for _, f := range findings {
		c.report.HashFindings++
		err := c.addFinding(f)
		if err != nil {
			return err
		}
	}
	return nil
}

// balanceHash is a balance hash as Redis has it.
type balanceHash struct {
	key       string
	account   string
	available string
	escrow    string
	earned    string
	seqText   string
	seq       int64
	chain     string
}

// hashFields are the fields that readHashes reads, in the order of its results.
var hashFields = []string{"available", "escrow", "earned", "seq", "chain"}

// readHashes returns the hashes that exist.
func readHashes(ctx context.Context, rdb redis.UniversalClient, keys bus.Keys, accounts []string) ([]balanceHash, error) {
	pipe := rdb.Pipeline()
	cmds := make([]*redis.SliceCmd, len(accounts))
	for i, account := range accounts {
		cmds[i] = pipe.HMGet(ctx, keys.BalanceHash(account), hashFields...)
	}
	_, err := pipe.Exec(ctx)
	if err != nil {
		return nil, fmt.Errorf("read balance hashes: %w", err)
	}

	hashes := make([]balanceHash, 0, len(accounts))
	for i, account := range accounts {
		values := cmds[i].Val()
		exists := false
		texts := make([]string, len(hashFields))
		for j := range texts {
			text, ok := values[j].(string)
			texts[j] = text
			exists = exists || ok
		}
		if !exists {
			continue // it was deleted after the scan
		}
		h := balanceHash{
			key:       keys.BalanceHash(account),
			account:   account,
			available: texts[0],
			escrow:    texts[1],
			earned:    texts[2],
			seqText:   texts[3],
			chain:     texts[4],
		}
		h.seq, _ = strconv.ParseInt(h.seqText, 10, 64) // an invalid seq stays 0 and is a finding
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// findDifferences compares hashes with the ledger's balances.
func (c *comparison) findDifferences(hashes []balanceHash) ([]*Finding, error) {
	accounts := make([]string, len(hashes))
	for i := range hashes {
		accounts[i] = hashes[i].account
	}
	list, err := c.ledger.Balances(c.ctx, accounts)
	if err != nil {
		return nil, err
	}
	balances := make(map[string]bus.Balance, len(list))
	for i := range list {
		balances[list[i].Account] = list[i]
	}

	var findings []*Finding
	for i := range hashes {
		h := &hashes[i]
		balance, known := balances[h.account]
		detail := "the ledger does not have this account"
		if known {
			detail, err = c.compareHash(h, &balance)
		}
		if err != nil {
			return nil, err
		}
		if detail != "" {
			findings = append(findings, h.toFinding(detail))
		}
	}
	return findings, nil
}

// compareHash compares one hash with the account's balance in the ledger. It returns "" if they
// agree. A hash with a lower seq than the ledger's is compared with the balance at its seq.
func (c *comparison) compareHash(h *balanceHash, newest *bus.Balance) (string, error) {
	switch {
	case h.seq < 1:
		return fmt.Sprintf("seq must be a whole number of at least 1, got %.40q", h.seqText), nil
	case h.seq > newest.Seq:
		return fmt.Sprintf("the newest seq of the account in the ledger is %d", newest.Seq), nil
	case h.seq == newest.Seq:
		return h.compareWith(newest), nil
	}

	updates, err := c.ledger.UpdatesAfter(c.ctx, h.account, h.seq-1, 1)
	if err != nil {
		return "", err
	}
	if len(updates) == 0 || updates[0].Balance.Seq != h.seq {
		return "no transaction of the account ends with this seq in the ledger", nil
	}
	detail := h.compareWith(&updates[0].Balance)
	if detail == "" { // otherwise it is read again, and counts as a finding
		c.report.Behind++
	}
	return detail, nil
}

// compareWith compares the hash with a balance of the same seq.
func (h *balanceHash) compareWith(b *bus.Balance) string {
	if h.chain != b.Chain.String() {
		return fmt.Sprintf("the ledger has the chain %s at this seq", b.Chain)
	}
	if b.IsModel() {
		return compareAmount("earned", h.earned, b.Earned)
	}
	detail := compareAmount("available", h.available, b.Available)
	if detail == "" {
		detail = compareAmount("escrow", h.escrow, b.Escrow)
	}
	return detail
}

func compareAmount(name, got string, want int64) string {
	if got == strconv.FormatInt(want, 10) {
		return ""
	}
	return fmt.Sprintf("%s is %.40q, and %d in the ledger", name, got, want)
}

func (h *balanceHash) toFinding(detail string) *Finding {
	return &Finding{
		Check:   CheckHash,
		Account: h.account,
		Seq:     h.seq,
		Chain:   h.chain,
		Source:  h.key,
		Detail:  detail,
	}
}
