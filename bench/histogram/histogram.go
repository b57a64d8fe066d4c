// Package histogram counts latencies in buckets of constant relative width, like HdrHistogram.
// Counting needs one atomic addition for each latency. The error of a quantile is less than 0.8 %.
package histogram

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	subBits = 7 // 128 buckets for each power of two
	sub     = 1 << subBits
	topBits = 37 // values of 2^37 ns (137 s) and more are in the last bucket
	buckets = (topBits - subBits + 1) * sub
)

// Histogram counts durations. The zero value is an empty histogram. Several goroutines may use a
// histogram at the same time.
type Histogram struct {
	counts [buckets]atomic.Uint64
	total  atomic.Uint64
	max    atomic.Int64
}

// Add counts a duration. A negative duration counts as zero.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucketIndex(d)].Add(1)
	h.total.Add(1)
	for {
		largest := h.max.Load()
		if int64(d) <= largest {
			return
		}
		if h.max.CompareAndSwap(largest, int64(d)) {
			return
		}
	}
}

// Count returns the number of durations.
func (h *Histogram) Count() uint64 { return h.total.Load() }

// Max returns the largest duration. It is exact.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns the duration that a share q (0 to 1) of all durations does not exceed. It is the
// middle of a bucket and at most Max. It is zero for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.total.Load()
	if total == 0 {
		return 0
	}

	rank := max(1, uint64(q*float64(total)+0.5))
	var seen uint64
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen >= rank {
			return min(bucketMiddle(i), h.Max())
		}
	}

	return h.Max()
}

// bucketIndex returns the index of a duration's bucket: the duration itself below 128 ns, and its
// leading 8 bits above.
func bucketIndex(d time.Duration) int {
	v := uint64(max(d, 0))
	if v >= 1<<topBits {
		return buckets - 1
	}
	if v < sub {
		return int(v) //nolint:gosec // below 128
	}

	shift := bits.Len64(v) - subBits - 1
	return shift*sub + int(v>>shift) //nolint:gosec // 8 bits
}

// bucketMiddle returns the duration in the middle of a bucket.
func bucketMiddle(i int) time.Duration {
	if i < 2*sub {
		return time.Duration(i)
	}

	shift := i/sub - 1
	return time.Duration((i%sub+sub)<<shift + 1<<shift/2)
}
