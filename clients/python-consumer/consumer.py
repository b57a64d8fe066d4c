"""Prints every business event of RedRoomRewards Realtime. REDIS_URL, NAMESPACE and GROUP select the streams and the consumer group."""
import json, os, socket, sys, time, uuid
import redis

r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True, socket_timeout=10)
namespace, group = os.environ.get("NAMESPACE", "rt"), os.environ.get("GROUP", "python-example")
worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
tags = json.loads(r.hget(f"{namespace}:layout", "tags") or sys.exit(f"{namespace}:layout is missing: is this the core's Redis, and has a core run?"))
streams = [f"{namespace}:{{{tag}}}:events" for tag in tags]

def handle(event, entry):  # must accept a second event with the same entry["id"]
    print(entry["account"], entry.get("seq"), event["eventType"], entry["id"], flush=True)

def handle_entry(stream, id, entry):
    if entry.get("copy") == "1":
        return
    try:
        if any(c in entry["data"] + entry.get("view", "") for c in "\r\n"):
            raise ValueError("line break")
        event = json.loads(entry["data"])
    except (KeyError, ValueError, RecursionError) as error:  # malformed: it would fail each time
        print(stream, id, "is not an event and was skipped:", repr(error), file=sys.stderr, flush=True)
        return
    handle(event, entry)

def handle_entries(stream, entries):
    for id, entry in entries:
        try:
            handle_entry(stream, id, entry)
        except Exception as error:  # the entry stays pending and comes again
            print(stream, id, "failed:", repr(error), file=sys.stderr, flush=True)
        else:
            r.xack(stream, group, id)

def claim_entries(stream):  # entries that failed, and entries of workers that have died
    cursor = "0-0"
    while True:
        cursor, entries, deleted = r.xautoclaim(stream, group, worker, 30_000, start_id=cursor, count=10)
        for id in deleted:
            print(stream, id, "was trimmed before it was handled", file=sys.stderr, flush=True)
        handle_entries(stream, entries)
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
        handle_entries(stream, entries)
