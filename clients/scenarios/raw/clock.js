// A Clock is a virtual clock with the timers of JavaScript. Time passes only when advance or sleep
// is called.
export class Clock {
  #now = Date.UTC(2026, 0, 1);
  #timers = new Map(); // id -> {at, every, run}
  #last = 0;

  Date = { now: () => this.#now };
  setTimeout = (run, ms = 0) => this.#add(run, ms);
  setInterval = (run, ms) => this.#add(run, ms, ms);
  clearTimeout = id => void this.#timers.delete(id);
  clearInterval = this.clearTimeout;

  // Runs the timers of the next ms, each at its time. settle runs after each.
  async advance(ms, settle) {
    const end = this.#now + ms;
    for (let due = this.#next(end); due; due = this.#next(end)) {
      this.#now = Math.max(this.#now, due.at);
      this.#run(due);
      await settle();
    }
    this.#now = end;
  }

  // Lets ms pass at once, and then runs the timers that are due.
  async sleep(ms, settle) {
    this.#now += ms;
    const due = [...this.#timers.values()].filter(timer => timer.at <= this.#now);
    for (const timer of due.sort((a, b) => a.at - b.at)) {
      if (this.#timers.has(timer.id)) this.#run(timer);
      await settle();
    }
  }

  // Forgets all timers.
  stop() {
    this.#timers.clear();
  }

  #add(run, ms, every) {
    const id = ++this.#last;
    this.#timers.set(id, { id, at: this.#now + ms, every, run });
    return id;
  }

  #next(end) {
    const due = [...this.#timers.values()].filter(timer => timer.at <= end);
    return due.sort((a, b) => a.at - b.at || a.id - b.id)[0];
  }

  #run(timer) {
    if (timer.every) timer.at = this.#now + timer.every;
    else this.#timers.delete(timer.id);
    timer.run();
  }
}
