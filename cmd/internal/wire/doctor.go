package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"springtide/cmd/internal/cli"
	"springtide/services/authority"
	"springtide/services/eventlog"
	"springtide/services/fleet"
	"springtide/services/forms"
	"springtide/services/status"
)

// Doctor looks at an installation and changes nothing.
func Doctor(ctx context.Context, o cli.DoctorOptions) ([]cli.Finding, error) {
	if len(o.Kafka) == 0 && len(o.Redis) == 0 {
		return nil, errors.New("give --kafka HOST:PORT, --redis HOST:PORT or both")
	}
	var out []cli.Finding
	if _, err := forms.Load(); err != nil {
		out = append(out, cli.Finding{Name: "forms", Health: cli.Fail, Detail: err.Error(), Fix: "this binary is damaged: build it again"})
	}
	out = append(out, checkPepper(o.Common)...)
	partitions := 1
	if len(o.Kafka) > 0 {
		found, p, err := checkKafka(ctx, o.Common)
		out, partitions = append(out, found...), p
		if err != nil {
			return out, err
		}
	}
	if len(o.Redis) > 0 {
		found, err := checkRedis(ctx, o.Common, partitions)
		out = append(out, found...)
		if err != nil {
			return out, err
		}
	}
	return append(out, checkAuthorities(ctx, o.Authorities)...), nil
}

// checkPepper looks at the secret of the API keys, where this machine has it.
func checkPepper(o cli.Common) []cli.Finding {
	const least = 32 // bytes, as services/keys wants
	path := o.Pepper
	if path == "" {
		path = filepath.Join(o.Data, "pepper")
	}
	one := func(h cli.Health, detail, fix string) []cli.Finding {
		return []cli.Finding{{Name: "pepper", Health: h, Detail: path + ": " + detail, Fix: fix}}
	}
	file, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Pepper == "":
		return nil // no front door on this machine
	case errors.Is(err, fs.ErrNotExist):
		return one(cli.Fail, "is not there", "bring the installation's pepper: a front door would make another one, under which no API key is known")
	case err != nil:
		return one(cli.Fail, err.Error(), "let this user read it")
	case file.Size() < least:
		return one(cli.Fail, fmt.Sprintf("%d bytes, want at least %d", file.Size(), least), "bring the installation's pepper")
	case file.Mode().Perm()&0o007 != 0:
		return one(cli.Warn, "everybody on this machine may read it ("+file.Mode().Perm().String()+")", "chmod o= "+path)
	}
	return one(cli.OK, "is there, and not for everybody", "")
}

// checkKafka also gives the number of partitions.
func checkKafka(ctx context.Context, o cli.Common) ([]cli.Finding, int, error) {
	events, err := openLog(ctx, o, eventlog.Config{Inspect: true})
	if err != nil {
		return []cli.Finding{{Name: "kafka", Health: cli.Fail, Detail: err.Error(), Fix: "check the address and whether the broker runs"}}, 1, nil
	}
	var out []cli.Finding
	for _, f := range events.Check(ctx) {
		out = append(out, cli.Finding{Name: "kafka " + f.Subject, Health: health(f.Level.String()), Detail: f.What, Fix: f.Fix})
	}
	return out, events.Partitions(), events.Close()
}

// checkRedis looks at the server, and at what the fleet says there about itself.
func checkRedis(ctx context.Context, o cli.Common, partitions int) ([]cli.Finding, error) {
	view, err := openView(o, status.Config{Partitions: partitions}, nil)
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	var out []cli.Finding
	for _, f := range view.Check(ctx) {
		out = append(out, cli.Finding{Name: "redis", Health: health(string(f.Level)), Detail: f.What, Fix: f.Fix})
	}
	return append(out, checkFleet(ctx, view)...), view.Close()
}

// checkFleet looks at the scaler and the workers of the scaled stages.
func checkFleet(ctx context.Context, view fleet.View) []cli.Finding {
	decisions, err := fleet.Decisions(ctx, view)
	if err != nil {
		return nil // the server's own finding says it
	}
	var out []cli.Finding
	scaled := map[string]bool{}
	for _, d := range decisions {
		name := "scaler of " + d.Group
		if d.Age > fleet.Gone {
			out = append(out, cli.Finding{
				Name: name, Health: cli.Warn, Detail: fmt.Sprintf("silent for %s", d.Age.Round(time.Second)),
				Fix: "start `springtide scale` again: the number of workers stays as it is",
			})
			continue
		}
		scaled[d.Group] = true
		out = append(out, cli.Finding{Name: name, Health: cli.OK, Detail: fmt.Sprintf("%d wanted, %d ready", d.Wanted, d.Ready)})
	}
	for _, group := range cli.ScaleGroups() {
		reports, stale, err := fleet.Read(ctx, view, group)
		if err == nil {
			out = append(out, judgeStage(group, reports, stale, scaled[group]))
		}
	}
	return out
}

// judgeStage is pure: what a stage's workers said, how old the oldest of that is, and
// whether a scaler decides how many there are.
func judgeStage(group string, reports map[string]fleet.Report, stale time.Duration, scaled bool) cli.Finding {
	f := cli.Finding{Name: "stage " + group, Detail: fmt.Sprintf("%d workers", len(reports))}
	stopped := 0
	for _, r := range reports {
		stopped += len(r.Stopped)
	}
	switch {
	case stopped > 0:
		f.Health, f.Detail = cli.Fail, fmt.Sprintf("%d partitions are stopped: they hold what this release does not know", stopped)
		f.Fix = "bring every worker to the newest release that ran here: docs/runbooks/partition-stopped.md"
	case stale > 0:
		f.Health, f.Detail = cli.Warn, f.Detail+fmt.Sprintf(", one silent for %s", stale.Round(time.Second))
		f.Fix = "look whether it still runs; a frozen one must be killed before it thaws"
	case len(reports) == 0 && !scaled:
		f.Health, f.Fix = cli.Warn, "start `springtide work "+group+"`, or `springtide scale`"
	case len(reports) == 0:
		f.Detail = "no workers, as the scaler wants"
	}
	return f
}

// reachTimeout bounds one look at whether an authority is there.
const reachTimeout = 5 * time.Second

// checkAuthorities connects to each authority and sends nothing.
func checkAuthorities(ctx context.Context, all []cli.Authority) []cli.Finding {
	out := make([]cli.Finding, len(all))
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() {
			out[i] = cli.Finding{Name: "authority " + a.Name, Detail: "a connection is taken"}
			spec, err := authority.ParseSpec(a.Name+"="+a.URL, defaultTerms)
			fix := "correct --authority"
			if err == nil {
				err = reach(ctx, spec.URL)
				fix = "check the address, DNS, the firewall and the trusted certificates; its filings wait meanwhile"
			}
			if err != nil {
				out[i].Health, out[i].Detail, out[i].Fix = cli.Fail, err.Error(), fix
			}
		})
	}
	wg.Wait()
	return out
}

// reach opens a connection as a request would, and closes it.
func reach(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	hostPort := net.JoinHostPort(strings.TrimSuffix(u.Hostname(), "."), port)
	var conn net.Conn
	if u.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", hostPort)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", hostPort)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// health reads how bad a finding is.
func health(level string) cli.Health {
	switch level {
	case "ok":
		return cli.OK
	case "warn":
		return cli.Warn
	default:
		return cli.Fail
	}
}
