package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]time.Duration, 20_000)
	for i := range values {
		values[i] = time.Duration(math.Exp(r.Float64() * math.Log(float64(time.Minute))))
		h.Add(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(0, int(q*float64(len(values))+0.5)-1)]
		got := h.Quantile(q)
		if off := math.Abs(float64(got-want)) / float64(want); off > 0.008 {
			t.Errorf("quantile %v: got %v, want %v (off by %.2f %%)", q, got, want, off*100)
		}
	}
	if got := h.Count(); got != uint64(len(values)) {
		t.Errorf("got count %d, want %d", got, len(values))
	}
	if want := values[len(values)-1]; h.Max() != want {
		t.Errorf("got maximum %v, want %v", h.Max(), want)
	}
}

func TestMiddleOfEachBucketIsInTheBucket(t *testing.T) {
	if got := bucketIndex(-time.Second); got != 0 {
		t.Errorf("negative duration: got bucket %d, want 0", got)
	}
	if got := bucketIndex(time.Hour); got != buckets-1 {
		t.Errorf("an hour: got bucket %d, want the last one, %d", got, buckets-1)
	}
	for i := range buckets {
		if got := bucketIndex(bucketMiddle(i)); got != i {
			t.Fatalf("%v, the middle of bucket %d: got bucket %d", bucketMiddle(i), i, got)
		}
	}
}

func TestEmptyHistogramIsZero(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("got quantile %v, want 0", got)
	}
	if got := h.Max(); got != 0 {
		t.Errorf("got maximum %v, want 0", got)
	}
	if got := h.Count(); got != 0 {
		t.Errorf("got count %d, want 0", got)
	}
}
