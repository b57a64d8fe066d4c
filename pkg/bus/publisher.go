package bus

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// PublisherConfig is the publisher's optional settings.
type PublisherConfig struct {
	Keys       Keys                  // Defaults to namespace "rt", 16 partitions.
	MaxLen     int64                 // entries that a stream keeps, about (XADD MAXLEN ~). Defaults to 1,000,000.
	DedupTTL   time.Duration         // how long a group's dedup key lives. Defaults to 1 h.
	MaxGroups  int                   // groups in one script call, so that Redis serves others in between. Defaults to 256.
	MaxBytes   int                   // payload in one script call, above which the next begins. Defaults to 1 MiB.
	Registerer prometheus.Registerer // Defaults to no metrics.
}

// A Publication asks for one group to be published.
type Publication struct {
	Group Group
	// Base accepts the group as the account's starting point when Redis knows
	// nothing of the account. Set it only when every earlier group is known to be
	// published or not wanted: they are duplicates from then on. A group that
	// starts at 1 needs no Base.
	Base bool
}

// Status is what became of a publication.
type Status uint8

const (
	// Unknown: Redis gave no answer for the group; it may or may not be published.
	Unknown Status = iota
	// Published: the group was added now.
	Published
	// Duplicate: Redis has the group already; nothing was added.
	Duplicate
	// Gap: the group's predecessor is missing in Redis; nothing was done.
	Gap
	// Straddled: Redis has some of the group's deliveries and lacks others, which
	// no publisher can bring about: somebody wrote the hash, or the ledger has
	// another history than Redis. Nothing was done.
	Straddled
	// Unwritable: the account's hash is no hash. Nothing was done.
	Unwritable
)

// Outcome answers one publication.
type Outcome struct {
	Status Status
	Last   int64 // the account's seq in Redis before this publication; -1: Redis has none. Not set when Unknown.
}

// Done tells whether Redis has the group.
func (o Outcome) Done() bool { return o.Status == Published || o.Status == Duplicate }

// Publisher writes groups to the streams. Its methods may be called from several
// goroutines.
type Publisher struct {
	rdb redis.UniversalClient
	cfg PublisherConfig
}

// NewPublisher returns a publisher on the given client.
func NewPublisher(rdb redis.UniversalClient, cfg PublisherConfig) *Publisher {
	return &Publisher{rdb: rdb, cfg: cfg}
}

// Publish writes groups and answers for each what became of it, in the order
// given. Groups of one account are taken in that order; put them in order of
// seq. A partition's groups go in one script call, up to the configured bounds;
// all calls go in one pipeline. Each group is written whole or not at all, each
// stands alone, and the same groups may be sent again at any time.
//
// An error means that some calls failed: their outcomes are Unknown, the others
// count.
func (p *Publisher) Publish(ctx context.Context, pubs []Publication) ([]Outcome, error) {
	panic("being written")
}
