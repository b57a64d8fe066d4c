// Package exampletest has helpers for the tests of the programs in examples: streams with events on
// a real Redis, and the program as a process that a test can kill and start again.
package exampletest

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/consumer"
	"github.com/redroomrewards/realtime/pkg/bus/publish"
	"github.com/redroomrewards/realtime/pkg/bus/redisconn"
)

// Streams are the events of one test, in two partitions, and the program's consumer group.
type Streams struct {
	URL   string
	Keys  bus.Keys
	Redis redis.UniversalClient

	t     testing.TB
	group string
	seq   map[string]int64 // of each account's last event
}

// NewStreams returns streams without events, for this test and the given consumer group.
func NewStreams(t testing.TB, group string) *Streams {
	t.Helper()

	url, namespace := testenv.Redis(t)
	rdb, err := redisconn.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return &Streams{
		URL:   url,
		Keys:  bus.Keys{Namespace: namespace, Partitions: 2},
		Redis: rdb,
		t:     t,
		group: group,
		seq:   map[string]int64{},
	}
}

// Args returns the flags with which a program reads these streams.
func (s *Streams) Args() []string {
	return []string{
		"--redis-url", s.URL,
		"--namespace", s.Keys.Namespace,
		"--partitions", strconv.Itoa(s.Keys.Partitions),
	}
}

// Publish publishes events as the ledger's relay does. Each account's events are numbered, and a
// settlement is also delivered to model:m. The account defaults to user:u, and the data to {}.
func (s *Streams) Publish(events ...bus.Event) {
	s.t.Helper()

	var pubs []publish.Publication
	for _, e := range events {
		if e.Account == "" {
			e.Account = "user:u"
		}

		if e.Data == nil {
			e.Data = []byte("{}")
		}

		pubs = append(pubs, s.newPublication(e, e.Account))
		if e.Type == "wallet.escrow_settled" {
			pubs = append(pubs, s.newPublication(e, "model:m"))
		}
	}

	outcomes, err := publish.New(s.Redis, publish.Config{Keys: s.Keys}).Publish(s.t.Context(), pubs)
	if err != nil {
		s.t.Fatal(err)
	}

	for i, o := range outcomes {
		if o.Status != bus.Published {
			s.t.Fatalf("publication %d: got status %v, want %v", i, o.Status, bus.Published)
		}
	}
}

// newPublication returns the next delivery to an account.
func (s *Streams) newPublication(e bus.Event, account string) publish.Publication {
	s.seq[account]++
	seq := s.seq[account]
	delivery := bus.Delivery{
		ID:          e.ID,
		Type:        e.Type,
		Account:     account,
		Seq:         seq,
		Amount:      e.Amount,
		Reason:      e.Reason,
		Feature:     e.Feature,
		Data:        e.Data,
		SecondParty: account != e.Account,
	}

	return publish.Publication{Update: bus.AccountUpdate{
		Key:        account + strconv.FormatInt(seq, 10),
		Account:    account,
		Balance:    bus.Balance{Account: account, Seq: seq},
		Deliveries: []bus.Delivery{delivery},
	}}
}

// Redeliver makes the group read all entries of the streams again.
func (s *Streams) Redeliver() {
	s.t.Helper()

	for p := range s.Keys.Partitions {
		err := s.Redis.XGroupSetID(s.t.Context(), s.Keys.Stream(p), s.group, "0").Err()
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// WaitAcknowledged waits until the group has read and acknowledged all entries of the streams.
func (s *Streams) WaitAcknowledged() {
	s.t.Helper()

	WaitUntil(s.t, "the group has acknowledged all entries", func() bool {
		for p := range s.Keys.Partitions {
			if !s.isAcknowledged(p) {
				return false
			}
		}

		return true
	})
}

func (s *Streams) isAcknowledged(partition int) bool {
	stream := s.Keys.Stream(partition)
	groups, err := s.Redis.XInfoGroups(s.t.Context(), stream).Result()
	if err != nil || len(groups) != 1 || groups[0].Pending > 0 {
		return false
	}

	newest, err := s.Redis.XRevRangeN(s.t.Context(), stream, "+", "-", 1).Result()
	if err != nil {
		return false
	}

	return len(newest) == 0 || newest[0].ID == groups[0].LastDeliveredID
}

// CountRead returns how many entries the group has read.
func (s *Streams) CountRead() int64 {
	var n int64
	for p := range s.Keys.Partitions {
		groups, err := s.Redis.XInfoGroups(s.t.Context(), s.Keys.Stream(p)).Result()
		if err == nil && len(groups) == 1 {
			n += groups[0].EntriesRead
		}
	}

	return n
}

// DeadLetters returns the dead letters of the group.
func (s *Streams) DeadLetters() []bus.DeadLetter {
	s.t.Helper()

	letters, err := consumer.OpenDeadLetters(s.Redis, s.Keys, s.group).List(s.t.Context(), "", 100)
	if err != nil {
		s.t.Fatal(err)
	}

	return letters
}

// WaitUntil waits until a condition holds that nothing signals. It ends the test after 30 s.
func WaitUntil(t testing.TB, condition string, holds func() bool) {
	t.Helper()

	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()

	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			t.Fatal("not within 30 s: ", condition)
		}
	}
}
