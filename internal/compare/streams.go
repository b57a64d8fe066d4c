package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/bus"
)

// entryPage is how many stream entries are read at once.
const entryPage = 500

// Redis compares all streams and all balance hashes of the namespace with the ledger.
func Redis(ctx context.Context, ledger Ledger, rdb redis.UniversalClient, keys bus.Keys, o Options) (*Report, error) {
	started := time.Now()
	c := newComparison(ctx, ledger, o)
	partitions := c.listPartitions(keys)
	for _, p := range partitions {
		n, err := rdb.XLen(ctx, keys.Stream(p)).Result()
		if err != nil {
			return nil, fmt.Errorf("read the length of stream %s: %w", keys.Stream(p), err)
		}
		c.expected += n
	}

	for _, p := range partitions {
		err := c.compareStream(rdb, keys.Stream(p))
		if err != nil {
			return nil, err
		}
	}
	err := c.compareHashes(rdb, keys)
	if err != nil {
		return nil, err
	}
	return c.finishReport(started), nil
}

// listPartitions returns the partitions whose streams are read.
func (c *comparison) listPartitions(keys bus.Keys) []int {
	if c.opts.Account != "" {
		return []int{keys.Partition(c.opts.Account)}
	}
	all := make([]int, keys.Partitions)
	for p := range all {
		all[p] = p
	}
	return all
}

// compareStream compares the entries that the stream has now, the oldest first.
func (c *comparison) compareStream(rdb redis.UniversalClient, stream string) error {
	newest, err := rdb.XRevRangeN(c.ctx, stream, "+", "-", 1).Result()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	if len(newest) == 0 {
		return nil
	}

	from := "-"
	for {
		page, err := rdb.XRangeN(c.ctx, stream, from, newest[0].ID, entryPage).Result()
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		for i := range page {
			err := c.addEntry(stream, &page[i])
			if err != nil {
				return err
			}
		}
		if len(page) < entryPage {
			return c.compareClaims()
		}
		from = "(" + page[len(page)-1].ID
	}
}

// addEntry adds one stream entry. An entry without a seq is another producer's event, and a marker
// says that the history has changed. Neither claims a transaction.
func (c *comparison) addEntry(stream string, entry *redis.XMessage) error {
	fields := func(name string) string {
		text, _ := entry.Values[name].(string)
		return text
	}
	if fields("seq") == "" || fields("type") == bus.TypeHistoryChanged {
		c.report.Skipped++
		return nil
	}

	cl := claim{
		account:   fields("account"),
		eventID:   fields("id"),
		eventType: fields("type"),
		source:    stream + " " + entry.ID,
	}
	cl.amount, _ = strconv.ParseInt(fields("amount"), 10, 64) // it may be absent
	err := cl.parseEntry(fields("seq"), fields("chain"), fields("data"))
	if err != nil {
		return c.addUnreadable(&cl, err)
	}
	return c.addClaim(cl)
}

// addUnreadable reports a record that cannot be compared, because of cause.
func (c *comparison) addUnreadable(cl *claim, cause error) error {
	if c.opts.Account != "" && cl.account != c.opts.Account {
		return nil
	}
	return c.addFinding(cl.toFinding(CheckRecord, cause.Error()))
}

// parseEntry sets the fields that have to be parsed.
func (cl *claim) parseEntry(seq, chain, data string) error {
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("seq must be a whole number of at least 1, got %.40q", seq)
	}
	cl.seq = n
	cl.chain, err = bus.ParseChain(chain)
	if err != nil {
		return err
	}
	cl.hasChain = true

	var event struct {
		TransactionID string `json:"transactionId"`
		Timestamp     string `json:"timestamp"`
	}
	err = json.Unmarshal([]byte(data), &event)
	if err != nil {
		return fmt.Errorf("data must be an event of the ledger: %w", err)
	}
	cl.timestamp = event.Timestamp
	return cl.parseTransactionID(event.TransactionID)
}

var errNoTransaction = errors.New("transactionId must be a UUID")

func (cl *claim) parseTransactionID(text string) error {
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil {
		return errNoTransaction
	}
	cl.transactionID = id
	return nil
}
