package netconn

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQueueAgainstModel makes random calls of a queue and compares the results with a slice.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := Queue{
			MaxItems: rapid.IntRange(1, 100).Draw(t, "MaxItems"),
			MaxBytes: rapid.IntRange(1, 2000).Draw(t, "MaxBytes"),
		}
		var waiting []string
		waitingBytes := 0
		sent := 0
		scheduled := false
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				size := rapid.IntRange(4, 60).Draw(t, "size")
				frame := fmt.Sprintf("%0*d", size, next)
				next++
				wantOK := len(waiting) < q.MaxItems && waitingBytes+size <= q.MaxBytes
				wantFirst := wantOK && !scheduled
				first, ok := q.Push(Item{Frame: []byte(frame)})
				if ok != wantOK {
					t.Fatalf("Push: got ok %t, want %t", ok, wantOK)
				}
				if first != wantFirst {
					t.Fatalf("Push: got first %t, want %t", first, wantFirst)
				}
				if ok {
					waiting = append(waiting, frame)
					waitingBytes += size
					scheduled = true
				}
			},
			"pop": func(t *rapid.T) {
				limit := rapid.IntRange(1, 40).Draw(t, "limit")
				maxBytes := rapid.IntRange(1, 500).Draw(t, "maxBytes")
				items := q.popItems(nil, limit, maxBytes)
				if len(items) > limit {
					t.Fatalf("popItems: got %d items, want at most %d", len(items), limit)
				}
				if len(items) == 0 {
					if len(waiting) > 0 {
						t.Fatalf("popItems: got no item, want at least one of %d", len(waiting))
					}
					scheduled = false
				}
				for i, item := range items {
					if string(item.Frame) != waiting[i] {
						t.Fatalf("popItems: got %s, want %s", item.Frame, waiting[i])
					}
					waitingBytes -= len(item.Frame)
				}
				waiting = waiting[len(items):]
				sent += len(items)
			},
			"": func(t *rapid.T) {
				items, size := q.Waiting()
				if items != len(waiting) {
					t.Fatalf("Waiting: got %d frames, want %d", items, len(waiting))
				}
				if size != waitingBytes {
					t.Fatalf("Waiting: got %d bytes, want %d", size, waitingBytes)
				}
				frames, _ := q.Sent()
				if frames != sent {
					t.Fatalf("Sent: got %d frames, want %d", frames, sent)
				}
			},
		})
	})
}

// fillQueue returns a full queue with that many items.
func fillQueue(t *testing.T, items int) *Queue {
	t.Helper()
	q := &Queue{MaxItems: items, MaxBytes: 1 << 20}
	for range items {
		_, ok := q.Push(Item{Frame: []byte("frame")})
		if !ok {
			t.Fatal("Push: got ok false, want true")
		}
	}
	return q
}

func TestWaitForRoom(t *testing.T) {
	t.Run("returns when half is free", func(t *testing.T) {
		q := fillQueue(t, 10)
		result := make(chan bool)
		go func() { result <- q.WaitForRoom(nil, time.Minute) }()
		for range 5 {
			q.popItems(nil, 1, 1<<20)
		}
		if !<-result {
			t.Error("half of the queue is free: got a timeout, want true")
		}
	})
	t.Run("times out", func(t *testing.T) {
		q := fillQueue(t, 10)
		if q.WaitForRoom(nil, time.Millisecond) {
			t.Error("the queue is full: got true, want a timeout")
		}
	})
	t.Run("ends when done is closed", func(t *testing.T) {
		q := fillQueue(t, 10)
		done := make(chan struct{})
		close(done)
		if !q.WaitForRoom(done, time.Minute) {
			t.Error("done is closed: got a timeout, want true")
		}
	})
	t.Run("ends when the queue is sealed", func(t *testing.T) {
		q := fillQueue(t, 10)
		result := make(chan bool)
		go func() { result <- q.WaitForRoom(nil, time.Minute) }()
		q.Seal(false)
		if !<-result {
			t.Error("the queue is sealed: got a timeout, want true")
		}
	})
}

func TestSeal(t *testing.T) {
	t.Run("keeps queued items", func(t *testing.T) {
		q := fillQueue(t, 3)
		dropped := q.Seal(false)
		if dropped != 0 {
			t.Errorf("Seal: got %d dropped items, want 0", dropped)
		}
		items := q.popItems(nil, 10, 1<<20)
		if len(items) != 3 {
			t.Errorf("popItems: got %d items, want 3", len(items))
		}
	})
	t.Run("drops queued items", func(t *testing.T) {
		q := fillQueue(t, 3)
		dropped := q.Seal(true)
		if dropped != 3 {
			t.Errorf("Seal: got %d dropped items, want 3", dropped)
		}
		items := q.popItems(nil, 10, 1<<20)
		if len(items) != 0 {
			t.Errorf("popItems: got %d items, want 0", len(items))
		}
	})
	t.Run("drops later items", func(t *testing.T) {
		q := fillQueue(t, 3)
		q.Seal(true)
		first, ok := q.Push(Item{Frame: []byte("late")})
		if first {
			t.Error("Push: got first true, want false")
		}
		if !ok {
			t.Error("Push: got ok false, want true because a sealed queue is never full")
		}
		items, _ := q.Waiting()
		if items != 0 {
			t.Errorf("Waiting: got %d frames, want 0", items)
		}
	})
}
