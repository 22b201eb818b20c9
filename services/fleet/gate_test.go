package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"springtide/services/fleet"
	"springtide/services/status"
)

// said is a view of reports that were said.
type said struct {
	reports []status.Report
	err     error
}

func (s said) Say(context.Context, string, string, string) error { return nil }
func (s said) Unsay(context.Context, string, string) error       { return nil }
func (s said) Reports(context.Context, string) ([]status.Report, error) {
	return s.reports, s.err
}

func report(t *testing.T, member string, age time.Duration, partition int, all ...fleet.Authority) status.Report {
	t.Helper()
	text, err := json.Marshal(fleet.Report{Partitions: []fleet.Progress{{Partition: partition}}, Authorities: all})
	if err != nil {
		t.Fatal(err)
	}
	return status.Report{Member: member, Age: age, Payload: string(text)}
}

func TestAGateIsWhatThePartitionsWorkerSays(t *testing.T) {
	t.Parallel()
	g, err := fleet.ReadGates(t.Context(), said{reports: []status.Report{
		report(t, "a", time.Second, 0, fleet.Authority{Name: "cn"}, fleet.Authority{Name: "cn.31", Open: true}, fleet.Authority{Name: "cn.44", Open: true, Trial: true},
			fleet.Authority{Name: "cn.33", Shut: true, Trial: true}),
		report(t, "b", time.Second, 1, fleet.Authority{Name: "cn.31"}),
		report(t, "c", fleet.GateAge+1, 2, fleet.Authority{Name: "cn.31"}),
		{Member: "d", Payload: "no report"},
	}}, "submit")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		partition int
		code      string
		want      fleet.Gate
		owner     string
	}{
		{0, "cn.31", fleet.GateShut, "a"},
		{0, "cn.44", fleet.GateTrial, "a"},
		{0, "cn.33", fleet.GateShut, "a"},
		{0, "cn.4403", fleet.GateOpen, "a"}, // by the name that covers it
		{0, "gb.hmrc", fleet.GateUnknown, "a"},
		{1, "cn.31", fleet.GateOpen, "b"},
		{2, "cn.31", fleet.GateUnknown, ""}, // its word is too old
		{3, "cn.31", fleet.GateUnknown, ""},
	} {
		if got, owner := g.Of(c.partition, c.code); got != c.want || owner != c.owner {
			t.Errorf("partition %d, %s: %d by %q, want %d by %q", c.partition, c.code, got, owner, c.want, c.owner)
		}
	}
	if _, err := fleet.ReadGates(t.Context(), said{err: errors.New("no view")}, "submit"); err == nil {
		t.Error("no error without a view")
	}
	if got, _ := (fleet.Gates{}).Of(0, "cn.31"); got != fleet.GateUnknown {
		t.Errorf("nothing known: %d", got)
	}
}
