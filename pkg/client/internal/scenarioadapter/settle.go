package main

import (
	"bytes"
	"runtime"
)

// goroutineHead begins the first line of a goroutine in a dump: "goroutine 7 [chan receive]:".
var goroutineHead = []byte("goroutine ")

// quietRounds is how often in a row nothing may run. A goroutine may wait for a message that has
// arrived: the next round sees it running.
const quietRounds = 3

// stacks is the room for a dump of all goroutines.
var stacks = make([]byte, 1<<20)

// settle returns when all other goroutines wait: for the network, for a timer or for the app.
func settle() {
	for quiet := 0; quiet < quietRounds; {
		runtime.Gosched()
		n := runtime.Stack(stacks, true)
		quiet++
		if countRunning(stacks[:n]) > 1 { // one is this goroutine
			quiet = 0
		}
	}
}

// countRunning returns the number of goroutines in a dump that do not wait.
func countRunning(stacks []byte) int {
	running := 0
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		head, _, _ := bytes.Cut(stack, []byte("\n"))
		_, state, _ := bytes.Cut(head, []byte("["))
		isRunning := bytes.HasPrefix(state, []byte("run")) // running or runnable
		isLocking := bytes.HasPrefix(state, []byte("sync.Mutex"))
		if bytes.HasPrefix(head, goroutineHead) && (isRunning || isLocking) {
			running++
		}
	}
	return running
}
