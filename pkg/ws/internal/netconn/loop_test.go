package netconn

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A slowWriter is a passWriter whose writes take some time. It records when they begin.
type slowWriter struct {
	writeTime time.Duration
	begins    chan time.Time
}

func newSlowWriter(writeTime time.Duration) *slowWriter {
	return &slowWriter{
		writeTime: writeTime,
		begins:    make(chan time.Time, 10),
	}
}

func (w *slowWriter) writeNow(*Buffer) {
	w.begins <- time.Now()
	time.Sleep(w.writeTime) // fake time
}

// startLoop runs a loop until the returned function is called.
func startLoop(t *testing.T) (started *loop, stop func()) {
	t.Helper()
	l := newLoop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.runPasses(ctx) }()
	return l, func() {
		cancel()
		err := <-ended
		if err != nil {
			t.Errorf("runPasses: %v", err)
		}
	}
}

// A pass begins at once when the loop was idle. While passes follow each other, the loop pauses for
// as long as the last pass took, and for 4 ms at most.
func TestLoopPausesBetweenPasses(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		writeTime time.Duration
		adds      []time.Duration // when the connection has something to write
		want      []time.Duration // when the writes begin
	}{
		"idle loop": {
			writeTime: 3 * ms,
			adds:      []time.Duration{0, 10 * ms},
			want:      []time.Duration{0, 10 * ms},
		},
		"added during the pass": {
			writeTime: 2 * ms,
			adds:      []time.Duration{0, ms},
			want:      []time.Duration{0, 4 * ms},
		},
		"added during the pause": {
			writeTime: 2 * ms,
			adds:      []time.Duration{0, 2500 * time.Microsecond},
			want:      []time.Duration{0, 4 * ms},
		},
		"long pass": {
			writeTime: 50 * ms,
			adds:      []time.Duration{0, 10 * ms},
			want:      []time.Duration{0, 54 * ms},
		},
		"short pass": {
			writeTime: time.Microsecond,
			adds:      []time.Duration{0, 2 * time.Microsecond},
			want:      []time.Duration{0, 2 * time.Microsecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, stop := startLoop(t)
				w := newSlowWriter(tc.writeTime)
				start := time.Now()
				for _, at := range tc.adds {
					time.Sleep(time.Until(start.Add(at))) // fake time
					l.addToNextPass(w)
				}
				time.Sleep(time.Second) // fake time
				stop()
				close(w.begins)

				var got []time.Duration
				for begin := range w.begins {
					got = append(got, begin.Sub(start))
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("writes began at %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// Connections that are added during a pass are written in the same next pass.
func TestLoopGathersDuringPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := startLoop(t)
		slow := newSlowWriter(time.Millisecond)
		l.addToNextPass(slow)
		<-slow.begins // the pass has begun
		a := newSlowWriter(0)
		b := newSlowWriter(0)
		l.addToNextPass(a)
		l.addToNextPass(b)

		first := <-a.begins
		second := <-b.begins
		if !second.Equal(first) {
			t.Errorf("writes began %v apart, want the same pass", second.Sub(first))
		}
		stop()
	})
}
