package wire

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"springtide/cmd/internal/cli"
	broker "springtide/services/eventlog/embedded"
	"springtide/services/fleet"
	redis "springtide/services/status/embedded"
)

// A doctor who makes topics has frozen the partition count before anybody chose it.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	kafka, err := broker.Start(broker.Config{DataDir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	view, err := redis.Start(t.Context(), redis.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(view.Close)
	o := cli.DoctorOptions{Common: cli.Common{
		Kafka: []string{kafka.Addr()}, Redis: []string{view.Addr()}, Data: t.TempDir(), Logger: log,
	}}
	const topics = 10 // there are at least so many
	first := 0
	for range 2 { // the second sees what the first left
		found, err := Doctor(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		missing, stages := 0, 0
		for _, f := range found {
			if strings.HasPrefix(f.Name, "kafka ") && f.Health == cli.Fail && f.Detail == "is not there" && strings.Contains(f.Fix, "--partitions") {
				missing++
			}
			if strings.HasPrefix(f.Name, "stage ") && f.Health == cli.Warn && strings.Contains(f.Fix, "springtide work") {
				stages++
			}
		}
		if missing < topics || first > 0 && missing != first || stages != 2 {
			t.Fatalf("%d topics and %d stages are missing, want all and 2: %+v", missing, stages, found)
		}
		first = missing
	}
	if files, err := os.ReadDir(o.Data); err != nil || len(files) > 0 {
		t.Errorf("doctor left %v, %v", files, err)
	}
}

func TestDoctorJudgesAStage(t *testing.T) {
	t.Parallel()
	some := map[string]fleet.Report{"a": {}, "b": {}}
	for name, tt := range map[string]struct {
		reports map[string]fleet.Report
		stale   time.Duration
		scaled  bool
		want    cli.Health
		says    string
	}{
		"at work":             {some, 0, true, cli.OK, "2 workers"},
		"without a scaler":    {some, 0, false, cli.OK, "2 workers"},
		"silent":              {some, 9 * time.Second, true, cli.Warn, "silent for 9s"},
		"stopped":             {map[string]fleet.Report{"a": {Stopped: []int{3, 4}}}, 0, true, cli.Fail, "2 partitions are stopped"},
		"scaled to nothing":   {nil, 0, true, cli.OK, "as the scaler wants"},
		"nobody is in charge": {nil, 0, false, cli.Warn, "0 workers"},
	} {
		got := judgeStage("submit", tt.reports, tt.stale, tt.scaled)
		if got.Health != tt.want || !strings.Contains(got.Detail, tt.says) || (got.Fix == "") != (tt.want == cli.OK) {
			t.Errorf("%s: got %+v, want %v and %q", name, got, tt.want, tt.says)
		}
	}
}

func TestDoctorLooksAtThePepper(t *testing.T) {
	t.Parallel()
	file := func(size int, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "pepper")
		if err := os.WriteFile(path, make([]byte, size), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	for name, tt := range map[string]struct {
		pepper string
		want   cli.Health
		says   string
	}{
		"whole":         {file(32, 0o600), cli.OK, "not for everybody"},
		"of a group":    {file(32, 0o440), cli.OK, "not for everybody"},
		"for everybody": {file(32, 0o644), cli.Warn, "may read it"},
		"short":         {file(31, 0o600), cli.Fail, "31 bytes"},
		"lost":          {filepath.Join(t.TempDir(), "pepper"), cli.Fail, "is not there"},
	} {
		got := checkPepper(cli.Common{Pepper: tt.pepper})
		if len(got) != 1 || got[0].Health != tt.want || !strings.Contains(got[0].Detail, tt.says) || (got[0].Fix == "") != (tt.want == cli.OK) {
			t.Errorf("%s: got %+v, want %v and %q", name, got, tt.want, tt.says)
		}
	}
	if got := checkPepper(cli.Common{Data: t.TempDir()}); got != nil {
		t.Errorf("a machine without a front door: %+v", got)
	}
}

func TestDoctorReachesAuthorities(t *testing.T) {
	t.Parallel()
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	shut, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := shut.Addr().String()
	_ = shut.Close()
	found := checkAuthorities(t.Context(), []cli.Authority{
		{Name: "cn.11", URL: "http://" + open.Addr().String() + "/etax?quota=5/s"},
		{Name: "cn.31", URL: "http://" + refuses},
		{Name: "cn.44", URL: "http://" + open.Addr().String() + "?quota=many"},
	})
	for i, want := range []cli.Health{cli.OK, cli.Fail, cli.Fail} {
		if f := found[i]; f.Health != want || (f.Fix == "") != (want == cli.OK) {
			t.Errorf("got %+v, want %v", f, want)
		}
	}
}
