package backfill

import (
	"testing"

	"github.com/google/uuid"

	"github.com/redroomrewards/realtime/internal/streamtest"
	"github.com/redroomrewards/realtime/internal/testenv"
	"github.com/redroomrewards/realtime/pkg/bus"
	"github.com/redroomrewards/realtime/pkg/bus/internal/streamentry"
)

// The copying began at entry 10 and the seam is entry 20. Accounts were set back at certain entries.
func TestSeamCoversWhatTheHistoryHas(t *testing.T) {
	t.Parallel()
	url, namespace := testenv.Redis(t)
	rdb := streamtest.Open(t, url)
	keys := bus.Keys{Namespace: namespace, Partitions: 1}
	key := uuid.Must(uuid.NewV7()).String() + ":user"
	ms, _ := keyMillis(key)
	part := partitionSeam{id: streamentry.ID{Millis: 20}, start: streamentry.ID{Millis: 10}}
	part.rewound = map[string]streamentry.ID{"user:earlier": {Millis: 15}}
	newest := newestEvent{seq: 5, ms: ms, chain: 55}
	s := &Seam{
		rdb:        rdb,
		keys:       keys,
		partitions: []partitionSeam{part},
		newest:     map[string]newestEvent{"user:quiet": newest, "user:later": newest},
	}
	err := rdb.HSet(t.Context(), keys.Rewound(0), "user:later", "9-0 24-0 27-0").Err()
	if err != nil {
		t.Fatal(err)
	}

	for name, tc := range map[string]struct {
		id      uint64
		account string
		seq     int64 // 0: the event of another producer; -1: a marker
		chain   bus.Chain
		want    bool
	}{
		"an event before the seam":                     {id: 15, account: "user:quiet", seq: 3, want: true},
		"the last event before the seam":               {id: 20, account: "user:quiet", seq: 4, want: true},
		"an event of another producer":                 {id: 15, account: "user:quiet", seq: 0, want: false},
		"an account that the last pages do not have":   {id: 21, account: "user:other", seq: 3, want: false},
		"an event of the last pages":                   {id: 21, account: "user:quiet", seq: 4, want: true},
		"the newest event of the last pages":           {id: 21, account: "user:quiet", seq: 5, chain: 55, want: true},
		"another event with the seq of the newest one": {id: 21, account: "user:quiet", seq: 5, chain: 56, want: false},
		"an event after the last pages":                {id: 21, account: "user:quiet", seq: 6, want: false},
		"a marker before the copying":                  {id: 9, account: "user:earlier", seq: -1, want: true},
		"an event before the marker":                   {id: 14, account: "user:earlier", seq: 3, want: true},
		"a marker before the seam":                     {id: 15, account: "user:earlier", seq: -1, want: false},
		"an event between the marker and the seam":     {id: 16, account: "user:earlier", seq: 3, want: false},
		"a marker after the seam":                      {id: 24, account: "user:later", seq: -1, want: false},
		"an event of the last pages before the marker": {id: 23, account: "user:later", seq: 4, want: true},
		"an event of the last pages after the marker":  {id: 25, account: "user:later", seq: 4, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			e := &bus.Event{Type: "wallet.credited", Account: tc.account, Seq: tc.seq, Chain: tc.chain, Key: key}
			if tc.seq < 0 {
				e.Type = bus.TypeHistoryChanged
				e.Seq = 2
			}

			got, err := s.Covers(t.Context(), streamentry.ID{Millis: tc.id}, 0, e)
			if err != nil {
				t.Fatal(err)
			}

			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
