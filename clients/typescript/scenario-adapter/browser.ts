import { WebSocket } from "ws";
import {
  createClient,
  RealtimeError,
  Unauthorized,
  type Account,
  type Balance,
  type BalanceState,
  type Client,
  type ConnectionState,
  type EventFilter,
  type GetToken,
  type StoredBalance,
} from "../src/index.ts";
import type { WebSocketConstructor } from "../src/transport.ts";
import { VirtualClock } from "../test/support/clock.ts";
import { TestPage } from "../test/support/page.ts";
import { installWebLocks } from "../test/support/weblocks.ts";

/** A command of the runner. clients/scenarios/README.md explains the members. */
export interface Command {
  id?: number;
  do: string;
  url?: string;
  client?: string;
  user?: string;
  path?: string;
  storage?: StoredBalance[] | true;
  shareTabs?: boolean;
  page?: boolean;
  sse?: boolean;
  online?: boolean;
  visible?: boolean;
  as?: string;
  account?: Account;
  filter?: EventFilter;
  throws?: boolean;
  then?: Command[];
  give?: string;
  fail?: string;
  unauthorized?: boolean;
  call?: number;
  ms?: number;
}

type Report = (report: object) => void;

interface TokenCall {
  number: number;
  resolve(token: string): void;
  reject(error: Error): void;
}

/** What one scenario runs in: a clock, a storage and clients. */
export class Browser {
  readonly features = [
    "callbacks",
    "frame-auth",
    "http-status",
    "page",
    "reopens",
    "sse",
    "storage",
    "tabs",
  ];
  readonly #report: Report;
  #url = "";
  #clock = new VirtualClock(undefined, Math.random);
  #clients = new Map<string, Client>();
  #stops = new Map<string, () => void>();
  #values = new Map<string, () => object>();
  #tokenCalls: TokenCall[] = [];
  #tokenCallCount = 0;
  #stored = new Map<Account, StoredBalance>();
  #page: TestPage | undefined;
  #removeLocks: (() => void) | undefined;

  constructor(report: Report) {
    this.#report = report;
  }

  /** Runs a command. Returns the members of its answer. */
  async run(command: Command): Promise<object> {
    const { ms = 0 } = command;
    switch (command.do) {
      case "advance":
        await this.#clock.advance(ms, settle);
        return {};
      case "sleep":
        await this.#clock.sleep(ms, settle);
        return {};
      case "sync":
        await settle();
        return {};
    }
    const answer = this.#act(command);
    await settle();
    return answer;
  }

  /** Ends all clients and forgets everything. */
  reset(url = ""): void {
    const endedClock = this.#clock;
    this.#clock = new VirtualClock(undefined, Math.random);
    for (const stop of this.#stops.values()) stop();
    for (const client of this.#clients.values()) client.close();
    endedClock.clear();
    this.#clients.clear();
    this.#stops.clear();
    this.#values.clear();
    this.#tokenCalls = [];
    this.#tokenCallCount = 0;
    this.#stored.clear();
    this.#page?.uninstall();
    this.#page = undefined;
    this.#removeLocks?.();
    this.#removeLocks = undefined;
    this.#url = url;
  }

  /** Runs a command that takes no time. Listeners may run it, too. */
  #act(command: Command): object {
    const { client: name = "a", as = "", user } = command;
    switch (command.do) {
      case "reset":
        this.reset(command.url);
        return {};
      case "create":
        this.#create(name, command);
        return {};
      case "balance":
        this.#readBalance(as, this.#client(name), command);
        return {};
      case "subscribe":
        this.#subscribe(as, this.#client(name), command);
        return {};
      case "stop":
        this.#stops.get(as)?.();
        return {};
      case "setUser":
        this.#client(name).setUser(this.#getToken(name, user!));
        return {};
      case "close":
        this.#client(name).close();
        return {};
      case "token":
        this.#answerToken(command);
        return {};
      case "network":
        this.#page!.setOnline(command.online!);
        return {};
      case "visible":
        this.#page!.setHidden(!command.visible);
        return {};
      case "get":
        return { value: this.#values.get(as)!() };
      case "stored":
        return { records: [...this.#stored.values()] };
      default:
        throw new Error(`the adapter has no command ${command.do}`);
    }
  }

  #client(name: string): Client {
    const client = this.#clients.get(name);
    if (!client) throw new Error(`there is no client ${name}`);
    return client;
  }

  #create(name: string, command: Command): void {
    const { user = name, path = "/v1/ws", storage, shareTabs, page, sse } = command;
    const clock = this.#clock;
    if (page) this.#page ??= new TestPage().install();
    if (shareTabs) this.#removeLocks ??= installWebLocks();
    if (Array.isArray(storage)) {
      for (const record of storage) this.#stored.set(record.account, completeRecord(record));
    }
    const client = createClient({
      url: this.#url.replace(/^http/, "ws") + path,
      getToken: this.#getToken(name, user),
      WebSocket: WebSocket as unknown as WebSocketConstructor,
      clock,
      report: (error) => this.#reportError(error),
      ...(storage && {
        storage: {
          load: (account) => this.#stored.get(account),
          save: (record) => {
            this.#stored.set(record.account, record);
          },
        },
      }),
      ...(shareTabs && { shareTabs }),
      ...(sse && { fetch }),
    });
    const stop = client.on("state", (state) => {
      this.#report({ report: "state", client: name, ...describeState(state, clock) });
    });
    this.#stops.set(`state of ${name}`, stop);
    this.#clients.set(name, client);
  }

  #getToken(client: string, user: string): GetToken {
    return ({ reason }) =>
      new Promise((resolve, reject) => {
        const number = ++this.#tokenCallCount;
        this.#tokenCalls.push({ number, resolve, reject });
        this.#report({ report: "token", client, user, reason, call: number });
      });
  }

  #answerToken({ call, give, fail, unauthorized }: Command): void {
    const index = call === undefined ? 0 : this.#tokenCalls.findIndex(({ number }) => number === call);
    const [open] = this.#tokenCalls.splice(index, 1);
    if (!open) throw new Error("no call of getToken is open");
    if (give !== undefined) open.resolve(give);
    else open.reject(unauthorized ? new Unauthorized("nobody is signed in") : new Error(fail));
  }

  #readBalance(as: string, client: Client, { account, throws }: Command): void {
    const clock = this.#clock;
    const store = client.balance(account!);
    const value = () => describeBalance(store.get(), clock);
    const report = () => this.#report({ report: "balance", as, value: value() });
    this.#values.set(as, value);
    const stop = store.subscribe(() => {
      report();
      if (throws) throw new Error("the listener throws");
    });
    this.#stops.set(as, stop);
    report();
  }

  #subscribe(as: string, client: Client, { filter = {}, throws, then = [] }: Command): void {
    let commands = then;
    const stop = client.subscribe(filter, {
      event: (event, position) => {
        this.#report({ report: "event", as, ...position, event });
        const toRun = commands;
        commands = [];
        for (const command of toRun) this.#act(command);
        if (throws) throw new Error("the listener throws");
      },
      resync: (state) => this.#report({ report: "resync", as, ...state }),
      error: (error) => this.#report({ report: "error", as, error: describeError(error) }),
    });
    this.#stops.set(as, stop);
  }

  /** Teaching errors are in the states, too. Everything else is an exception of the application. */
  #reportError(error: unknown): void {
    if (error instanceof RealtimeError) return;
    this.#report({ report: "uncaught", message: (error as Error).message });
  }
}

/** Waits until nothing but the network and timers can go on. Other tabs answer in a few rounds. */
async function settle(): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
}

function describeError({ code, message }: RealtimeError): object {
  return { code, message };
}

function describeState(state: ConnectionState, clock: VirtualClock): object {
  const error = "error" in state && state.error ? { error: describeError(state.error) } : {};
  if (state.name !== "waiting") return { ...state, ...error };
  return { name: state.name, retryInMs: state.retryAt - clock.now(), ...error };
}

function describeBalance(state: BalanceState, clock: VirtualClock): object {
  switch (state.status) {
    case "loading":
      return { status: state.status };
    case "error":
      return { status: state.status, error: describeError(state.error) };
    case "stale":
      return { status: state.status, ...state.balance, staleForMs: clock.now() - state.since };
    case "live":
      return { status: state.status, ...state.balance };
  }
}

/** Adds what the scenarios leave out of a record. */
function completeRecord(record: StoredBalance): StoredBalance {
  const { account, seq, chain, balance } = record;
  const missing = { account, seq, chain, updatedAt: "2026-01-01T00:00:00.000Z" };
  return { account, seq, chain, balance: { ...missing, ...(balance as object) } as Balance };
}
