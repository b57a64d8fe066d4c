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
	if h.Count() != uint64(len(values)) || h.Max() != values[len(values)-1] {
		t.Errorf("count %d, max %v; want %d, %v", h.Count(), h.Max(), len(values), values[len(values)-1])
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	if got := bucket(-time.Second); got != 0 {
		t.Errorf("a negative duration is in bucket %d, want 0", got)
	}
	if got := bucket(time.Hour); got != buckets-1 {
		t.Errorf("an hour is in bucket %d, want the last, %d", got, buckets-1)
	}
	for i := range buckets {
		if got := bucket(middle(i)); got != i {
			t.Fatalf("the middle of bucket %d, %v, is in bucket %d", i, middle(i), got)
		}
	}
}

func TestEmpty(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Error("an empty histogram is not all zero")
	}
}
