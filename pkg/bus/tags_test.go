package bus

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
)

// The slots are those that CLUSTER KEYSLOT answers.
func TestHashSlotIsThatOfRedisCluster(t *testing.T) {
	slots := map[string]int{"": 0, "0": 13907, "1": 9842, "123456789": 12739, "user1000": 3443}
	for tag, want := range slots {
		if got := hashSlot([]byte(tag)); got != want {
			t.Errorf("%q: got slot %d, want %d", tag, got, want)
		}
	}
}

// The tags are part of the contract with consumers and with Redis servers that have data.
func TestTagsStayTheSame(t *testing.T) {
	tests := map[int][]string{
		1: {"8209"},
		4: {"48576", "1296", "2821", "16248"},
	}
	for partitions, want := range tests {
		got := Keys{Partitions: partitions}.Tags()
		if !slices.Equal(got, want) {
			t.Errorf("%d partitions: got tags %v, want %v", partitions, got, want)
		}
	}
}

func TestTagsAreInTheMiddleOfEqualRanges(t *testing.T) {
	for _, partitions := range []int{1, 2, 3, 7, 16, 64, 100, 1000, MaxPartitions} {
		tags := Keys{Partitions: partitions}.Tags()
		if len(tags) != partitions {
			t.Fatalf("%d partitions: got %d tags", partitions, len(tags))
		}
		for i, tag := range tags {
			middle := int(math.Floor((float64(i) + 0.5) * clusterSlots / float64(partitions)))
			if got := hashSlot([]byte(tag)); got != middle {
				t.Errorf("partition %d of %d: got slot %d, want %d", i, partitions, got, middle)
			}
			if len(tag) > 6 {
				t.Errorf("partition %d of %d: got tag %q, want at most 6 digits", i, partitions, tag)
			}
		}
	}
}

// The slots are divided among the masters as redis-cli --cluster create does it. No master may have
// more partitions than the mean, rounded up. With the default number, none may have fewer than the
// mean, rounded down.
func TestPartitionsSpreadEvenlyOverMasters(t *testing.T) {
	for _, partitions := range []int{1, 4, 16, 48, 64, 100, 128, 256, 1000, MaxPartitions} {
		for masters := 1; masters <= 32; masters++ {
			t.Run(fmt.Sprintf("%d on %d", partitions, masters), func(t *testing.T) {
				counts := countByMaster(partitions, masters)
				most := (partitions + masters - 1) / masters
				if got := slices.Max(counts); got > most {
					t.Errorf("got %d partitions on one master, want at most %d: %v", got, most, counts)
				}
				fewest := partitions / masters
				got := slices.Min(counts)
				if partitions == DefaultPartitions && got < fewest {
					t.Errorf("got %d partitions on one master, want at least %d: %v", got, fewest, counts)
				}
			})
		}
	}
}

// countByMaster returns how many partitions each master has.
func countByMaster(partitions, masters int) []int {
	counts := make([]int, masters)
	perMaster := float64(clusterSlots) / float64(masters)
	cursor := 0.0
	first := 0
	for m := range masters {
		last := int(math.Round(cursor + perMaster - 1))
		if m == masters-1 {
			last = clusterSlots - 1
		}
		for _, tag := range (Keys{Partitions: partitions}).Tags() {
			slot := hashSlot([]byte(tag))
			if slot >= first && slot <= last {
				counts[m]++
			}
		}
		first = last + 1
		cursor += perMaster
	}
	return counts
}

func TestTagsArePartsOfAllKeys(t *testing.T) {
	k := Keys{Namespace: "n", Partitions: 4}
	account := "user:u1"
	partition := k.Partition(account)
	want := "n:{" + k.Tags()[partition] + "}"
	keys := map[string]string{
		"Stream":      k.Stream(partition),
		"BalanceHash": k.BalanceHash(account),
		"Relayed":     k.Relayed(partition),
		"Dedup":       k.Dedup(partition, "x"),
		"Dead":        k.Dead(partition, "g"),
		"Replay":      k.Replay(partition, "g"),
		"Done":        k.Done(partition, "g", "e"),
	}
	for name, key := range keys {
		if key[:len(want)] != want {
			t.Errorf("%s: got %s, want a key with the prefix %s", name, key, want)
		}
	}
}

func TestPartitionCountOutOfRangePanics(t *testing.T) {
	for _, partitions := range []int{-1, 0, MaxPartitions + 1} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			Keys{Partitions: partitions}.Stream(0)
		})
	}
}

func BenchmarkBalanceHash(b *testing.B) {
	k := Keys{}.WithDefaults()
	for b.Loop() {
		k.BalanceHash("user:u1")
	}
}
