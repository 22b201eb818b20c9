package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	springtidev1 "springtide/proto/springtide/v1"
	"springtide/services/filing"
	"springtide/services/keys"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestMain(m *testing.M) {
	time.Local = time.UTC // goldens show times as the reader's clock has them
	goleak.VerifyTestMain(m)
}

// outcome is what one run of the program gave.
type outcome struct {
	code     int
	out, err string
}

// lockedBuffer can be read while the program still writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	// awaited closes seen once it was written.
	awaited string
	seen    chan struct{}
}

// await gives a channel that is closed once a text was written. Call it once, before the program runs.
func (b *lockedBuffer) await(text string) <-chan struct{} {
	b.awaited, b.seen = text, make(chan struct{})
	return b.seen
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(p)
	if b.awaited != "" && strings.Contains(b.b.String(), b.awaited) {
		close(b.seen)
		b.awaited = ""
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// program is the command line with everything around it under control.
type program struct {
	env      map[string]string
	stdin    string
	out, err lockedBuffer
	term     Terminal
	deps     Deps
}

func (p *program) run(ctx context.Context, args ...string) outcome {
	a := &app{
		env: func(name string) string { return p.env[name] },
		streams: Streams{
			In: strings.NewReader(p.stdin), Out: &p.out, Err: &p.err, OutTerm: &p.term, ErrTerm: &p.term,
		},
		deps: p.deps,
		timing: timing{
			attempt: 10 * time.Second, firstWait: time.Millisecond, longestWait: 5 * time.Millisecond,
			settle: 10 * time.Millisecond, redraw: time.Millisecond,
		},
	}
	code := a.run(ctx, args)
	return outcome{code, p.out.String(), p.err.String()}
}

// against is a program that talks to a fake door.
func against(t *testing.T) (*door, *program) {
	t.Helper()
	d, address := newDoor(t)
	return d, &program{env: map[string]string{"SPRINGTIDE_GRPC": address, "SPRINGTIDE_KEY": fakeKey}}
}

// golden compares an outcome with testdata/NAME.golden.
func golden(t *testing.T, name string, got outcome) {
	t.Helper()
	text := got.out
	if got.err != "" {
		text += "--- standard error\n" + got.err
	}
	text += fmt.Sprintf("--- exit code %d\n", got.code)
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// masked hides what is drawn anew in every run.
func masked(o outcome) outcome {
	for _, m := range []struct{ pattern, by string }{
		{`\bb[0-9a-hjkmnp-tv-z]{24}\b`, "BATCH"},
		{`127\.0\.0\.1:\d{5}\b`, "ADDRESS"},
		{`; took [0-9.]+ s|，用时 [0-9.]+ 秒`, ""},
		{`"next_poll_time":"[^"]*"`, `"next_poll_time":"T"`},
	} {
		re := regexp.MustCompile(m.pattern)
		o.out, o.err = re.ReplaceAllString(o.out, m.by), re.ReplaceAllString(o.err, m.by)
	}
	return o
}

// filed submits the firm and returns the ids in the order of the input.
func filed(t *testing.T, p *program) []string {
	t.Helper()
	q := &program{env: p.env, stdin: firm}
	var list []record
	if err := json.Unmarshal([]byte(q.run(t.Context(), "file", "-", "-o", "json").out), &list); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.FilingID
	}
	return ids
}

func TestCommandsThatLookAndAct(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.dead = []*springtidev1.DeadLetterInfo{
		{DeadLetterId: "0-3", FilingId: "f1", Stage: "submit", Reason: "decode", Time: at(1)},
		{DeadLetterId: "3-17", FilingId: "f2", Stage: "validate", Reason: "panic", Time: at(2)},
	}
	ids := filed(t, p)
	batch := d.filings[ids[0]].filing.GetBatchId()
	for name, args := range map[string][]string{
		"status":           {"status", ids[0], ids[1], ids[2], "--lang", "zh"},
		"status.en":        {"status", ids[2]},
		"status.json":      {"status", ids[0], "-o", "json"},
		"status.missing":   {"status", ids[0], "nosuchid"},
		"status.batch":     {"status", "--batch", batch},
		"status.nobatch":   {"status", "--batch", "bnone"},
		"list":             {"list"},
		"list.zh":          {"list", "--all", "--page-size", "1", "--lang", "zh"},
		"list.page":        {"list", "--page-size", "2"},
		"list.state":       {"list", "--state", "Accepted", "-o", "json"},
		"list.none":        {"list", "--state", "waiting"},
		"watch":            {"watch", "--batch", batch, "--lang", "zh"},
		"watch.json":       {"watch", ids[0], "-o", "json"},
		"cancel":           {"cancel", ids[0], "nosuchid"},
		"cancel.json":      {"cancel", ids[0], "-o", "json"},
		"receipt":          {"receipt", ids[0], "--lang", "zh"},
		"receipt.json":     {"receipt", ids[0], "-o", "json"},
		"receipt.none":     {"receipt", ids[1]},
		"dead.list":        {"dead", "list"},
		"dead.list.zh":     {"dead", "list", "--lang", "zh"},
		"dead.list.json":   {"dead", "list", "-o", "json"},
		"dead.replay":      {"dead", "replay", "3-17", "9-9"},
		"dead.replay.zh":   {"dead", "replay", "3-17", "9-9", "--lang", "zh"},
		"cancel.zh":        {"cancel", ids[0], "nosuchid", "--lang", "zh"},
		"forms":            {"forms", "--lang", "zh"},
		"forms.json":       {"forms", "-o", "json"},
		"forms.one":        {"forms", "cn.vat.small", "--lang", "zh"},
		"forms.one.json":   {"forms", "cn.vat.small", "-o", "json"},
		"forms.unknown":    {"forms", "cn.vat.smal"},
		"forms.unknown.zh": {"forms", "cn.vat.smal", "--lang", "zh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &program{env: p.env}
			golden(t, name, masked(q.run(t.Context(), args...)))
		})
	}
}

func TestRetryFilesAgain(t *testing.T) {
	t.Parallel()
	_, p := against(t)
	ids := filed(t, p)
	golden(t, "retry", masked(p.run(t.Context(), "retry", ids[2])))
}

func TestWatchFollowsToTheEnd(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	q := &program{env: p.env, stdin: one}
	if got := q.run(t.Context(), "file", "-", "--no-wait"); got.code != ExitOK {
		t.Fatal(got)
	}
	golden(t, "watch.change", p.run(t.Context(), "watch", d.order[0]))
}

func TestLostFilingsBreakThePromise(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.forget = true
	p.stdin = one
	got := p.run(t.Context(), "file", "-", "--patience", "20ms")
	if got.code != ExitBroken || !strings.Contains(got.err, "promise is broken") {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestConnectionThatBreaksIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	d, p := against(t)
	d.cut = 2
	p.stdin = one
	if got := p.run(t.Context(), "file", "-"); got.code != ExitOK {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestAccessErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	_, p := against(t)
	for name, key := range map[string]string{"key.missing": "", "key.wrong": "wrong"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &program{env: map[string]string{"SPRINGTIDE_GRPC": p.env["SPRINGTIDE_GRPC"], "SPRINGTIDE_KEY": key}, stdin: one}
			golden(t, name, q.run(t.Context(), "file", "-"))
		})
	}
}

func TestNoServerSaysHowToStartOne(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"zh", "en"} {
		p := &program{stdin: one}
		got := p.run(t.Context(), "file", "-", "--grpc", "127.0.0.1:1", "--lang", lang)
		golden(t, "noserver."+lang, got)
	}
}

func TestKeysAreShownOnce(t *testing.T) {
	t.Parallel()
	key := keys.Key{
		ID: "0123456789abcdef", CreateTime: at(0).AsTime(),
		Identity: keys.Identity{Tenant: "acme", Subject: "li", Roles: []string{"accountant", "viewer"}},
	}
	var seen KeysOptions
	deps := Deps{Keys: func(_ context.Context, o KeysOptions, use func(KeyAdmin) error) error {
		seen = o
		return use(admin{key})
	}}
	kafka := []string{"--kafka", "127.0.0.1:9092"}
	for name, args := range map[string][]string{
		"keys.create":      {"keys", "create", "--tenant", "acme", "--role", "accountant,viewer"},
		"keys.create.json": {"keys", "create", "--tenant", "acme", "--role", "accountant", "-o", "json"},
		"keys.list":        {"keys", "list"},
		"keys.create.zh":   {"keys", "create", "--tenant", "acme", "--role", "accountant", "--lang", "zh"},
		"keys.list.zh":     {"keys", "list", "--lang", "zh"},
		"keys.revoke.zh":   {"keys", "revoke", key.ID, "--lang", "zh"},
		"keys.unknown.zh":  {"keys", "revoke", "nosuchkey", "--lang", "zh"},
		"keys.list.json":   {"keys", "list", "-o", "json"},
		"keys.revoke":      {"keys", "revoke", key.ID},
		"keys.unknown":     {"keys", "revoke", "nosuchkey"},
		"keys.role":        {"keys", "create", "--tenant", "acme", "--role", "boss"},
		"keys.tenant":      {"keys", "create", "--role", "viewer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &program{deps: deps}
			golden(t, name, p.run(t.Context(), append(args, kafka...)...))
		})
	}
	if diff := cmp.Diff([]string{"127.0.0.1:9092"}, seen.Kafka); diff != "" || seen.Logger == nil {
		t.Errorf("options: %s", diff)
	}
}

type admin struct{ key keys.Key }

func (a admin) Create(context.Context, keys.Identity) (keys.Key, string, error) {
	return a.key, "st_0123456789abcdef_secret", nil
}

func (a admin) List(context.Context, string) ([]keys.Key, error) {
	old := a.key
	old.Revoked = true
	return []keys.Key{a.key, old}, nil
}

func (a admin) Revoke(_ context.Context, id string) (keys.Key, error) {
	if id != a.key.ID {
		return keys.Key{}, &filing.Error{Reason: filing.ReasonNotFound, Field: "key_id"}
	}
	return a.key, nil
}

func TestDoctorFailsWhenSomethingIsWrong(t *testing.T) {
	t.Parallel()
	findings := []Finding{
		{Name: "kafka", Detail: "3 brokers answer"},
		{Name: "kafka partitions", Health: Warn, Detail: "8", Fix: "64 suit a fleet"},
		{Name: "redis eviction", Health: Fail, Detail: "allkeys-lru", Fix: "set maxmemory-policy noeviction"},
	}
	for name, c := range map[string]struct {
		findings []Finding
		err      error
		args     []string
	}{
		"doctor":      {findings, nil, nil},
		"doctor.json": {findings, nil, []string{"-o", "json"}},
		"doctor.ok":   {findings[:2], nil, nil},
		"doctor.err":  {nil, errors.New("kafka: no broker answers"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &program{deps: Deps{Doctor: func(context.Context, DoctorOptions) ([]Finding, error) { return c.findings, c.err }}}
			golden(t, name, p.run(t.Context(), append([]string{"doctor"}, c.args...)...))
		})
	}
}

func TestServersGetTheirSettings(t *testing.T) {
	t.Parallel()
	config := write(t, "config.yaml", "kafka: [127.0.0.1:1, 127.0.0.1:2]\nredis: 127.0.0.1:3\nslots: 7\nauthority:\n  - cn.11=http://127.0.0.1:4\nstate: waiting\n")
	cases := map[string]struct {
		env  map[string]string
		args []string
		want any
	}{
		"demo's defaults": {nil, []string{"demo"}, DemoOptions{
			DevOptions: DevOptions{Common: Common{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0"}, Sim: SimOptions{Latency: "50ms"}}, Filings: 300,
		}},
		"dev's defaults": {nil, []string{"dev"}, DevOptions{
			Common: Common{GRPC: "127.0.0.1:7070", HTTP: "127.0.0.1:7080", Admin: "127.0.0.1:7090", Data: "springtide-data"}, Sim: SimOptions{Latency: "50ms"},
		}},
		"the environment beats the default, a flag beats the environment": {
			map[string]string{"SPRINGTIDE_GRPC": "127.0.0.1:1111", "SPRINGTIDE_HTTP": "127.0.0.1:2222", "SPRINGTIDE_SIM_QUOTA": "50/s"},
			[]string{"dev", "--http", "127.0.0.1:3333", "--admin", "", "--data", "D", "--sim-class", "U", "--sim-latency", "50ms~200ms"},
			DevOptions{
				Common: Common{GRPC: "127.0.0.1:1111", HTTP: "127.0.0.1:3333", Data: "D"},
				Sim:    SimOptions{Class: "U", Latency: "50ms~200ms", Quota: 50},
			},
		},
		"a file gives what nobody else does": {
			map[string]string{"SPRINGTIDE_REDIS": "127.0.0.1:9", "SPRINGTIDE_CONFIG": config},
			[]string{"work", "submit", "project", "submit", "--slots", "8"},
			WorkOptions{
				Common: Common{
					Kafka: []string{"127.0.0.1:1", "127.0.0.1:2"}, Redis: []string{"127.0.0.1:9"}, Data: "springtide-data",
					Authorities: []Authority{{"cn.11", "http://127.0.0.1:4"}},
				},
				Roles: []string{"submit", "project"}, Slots: 8,
			},
		},
		"several in one variable": {
			map[string]string{"SPRINGTIDE_KAFKA": "a:1,b:2", "SPRINGTIDE_REDIS": "c:3", "SPRINGTIDE_AUTHORITY": "cn=http://h/x?class=A&lag=1s,gb.hmrc=https://i"},
			[]string{"serve", "--reflection", "--pepper", "P"},
			ServeOptions{
				Common: Common{
					Kafka: []string{"a:1", "b:2"}, Redis: []string{"c:3"}, GRPC: "127.0.0.1:7070", HTTP: "127.0.0.1:7080", Admin: "127.0.0.1:7090",
					Data: "springtide-data", Pepper: "P", Authorities: []Authority{{"cn", "http://h/x?class=A&lag=1s"}, {"gb.hmrc", "https://i"}},
				},
				Reflection: true,
			},
		},
		"the simulator": {nil, []string{"authority-sim", "--listen", ":7", "--lag", "2s", "--window", "1h", "--faults", "F"}, SimOptions{
			Common: Common{Data: "springtide-data"}, Listen: ":7", Latency: "50ms", Lag: 2 * time.Second, Window: time.Hour, Faults: "F",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got any
			p := &program{env: c.env, deps: Deps{
				Demo:         func(_ context.Context, o DemoOptions) error { got = o; return nil },
				Dev:          func(_ context.Context, o DevOptions) error { got = o; return nil },
				Serve:        func(_ context.Context, o ServeOptions) error { got = o; return nil },
				Work:         func(_ context.Context, o WorkOptions) error { got = o; return nil },
				AuthoritySim: func(_ context.Context, o SimOptions) error { got = o; return nil },
			}}
			if o := p.run(t.Context(), c.args...); o.code != ExitOK {
				t.Fatalf("exit code %d: %s", o.code, o.err)
			}
			ignore := cmp.FilterPath(func(p cmp.Path) bool {
				return p.Last().Type() == typeOf[*slog.Logger]() || p.Last().Type() == typeOf[UI]()
			}, cmp.Ignore())
			if diff := cmp.Diff(c.want, got, ignore); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsOfServersBecomeExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"drained":            {nil, ExitOK},
		"cannot start":       {errors.New("port in use"), ExitUsage},
		"something to do":    {ErrNeedsUser, ExitNeedsUser},
		"broken":             {errors.Join(ErrPromiseBroken, errors.New("filed twice")), ExitBroken},
		"stopped by the way": {ErrInterrupted, ExitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &program{deps: Deps{Demo: func(context.Context, DemoOptions) error { return c.err }}}
			if got := p.run(t.Context(), "demo"); got.code != c.want {
				t.Errorf("exit code %d, want %d: %s", got.code, c.want, got.err)
			}
		})
	}
	if got := (&program{}).run(t.Context(), "dev"); got.code != ExitUsage || !strings.Contains(got.err, "not built") {
		t.Errorf("got %+v", got)
	}
}

func TestDemoStaysUpOnATerminalOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live bool
		args []string
		want bool
	}{{true, nil, true}, {false, nil, false}, {true, []string{"-o", "json"}, false}} {
		var got DemoOptions
		p := &program{term: Terminal{Live: c.live}, deps: Deps{Demo: func(_ context.Context, o DemoOptions) error { got = o; return nil }}}
		p.run(t.Context(), append([]string{"demo"}, c.args...)...)
		if got.Stay != c.want || got.Filings != 300 {
			t.Errorf("%+v: stay %v", c, got.Stay)
		}
	}
}
