package netconn

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A slowWriter takes some time to write, and notes when it began.
type slowWriter struct {
	takes  time.Duration
	begins chan time.Time
}

func (w *slowWriter) writeNow(*Buffer) {
	w.begins <- time.Now()
	time.Sleep(w.takes) // fake time
}

// A pass begins at once after a quiet time. While passes follow each other, the loop rests for half
// as long as it has written, and for 2 ms at most.
func TestPasses(t *testing.T) {
	for name, tc := range map[string]struct {
		takes time.Duration   // a write
		adds  []time.Duration // when the connection has something to write
		want  []time.Duration // when it is written to
	}{
		"quiet":         {3 * time.Millisecond, []time.Duration{0, 10 * time.Millisecond}, []time.Duration{0, 10 * time.Millisecond}},
		"back to back":  {2 * time.Millisecond, []time.Duration{0, time.Millisecond}, []time.Duration{0, 3 * time.Millisecond}},
		"after the end": {2 * time.Millisecond, []time.Duration{0, 2500 * time.Microsecond}, []time.Duration{0, 3 * time.Millisecond}},
		"long passes":   {50 * time.Millisecond, []time.Duration{0, 10 * time.Millisecond}, []time.Duration{0, 52 * time.Millisecond}},
		"short passes":  {time.Microsecond, []time.Duration{0, 2 * time.Microsecond}, []time.Duration{0, 2 * time.Microsecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLoop()
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- l.run(ctx) }()
				w := &slowWriter{takes: tc.takes, begins: make(chan time.Time, 10)}
				start := time.Now()
				for _, at := range tc.adds {
					time.Sleep(time.Until(start.Add(at))) // fake time
					l.add(w)
				}
				time.Sleep(time.Second) // fake time
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				close(w.begins)
				var got []time.Duration
				for begin := range w.begins {
					got = append(got, begin.Sub(start))
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("written at %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// What comes during a pass is written together in the next one.
func TestPassesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoop()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.run(ctx) }()
		slow := &slowWriter{takes: time.Millisecond, begins: make(chan time.Time, 10)}
		others := []*slowWriter{{begins: make(chan time.Time, 10)}, {begins: make(chan time.Time, 10)}}
		l.add(slow)
		<-slow.begins // the pass has begun
		for _, w := range others {
			l.add(w)
		}
		first := <-others[0].begins
		if second := <-others[1].begins; !second.Equal(first) {
			t.Errorf("written %v apart, want the same pass", second.Sub(first))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
