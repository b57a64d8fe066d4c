// Package exampletest is what the tests of the programs in examples share: streams with events on a real Redis, and the
// program itself, to run, kill and start again.
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

// Streams are one test's events, in two partitions, and the program's consumer group that reads them.
type Streams struct {
	URL   string
	Keys  bus.Keys
	Redis redis.UniversalClient

	t     testing.TB
	group string
	seq   map[string]int64 // of each account's last event
}

// NewStreams makes streams without events, for this test and the given consumer group.
func NewStreams(t testing.TB, group string) *Streams {
	t.Helper()
	s := &Streams{t: t, group: group, seq: map[string]int64{}}
	s.URL, s.Keys.Namespace = testenv.Redis(t)
	s.Keys.Partitions = 2
	var err error
	if s.Redis, err = redisconn.Open(s.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Redis.Close() })
	return s
}

// Args are the flags with which a program reads these streams.
func (s *Streams) Args() []string {
	return []string{"--redis-url", s.URL, "--namespace", s.Keys.Namespace, "--partitions", strconv.Itoa(s.Keys.Partitions)}
}

// Publish adds events as the ledger's relay does: numbered by account, and a settlement once more for model:m. An event
// without an account is user:u's, one without data has {}.
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
		pubs = append(pubs, s.delivery(e, e.Account))
		if e.Type == "wallet.escrow_settled" {
			pubs = append(pubs, s.delivery(e, "model:m"))
		}
	}
	outcomes, err := publish.New(s.Redis, publish.Config{Keys: s.Keys}).Publish(s.t.Context(), pubs)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Status != bus.Published {
			s.t.Fatal("not published: ", outcomes)
		}
	}
}

func (s *Streams) delivery(e bus.Event, account string) publish.Publication {
	s.seq[account]++
	seq := s.seq[account]
	return publish.Publication{Update: bus.AccountUpdate{
		Key: account + strconv.FormatInt(seq, 10), Account: account, Balance: bus.Balance{Account: account, Seq: seq},
		Deliveries: []bus.Delivery{{
			ID: e.ID, Type: e.Type, Account: account, Seq: seq, Amount: e.Amount, Reason: e.Reason, Feature: e.Feature,
			Data: e.Data, SecondParty: account != e.Account,
		}},
	}}
}

// Redeliver has the group get all that the streams hold once more.
func (s *Streams) Redeliver() {
	s.t.Helper()
	for p := range s.Keys.Partitions {
		if err := s.Redis.XGroupSetID(s.t.Context(), s.Keys.Stream(p), s.group, "0").Err(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Settled waits until the group is through with the streams.
func (s *Streams) Settled() {
	s.t.Helper()
	Until(s.t, "the group is through with the streams", func() bool {
		for p := range s.Keys.Partitions {
			groups, err := s.Redis.XInfoGroups(s.t.Context(), s.Keys.Stream(p)).Result()
			if err != nil || len(groups) != 1 || groups[0].Pending > 0 {
				return false
			}
			last, err := s.Redis.XRevRangeN(s.t.Context(), s.Keys.Stream(p), "+", "-", 1).Result()
			if err != nil || len(last) > 0 && last[0].ID != groups[0].LastDeliveredID {
				return false
			}
		}
		return true
	})
}

// Read tells how many entries the group was given.
func (s *Streams) Read() (n int64) {
	for p := range s.Keys.Partitions {
		groups, err := s.Redis.XInfoGroups(s.t.Context(), s.Keys.Stream(p)).Result()
		if err == nil && len(groups) == 1 {
			n += groups[0].EntriesRead
		}
	}
	return n
}

// DeadLetters are the group's.
func (s *Streams) DeadLetters() []bus.DeadLetter {
	s.t.Helper()
	letters, err := consumer.OpenDeadLetters(s.Redis, s.Keys, s.group).List(s.t.Context(), "", 100)
	if err != nil {
		s.t.Fatal(err)
	}
	return letters
}

// Until polls a condition that nothing signals, for up to 30 s.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > 30*time.Second {
			t.Fatal("waited in vain until ", what)
		}
	}
}
