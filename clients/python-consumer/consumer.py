"""Prints every business event of RedRoomRewards Realtime. REDIS_URL, REALTIME_NAMESPACE and REALTIME_GROUP select the streams and the consumer group."""
import datetime, json, os, socket, sys, time, uuid
import redis

MAX_ATTEMPTS = 10  # after that, an event becomes a dead letter

r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True, socket_timeout=10)
namespace, group = os.environ.get("REALTIME_NAMESPACE", "rt"), os.environ.get("REALTIME_GROUP", "python-example")
worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
tags = json.loads(r.hget(f"{namespace}:layout", "tags") or sys.exit(f"{namespace}:layout is missing: is this the core's Redis, and has a core run?"))
dead = f"dead:{group}"
streams = {f"{namespace}:{{{tag}}}:{kind}": f"{namespace}:{{{tag}}}:{dead}"  # stream -> stream of its dead letters
           for kind in ("events", f"replay:{group}") for tag in tags}

def warn(*texts):
    print(*texts, file=sys.stderr, flush=True)

def handle(event, entry):  # must accept a second event with the same entry["id"]
    print(entry["account"], entry.get("seq"), event["eventType"], entry["id"], flush=True)

def is_replay(stream):  # the stream of dead letters that `core dead-letters replay` has returned
    return stream.endswith(f"}}:replay:{group}")

def acknowledge(stream, id, letter=None):
    with r.pipeline() as pipe:  # a transaction
        if letter:
            pipe.xadd(streams[stream], letter, maxlen=100_000)
        pipe.xack(stream, group, id)
        if is_replay(stream):
            pipe.xdel(stream, id)
        pipe.execute()

def write_dead_letter(stream, id, entry, attempts, error):
    failed_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    acknowledge(stream, id, {**entry, "subscriber": "", "error": repr(error)[:1000], "attempts": attempts, "failedAt": failed_at})
    warn(stream, id, "became a dead letter:", repr(error))

def handle_entry(stream, id, entry, attempt):
    try:
        if any(c in entry["data"] + entry.get("view", "") for c in "\r\n"):
            raise ValueError("line break")
        event = json.loads(entry["data"])
    except (KeyError, ValueError, RecursionError) as error:  # malformed: it would fail each time
        return write_dead_letter(stream, id, entry, 0, error)
    if attempt > MAX_ATTEMPTS:  # its workers died
        return write_dead_letter(stream, id, entry, attempt - 1, RuntimeError("the entry was never handled"))
    try:
        if entry.get("copy") != "1" or is_replay(stream):
            handle(event, entry)
    except Exception as error:
        if attempt >= MAX_ATTEMPTS:
            return write_dead_letter(stream, id, entry, attempt, error)
        return warn(stream, id, "failed and comes again:", repr(error))
    acknowledge(stream, id)

def claim_entries(stream):  # entries that failed, and entries of workers that have died
    cursor = "0-0"
    while True:
        cursor, entries, deleted = r.xautoclaim(stream, group, worker, 30_000, start_id=cursor, count=10)
        for id in deleted:
            warn(stream, id, "was trimmed before it was handled")
        for id, entry in entries:
            for pending in r.xpending_range(stream, group, id, id, 1):
                handle_entry(stream, id, entry, pending["times_delivered"])
        if cursor == "0-0":
            return

for stream in streams:
    try:
        r.xgroup_create(stream, group, id="0", mkstream=True)  # "0": all entries; "$": only new ones
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
claimed_at = 0
while True:
    if time.monotonic() - claimed_at > 15:
        for stream in streams:
            claim_entries(stream)
        claimed_at = time.monotonic()
    for stream, entries in r.xreadgroup(group, worker, dict.fromkeys(streams, ">"), count=10, block=1000):
        for id, entry in entries:
            handle_entry(stream, id, entry, 1)
