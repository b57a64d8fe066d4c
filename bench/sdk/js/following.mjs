// Following checks the events of accounts: each seq must be one more than the one before it.
export class Following {
  constructor(accounts) {
    this.seqs = new Map(accounts.map((account) => [account, undefined])); // newest seq
    this.events = 0;
    this.lost = 0;
    this.repeated = 0; // an event with a seq that was shown already
    this.reordered = 0; // an event with a lower seq that was not shown
    this.replaced = 0; // times that the state replaced events
    this.missing = new Map(accounts.map((account) => [account, new Set()]));
  }

  // Notes an event that the library delivered.
  event(account, seq) {
    this.onEvent?.();
    this.events++;
    const last = this.seqs.get(account);
    if (last === undefined || seq === last + 1) {
      this.seqs.set(account, seq);
      return;
    }
    const missing = this.missing.get(account);
    if (seq > last) {
      for (let s = last + 1; s < seq; s++) missing.add(s);
      this.seqs.set(account, seq);
    } else if (missing.delete(seq)) {
      this.reordered++;
    } else {
      this.repeated++;
    }
  }

  // Notes that the library, or the application as the library's documentation advises, has replaced
  // the state of an account.
  replace(account, seq) {
    const last = this.seqs.get(account);
    if (last !== undefined) this.replaced++;
    if (last === undefined || seq > last) this.seqs.set(account, seq);
  }

  report() {
    let lost = 0;
    for (const missing of this.missing.values()) lost += missing.size;
    return {
      events: this.events,
      lost,
      repeated: this.repeated,
      reordered: this.reordered,
      replaced: this.replaced,
      seqs: Object.fromEntries(this.seqs),
    };
  }
}
