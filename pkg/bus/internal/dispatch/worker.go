package dispatch

import "sync"

// A job is one attempt to be made.
type job struct {
	task       *Task
	attempt    int  // 1 is the first one
	firstEnded bool // endFirstAttempt was called for this task and subscription
}

// A worker runs jobs of a subscription one after the other. Its goroutine exists only while there
// are jobs to run. All jobs of an account go to the same worker.
type worker struct {
	s         *Subscriber
	mu        sync.Mutex // protects the rest
	queue     []job
	spare     []job // an earlier queue, for its space
	isRunning bool  // the goroutine exists
}

// enqueueJob adds a job to the queue.
func (w *worker) enqueueJob(j job) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.queue = append(w.queue, j)
	if !w.isRunning && w.mustWait() {
		w.endFirstAttempt(&w.queue[len(w.queue)-1])
	} else {
		w.startLocked() // a running worker has earlier events, and ends this one's attempt after them
	}
}

// mustWait reports whether jobs must wait for the end of a pause.
func (w *worker) mustWait() bool {
	if !w.s.paused.Load() {
		return false
	}
	return !w.s.probe.Load() && !w.s.ended.Load()
}

// endFirstAttempt lets an event that waits for the end of a pause go on to the subscriptions of the
// next priority. w.mu is held, so that an account's events go on in order. The workers that it
// locks in turn belong to later priorities.
func (w *worker) endFirstAttempt(j *job) {
	if !j.firstEnded {
		j.firstEnded = true
		w.s.d.endFirstAttempt(j.task)
	}
}

// resumeJobs runs the jobs that waited for the end of a pause.
func (w *worker) resumeJobs() {
	w.mu.Lock()
	defer w.mu.Unlock()

	if len(w.queue) > 0 {
		w.startLocked()
	}
}

// startLocked starts the goroutine if it does not exist. w.mu is held.
func (w *worker) startLocked() {
	if w.isRunning {
		return
	}

	w.isRunning = true
	w.s.running.Add(1)
	w.s.d.running.Add(1)
	go w.runJobs()
}

func (w *worker) runJobs() {
	defer w.s.d.running.Add(-1)
	defer w.s.running.Add(-1)
	for {
		jobs := w.nextJobs()
		if jobs == nil {
			return
		}

		for i := range jobs {
			if !w.runJob(&jobs[i]) {
				if w.requeueJobs(jobs[i:]) {
					return
				}

				break
			}

			jobs[i] = job{}
		}
	}
}

// nextJobs removes all jobs from the queue. If there are none, it returns nil and the goroutine
// must end.
func (w *worker) nextJobs() []job {
	w.mu.Lock()
	defer w.mu.Unlock()

	if len(w.queue) == 0 {
		w.isRunning = false
		return nil
	}

	jobs := w.queue
	w.queue = w.spare[:0]
	w.spare = jobs

	return jobs
}

// runJob runs a job. It returns false if the job must wait because the subscription is paused.
func (w *worker) runJob(j *job) bool {
	s := w.s
	if s.ended.Load() {
		s.dropJob(*j)
		return true
	}

	probe := false
	if s.paused.Load() {
		probe = s.probe.CompareAndSwap(true, false)
		if !probe && s.paused.Load() {
			return false
		}
	}

	s.attemptJob(j, probe)
	if !j.firstEnded {
		s.d.endFirstAttempt(j.task)
	}

	return true
}

// requeueJobs puts jobs back to the front of the queue until the pause ends. Their events go on to
// the subscriptions of the next priority. It returns false if the pause has ended already.
func (w *worker) requeueJobs(jobs []job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()

	queue := append([]job(nil), jobs...)
	w.queue = append(queue, w.queue...)
	w.spare = nil
	w.isRunning = !w.mustWait()
	if w.isRunning {
		return false
	}

	for i := range w.queue {
		w.endFirstAttempt(&w.queue[i])
	}

	return true
}
