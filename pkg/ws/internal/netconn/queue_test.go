package netconn

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQueueAgainstModel drives a queue with random calls and compares every answer with a slice's.
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
				first, ok := q.Push(Item{Frame: []byte(frame)})
				if ok != wantOK {
					t.Fatalf("Push reports %t, want %t", ok, wantOK)
				}
				if first != (ok && !scheduled) {
					t.Fatalf("Push asks for the writer: %t, which is scheduled: %t", first, scheduled)
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
					t.Fatalf("took %d items, at most %d are allowed", len(items), limit)
				}
				if len(items) == 0 {
					if len(waiting) > 0 {
						t.Fatalf("took nothing of %d items", len(waiting))
					}
					scheduled = false
				}
				for i, item := range items {
					if string(item.Frame) != waiting[i] {
						t.Fatalf("took %s, want %s", item.Frame, waiting[i])
					}
					waitingBytes -= len(item.Frame)
				}
				waiting = waiting[len(items):]
				sent += len(items)
			},
			"": func(t *rapid.T) {
				items, size := q.Waiting()
				if items != len(waiting) || size != waitingBytes {
					t.Fatalf("%d items of %d bytes wait, want %d of %d", items, size, len(waiting), waitingBytes)
				}
				if frames, _ := q.Sent(); frames != sent {
					t.Fatalf("%d frames were sent, want %d", frames, sent)
				}
			},
		})
	})
}

func fillQueue(t *testing.T, items int) *Queue {
	t.Helper()
	q := &Queue{MaxItems: items, MaxBytes: 1 << 20}
	for range items {
		if _, ok := q.Push(Item{Frame: []byte("frame")}); !ok {
			t.Fatal("the queue is full too early")
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
			t.Error("the wait timed out although half of the queue is free")
		}
	})
	t.Run("times out", func(t *testing.T) {
		q := fillQueue(t, 10)
		if q.WaitForRoom(nil, time.Millisecond) {
			t.Error("a full queue had room")
		}
	})
	t.Run("ends with its owner", func(t *testing.T) {
		q := fillQueue(t, 10)
		done := make(chan struct{})
		close(done)
		if !q.WaitForRoom(done, time.Minute) {
			t.Error("the wait timed out although its owner is done")
		}
	})
	t.Run("ends with the queue", func(t *testing.T) {
		q := fillQueue(t, 10)
		result := make(chan bool)
		go func() { result <- q.WaitForRoom(nil, time.Minute) }()
		q.Seal(false)
		if !<-result {
			t.Error("the wait timed out although the queue was sealed")
		}
	})
}

func TestSeal(t *testing.T) {
	t.Run("keeps what waits", func(t *testing.T) {
		q := fillQueue(t, 3)
		if dropped := q.Seal(false); dropped != 0 {
			t.Errorf("%d items were dropped, want 0", dropped)
		}
		if items := q.popItems(nil, 10, 1<<20); len(items) != 3 {
			t.Errorf("%d items were taken, want 3", len(items))
		}
	})
	t.Run("drops what waits", func(t *testing.T) {
		q := fillQueue(t, 3)
		if dropped := q.Seal(true); dropped != 3 {
			t.Errorf("%d items were dropped, want 3", dropped)
		}
		if items := q.popItems(nil, 10, 1<<20); len(items) != 0 {
			t.Errorf("%d items were taken, want 0", len(items))
		}
	})
	t.Run("lets nothing more in", func(t *testing.T) {
		q := fillQueue(t, 3)
		q.Seal(true)
		first, ok := q.Push(Item{Frame: []byte("late")})
		if first || !ok {
			t.Errorf("Push reports %t, %t; want false, true: a sealed queue is not full", first, ok)
		}
		if items, _ := q.Waiting(); items != 0 {
			t.Errorf("%d items wait, want 0", items)
		}
	})
}
