package gcroom

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, room uint64
		want       int
	}{
		{0, 128 * mib, 3200}, {mib, 128 * mib, 3200}, {16 * mib, 128 * mib, 800}, {127 * mib, 128 * mib, 100},
		{128 * mib, 128 * mib, 100}, {1 << 40, 128 * mib, 100}, {16 * mib, 0, 100},
	} {
		if got := percent(c.live, c.room); got != c.want {
			t.Errorf("%d MiB with room for %d: %d, want %d", c.live/mib, c.room/mib, got, c.want)
		}
	}
}

var garbage []byte

// collections tells how many there are while so much garbage is made.
func collections(bytes int) uint32 {
	runtime.GC() // what was left by others
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range bytes >> 10 {
		garbage = make([]byte, 1<<10)
	}
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

func TestKeep(t *testing.T) {
	t.Setenv("GOGC", "")
	without := collections(64 << 20)
	stop := Keep(128 << 20)
	defer stop()
	if with := collections(64 << 20); with > 0 || without == 0 {
		t.Errorf("%d collections, %d before", with, without)
	}
	kept := make([]byte, 256<<20) // larger than the room, and never touched
	runtime.GC()
	deadline := time.Now().Add(20 * time.Second)
	for set := 0; set != usual; runtime.Gosched() { // the finalizer's goroutine has to come first
		if time.Now().After(deadline) {
			t.Fatalf("GOGC is still %d", set)
		}
		percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(percent)
		set = int(percent[0].Value.Uint64()) //nolint:gosec // per cent
	}
	runtime.KeepAlive(kept)
}

func TestKeepLeavesGOGCAlone(t *testing.T) {
	t.Setenv("GOGC", "50")
	defer Keep(128 << 20)()
	if n := collections(64 << 20); n == 0 {
		t.Error("no collection")
	}
}
