package e2e

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"reflect"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

const partitions = 16

// consumer reads all streams from their beginning, as somebody would who knows only the contract. It complains of holes,
// repeats and strangers.
type consumer struct {
	w     *world
	based bool // Redis was emptied: an account's entries may begin above 1

	mu     sync.Mutex // protects what follows
	at     [partitions]string
	events map[string][]entry // by account
	first  map[string]bool    // ids of entries without copy
	copies []entry
}

// entry is one stream entry.
type entry struct {
	seq    int64
	fields map[string]string
}

// own is the event as the account itself may see it.
func (e entry) own() string {
	if view, ok := e.fields["view"]; ok {
		return view
	}
	return e.fields["data"]
}

func (w *world) consumer() *consumer {
	c := &consumer{w: w, events: map[string][]entry{}, first: map[string]bool{}}
	for i := range c.at {
		c.at[i] = "0"
	}
	return c
}

func (w *world) stream(p int) string { return w.namespace + ":{" + strconv.Itoa(p) + "}:events" }

func partition(account string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(account)) // never fails
	return int(h.Sum32() % partitions)
}

// follow reads until stop is called, which reads what is left.
func (c *consumer) follow() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			c.read(200)
		}
		c.drain()
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	c.w.Cleanup(stop)
	return stop
}

// drain reads what there is.
func (c *consumer) drain() {
	for c.read(-1) > 0 {
	}
}

// read waits for entries for as many milliseconds; -1: not at all.
func (c *consumer) read(block int64) int {
	args := []any{"XREAD", "COUNT", 100}
	if block > 0 {
		args = append(args, "BLOCK", block)
	}
	args = append(args, "STREAMS")
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range partitions {
		args = append(args, c.w.stream(p))
	}
	for p := range partitions {
		args = append(args, c.at[p])
	}
	cmd := redis.NewXStreamSliceCmd(context.Background(), args...)
	_ = c.w.rdb.Process(context.Background(), cmd) // the command has the error, too
	streams, err := cmd.Result()
	if err != nil && err != redis.Nil { //nolint:errorlint // go-redis returns it as it is
		c.w.Errorf("read streams: %v", err)
		return 0
	}
	n := 0
	for _, s := range streams {
		for _, m := range s.Messages {
			n++
			p := c.take(s.Stream, m)
			c.at[p] = m.ID
		}
	}
	return n
}

// take checks one entry and returns its partition.
func (c *consumer) take(stream string, m redis.XMessage) int {
	fields := map[string]string{}
	for k, v := range m.Values {
		fields[k], _ = v.(string)
	}
	account := fields["account"]
	seq, err := strconv.ParseInt(fields["seq"], 10, 64)
	list := c.events[account]
	p := partition(account)
	switch {
	case err != nil || stream != c.w.stream(p):
		c.w.Errorf("stream %s has %v, which does not belong there", stream, fields)
	case len(list) == 0 && seq != 1 && !c.based:
		c.w.Errorf("the stream of %s begins at %d", account, seq)
	case len(list) > 0 && seq != list[len(list)-1].seq+1:
		c.w.Errorf("the stream of %s goes from %d to %d", account, list[len(list)-1].seq, seq)
	}
	e := entry{seq: seq, fields: fields}
	c.events[account] = append(list, e)
	switch {
	case fields["copy"] == "1":
		c.copies = append(c.copies, e)
	case c.first[fields["id"]]:
		c.w.Errorf("a consumer that skips copies gets event %s twice", fields["id"])
	default:
		c.first[fields["id"]] = true
	}
	return p
}

// agrees compares the account's entries with the ledger's history.
func (c *consumer) agrees(account string, history []event) {
	c.w.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.events[account]
	if len(list) == 0 || list[len(list)-1].seq != int64(len(history)) || (!c.based && len(list) != len(history)) {
		c.w.Errorf("the stream has %d events of %s, the ledger %d", len(list), account, len(history))
		return
	}
	for _, e := range list {
		if want := string(history[e.seq-1].Event); e.own() != want {
			c.w.Errorf("event %d of %s is in the stream\n%s\nand in the ledger\n%s", e.seq, account, e.own(), want)
		}
	}
}

// twins checks that each second party's delivery has a first party's with the same id.
func (c *consumer) twins() {
	c.w.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.copies {
		if !c.first[e.fields["id"]] && !c.based {
			c.w.Errorf("copy %s has no first delivery", e.fields["id"])
		}
	}
}

// hash is the account's balance hash.
func (w *world) hash(account string) map[string]string {
	w.Helper()
	key := w.namespace + ":{" + strconv.Itoa(partition(account)) + "}:balance:" + account
	got, err := w.rdb.HGetAll(w.Context(), key).Result()
	if err != nil {
		w.Fatal(err)
	}
	return got
}

// hashIs wants the balance hash to say what the ledger says.
func (w *world) hashIs(b balance) {
	w.Helper()
	want := map[string]string{"seq": strconv.FormatInt(b.Seq, 10)}
	if isModel(b.AccountID) {
		want["earned"] = strconv.FormatInt(b.EarnedBalance, 10)
	} else {
		want["available"] = strconv.FormatInt(b.AvailableBalance, 10)
		want["escrow"] = strconv.FormatInt(b.EscrowBalance, 10)
	}
	got := w.hash(b.AccountID)
	updated := got["updatedAt"]
	delete(got, "updatedAt")
	if !reflect.DeepEqual(got, want) || updated == "" {
		w.Errorf("balance hash of %s: %v updated at %q, want %v", b.AccountID, got, updated, want)
	}
}

// decoded is JSON as a map.
func (w *world) decoded(raw []byte) object {
	w.Helper()
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		w.Fatalf("%v in %s", err, raw)
	}
	return o
}
