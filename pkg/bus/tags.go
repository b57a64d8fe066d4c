package bus

import (
	"fmt"
	"strconv"
	"sync/atomic"
)

// MaxPartitions is the largest value of Keys.Partitions.
const MaxPartitions = 1024

// clusterSlots is the number of slots of a Redis Cluster.
const clusterSlots = 16384

// cachedTags has the tags of each partition count that was used, at the index of the count.
var cachedTags [MaxPartitions + 1]atomic.Pointer[[]string]

// tagsOf returns the hash tag of each of the given number of partitions. It computes them once. It
// panics if the number is not from 1 to MaxPartitions.
func tagsOf(partitions int) []string {
	if partitions < 1 || partitions > MaxPartitions {
		panic(fmt.Sprintf("bus: Keys.Partitions must be from 1 to %d, got %d", MaxPartitions, partitions))
	}

	cached := cachedTags[partitions].Load()
	if cached != nil {
		return *cached
	}

	tags := computeTags(partitions)
	cachedTags[partitions].Store(&tags)
	return tags
}

// computeTags divides the slots of a Redis Cluster into equal ranges, one for each partition. The
// tag of a partition is the smallest number, in decimal, whose slot is the middle of its range. So
// each master of a cluster gets the same number of partitions, or one more, if the slots are
// divided evenly among the masters.
func computeTags(partitions int) []string {
	tags := make([]string, partitions)
	missing := make(map[int]int, partitions) // partition, by slot of its tag
	for i := range partitions {
		missing[(2*i+1)*clusterSlots/(2*partitions)] = i
	}

	var tag []byte
	for n := int64(0); len(missing) > 0; n++ {
		tag = strconv.AppendInt(tag[:0], n, 10)
		slot := hashSlot(tag)
		partition, ok := missing[slot]
		if ok {
			tags[partition] = string(tag)
			delete(missing, slot)
		}
	}

	return tags
}

// hashSlot returns the Redis Cluster slot of a hash tag.
func hashSlot(tag []byte) int {
	crc := uint16(0)
	for _, c := range tag {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^c]
	}
	return int(crc) % clusterSlots
}

// crcTable is the table of CRC-16/XMODEM, which Redis Cluster uses.
var crcTable = makeCRCTable()

func makeCRCTable() (table [256]uint16) {
	const polynomial = 0x1021
	for i := range table {
		crc := uint16(i) << 8 //nolint:gosec // below 256
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= polynomial
			}
		}

		table[i] = crc
	}

	return table
}
