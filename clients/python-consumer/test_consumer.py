import json, os, pathlib, subprocess, sys, tempfile, time, unittest, uuid
import redis

TIMEOUT = 20  # seconds
PROGRAM = pathlib.Path(__file__).with_name("consumer.py")


class Consumer(unittest.TestCase):
    def setUp(self):
        self.redis = redis.Redis.from_url(os.environ["TEST_REDIS_URL"], decode_responses=True)
        self.addCleanup(self.redis.close)
        self.namespace = f"python-{uuid.uuid4()}"
        tags = ["32816", "1296"]
        self.streams = [f"{self.namespace}:{{{tag}}}:events" for tag in tags]
        self.redis.hset(f"{self.namespace}:layout", mapping={"partitions": 2, "tags": json.dumps(tags), "version": "2"})
        self.addCleanup(lambda: self.redis.delete(*self.redis.keys(f"{self.namespace}:*")))

    def add_entry(self, stream, account, seq, **more):
        """Adds an entry as docs/streams.md describes it, and returns its id in the stream."""
        id = str(uuid.uuid4())
        account_type, account_id = account.split(":")
        event = {"eventId": id, "eventType": "wallet.balance_updated", "accountId": account_id, "accountType": account_type}
        entry = {"id": id, "type": event["eventType"], "account": account, "seq": seq, "key": str(uuid.uuid4()), "amount": 5}
        return self.redis.xadd(stream, {**entry, "data": json.dumps(event), **more})

    def read_by_dead_worker(self, stream, group, attempts=1):
        """Delivers all entries to a worker that died a minute ago, at its given attempt."""
        self.redis.xgroup_create(stream, group, id="0")
        for _, entries in self.redis.xreadgroup(group, "dead", {stream: ">"}):
            for id, _ in entries:
                self.redis.xclaim(stream, group, "dead", 0, [id], idle=60_000, retrycount=attempts, justid=True)

    def test_every_entry_is_handled_at_least_once(self):
        first, second = self.streams
        trimmed = self.add_entry(first, "user:gone", 1)
        self.add_entry(first, "user:a", 1)
        self.read_by_dead_worker(first, "g")
        self.redis.xdel(first, trimmed)
        self.add_entry(first, "user:a", 2)
        self.add_entry(first, "model:m", 1, copy="1")
        failing = self.add_entry(second, "user:b", 1, data="{}")
        malformed = [self.add_entry(second, "user:b", 1, **payload) for payload in
                     ({"data": "{"}, {"data": "{\n}"}, {"data": "{\r}"}, {"data": "{}", "view": "{\n}"})]
        self.add_entry(second, "user:b", 2)

        env = {**os.environ, "REDIS_URL": os.environ["TEST_REDIS_URL"], "REALTIME_NAMESPACE": self.namespace, "REALTIME_GROUP": "g"}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = subprocess.Popen([sys.executable, PROGRAM], env=env, stdout=out, stderr=err)
            try:
                deadline = time.monotonic() + TIMEOUT
                while [self.pending(s) for s in self.streams] != [[], [failing]] or not self.read_all():
                    self.assertIsNone(child.poll(), "the program has exited")
                    self.assertLess(time.monotonic(), deadline, "the program has not handled all entries")
                    time.sleep(0.02)
            finally:
                child.kill()
                child.wait()
                printed, warnings = (self.content_of(file) for file in (out, err))
                if sys.exc_info()[0]:
                    print(printed, warnings, file=sys.stderr)
        lines = [" ".join(line.split()[:3]) for line in printed.splitlines()]
        self.assertEqual([line for line in lines if line.startswith("user:a")],
                         ["user:a 1 wallet.balance_updated", "user:a 2 wallet.balance_updated"])
        self.assertEqual([line for line in lines if not line.startswith("user:a")], ["user:b 2 wallet.balance_updated"])
        self.assertIn(f"{first} {trimmed} was trimmed", warnings)
        self.assertIn(f"{second} {failing} failed", warnings)
        for id in malformed:
            self.assertIn(f"{second} {id} became a dead letter", warnings)

    def test_entries_that_fail_too_often_become_dead_letters(self):
        first, second = self.streams
        failing = self.add_entry(first, "user:a", 1, data="{}", chain="c1")
        self.read_by_dead_worker(first, "g", attempts=9)
        lost = self.add_entry(second, "user:b", 1)
        self.read_by_dead_worker(second, "g", attempts=10)
        replay = first.replace(":events", ":replay:g")
        self.add_entry(replay, "user:c", 1, subscriber="", error="x", attempts="3", failedAt="2026-11-29T00:00:00.000Z")
        letters = [self.redis.xrange(s.replace(":events", ":dead:g")) for s in self.streams]

        env = {**os.environ, "REDIS_URL": os.environ["TEST_REDIS_URL"], "REALTIME_NAMESPACE": self.namespace, "REALTIME_GROUP": "g"}
        child = subprocess.Popen([sys.executable, PROGRAM], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + TIMEOUT
            while not all(letters) or self.redis.xlen(replay) > 0:
                self.assertLess(time.monotonic(), deadline, "the program has not written the dead letters")
                time.sleep(0.02)
                letters = [self.redis.xrange(s.replace(":events", ":dead:g")) for s in self.streams]
        finally:
            child.kill()
            printed, warnings = child.communicate()
        self.assertRegex(printed, "^user:c 1 wallet.balance_updated [0-9a-f-]+\n$")
        self.assertIn(f"{first} {failing} became a dead letter", warnings)
        self.assertIn(f"{second} {lost} became a dead letter", warnings)
        [(_, letter)], [(_, other)] = letters
        self.assertEqual([letter[name] for name in ("account", "seq", "chain", "data", "subscriber", "error", "attempts")],
                         ["user:a", "1", "c1", "{}", "", "KeyError('eventType')", "10"])
        self.assertRegex(letter["failedAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual((other["account"], other["attempts"]), ("user:b", "10"))
        self.assertEqual([self.pending(s) for s in self.streams], [[], []])

    def test_redis_without_a_core_is_an_error(self):
        env = {**os.environ, "REDIS_URL": os.environ["TEST_REDIS_URL"], "REALTIME_NAMESPACE": f"{self.namespace}-other"}
        ended = subprocess.run([sys.executable, PROGRAM], env=env, capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertRegex(ended.stderr, "^python-.*-other:layout is missing")

    def content_of(self, file):
        file.seek(0)
        return file.read()

    def pending(self, stream):
        try:
            return [entry["message_id"] for entry in self.redis.xpending_range(stream, "g", "-", "+", 10)]
        except redis.ResponseError:  # the group does not exist yet
            return None

    def read_all(self):
        return all(self.redis.xinfo_groups(s)[0]["last-delivered-id"] == self.redis.xinfo_stream(s)["last-generated-id"] for s in self.streams)


if __name__ == "__main__":
    unittest.main()
