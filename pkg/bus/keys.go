package bus

import "strconv"

// Keys names everything the system keeps in Redis. The braces are a Redis
// Cluster hash tag: all keys of a partition live in one slot.
type Keys struct {
	Namespace  string // Defaults to "rt" where a Config leaves it empty.
	Partitions int    // Defaults to 16 where a Config leaves it zero.
}

// DefaultNamespace and DefaultPartitions are what the commands start with.
const (
	DefaultNamespace  = "rt"
	DefaultPartitions = 16
)

// WithDefaults fills in what is zero.
func (k Keys) WithDefaults() Keys {
	if k.Namespace == "" {
		k.Namespace = DefaultNamespace
	}
	if k.Partitions == 0 {
		k.Partitions = DefaultPartitions
	}
	return k
}

// String is namespace/partitions, such as rt/16.
func (k Keys) String() string { return k.Namespace + "/" + strconv.Itoa(k.Partitions) }

// Partition is FNV-1a-32(account) mod Partitions.
func (k Keys) Partition(account string) int { return int(fnv1a(account) % uint32(k.Partitions)) }

// fnv1a is hash/fnv's, without its two allocations.
func fnv1a(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// Stream is the key of a partition's event stream.
func (k Keys) Stream(partition int) string { return k.tag(partition) + ":events" }

// BalanceHash is the key of an account's balance snapshot.
func (k Keys) BalanceHash(account string) string {
	return k.tag(k.Partition(account)) + ":balance:" + account
}

// Relayed is the key that says until when the partition has all that was committed, in ms since 1970.
func (k Keys) Relayed(partition int) string { return k.tag(partition) + ":relayed" }

// Dedup is the key that marks something of the partition as published.
func (k Keys) Dedup(partition int, key string) string { return k.tag(partition) + ":dedup:" + key }

// Dead is the stream of a consumer group's dead letters.
func (k Keys) Dead(partition int, group string) string { return k.tag(partition) + ":dead:" + group }

// Replay is the stream through which a consumer group's dead letters come back to it.
func (k Keys) Replay(partition int, group string) string {
	return k.tag(partition) + ":replay:" + group
}

// Done is the set of a consumer group's subscriptions that are through with an event
// while others are not.
func (k Keys) Done(partition int, group, event string) string {
	return k.tag(partition) + ":done:" + group + ":" + event
}

// Control is the Pub/Sub channel from the admin API to all gateways.
func (k Keys) Control() string { return k.Namespace + ":control" }

// Revoked is the sorted set of tokens that gateways refuse, each until its score,
// in seconds since 1970.
func (k Keys) Revoked() string { return k.Namespace + ":revoked" }

// Layout is the key that holds the partition count in use, so that a process
// with another one refuses to start.
func (k Keys) Layout() string { return k.Namespace + ":layout" }

func (k Keys) tag(partition int) string {
	return k.Namespace + ":{" + strconv.Itoa(partition) + "}"
}
