package main

import (
	"bytes"
	"regexp"
	"runtime"
)

// goroutineState is the head of a goroutine in a dump, such as "goroutine 7 [chan receive]:".
var goroutineState = regexp.MustCompile(`(?m)^goroutine \d+ \[([a-zA-Z. ]+)`)

// quietRounds is how often in a row nothing may run. A goroutine may wait for a message that has
// arrived: the next round sees it running.
const quietRounds = 3

// settle returns when all other goroutines wait: for the network, for a timer or for the app.
func settle() {
	stacks := make([]byte, 1<<20)
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
	for _, match := range goroutineState.FindAllSubmatch(stacks, -1) {
		state := match[1]
		isRunning := bytes.HasPrefix(state, []byte("run")) // running or runnable
		if isRunning || bytes.HasPrefix(state, []byte("sync.Mutex")) {
			running++
		}
	}
	return running
}
