package bus

import (
	"slices"
	"strconv"
)

// Keys names all keys and channels of the system in Redis. The braces in a key are a Redis Cluster
// hash tag: all keys of a partition are in one slot. The tags are computed so that the partitions
// spread evenly over the masters of a cluster.
type Keys struct {
	Namespace  string // Defaults to "rt".
	Partitions int    // 1 to MaxPartitions. Defaults to 64.
}

// Defaults of the fields of Keys.
const (
	DefaultNamespace  = "rt"
	DefaultPartitions = 64
)

// WithDefaults returns a copy with the defaults of the zero fields.
func (k Keys) WithDefaults() Keys {
	if k.Namespace == "" {
		k.Namespace = DefaultNamespace
	}

	if k.Partitions == 0 {
		k.Partitions = DefaultPartitions
	}

	return k
}

// String returns namespace/partitions, such as rt/64.
func (k Keys) String() string { return k.Namespace + "/" + strconv.Itoa(k.Partitions) }

// Partition returns the partition of an account: FNV-1a-32(account) mod Partitions.
func (k Keys) Partition(account string) int { return int(hashFNV1a(account) % uint32(k.Partitions)) }

// hashFNV1a is the hash of hash/fnv without its two allocations.
func hashFNV1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// Stream returns the key of a partition's event stream.
func (k Keys) Stream(partition int) string { return k.Prefix(partition) + ":events" }

// BalanceHash returns the key of an account's balance snapshot.
func (k Keys) BalanceHash(account string) string {
	return k.Prefix(k.Partition(account)) + ":balance:" + account
}

// Relayed returns the key of a partition's watermark: the time, in ms since 1970, up to which all
// commits were published.
func (k Keys) Relayed(partition int) string { return k.Prefix(partition) + ":relayed" }

// Rewound returns the key of a partition's hash with the accounts that were set back in the last week,
// because the ledger went back. It has the ids of each account's newest markers, TypeHistoryChanged,
// oldest first.
func (k Keys) Rewound(partition int) string { return k.Prefix(partition) + ":rewound" }

// Dedup returns the deduplication key of an event or an account update.
func (k Keys) Dedup(partition int, key string) string {
	return k.Prefix(partition) + ":dedup:" + key
}

// Dead returns the key of the stream of a consumer group's dead letters.
func (k Keys) Dead(partition int, group string) string {
	return k.Prefix(partition) + ":dead:" + group
}

// Replay returns the key of the stream of a consumer group's replayed dead letters.
func (k Keys) Replay(partition int, group string) string {
	return k.Prefix(partition) + ":replay:" + group
}

// Backfill returns the key of the hash with a partition's state of the backfills of a consumer group.
func (k Keys) Backfill(partition int, group string) string {
	return k.Prefix(partition) + ":backfill:" + group
}

// Done returns the key of an event's done markers: the set of a consumer group's subscriptions that
// are done with the event while others are not.
func (k Keys) Done(partition int, group, event string) string {
	return k.Prefix(partition) + ":done:" + group + ":" + event
}

// Control returns the Pub/Sub channel from the admin API to all gateways.
func (k Keys) Control() string { return k.Namespace + ":control" }

// Forked returns the key that exists while Redis may have events that the ledger does not have. It is
// deleted when all balance hashes were compared with the ledger.
func (k Keys) Forked() string { return k.Namespace + ":forked" }

// Revoked returns the key of the sorted set of revoked tokens. Gateways refuse a token until its
// score, in seconds since 1970.
func (k Keys) Revoked() string { return k.Namespace + ":revoked" }

// Layout returns the key of the hash that describes the partitions in use. A process with another
// layout refuses to start.
func (k Keys) Layout() string { return k.Namespace + ":layout" }

// Tags returns the hash tag of each partition.
func (k Keys) Tags() []string { return slices.Clone(tagsOf(k.Partitions)) }

// Prefix returns the prefix of all keys of a partition, such as rt:{12}.
func (k Keys) Prefix(partition int) string {
	return k.Namespace + ":{" + tagsOf(k.Partitions)[partition] + "}"
}
