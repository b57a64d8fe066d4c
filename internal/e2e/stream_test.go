package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/pkg/client"
)

// partitions is the number of partitions of a core by default.
const partitions = 64

// streamReader reads all streams from their beginning, as a program does that knows only the
// contract. It fails the test if a seq is missing, repeated or in the wrong stream.
type streamReader struct {
	w *world
	// redisWasEmptied allows the streams to begin above seq 1.
	redisWasEmptied bool

	mu        sync.Mutex // protects the fields below
	positions [partitions]string
	entries   map[string][]streamEntry // by account
	originals map[string]bool          // ids of events that are not copies
	copies    []streamEntry
}

// streamEntry is one stream entry.
type streamEntry struct {
	seq    int64
	fields map[string]string
}

// accountView returns the event as the account itself may see it.
func (e streamEntry) accountView() string {
	view, found := e.fields["view"]
	if found {
		return view
	}
	return e.fields["data"]
}

func (w *world) newStreamReader() *streamReader {
	r := &streamReader{w: w, entries: map[string][]streamEntry{}, originals: map[string]bool{}}
	for i := range r.positions {
		r.positions[i] = "0"
	}
	return r
}

// streamKey returns the key of a partition's stream. It reads the tags from the layout, as a
// program does that knows only the contract.
func (w *world) streamKey(partition int) string {
	return w.namespace + ":{" + w.readTags()[partition] + "}:events"
}

// readTags returns the hash tags of the partitions. They never change, so it reads them once.
func (w *world) readTags() []string {
	w.tagsMu.Lock()
	defer w.tagsMu.Unlock()
	if w.tags != nil {
		return w.tags
	}
	var text string
	w.waitUntil("Redis has a layout", func() bool {
		var err error
		text, err = w.rdb.HGet(context.Background(), w.namespace+":layout", "tags").Result()
		return err == nil
	})
	var tags []string
	err := json.Unmarshal([]byte(text), &tags)
	if err != nil || len(tags) != partitions {
		w.Fatalf("tags in the layout: got %s (%v), want %d", text, err, partitions)
	}
	w.tags = tags
	return tags
}

func partitionOf(account string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(account)) // never fails
	return int(h.Sum32() % partitions)
}

// followStreams reads in the background until stop is called. stop reads the remaining entries.
func (r *streamReader) followStreams() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			r.readEntries(200)
		}
		r.readAll()
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	r.w.Cleanup(stop)
	return stop
}

// readAll reads all entries that the streams have.
func (r *streamReader) readAll() {
	for r.readEntries(-1) > 0 {
	}
}

// readEntries reads some entries and returns their number. It waits for them for at most that many
// milliseconds; -1: it does not wait.
func (r *streamReader) readEntries(blockMilliseconds int64) int {
	args := []any{"XREAD", "COUNT", 100}
	if blockMilliseconds > 0 {
		args = append(args, "BLOCK", blockMilliseconds)
	}
	args = append(args, "STREAMS")
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range partitions {
		args = append(args, r.w.streamKey(p))
	}
	for p := range partitions {
		args = append(args, r.positions[p])
	}
	cmd := redis.NewXStreamSliceCmd(context.Background(), args...)
	_ = r.w.rdb.Process(context.Background(), cmd) // Result returns the same error
	streams, err := cmd.Result()
	if err != nil && err != redis.Nil { //nolint:errorlint // go-redis does not wrap it
		r.w.Errorf("read streams: %v", err)
		return 0
	}
	n := 0
	for _, s := range streams {
		for _, m := range s.Messages {
			n++
			partition := r.addEntry(s.Stream, m)
			r.positions[partition] = m.ID
		}
	}
	return n
}

// addEntry checks one entry, keeps it and returns its partition.
func (r *streamReader) addEntry(stream string, m redis.XMessage) int {
	fields := map[string]string{}
	for k, v := range m.Values {
		fields[k], _ = v.(string)
	}
	account := fields["account"]
	partition := partitionOf(account)
	checkEqual(r.w, "stream of "+account, stream, r.w.streamKey(partition))
	seq, err := strconv.ParseInt(fields["seq"], 10, 64)
	if err != nil {
		r.w.Errorf("seq of %v: %v", fields, err)
	}
	list := r.entries[account]
	switch {
	case len(list) > 0:
		checkEqual(r.w, "next seq in the stream of "+account, seq, list[len(list)-1].seq+1)
	case !r.redisWasEmptied:
		checkEqual(r.w, "first seq in the stream of "+account, seq, 1)
	}
	e := streamEntry{seq: seq, fields: fields}
	r.entries[account] = append(list, e)
	id := fields["id"]
	switch {
	case fields["copy"] == "1":
		r.copies = append(r.copies, e)
	case r.originals[id]:
		r.w.Errorf("event %s is in the streams twice without being a copy", id)
	default:
		r.originals[id] = true
	}
	return partition
}

// checkAccount compares the account's entries with the ledger's history.
func (r *streamReader) checkAccount(account string, history []client.LedgerEvent) {
	r.w.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.entries[account]
	if len(list) == 0 {
		r.w.Errorf("the stream has no events of %s, want up to seq %d", account, len(history))
		return
	}
	if last := list[len(list)-1].seq; last != int64(len(history)) {
		r.w.Errorf("last seq in the stream of %s: got %d, want %d", account, last, len(history))
		return
	}
	if !r.redisWasEmptied && len(list) != len(history) {
		r.w.Errorf("entries in the stream of %s: got %d, want %d", account, len(list), len(history))
		return
	}
	for _, e := range list {
		name := fmt.Sprintf("chain of event %d of %s in the stream", e.seq, account)
		checkEqual(r.w, name, e.fields["chain"], history[e.seq-1].Chain)
		if want := string(history[e.seq-1].JSON); e.accountView() != want {
			r.w.Errorf("event %d of %s in the stream:\ngot  %s\nwant %s", e.seq, account, e.accountView(), want)
		}
	}
}

// checkCopies wants the delivery to the first party for each copy.
func (r *streamReader) checkCopies() {
	r.w.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.redisWasEmptied {
		return
	}
	for _, e := range r.copies {
		if id := e.fields["id"]; !r.originals[id] {
			r.w.Errorf("event %s is in the streams only as a copy", id)
		}
	}
}

// hashKey returns the key of the account's balance hash.
func (w *world) hashKey(account string) string {
	return w.namespace + ":{" + w.readTags()[partitionOf(account)] + "}:balance:" + account
}

// readHash returns the account's balance hash.
func (w *world) readHash(account string) map[string]string {
	w.Helper()
	hash, err := w.rdb.HGetAll(w.Context(), w.hashKey(account)).Result()
	if err != nil {
		w.Fatal(err)
	}
	return hash
}

// checkHash compares the account's balance hash with the ledger's balance.
func (w *world) checkHash(b client.Balance) {
	w.Helper()
	want := map[string]string{
		"seq":   strconv.FormatInt(b.Seq, 10),
		"chain": b.Chain,
	}
	if isModel(b.Account) {
		want["earned"] = strconv.FormatInt(b.Earned, 10)
	} else {
		want["available"] = strconv.FormatInt(b.Available, 10)
		want["escrow"] = strconv.FormatInt(b.Escrow, 10)
	}
	got := w.readHash(b.Account)
	if got["updatedAt"] == "" {
		w.Errorf("balance hash of %s: got no updatedAt", b.Account)
	}
	delete(got, "updatedAt")
	if !reflect.DeepEqual(got, want) {
		w.Errorf("balance hash of %s: got %v, want %v", b.Account, got, want)
	}
}

// waitForHashSeq waits until the account's balance hash has that seq.
func (w *world) waitForHashSeq(account string, seq int64) {
	w.Helper()
	want := strconv.FormatInt(seq, 10)
	w.waitUntil("the balance hash of "+account+" has seq "+want, func() bool { return w.readHash(account)["seq"] == want })
}
