package e2e

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"springtide/services/eventlog/embedded"
	redis "springtide/services/status/embedded"
)

// servers are a Kafka and a Redis.
type servers struct{ name, kafka, redis string }

// onRealServers is held by the test that uses them: two at once would be slow.
var onRealServers sync.Mutex

// onEach runs a test on embedded servers, held by the test, and on real ones
// where the environment names them.
func onEach(t *testing.T, test func(t *testing.T, s servers)) {
	t.Run("embedded", func(t *testing.T) { test(t, startServers(t)) })
	t.Run("real", func(t *testing.T) {
		if testing.Short() {
			t.Skip("embedded servers are enough for -short")
		}
		s, ok := realServers(t)
		if !ok {
			t.Skip("NOT RUN ON REAL SERVERS: set SPRINGTIDE_TEST_KAFKA and SPRINGTIDE_TEST_REDIS")
		}
		onRealServers.Lock()
		t.Cleanup(onRealServers.Unlock) // after every process has ended
		test(t, s)
	})
}

// realServers are those the environment names.
func realServers(tb testing.TB) (servers, bool) {
	tb.Helper()
	s := servers{"real", os.Getenv("SPRINGTIDE_TEST_KAFKA"), os.Getenv("SPRINGTIDE_TEST_REDIS")}
	ok := s.kafka != "" && s.redis != ""
	if !ok && os.Getenv("SPRINGTIDE_REQUIRE_REAL") == "1" {
		tb.Fatal("SPRINGTIDE_REQUIRE_REAL=1, but SPRINGTIDE_TEST_KAFKA and SPRINGTIDE_TEST_REDIS are not both set")
	}
	return s, ok
}

// startServers starts embedded servers inside the test.
func startServers(tb testing.TB) servers {
	tb.Helper()
	broker, err := embedded.Start(embedded.Config{DataDir: tb.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := broker.Close(); err != nil {
			tb.Error(err)
		}
	})
	view, err := redis.Start(tb.Context(), redis.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(view.Close)
	return servers{"embedded", broker.Addr(), view.Addr()}
}

// wipe empties Redis in one step. On a server that others may be using it
// removes what the installation keeps, and no more.
func (c *cluster) wipe() {
	tb, s := c.tb, c.servers
	tb.Helper()
	const script = "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end return {ok = 'OK'}"
	command := []string{"EVAL", script, "0", "st-" + c.installation + ":*"}
	if full() || s.name == "embedded" {
		command = []string{"FLUSHALL"}
	}
	conn, err := net.DialTimeout("tcp", s.redis, patience)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || answer != "+OK\r\n" {
		tb.Fatalf("%s: answer %q, %v", command[0], answer, err)
	}
}

// A cluster is an installation in processes of their own on some servers.
type cluster struct {
	servers
	tb     testing.TB
	dir    string
	sim    *process
	simURL string
	// slowURL is a second authority, where there is one.
	slowURL string
	tenant  string
	key     string
	count   int
	// installation keeps what one test leaves open away from the next.
	installation string
	// env are settings of the processes to come, path is the program they run.
	env  []string
	path string
}

// startCluster starts a simulated authority and makes a key for a tenant that no
// other run has.
func startCluster(tb testing.TB, s servers, tenant string, sim ...string) *cluster {
	tb.Helper()
	c := &cluster{
		servers: s, tb: tb, dir: tb.TempDir(), tenant: tenant, path: binary(tb),
		installation: "i" + strconv.FormatInt(time.Now().UnixNano(), 36),
	}
	c.startSim("127.0.0.1:0", sim...)
	return c
}

// startSim starts the authority on its book.
func (c *cluster) startSim(listen string, args ...string) {
	c.tb.Helper()
	c.sim = start(c.tb, "authority-sim", append([]string{
		"authority-sim", "--listen", listen, "--data", filepath.Join(c.dir, "sim"),
	}, args...)...)
	c.simURL = c.sim.await(`simulated authority is ready.* url=(\S+)`)[1]
}

// start starts one role on the cluster's servers.
func (c *cluster) start(args ...string) *process {
	c.tb.Helper()
	c.count++
	name := fmt.Sprintf("%s (process %d)", strings.Join(args[:min(2, len(args))], " "), c.count)
	return startWith(c.tb, append(c.env[:len(c.env):len(c.env)], c.named()), c.path, name,
		append(args, "--kafka", c.kafka, "--redis", c.redis, "--data", filepath.Join(c.dir, "site"))...)
}

// named is the setting that makes a process one of the cluster's.
func (c *cluster) named() string { return "SPRINGTIDE_INSTALLATION=" + c.installation }

// serve starts a front door and makes the key, if there is none yet.
func (c *cluster) serve() *door {
	c.tb.Helper()
	_, d := c.serveProcess()
	return d
}

func (c *cluster) serveProcess() (*process, *door) {
	c.tb.Helper()
	p := c.start("serve", "--grpc", "127.0.0.1:0", "--http", "", "--admin", "")
	address := p.await(`front door is ready.* grpc=(\S+)`)[1]
	if c.key == "" {
		c.makeKey()
	}
	d := dial(c.tb, address, c.key)
	d.knowsKey(c.tb)
	return p, d
}

// makeKey makes the key of the cluster's tenant.
func (c *cluster) makeKey() {
	c.tb.Helper()
	c.key = makeKey(c.tb, []string{c.named()}, c.kafka, filepath.Join(c.dir, "site"), c.tenant)
}

// makeKey makes an API key through the command line.
func makeKey(tb testing.TB, env []string, kafka, data, tenant string) string {
	tb.Helper()
	r := run(tb, env, "keys", "create", "--kafka", kafka, "--data", data, "--tenant", tenant, "--role", "accountant")
	if r.code != 0 {
		tb.Fatalf("keys create: exit code %d: %s", r.code, r.err)
	}
	return strings.TrimSpace(r.out)
}

// work starts a stage and waits until it has joined its group.
func (c *cluster) work(role string, args ...string) *process {
	c.tb.Helper()
	args = append([]string{"work", role}, args...)
	if role == "submit" {
		// A lost answer is looked up after seconds, not minutes, so that a test can wait for it.
		const terms = "?processing=1s&margin=1s&start=2s&timeout=5s&poll=200ms"
		args = append(args, "--authority", "cn="+c.simURL+"/etax"+terms+"&class=B&lag=0s", "--authority", hmrc+"="+c.simURL+terms+"&lag=0s")
	}
	p := c.start(args...)
	p.await(`msg=joined .*group=` + role)
	return p
}
