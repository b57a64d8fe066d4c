/** A queue whose next item can be awaited. */
export class Queue<T> {
  private readonly items: T[] = [];
  private readonly takers: ((item: T) => void)[] = [];

  put(item: T): void {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.items.push(item);
  }

  async take(): Promise<T> {
    if (this.items.length > 0) return this.items.shift()!;
    return new Promise<T>((resolve) => this.takers.push(resolve));
  }

  get size(): number {
    return this.items.length;
  }
}
