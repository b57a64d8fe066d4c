package testenv_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redroomrewards/realtime/internal/testenv"
)

func dialRedis(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestRedisDeletesOnlyTheKeysOfTheNamespace(t *testing.T) {
	outerURL, outer := testenv.Redis(t)
	client := dialRedis(t, outerURL)
	if err := client.Set(t.Context(), outer+":kept", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	var namespace string
	t.Run("inner", func(inner *testing.T) {
		_, namespace = testenv.Redis(inner)
		for i := range 2500 { // more than one SCAN returns
			if err := client.Set(t.Context(), namespace+":{1}:"+strconv.Itoa(i), 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
	keys, err := client.Keys(t.Context(), namespace+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 0 {
		t.Errorf("keys of the namespace after its test: got %d, want 0", len(keys))
	}
	err = client.Get(t.Context(), outer+":kept").Err()
	if err != nil {
		t.Errorf("key of another test: %v", err)
	}
	if namespace == outer {
		t.Errorf("both tests got the namespace %s", namespace)
	}
}

func TestKilledRedisServerStartsEmptyOnTheSamePort(t *testing.T) {
	server := testenv.RedisServer(t)
	client := dialRedis(t, server.URL())
	if err := client.Set(t.Context(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if conn, err := net.Dial("tcp", server.Addr()); err == nil {
		_ = conn.Close()
		t.Fatal("a killed server accepts connections")
	}
	server.Start()
	if err := client.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("key after the restart: got error %v, want redis.Nil", err)
	}
}

func TestRedisServerWithAppendOnlyFileKeepsItsData(t *testing.T) {
	server := testenv.RedisServer(t, "--appendonly", "yes", "--appendfsync", "always")
	client := dialRedis(t, server.URL())
	if err := client.Set(t.Context(), "k", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Start()
	if err := client.Get(t.Context(), "k").Err(); err != nil {
		t.Errorf("key after the restart: %v", err)
	}
}

func TestStoppedRedisServerAnswersAfterContinue(t *testing.T) {
	server := testenv.RedisServer(t)
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server.Stop()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	expectSilence(t, conn)
	server.Continue()
	expectLine(t, conn, "+PONG\r\n")
}

// TestRedisServerDiesWithItsTest runs this test binary again, kills it as kill -9 does, and checks
// that its server has ended.
func TestRedisServerDiesWithItsTest(t *testing.T) {
	if address := os.Getenv("TESTENV_REPORT_TO"); address != "" {
		reportServerAndWait(t, address)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRedisServerDiesWithItsTest$")
	// A killed child does not delete its temporary directory. It is inside this test's directory,
	// which is deleted.
	child.Env = append(os.Environ(), "TESTENV_REPORT_TO="+listener.Addr().String(), "TMPDIR="+t.TempDir())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	address, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.Dial("tcp", address[:len(address)-1])
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read from the server: got error %v, want the end of the connection", err)
	}
}

func reportServerAndWait(t *testing.T, address string) {
	t.Helper()
	server := testenv.RedisServer(t)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(server.Addr() + "\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 1)) // returns when the process is killed
}
